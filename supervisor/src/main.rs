//! The program `baton`: all of it is in the library.
use std::process::ExitCode;

fn main() -> ExitCode {
    baton_supervisor::cli::main()
}
