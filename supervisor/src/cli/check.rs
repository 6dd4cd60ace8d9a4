//! `baton check`: the config, read by the supervisor and by this, or the next, binary's own parser.

use std::path::PathBuf;

use clap::Args;

use super::client::open_binary;
use super::failure::Failure;
use super::{Global, instance};
use crate::binary::{Binary, BinaryError};
use crate::config::Config;
use crate::exit::Exit;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The instance's file-prefix.
    prefix: Option<String>,
    /// The binary whose parser reads it, if not instance.binary.
    #[arg(long, value_name = "FILE")]
    binary: Option<String>,
    /// The config, if not /etc/baton/PREFIX.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: &Check) -> Result<Exit, Failure> {
    let file = match &args.config {
        Some(file) => file.clone(),
        None => {
            baton_shared_state::paths::default_config(&instance(args.prefix.as_deref())?.prefix)
        }
    };
    let usage = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Usage, error)
            .way_out("mend it and check again; what runs is not affected")
    };
    let mut config = Config::load(&file).map_err(|error| usage(&error))?;
    if let Some(prefix) = &args.prefix {
        config = config.of_prefix(prefix).map_err(|error| usage(&error))?;
    }
    let name = args
        .binary
        .clone()
        .unwrap_or_else(|| config.binary.display().to_string());
    let mut source = open_binary(&name)?;
    let folder = std::env::temp_dir().join(format!("baton-check-{}", std::process::id()));
    let checked = Binary::keep(&folder, &mut source).and_then(|binary| {
        let manifest = binary.manifest(&name)?;
        binary.check_config(&name, &file)?;
        Ok(manifest)
    });
    let _ = std::fs::remove_dir_all(&folder);
    let manifest = checked.map_err(|error| match error {
        BinaryError::Config {
            message,
            unfit: true,
        } => Failure::new(Exit::Unfit, message)
            .way_out("mend the config or the machine; what runs is not affected"),
        error => usage(&error),
    })?;
    let value = serde_json::json!({
        "schema": "baton.check/1", "config": file, "binary": name,
        "name": manifest.name, "version": manifest.version, "ok": true,
    });
    global.show(&value, || {
        format!(
            "{}: ok for {} {}",
            file.display(),
            manifest.name,
            manifest.version
        )
    });
    global.advise(&format!(
        "next: baton plan {} {name}",
        config.instance.file_prefix.0
    ));
    Ok(Exit::Done)
}
