//! `baton::main`: from the command line to a running primary.

use crate::args::Args;
use crate::check::{self, Refused};
use crate::config::{self, Config};
use crate::datapath::{Datapath, Error};
use crate::resolve::manifest;
use crate::{log, standalone, supervised};
use clap::Parser;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Exit code for a config or command line that cannot be used.
const USAGE: u8 = 2;
/// Exit code for a good config on a machine that is not fit for it.
const UNFIT: u8 = 7;

/// The whole of a program's `main`: flags, config, ports, lcores, takeover in both directions.
pub fn main<D: Datapath>() -> ExitCode {
    let args = Args::parse();
    if args.version {
        let _ = writeln!(std::io::stdout(), "{} {}", D::name(), D::version());
        return ExitCode::SUCCESS;
    }
    if args.manifest {
        return print_manifest::<D>();
    }
    if let Some(path) = &args.check_config {
        return match read::<D>(path)
            .map_err(Refused::Config)
            .and_then(|config| check::check::<D>(&config))
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => refuse(&why),
        };
    }
    log::init();
    end_process_on_panic();
    if let Err(why) = baton_shared_state::sys::set_dumpable(false) {
        tracing::warn!(%why, "other processes of this user may reach the shared memory through /proc");
    }
    let term = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        if let Err(why) = signal_hook::flag::register(signal, term.clone()) {
            return complain(
                &Error::new(format!("signal {signal} cannot be watched: {why}")),
                1,
            );
        }
    }
    let ended = match &args.supervisor {
        Some(socket) => supervised::run::<D>(socket, &term),
        None => match standalone::configured::<D>(&args) {
            Ok(config) => standalone::run::<D>(config, &term),
            Err(why) => return refuse(&why),
        },
    };
    ended.unwrap_or_else(|why| complain(&why, 1))
}

fn print_manifest<D: Datapath>() -> ExitCode {
    match serde_json::to_string_pretty(&manifest::<D>()) {
        Ok(text) => {
            // A reader that closed early has what it wanted.
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(why) => complain(&Error::new(why.to_string()), 1),
    }
}

/// Reads the config file of the command line.
pub(crate) fn read<D: Datapath>(path: &Path) -> Result<Config<D::Config>, Error> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|why| Error::new(format!("{name}: {why}")))?;
    config::parse(&text, &name, &D::name())
}

fn refuse(why: &Refused) -> ExitCode {
    match why {
        Refused::Config(why) => complain(why, USAGE),
        Refused::Machine(why) => complain(why, UNFIT),
    }
}

fn complain(why: &Error, code: u8) -> ExitCode {
    // Whom nobody listens to still ends with the code.
    let _ = writeln!(std::io::stderr(), "{why}");
    ExitCode::from(code)
}

/// A panic anywhere ends the process at once: its lifelines report it, and the shards are taken over
/// by who may. No backtrace is resolved before: that takes a second in which nobody polls.
fn end_process_on_panic() {
    std::panic::set_hook(Box::new(|info| {
        let _ = writeln!(
            std::io::stderr(),
            "{info}\nthis process ends, so that its shards can be taken over"
        );
        std::process::abort();
    }));
}
