//! `baton.toml`, as far as the supervisor reads it. The primary parses the same text itself; any
//! top-level table that is not named here belongs to the binary and is passed through unread.
//!
//! Mistakes are told as `toml` tells them, with the file's name in front and, where a name is
//! close to a known one, the question whether that was meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::period::Period;

/// The top-level names the supervisor reads.
const OURS: [&str; 5] = ["instance", "port", "route", "upgrade", "metrics"];

/// Lcores a tenant may have; the last of its slots is the control thread's.
pub const MAX_LCORES: usize = baton_shared_state::LCORES_PER_TENANT - 1;

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

/// A file-prefix that can name files and sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

impl Prefix {
    /// Whether `text` may name an instance.
    pub fn is_valid(text: &str) -> bool {
        (1..=31).contains(&text.len())
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Prefix, D::Error> {
        let text = String::deserialize(from)?;
        if Prefix::is_valid(&text) {
            return Ok(Prefix(text));
        }
        Err(serde::de::Error::custom(format!(
            "file-prefix \"{text}\": 1 to 31 letters, digits, '_' or '-', and not '-' first"
        )))
    }
}

/// CPUs as DPDK lists them: `1-2`, `2,4`, `1,1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lcores(pub Vec<u16>);

impl<'de> Deserialize<'de> for Lcores {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Lcores, D::Error> {
        let text = String::deserialize(from)?;
        parse_lcores(&text)
            .map(Lcores)
            .map_err(serde::de::Error::custom)
    }
}

fn parse_lcores(text: &str) -> Result<Vec<u16>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let wrong = || {
            format!("lcores \"{text}\": \"{part}\" is neither a CPU (\"2\") nor a range (\"1-2\")")
        };
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (first, last),
            None => (part, part),
        };
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if last < first {
            return Err(wrong());
        }
        cpus.extend(first..=last);
        if cpus.len() > MAX_LCORES {
            return Err(format!("lcores \"{text}\": more than {MAX_LCORES}"));
        }
    }
    Ok(cpus)
}

/// MB per NUMA socket: `"1024"` or `"1024,0"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketMem(pub Vec<u64>);

impl<'de> Deserialize<'de> for SocketMem {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SocketMem, D::Error> {
        let text = String::deserialize(from)?;
        text.split(',')
            .map(|part| part.trim().parse::<u64>())
            .collect::<Result<Vec<_>, _>>()
            .map(SocketMem)
            .map_err(|_| {
                serde::de::Error::custom(format!(
                    "socket-mem \"{text}\": MB per NUMA socket, as \"1024\" or \"1024,0\""
                ))
            })
    }
}

/// A signed share such as `"+0.1%"`, in thousandths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub i64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Percent, D::Error> {
        let text = String::deserialize(from)?;
        text.strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok())
            .filter(|number| number.is_finite() && number.abs() <= 1000.0)
            .map(|number| Percent((number * 1000.0).round() as i64))
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "\"{text}\" is no share; write it as \"+0.1%\" or \"-5%\""
                ))
            })
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

/// `toml`'s message, with a suggestion where a name is close to an expected one.
fn explain(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let text = text.trim_end();
    match suggestion(error.message()) {
        Some(near) => format!("{text}\ndid you mean `{near}`?"),
        None => text.to_owned(),
    }
}

fn suggestion(message: &str) -> Option<String> {
    let (unknown, expected) = message.split_once(", expected ")?;
    if !unknown.starts_with("unknown ") {
        return None;
    }
    let mut names = unknown.split('`').skip(1).step_by(2);
    let wrong = names.next()?;
    closest(wrong, expected.split('`').skip(1).step_by(2)).map(str::to_owned)
}

/// The candidate nearest to `wrong`, if it is near enough to be a slip.
fn closest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (distance(wrong, candidate), candidate))
        .filter(|(far, candidate)| *far <= 1 + candidate.len() / 4)
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
