//! The gateway, version 1.0.0: what is replaced by `baton-gateway`, and taken back to.

#![forbid(unsafe_code)]

use baton_primary::Gateway;
use baton_primary::session::SessionV1;
use std::process::ExitCode;

fn main() -> ExitCode {
    baton::main::<Gateway<SessionV1>>()
}
