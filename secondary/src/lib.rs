//! Attaching to an instance read-only, and the tool that shows what is in its memory.
//!
//! ```text
//!   source     segments, live (from the supervisor), of files that outlived all processes, or of an image
//!   instance   directory and ledger over them: which generation of a zone is the one in use
//!   view       one zone's bytes with the schema stored beside it
//!   scan       rows: an array's records, or a table's keys, records and counters joined by id
//!   filter     --where           listing    table, JSON, lines of JSON
//!   list, show, check, diff, save             one file a verb
//! ```
//!
//! Nothing here knows a program's records: every zone is decoded by its own schema, whatever version wrote it.
//!
//! Invariants
//! - I1 No mapping is writable, and every descriptor was opened for reading only.
//! - I2 Nothing read from shared memory is trusted: it becomes a value, or an error with a sentence; never a panic.
//! - I3 Bytes are shown only if their zone was in use before and after they were copied.
#![forbid(unsafe_code)]

pub mod check;
pub mod cli;
pub mod diff;
pub mod error;
pub mod exit;
pub mod filter;
pub mod instance;
pub mod list;
pub mod listing;
pub mod rows;
pub mod save;
pub mod scan;
pub mod show;
pub mod source;
pub mod user;
pub mod view;
