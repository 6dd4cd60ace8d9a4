//! A gateway that is fine until it is started: it ends at once, with 3.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--supervisor") {
        eprintln!("bad-exits-at-start: as promised");
        return ExitCode::from(3);
    }
    baton_primary::newest()
}
