//! `baton-dump`: see the library. Data on stdout, talk on stderr, exit codes of [`exit`](baton_secondary::exit).
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use baton_secondary::cli::{Arguments, is_closed_pipe};
use baton_shared_state::paths::instances;

fn main() -> ExitCode {
    let words = std::env::args_os().collect();
    let arguments = Arguments::read(words, &instances()).unwrap_or_else(|error| error.exit());
    let mut out = io::BufWriter::new(io::stdout().lock());
    let outcome = arguments.run(&mut out);
    // A reader that has seen enough (`| head`) is no failure.
    let _ = out.flush();
    match outcome {
        Ok(note) => {
            if !note.is_empty() {
                talk(&note);
            }
            ExitCode::SUCCESS
        }
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            talk(&format!("baton-dump: {error}"));
            ExitCode::from(error.exit().code())
        }
    }
}

/// Writes to stderr; that nobody reads it (`2>&1 | head -1`) changes no exit code.
fn talk(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
