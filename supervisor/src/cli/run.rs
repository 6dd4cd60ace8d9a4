//! `baton run`: the supervisor in the foreground.

use std::path::PathBuf;

use clap::Args;

use super::failure::Failure;
use super::{Global, instance};
use crate::config::Config;
use crate::driver::{self, Settings};
use crate::exit::Exit;
use crate::logfmt;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The instance's file-prefix.
    prefix: String,
    /// Its config, if not /etc/baton/PREFIX.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to start, instead of instance.binary.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &Run) -> Result<Exit, Failure> {
    let paths = instance(Some(&args.prefix))?;
    let file = args
        .config
        .clone()
        .unwrap_or_else(|| baton_shared_state::paths::default_config(&args.prefix));
    let mut config = Config::load(&file)
        .and_then(|config| config.of_prefix(&args.prefix))
        .map_err(|error| {
            Failure::new(Exit::Usage, error)
                .way_out(format!("mend it, then: baton check {}", args.prefix))
        })?;
    if let Some(binary) = &args.binary {
        config.binary.clone_from(binary);
    }
    logfmt::install(global.verbose);
    let settings = Settings { paths, config };
    driver::run(settings).map_err(|error| {
        let failure = Failure::new(error.exit(), &error);
        match error.way_out() {
            Some(way_out) => failure.way_out(way_out),
            None => failure,
        }
    })
}
