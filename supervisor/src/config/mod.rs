//! `baton.toml`, as far as the supervisor reads it. The primary parses the same text itself; any
//! top-level table that is not named here belongs to the binary and is passed through unread.
//!
//! Mistakes are told as `toml` tells them, with the file's name in front and, where a name is
//! close to a known one, the question whether that was meant.

mod hint;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

pub use values::{Lcores, MAX_LCORES, Percent, Prefix, SocketMem};

use crate::period::Period;
use hint::{closest, explain};

/// The top-level names the supervisor reads.
const OURS: [&str; 5] = ["instance", "port", "route", "upgrade", "metrics"];

/// What stands in the file.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// The instance: prefix, binary, lcores, memory.
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
    /// The whole text, handed to the primary.
    #[serde(skip)]
    pub text: String,
    /// Where it was read.
    #[serde(skip)]
    pub path: PathBuf,
}

/// `[instance]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Instance {
    /// Names the arena, sockets, metrics.
    pub file_prefix: Prefix,
    /// What `baton run` starts.
    pub binary: PathBuf,
    /// CPUs, one lcore each.
    pub lcores: Lcores,
    /// MB per NUMA socket.
    #[serde(default)]
    pub socket_mem: Option<SocketMem>,
    /// What an lcore does that has nothing to do.
    #[serde(default)]
    pub idle: Idle,
    /// Units of ownership; as many as lcores unless said.
    #[serde(default)]
    pub shards: Option<u16>,
    /// Packet buffers.
    #[serde(default)]
    pub mbufs: Option<u32>,
    /// What backs the arena.
    #[serde(default)]
    pub memory: Memory,
}

/// `[[port]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Port {
    /// The name other tables use.
    pub name: String,
    /// A virtual device, in DPDK's words.
    #[serde(default)]
    pub vdev: Option<String>,
    /// A PCI device.
    #[serde(default)]
    pub allow: Option<String>,
    /// Own addresses.
    #[serde(default)]
    pub address: Vec<String>,
    /// Receive ring entries.
    #[serde(default)]
    pub rxd: Option<u32>,
    /// Transmit ring entries.
    #[serde(default)]
    pub txd: Option<u32>,
    /// Where packets for the gateway itself go.
    #[serde(default)]
    pub punt: Option<Punt>,
}

/// `[[route]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Destination prefix.
    pub prefix: String,
    /// Next hop.
    pub via: String,
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

/// What an idle lcore does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Spins a while, then sleeps.
    #[default]
    Adaptive,
    /// Burns the core.
    Spin,
    /// Sleeps at once.
    Sleep,
}

/// What backs the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// Anonymous memory that lives as long as a descriptor.
    #[default]
    Memfd,
    /// Files that outlive all processes.
    Hugetlbfs,
}

/// Where packets for the gateway itself go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Punt {
    /// To the kernel's own stack.
    Kernel,
    /// Nowhere.
    Drop,
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
    /// The text is not a valid config.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// `toml`'s words, and a suggestion.
        message: String,
    },
    /// The file is another instance's.
    #[error("{}: file-prefix is \"{found}\", but \"{wanted}\" was asked for; write baton run {found}, or name another file with --config", path.display())]
    OtherPrefix {
        /// The file.
        path: PathBuf,
        /// In the file.
        found: String,
        /// On the command line.
        wanted: String,
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
        let fail = |message: String| ConfigError::Parse {
            path: path.to_owned(),
            message,
        };
        let mut config: Config = toml::from_str(text).map_err(|error| fail(explain(&error)))?;
        foreign_tables(text).map_err(fail)?;
        for (index, port) in config.port.iter().enumerate() {
            if port.vdev.is_some() == port.allow.is_some() {
                return Err(fail(format!(
                    "port {index} \"{}\": exactly one of vdev and allow says what it is",
                    port.name
                )));
            }
            if config.port[..index]
                .iter()
                .any(|other| other.name == port.name)
            {
                return Err(fail(format!(
                    "two ports are named \"{}\"; names are unique",
                    port.name
                )));
            }
        }
        if config.shards() == 0 || usize::from(config.shards()) >= baton_shared_state::MAX_SHARDS {
            return Err(fail(format!(
                "instance.shards is {}, but 1 to {} are possible",
                config.shards(),
                baton_shared_state::MAX_SHARDS - 1
            )));
        }
        config.text = text.to_owned();
        config.path = path.to_owned();
        Ok(config)
    }

    /// Fails unless the file names `wanted`.
    pub fn of_prefix(self, wanted: &str) -> Result<Config, ConfigError> {
        if self.instance.file_prefix.0 == wanted {
            return Ok(self);
        }
        let found = self.instance.file_prefix.0;
        Err(ConfigError::OtherPrefix {
            path: self.path,
            found,
            wanted: wanted.to_owned(),
        })
    }

    /// Shards: as said, or one for each lcore.
    pub fn shards(&self) -> u16 {
        self.instance
            .shards
            .unwrap_or(u16::try_from(self.instance.lcores.0.len()).unwrap_or(u16::MAX))
    }

    /// Number of lcores.
    pub fn lcores(&self) -> u16 {
        u16::try_from(self.instance.lcores.0.len()).unwrap_or(u16::MAX)
    }
}

/// Top-level names that are not ours have to be tables: a stray key is a mistake, not the binary's.
fn foreign_tables(text: &str) -> Result<(), String> {
    let all: BTreeMap<String, Spanned<toml::Value>> =
        toml::from_str(text).map_err(|error| error.to_string())?;
    for (name, value) in &all {
        let is_table = value.get_ref().is_table()
            || value
                .get_ref()
                .as_array()
                .is_some_and(|list| !list.is_empty() && list.iter().all(toml::Value::is_table));
        if OURS.contains(&name.as_str()) || is_table {
            continue;
        }
        let line = text[..value.span().start].matches('\n').count() + 1;
        let hint = closest(name, OURS.iter().copied())
            .map(|near| format!("; did you mean `{near}`?"))
            .unwrap_or_default();
        return Err(format!(
            "line {line}: `{name}` stands outside of any table{hint}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
