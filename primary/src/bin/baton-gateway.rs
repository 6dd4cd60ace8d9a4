//! The gateway, version 2.0.0: sessions with service class and birth, counters of 64 bits.

#![forbid(unsafe_code)]

use baton_primary::Gateway;
use baton_primary::session::SessionV2;
use std::process::ExitCode;

fn main() -> ExitCode {
    baton::main::<Gateway<SessionV2>>()
}
