//! The gateway, version 2.0.0: sessions with service class and birth, counters of 64 bits.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    baton_primary::newest()
}
