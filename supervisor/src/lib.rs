//! The supervisor of baton: it decides and times the upgrade, holds every descriptor in its
//! vault, and forwards no packet; and the operator's command `baton`, which talks to it.
//!
//! [`state`] is the decision: a pure function from (state, event) to (state, actions).
//! [`driver`] is the action: processes, the control socket, zones, the swap by ledger words,
//! the receipt. [`cli`] is what the operator sees. `PROTOCOL.md` beside this crate's
//! manifest tells the protocol as a whole.
#![forbid(unsafe_code)]

pub mod binary;
pub mod cli;
pub mod config;
pub mod driver;
pub mod exit;
pub mod history;
pub mod logfmt;
pub mod period;
pub mod plan;
pub mod receipt;
pub mod request;
pub mod state;
