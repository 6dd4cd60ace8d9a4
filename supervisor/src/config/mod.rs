//! `baton.toml`, as far as the supervisor reads it. The primary parses the same text itself; any
//! top-level table that is not named here belongs to the binary and is passed through unread.
//!
//! The tables that the primary reads too are [`baton_schema::config`]'s, and so is the form of mistakes:
//! `FILE:LINE:COLUMN: key: expected ..., found ...; way out`.

mod percent;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use baton_schema::config::{self, Document, Mistake, closest};
use serde::Deserialize;

pub use baton_schema::config::{Instance, Memory, Port, Prefix, Route};
pub use percent::Percent;

use crate::period::Period;

// What the shared tables promise is what the shared memory has places for.
const _: () = assert!(config::MOST_LCORES == baton_shared_state::LCORES_PER_TENANT);
const _: () = assert!(config::MOST_SHARDS as usize + 1 == baton_shared_state::CONTROL_SHARD);

/// The top-level names the supervisor reads.
const OURS: [&str; 5] = ["instance", "port", "route", "upgrade", "metrics"];

/// What stands in the file.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The instance: prefix, lcores, memory.
    pub instance: Instance,
    /// The ports, in order.
    #[serde(default)]
    pub port: Vec<Port>,
    /// Static routes.
    #[serde(default)]
    pub route: Vec<Route>,
    /// How upgrades go.
    #[serde(default)]
    pub upgrade: Upgrade,
    /// Where metrics will be served.
    #[serde(default)]
    pub metrics: Option<Metrics>,
    /// What `baton run` starts: `instance.binary`.
    #[serde(skip)]
    pub binary: PathBuf,
    /// The whole text, handed to the primary.
    #[serde(skip)]
    pub text: String,
    /// Where it was read.
    #[serde(skip)]
    pub path: PathBuf,
}

/// `[upgrade]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Upgrade {
    /// Shards that move first. Read; the swap goes lcore by lcore without a pause so far.
    pub canary: Option<u16>,
    /// Time in which going back costs one swap.
    pub soak: Period,
    /// Binaries kept for a later rollback.
    pub keep: usize,
    /// What breaks a soak.
    pub gate: Gate,
    /// How long one phase before the first swap may take.
    pub deadline: Period,
}

/// `upgrade.gate`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Growth of drops, as a share of packets; `"+0.1%"`.
    pub drops: Option<Percent>,
    /// Fall of the forwarding rate; `"-5%"`.
    pub rate: Option<Percent>,
    /// Oldest heartbeat.
    pub heartbeat: Option<Period>,
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// TCP address of the exporter.
    pub listen: String,
}

impl Default for Upgrade {
    fn default() -> Upgrade {
        Upgrade {
            canary: None,
            soak: Period(Duration::from_secs(30)),
            keep: 3,
            gate: Gate::default(),
            deadline: Period(Duration::from_secs(60)),
        }
    }
}

/// The config cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}; name another file with --config FILE", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The text is not a valid config, or another instance's.
    #[error("{message}")]
    Wrong {
        /// File, place, key, and what is wrong.
        message: String,
    },
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Config::parse(&text, path)
    }

    /// Checks a text; `path` is for the messages.
    pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let document = Document::new(path.to_string_lossy(), text);
        let wrong = |message| ConfigError::Wrong { message };
        let mut config: Config =
            toml::from_str(text).map_err(|error| wrong(document.explain(&error)))?;
        config
            .check()
            .and_then(|()| foreign_tables(text))
            .map_err(|mistake| wrong(document.tell(&mistake)))?;
        config.binary = config.instance.binary.clone().unwrap_or_default();
        config.text = text.to_owned();
        config.path = path.to_owned();
        Ok(config)
    }

    fn check(&self) -> Result<(), Mistake> {
        let missing = |key, example| {
            let what = format!("expected a value, found none; add {key} = \"{example}\"");
            Err(Mistake::at(format!("instance.{key}"), what))
        };
        match (&self.instance.binary, &self.instance.lcores) {
            (None, _) => missing("binary", "/usr/lib/baton/baton-gateway"),
            (_, None) => missing("lcores", "1"),
            _ => config::check(&self.instance, &self.port, &self.route),
        }
    }

    /// Fails unless the file names `wanted`.
    pub fn of_prefix(self, wanted: &str) -> Result<Config, ConfigError> {
        let found = &self.instance.file_prefix.0;
        if found == wanted {
            return Ok(self);
        }
        let what = format!(
            "expected \"{wanted}\", which was asked for, found \"{found}\"; write baton run {found}, or name another file with --config"
        );
        let message = Document::new(self.path.to_string_lossy(), self.text)
            .tell(&Mistake::at("instance.file-prefix", what));
        Err(ConfigError::Wrong { message })
    }

    /// Shards: as said, or one for each lcore.
    pub fn shards(&self) -> u16 {
        self.instance.shards()
    }

    /// Number of lcores.
    pub fn lcores(&self) -> u16 {
        u16::try_from(self.instance.cpus().len()).unwrap_or(u16::MAX)
    }
}

/// Top-level names that are not ours have to be tables: a stray key is a mistake, not the binary's.
fn foreign_tables(text: &str) -> Result<(), Mistake> {
    let all: BTreeMap<String, toml::Value> = toml::from_str(text).unwrap_or_default();
    for (name, value) in &all {
        let is_table = value.is_table()
            || value
                .as_array()
                .is_some_and(|list| !list.is_empty() && list.iter().all(toml::Value::is_table));
        if OURS.contains(&name.as_str()) || is_table {
            continue;
        }
        let hint = closest(name, OURS.iter().copied())
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        let what = format!("expected a table, found a key outside of any{hint}");
        return Err(Mistake::at(name, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
