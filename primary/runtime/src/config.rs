//! The instance's TOML file as the primary reads it: `[instance]`, `[[port]]`, `[[route]]`, and the
//! program's own table. The supervisor's tables are accepted and left to it.
//!
//! The shared tables, and how mistakes are told with their places, are [`baton_schema::config`]'s.

use crate::datapath::Error;
use crate::setup::{CsumSource, Mac, PortId, PortInfo, RouteConfig};
use baton_schema::config as shared;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};

pub use baton_schema::config::{Document, Idle, Instance, Memory, Network, Port, Route, from_text};

// What the shared tables promise is what the shared memory has places for.
const _: () = assert!(shared::MOST_LCORES == baton_shared_state::LCORES_PER_TENANT);
const _: () = assert!(shared::MOST_SHARDS as usize + 1 == baton_shared_state::CONTROL_SHARD);

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
    /// The text, for the places of mistakes.
    pub document: Document,
}

impl<C> Config<C> {
    /// How many shards the instance has: one an lcore unless said otherwise.
    ///
    /// # Errors
    /// When the number is not possible, or the tables contradict each other.
    pub fn shards(&self) -> Result<u16, Error> {
        shared::check(&self.instance, &self.ports, &self.routes)?;
        Ok(self.instance.shards())
    }

    /// The ports as the config alone describes them, before any is open.
    pub(crate) fn ports_on_paper(&self) -> Result<Vec<PortInfo>, Error> {
        let ports = self.ports.iter().enumerate();
        ports
            .map(|(at, port)| {
                Ok(PortInfo {
                    id: PortId(at as u16),
                    name: port.name.clone(),
                    mac: Mac::default(),
                    mtu: port.mtu.unwrap_or(1500),
                    addresses: addresses(at, port)?,
                    csum: CsumSource::Detect,
                })
            })
            .collect()
    }

    /// The CPUs of the lcores.
    pub fn cpus(&self) -> Vec<usize> {
        let cpus = self.instance.cpus().iter();
        cpus.map(|cpu| usize::from(*cpu)).collect()
    }

    /// The static routes as a datapath is told them.
    ///
    /// # Errors
    /// When one is not IPv4.
    pub fn route_configs(&self) -> Result<Vec<RouteConfig>, Error> {
        let routes = self.routes.iter().enumerate();
        routes.map(|(at, route)| route_config(at, route)).collect()
    }

    /// The same error with file, line and column in front, if it names a key.
    pub fn locate(&self, error: Error) -> Error {
        match error.mistake() {
            Some(mistake) => Error::new(self.document.tell(&mistake)),
            None => error,
        }
    }
}

fn route_config(at: usize, route: &Route) -> Result<RouteConfig, Error> {
    let (prefix, len) = ipv4(&route.prefix, || format!("route[{at}].prefix"))?;
    match route.via.0 {
        IpAddr::V4(via) => Ok(RouteConfig { prefix, len, via }),
        IpAddr::V6(via) => Err(not_ipv4(format!("route[{at}].via"), &via)),
    }
}

/// The addresses of port number `at`.
pub(crate) fn addresses(at: usize, port: &Port) -> Result<Vec<(Ipv4Addr, u8)>, Error> {
    let addresses = port.address.iter().enumerate();
    addresses
        .map(|(number, network)| ipv4(network, || format!("port[{at}].address[{number}]")))
        .collect()
}

fn ipv4(network: &Network, key: impl FnOnce() -> String) -> Result<(Ipv4Addr, u8), Error> {
    match network.address {
        IpAddr::V4(address) => Ok((address, network.len)),
        IpAddr::V6(address) => Err(not_ipv4(key(), &address)),
    }
}

fn not_ipv4(key: String, found: &dyn core::fmt::Display) -> Error {
    let what = format!("expected IPv4, found {found}; IPv6 is not built yet: leave it out");
    Error::at(key, what)
}

/// Reads a file's text; `program` names the program's own table, `path` stands in errors.
///
/// # Errors
/// File, line, column, key, and what was expected.
pub fn parse<C: DeserializeOwned>(
    text: &str,
    path: &str,
    program: &str,
) -> Result<Config<C>, Error> {
    let document = Document::new(path, text);
    let seed = FileSeed {
        program,
        marker: PhantomData,
    };
    let read = toml::Deserializer::parse(text).and_then(|all| seed.deserialize(all));
    match read {
        Ok(config) => Ok(Config { document, ..config }),
        Err(why) => Err(Error::new(document.explain(&why))),
    }
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
        let own = self.program;
        let (mut instance, mut ports, mut routes, mut program) =
            (None, Vec::new(), Vec::new(), None);
        while let Some(key) = map.next_key_seed(TableName(own))? {
            match key.as_str() {
                "instance" => instance = Some(map.next_value()?),
                "port" => ports = map.next_value()?,
                "route" => routes = map.next_value()?,
                "upgrade" | "metrics" => drop(map.next_value::<IgnoredAny>()?),
                _ => program = Some(map.next_value::<C>()?),
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
            document: Document::new("", ""),
        })
    }
}

/// Reads the name of a table; inside the deserializer, which then knows the place of a wrong one.
struct TableName<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for TableName<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for TableName<'_> {
    type Value = String;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the name of a table")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<String, E> {
        match name {
            "instance" | "port" | "route" | "upgrade" | "metrics" => Ok(name.to_owned()),
            own if own == self.0 => Ok(name.to_owned()),
            other => Err(E::custom(format!(
                "unknown table `{other}`, expected one of `instance`, `port`, `route`, `{}`, `upgrade`, `metrics`",
                self.0
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

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
        for (from, to, place, words) in [
            (
                "colour",
                "color",
                "11:1: own.color: ",
                "did you mean `colour`?",
            ),
            ("[own]", "[owm]", "10:2: owm: ", "did you mean `own`?"),
            ("\"red\"", "3", "11:10: own.colour: ", "expected a string"),
            ("/16", "/33", "8:12: port[0].address[0]: ", "0 to 32"),
        ] {
            let why = parse::<Own>(&GOOD.replace(from, to), "t.toml", "own").expect_err(to);
            let why = why.to_string();
            assert!(why.starts_with(&format!("t.toml:{place}")), "{why}");
            assert!(why.contains(words), "{why}");
        }
        for (text, words) in [
            ("[own]\ncolour = \"red\"\n", "[instance]"),
            ("[instance]\nfile-prefix = \"t\"\n", "[own] is missing"),
        ] {
            let why = parse::<Own>(text, "t.toml", "own").expect_err(words);
            let why = why.to_string();
            assert!(why.starts_with("t.toml:1:") && why.contains(words), "{why}");
        }
    }

    #[test]
    fn what_is_not_ipv4_is_named_by_its_place() {
        let text = GOOD.replace("10.0.0.1/16", "2001:db8::1/64");
        let config: Config<Own> = parse(&text, "t.toml", "own").expect("the file is good");
        let why = addresses(0, &config.ports[0]).expect_err("IPv6");
        let why = config.locate(why).to_string();
        assert!(
            why.starts_with("t.toml:8:12: port[0].address[0]: expected IPv4"),
            "{why}"
        );
    }
}
