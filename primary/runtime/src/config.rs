//! The instance's TOML file as the primary reads it: `[instance]`, `[[port]]`, `[[route]]`, and the
//! program's own table. The supervisor's tables are accepted and left to it.

use crate::datapath::Error;
use serde::Deserialize;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::marker::PhantomData;
use std::net::Ipv4Addr;

/// How an lcore spends the time in which nothing arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idle {
    /// Spin for a while, then sleep on the ports' descriptors.
    #[default]
    Adaptive,
    /// Burn the core.
    Spin,
    /// Sleep as soon as nothing is there.
    Sleep,
}

/// The `[instance]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Instance {
    /// Names arena, sockets and metrics.
    pub file_prefix: String,
    /// What the supervisor starts; not used here.
    #[serde(default)]
    pub binary: Option<String>,
    /// CPUs of the lcores, one lcore each: `"1-2"`, `"1,1"`.
    #[serde(default = "default_lcores")]
    pub lcores: String,
    /// Megabytes for tables, as DPDK's per-socket list; the first counts.
    #[serde(default)]
    pub socket_mem: Option<String>,
    /// Idle behaviour.
    #[serde(default)]
    pub idle: Idle,
    /// Number of shards; one an lcore unless said otherwise.
    #[serde(default)]
    pub shards: Option<u16>,
    /// Packet buffers.
    #[serde(default = "default_mbufs")]
    pub mbufs: u32,
    /// `memfd` or `hugetlbfs`; the supervisor (or the standalone start) acts on it.
    #[serde(default)]
    pub memory: Option<String>,
}

fn default_lcores() -> String {
    "0".into()
}

fn default_mbufs() -> u32 {
    16_384
}

/// One `[[port]]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Port {
    /// The name the program knows it by.
    pub name: String,
    /// DPDK's `--vdev` string.
    #[serde(default)]
    pub vdev: Option<String>,
    /// A PCI address (VFIO); no driver of this build takes one.
    #[serde(default)]
    pub allow: Option<String>,
    /// Our addresses on it, `10.0.0.1/16`.
    #[serde(default)]
    pub address: Vec<String>,
    /// Receive descriptors.
    #[serde(default = "default_ring")]
    pub rxd: u32,
    /// Transmit descriptors.
    #[serde(default = "default_ring")]
    pub txd: u32,
    /// What is for the host itself: `kernel` or `drop`; both drop today.
    #[serde(default)]
    pub punt: Option<String>,
    /// Largest IP packet, bytes; the device's own unless given.
    #[serde(default)]
    pub mtu: Option<u16>,
}

impl Port {
    /// A port that only the command line names.
    pub(crate) fn of_vdev(name: &str, vdev: &str) -> Port {
        Port {
            name: name.into(),
            vdev: Some(vdev.into()),
            allow: None,
            address: Vec::new(),
            rxd: default_ring(),
            txd: default_ring(),
            punt: None,
            mtu: None,
        }
    }
}

fn default_ring() -> u32 {
    2_048
}

/// One `[[route]]` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Route {
    /// `0.0.0.0/0`.
    pub prefix: String,
    /// The next hop.
    pub via: Ipv4Addr,
}

/// A whole file.
#[derive(Clone, Debug)]
pub struct Config<C> {
    /// `[instance]`.
    pub instance: Instance,
    /// `[[port]]`, in order.
    pub ports: Vec<Port>,
    /// `[[route]]`, in order.
    pub routes: Vec<Route>,
    /// The program's table.
    pub program: C,
}

impl<C> Config<C> {
    /// How many shards the instance has: one an lcore unless said otherwise.
    ///
    /// # Errors
    /// When the lcores cannot be read, or the number is not possible.
    pub fn shards(&self) -> Result<u16, Error> {
        let most = baton_shared_state::CONTROL_SHARD as u16;
        let shards = match self.instance.shards {
            Some(shards) => shards,
            None => parse_lcores(&self.instance.lcores)?.len() as u16,
        };
        if (1..most).contains(&shards) {
            return Ok(shards);
        }
        Err(Error::new(format!(
            "instance.shards: {shards} is not possible; 1 to {} are",
            most - 1
        )))
    }
}

/// Reads a file's text; `program` names the program's own table, `path` stands in errors.
///
/// # Errors
/// The TOML parser's own report (line, column, what was expected) behind the file's name.
pub fn parse<C: DeserializeOwned>(
    text: &str,
    path: &str,
    program: &str,
) -> Result<Config<C>, Error> {
    let named = |why: &dyn core::fmt::Display| Error::new(format!("{path}: {why}"));
    let deserializer = toml::Deserializer::parse(text).map_err(|why| named(&why))?;
    let seed = FileSeed {
        program,
        marker: PhantomData,
    };
    seed.deserialize(deserializer)
        .map_err(|mut why: toml::de::Error| {
            why.set_input(Some(text));
            named(&why)
        })
}

struct FileSeed<'a, C> {
    program: &'a str,
    marker: PhantomData<C>,
}

impl<'de, C: DeserializeOwned> DeserializeSeed<'de> for FileSeed<'_, C> {
    type Value = Config<C>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Config<C>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, C: DeserializeOwned> Visitor<'de> for FileSeed<'_, C> {
    type Value = Config<C>;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the tables instance, port, route and {}", self.program)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Config<C>, M::Error> {
        use serde::de::Error as _;
        let (mut instance, mut ports, mut routes, mut program) =
            (None, Vec::new(), Vec::new(), None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "instance" => instance = Some(map.next_value()?),
                "port" => ports = map.next_value()?,
                "route" => routes = map.next_value()?,
                "upgrade" | "metrics" => drop(map.next_value::<IgnoredAny>()?),
                own if own == self.program => program = Some(map.next_value::<C>()?),
                other => {
                    return Err(M::Error::custom(format!(
                        "unknown table `{other}`, expected one of `instance`, `port`, `route`, `{}`, `upgrade`, `metrics`",
                        self.program
                    )));
                }
            }
        }
        let instance = instance.ok_or_else(|| {
            M::Error::custom("the table [instance] is missing: add it with file-prefix = \"...\"")
        })?;
        let program = match program {
            Some(program) => program,
            None => C::deserialize(serde::de::value::MapDeserializer::<_, M::Error>::new(
                core::iter::empty::<(String, String)>(),
            ))
            .map_err(|why| {
                M::Error::custom(format!(
                    "the table [{}] is missing ({why}): add it",
                    self.program
                ))
            })?,
        };
        Ok(Config {
            instance,
            ports,
            routes,
            program,
        })
    }
}

/// `10.0.0.1/16` as address and prefix length; a bare address counts as /32.
///
/// # Errors
/// A sentence naming `key` and what was found.
pub fn parse_network(text: &str, key: &str) -> Result<(Ipv4Addr, u8), Error> {
    let bad = || {
        Error::new(format!(
            "{key}: expected an IPv4 network as 10.0.0.0/16, found {text:?}"
        ))
    };
    let (address, len) = text.split_once('/').unwrap_or((text, "32"));
    let len: u8 = len.parse().map_err(|_| bad())?;
    if len > 32 {
        return Err(bad());
    }
    Ok((address.parse().map_err(|_| bad())?, len))
}

/// `"1-2,4,4"` as the CPUs of the lcores, in order.
///
/// # Errors
/// A sentence naming what was found.
pub fn parse_lcores(text: &str) -> Result<Vec<usize>, Error> {
    let bad = || {
        Error::new(format!(
            "instance.lcores: expected CPUs as \"1-2\" or \"1,1\", found {text:?}"
        ))
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| bad())?;
        let last: usize = last.trim().parse().map_err(|_| bad())?;
        if first > last || last > 4095 {
            return Err(bad());
        }
        cpus.extend(first..=last);
    }
    let limit = baton_shared_state::LCORES_PER_TENANT;
    if cpus.is_empty() || cpus.len() > limit {
        return Err(Error::new(format!(
            "instance.lcores: {text:?} names {} CPUs; 1 to {limit} are possible",
            cpus.len()
        )));
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        colour: String,
    }

    const GOOD: &str = "[instance]\nfile-prefix = \"t\"\nlcores = \"1,1\"\n\n[[port]]\nname = \"lan\"\nvdev = \"net_null0\"\naddress = [\"10.0.0.1/16\"]\n\n[own]\ncolour = \"red\"\n\n[upgrade]\nsoak = \"3s\"\n";

    #[test]
    fn a_file_is_read_with_the_programs_table_under_its_name() {
        let config: Config<Own> = parse(GOOD, "t.toml", "own").expect("a good file");
        assert_eq!(config.program.colour, "red");
        assert_eq!(config.ports[0].rxd, 2048);
        assert_eq!(config.instance.mbufs, 16_384);
    }

    #[test]
    fn a_mistake_is_reported_with_file_line_and_column() {
        let text = GOOD.replace("colour", "color");
        let why = parse::<Own>(&text, "t.toml", "own")
            .expect_err("misspelt")
            .to_string();
        assert!(
            why.starts_with("t.toml:")
                && why.contains("line 11, column 1")
                && why.contains("colour"),
            "{why}"
        );
        let why = parse::<Own>(&GOOD.replace("[own]", "[owm]"), "t.toml", "own")
            .expect_err("unknown")
            .to_string();
        assert!(why.contains("owm") && why.contains("`own`"), "{why}");
        let why = parse::<Own>("[own]\ncolour = \"red\"\n", "t.toml", "own")
            .expect_err("no instance")
            .to_string();
        assert!(why.contains("[instance]"), "{why}");
    }

    #[test]
    fn lcores_and_networks_are_read_and_garbage_is_named() {
        assert_eq!(parse_lcores("1-3,1").expect("good"), [1, 2, 3, 1]);
        for bad in ["", "a", "3-1", "1-", "0-99999", "0-40"] {
            assert!(parse_lcores(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(
            parse_network("10.1.0.0/16", "route").expect("good"),
            (Ipv4Addr::new(10, 1, 0, 0), 16)
        );
        assert_eq!(parse_network("10.1.0.1", "route").expect("good").1, 32);
        for bad in ["10.0.0.0/33", "10.0.0/8", "x/8", "10.0.0.0/"] {
            assert!(parse_network(bad, "route").is_err(), "{bad:?} was taken");
        }
    }
}
