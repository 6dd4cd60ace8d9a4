//! `baton dump`: the reader is a program of its own, `baton-dump`, which attaches read-only.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use super::failure::Failure;
use crate::exit::Exit;

/// The reader's name.
const PROGRAM: &str = "baton-dump";

/// Arguments of `dump`, passed on as they are.
#[derive(Debug, Args)]
pub(super) struct Dump {
    /// [PREFIX] list | show ZONE | check | diff A B, with their options.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENTS"
    )]
    pub(super) args: Vec<String>,
}

pub(super) fn run(dump: &Dump) -> Result<Exit, Failure> {
    let sibling: Option<PathBuf> = std::env::current_exe()
        .ok()
        .and_then(|own| own.parent().map(|folder| folder.join(PROGRAM)));
    let program = sibling
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from(PROGRAM));
    let error = Command::new(&program).args(&dump.args).exec();
    Err(
        Failure::new(Exit::Failed, format!("{}: {error}", program.display()))
            .way_out(format!("install {PROGRAM} beside baton")),
    )
}
