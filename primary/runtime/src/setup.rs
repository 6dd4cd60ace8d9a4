//! What a datapath is told about the instance when it is made: ports, routes, shards.

use crate::datapath::{Error, Result};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl<'de> serde::Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> core::result::Result<Mac, D::Error> {
        crate::config::from_text(deserializer)
    }
}

impl core::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> core::result::Result<Mac, String> {
        let bad = || format!("expected an Ethernet address as 02:00:00:00:00:01, found {text:?}");
        let mut bytes = [0u8; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            Err(bad())
        } else {
            Ok(Mac(bytes))
        }
    }
}

impl core::fmt::Display for Mac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A port's number within the instance: its place in the config, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// How the transport checksum of received packets is to be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CsumSource {
    /// The driver flags each packet whose checksum holds only the pseudo-header sum.
    Flagged,
    /// The driver cannot tell: compare the field with the folded pseudo-header sum.
    Detect,
}

/// What a datapath may know of a port.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// The number packets carry.
    pub id: PortId,
    /// The name in the config.
    pub name: String,
    /// The address packets of ours leave with.
    pub mac: Mac,
    /// The largest IP packet, bytes.
    pub mtu: u16,
    /// Our own addresses with their prefix lengths.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Whether unfinished checksums are flagged or must be detected.
    pub csum: CsumSource,
}

/// A static route of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// The network.
    pub prefix: Ipv4Addr,
    /// Its prefix length, 0..=32.
    pub len: u8,
    /// The next hop.
    pub via: Ipv4Addr,
}

/// The instance as one shard's datapath sees it.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(crate) ports: Arc<[PortInfo]>,
    pub(crate) routes: Arc<[RouteConfig]>,
    pub(crate) shard: u16,
    pub(crate) shards: u16,
}

impl Setup {
    /// A set-up from its parts; the runtime makes its own, tests make theirs.
    pub fn new(ports: Vec<PortInfo>, routes: Vec<RouteConfig>, shard: u16, shards: u16) -> Setup {
        Setup {
            ports: ports.into(),
            routes: routes.into(),
            shard,
            shards,
        }
    }

    /// The same instance seen from another shard.
    pub(crate) fn for_shard(&self, shard: u16) -> Setup {
        Setup {
            shard,
            ..self.clone()
        }
    }

    /// The port of this name.
    ///
    /// # Errors
    /// When no `[[port]]` has that name; the sentence lists those that exist.
    pub fn port(&self, name: &str) -> Result<PortId> {
        self.ports.iter().find(|port| port.name == name).map(|port| port.id).ok_or_else(|| {
            let known: Vec<&str> = self.ports.iter().map(|port| port.name.as_str()).collect();
            Error::new(format!(
                "no port is named {name:?}; the config has {}: name one of these, or add a [[port]]",
                known.join(", ")
            ))
        })
    }

    /// All ports, by number.
    pub fn ports(&self) -> &[PortInfo] {
        &self.ports
    }

    /// The static routes, in the order of the config.
    pub fn routes(&self) -> &[RouteConfig] {
        &self.routes
    }

    /// The shard this instance serves.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// The shard that owns a bucket.
    pub fn bucket_owner(&self, bucket: u8) -> u16 {
        u16::from(bucket) % self.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_read_and_printed_alike_and_garbage_is_refused() {
        let mac: Mac = "02:00:0a:ff:00:01".parse().expect("a good address");
        assert_eq!(mac.to_string(), "02:00:0a:ff:00:01");
        for bad in [
            "",
            "02:00:0a:ff:00",
            "02:00:0a:ff:00:01:02",
            "0:0:0:0:0:0",
            "zz:00:00:00:00:00",
            "02-00-0a-ff-00-01",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn an_unknown_port_is_named_with_those_that_exist() {
        let port = PortInfo {
            id: PortId(0),
            name: "lan".into(),
            mac: Mac::default(),
            mtu: 1500,
            addresses: vec![],
            csum: CsumSource::Detect,
        };
        let setup = Setup::new(vec![port], vec![], 0, 2);
        assert_eq!(setup.port("lan").expect("exists"), PortId(0));
        let refused = setup.port("wan").expect_err("does not exist").to_string();
        assert!(
            refused.contains("wan") && refused.contains("lan"),
            "{refused}"
        );
    }

    #[test]
    fn every_bucket_has_one_owner_and_shares_differ_by_at_most_one() {
        let setup = Setup::new(vec![], vec![], 0, 3);
        let mut share = [0u32; 3];
        for bucket in 0..=255u8 {
            share[usize::from(setup.bucket_owner(bucket))] += 1;
        }
        assert_eq!(share.iter().sum::<u32>(), 256);
        assert!(share.iter().max().unwrap() - share.iter().min().unwrap() <= 1);
    }
}
