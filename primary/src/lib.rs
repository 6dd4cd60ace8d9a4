//! The NAT gateway: a [`baton::Datapath`] built from the parts of `baton-datapath`.
//!
//! - [`config`] the `[gateway]` table; [`links`] ports and routes; [`drops`] why packets are dropped.
//! - [`session`] and [`state`]: what outlives a process, in both released versions.
//! - [`gateway`] the stages of a burst; `fast` the common case, with its flow cache, `classify`, `translate`, `errors`, `local` each stage's work;
//!   [`port_pool`] and `aging` the life of bindings and sessions.
//!
//! Two programs are made of it: `baton-gateway` (2.0.0) and `baton-gateway-1` (1.0.0). They differ
//! in the [`session::SessionLayout`] alone.

#![forbid(unsafe_code)]

mod aging;
pub mod binding;
mod classify;
pub mod config;
pub mod drops;
mod errors;
mod fast;
pub mod gateway;
pub mod links;
mod local;
pub mod port_pool;
pub mod session;
pub mod state;
mod translate;
mod translator;

pub use gateway::Gateway;

use session::SessionV2;
use std::process::ExitCode;

/// The program `baton-gateway`, which the tests' bad binaries are in all but one thing: compiled here, once for all.
pub fn newest() -> ExitCode {
    baton::main::<Gateway<SessionV2>>()
}

#[cfg(test)]
mod tests;
