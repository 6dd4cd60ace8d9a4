//! What: the `[gateway]` table of the instance's file, as it is written and as the datapath uses
//! it. The first is serde's work ([`GatewayTable`]), the second is checked against the ports
//! ([`Settings`]).
//!
//! Failure: every error names its key, what was found, and the way out.

mod duration;
mod qos;
mod settings;

pub use duration::Seconds;
pub use qos::{NoQos, Qos, QosClasses};
pub use settings::{Forward, Nat, Settings};

use baton::config::from_text;
use serde::{Deserialize, Deserializer};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

/// The `[gateway]` table. `Q` is what this version of the program understands under `qos`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GatewayTable<Q> {
    /// Address translation; without it the gateway is a plain router.
    pub nat: Option<NatTable>,
    /// Where routes come from.
    #[serde(default)]
    pub routes: RoutesTable,
    /// Service classes of sessions (from 2.0.0 on).
    #[serde(default = "Option::default")]
    pub qos: Option<Q>,
}

/// `[gateway.nat]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NatTable {
    /// The ports whose hosts are translated.
    pub inside: Vec<String>,
    /// The port their packets leave by.
    pub outside: String,
    /// The addresses they leave with; the outside port's own, if none is given.
    #[serde(default)]
    pub pool: Vec<Network>,
    /// The ports they leave with.
    #[serde(default)]
    pub ports: PortRange,
    /// How many sessions there is room for.
    #[serde(default = "default_sessions")]
    pub sessions: u32,
    /// How many sessions one inside address may hold.
    #[serde(default = "default_per_source")]
    pub per_source: u32,
    /// How long sessions may stay silent.
    #[serde(default)]
    pub timeouts: TimeoutTable,
    /// Static port forwards.
    #[serde(default)]
    pub forward: Vec<ForwardTable>,
}

impl NatTable {
    /// Addresses in the pool; 1 if the outside port's own stands in.
    #[must_use]
    pub fn pool_size(&self) -> u32 {
        let sizes = self.pool.iter().map(|network| 32 - u32::from(network.len));
        let size = |bits| 1u32.checked_shl(bits).unwrap_or(u32::MAX);
        sizes.map(size).fold(0, u32::saturating_add).max(1)
    }
}

fn default_sessions() -> u32 {
    262_144
}

fn default_per_source() -> u32 {
    4_096
}

/// `[gateway.nat] timeouts`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TimeoutTable {
    /// UDP.
    pub udp: Option<Seconds>,
    /// Established TCP connections.
    pub tcp_established: Option<Seconds>,
    /// TCP connections that open or close.
    pub tcp_transitory: Option<Seconds>,
    /// ICMP echo.
    pub icmp: Option<Seconds>,
}

/// `[[gateway.nat.forward]]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ForwardTable {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What clients outside connect to.
    pub outside: SocketAddrV4,
    /// Where they arrive.
    pub inside: SocketAddrV4,
}

/// A transport protocol that can be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The IP protocol number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => baton_datapath::parse::TCP,
            Protocol::Udp => baton_datapath::parse::UDP,
        }
    }
}

/// `[gateway.routes]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoutesTable {
    /// Their source.
    #[serde(default)]
    pub from: RouteSource,
}

/// Where routes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteSource {
    /// The `[[route]]` tables.
    #[default]
    Static,
    /// The kernel's table.
    Kernel,
}

/// A range of ports, written as `"1024-65535"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl Default for PortRange {
    fn default() -> PortRange {
        PortRange {
            first: 1024,
            last: 65_535,
        }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(PortRange { first, last }),
            _ => Err(format!(
                "expected a range of 1 to 65535 as \"1024-65535\", found {text:?}"
            )),
        }
    }
}

/// A range of addresses, written as `"203.0.113.16/28"`; a bare address is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address.
    pub first: Ipv4Addr,
    /// Prefix length.
    pub len: u8,
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let (address, len) = text.split_once('/').unwrap_or((text, "32"));
        match (address.parse::<Ipv4Addr>(), len.parse::<u8>()) {
            (Ok(address), Ok(len)) if len <= 32 => {
                let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
                let first = Ipv4Addr::from(u32::from(address) & !host);
                if first == address {
                    Ok(Network { first, len })
                } else {
                    Err(format!(
                        "{text:?} is not the first address of its network: write \"{first}/{len}\", or \"{address}/32\" for one address"
                    ))
                }
            }
            _ => Err(format!(
                "expected an IPv4 network as \"203.0.113.16/28\", found {text:?}"
            )),
        }
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PortRange, D::Error> {
        from_text(deserializer)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        from_text(deserializer)
    }
}

impl Network {
    /// Its addresses.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        let host = u32::MAX.checked_shr(u32::from(self.len)).unwrap_or(0);
        let first = u32::from(self.first);
        (first..=first | host).map(Ipv4Addr::from)
    }
}

#[cfg(test)]
mod tests;
