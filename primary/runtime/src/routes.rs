//! Routes of the config as a longest-prefix table in a memzone of this generation.
//!
//! Built anew by every version (`#[zone(rebuild)]`), once, before the first shard moves; read by all.

use crate::setup::{PortId, Setup};
use crate::zone::{Declare, Init, Live, Opener, Size, Zone, ZoneError, ZoneSize};
use baton_schema::{Policy, Record};
use baton_shared_state::Region;
use baton_shared_state::lpm::{Lpm, LpmWriter};
use std::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// One entry of the table: a next hop's number, and whether it is set.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, Record)]
#[record(name = "route", version = 1)]
#[repr(C)]
pub struct RouteEntry {
    /// As DIR-24-8 stores it.
    pub entry: u32,
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The port it leaves by.
    pub port: PortId,
    /// The router; `None` where the destination itself is on the link.
    pub via: Option<Ipv4Addr>,
}

/// Groups of 256 longer prefixes.
const GROUPS: u32 = 256;

/// A shard's view of the routes.
#[derive(Debug)]
pub struct Routes {
    region: Region,
    lpm: Lpm,
    hops: Vec<NextHop>,
}

impl Routes {
    fn over(region: Region) -> Result<Routes, ZoneError> {
        let lpm = Lpm::attach(region).map_err(|why| ZoneError::Corrupt {
            name: "route".into(),
            why: why.to_string(),
        })?;
        Ok(Routes {
            region,
            lpm,
            hops: Vec::new(),
        })
    }

    /// Fills the view: connected networks from the ports' addresses, then the static routes. The
    /// first shard writes the table all share; a route whose next hop is on no link is left out and returned.
    pub fn build(&mut self, setup: &Setup) -> Vec<Ipv4Addr> {
        let mut unreachable = Vec::new();
        let mut prefixes: Vec<(u32, u8, NextHop)> = Vec::new();
        for port in setup.ports() {
            for &(address, len) in &port.addresses {
                prefixes.push((
                    u32::from(address),
                    len,
                    NextHop {
                        port: port.id,
                        via: None,
                    },
                ));
            }
        }
        let connected = prefixes.clone();
        for route in setup.routes() {
            let port = connected
                .iter()
                .find(|(address, len, _)| within(*address, *len, u32::from(route.via)))
                .map(|at| at.2.port);
            match port {
                Some(port) => prefixes.push((
                    u32::from(route.prefix),
                    route.len,
                    NextHop {
                        port,
                        via: Some(route.via),
                    },
                )),
                None => unreachable.push(route.via),
            }
        }
        let mut writer: Option<LpmWriter> = (setup.shard() == 0)
            .then(|| Lpm::create(self.region, GROUPS).ok())
            .flatten();
        for (address, len, hop) in prefixes {
            let number = self.number_of(hop);
            if let Some(writer) = &mut writer
                && writer.insert(mask(address, len), len, number).is_err()
            {
                unreachable.push(Ipv4Addr::from(address));
            }
        }
        unreachable
    }

    /// The next hop towards an address (host order).
    #[inline]
    pub fn lookup(&self, dst: u32) -> Option<NextHop> {
        self.hops.get(usize::from(self.lpm.lookup(dst)?)).copied()
    }

    fn number_of(&mut self, hop: NextHop) -> u16 {
        let at = self
            .hops
            .iter()
            .position(|&known| known == hop)
            .unwrap_or_else(|| {
                self.hops.push(hop);
                self.hops.len() - 1
            });
        at as u16
    }
}

fn mask(address: u32, len: u8) -> u32 {
    if len == 0 {
        0
    } else {
        address & (u32::MAX << (32 - u32::from(len)))
    }
}

fn within(network: u32, len: u8, address: u32) -> bool {
    mask(network, len) == mask(address, len)
}

impl Live for Routes {
    fn build(&mut self, setup: &Setup) {
        for via in Routes::build(self, setup) {
            tracing::warn!(%via, "a route leads nowhere: its next hop is in no network of a port; it is left out");
        }
    }
}

impl Zone for Routes {
    fn declare(_field: &'static str, _policy: Policy, declare: &mut Declare) {
        const SIZE: Size = |_, _| ZoneSize {
            len: Lpm::bytes_for(GROUPS) as u64,
            count: 0,
            stride: 0,
        };
        const INIT: Init = |region, _, _| drop(Lpm::create(region, GROUPS));
        declare.zone::<RouteEntry>("route", "route", Policy::Rebuild, SIZE, INIT);
    }

    fn open(
        _field: &'static str,
        _policy: Policy,
        opener: &mut Opener<'_>,
    ) -> Result<Routes, ZoneError> {
        Routes::over(opener.zone("route")?.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::{CsumSource, Mac, PortInfo, RouteConfig};

    fn port(id: u16, address: [u8; 4]) -> PortInfo {
        PortInfo {
            id: PortId(id),
            name: format!("port{id}"),
            mac: Mac::default(),
            mtu: 1500,
            addresses: vec![(address.into(), 24)],
            csum: CsumSource::Detect,
        }
    }

    fn route(prefix: [u8; 4], len: u8, via: [u8; 4]) -> RouteConfig {
        RouteConfig {
            prefix: prefix.into(),
            len,
            via: via.into(),
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_every_shard_sees_what_the_first_wrote() {
        let region = Region::private(Lpm::bytes_for(GROUPS));
        drop(Lpm::create(region, GROUPS).expect("a table"));
        let ports = vec![port(0, [10, 0, 0, 1]), port(1, [203, 0, 113, 2])];
        let routes = vec![
            route([0, 0, 0, 0], 0, [203, 0, 113, 1]),
            route([10, 1, 0, 0], 16, [10, 0, 0, 9]),
            route([192, 0, 2, 0], 24, [172, 16, 0, 1]),
        ];
        let setup = Setup::new(ports, routes, 0, 2);
        let mut shards = [0, 1].map(|_| Routes::over(region).expect("a view"));
        let lost = shards[0].build(&setup);
        assert_eq!(lost, [Ipv4Addr::new(172, 16, 0, 1)], "a hop on no link");
        shards[1].build(&setup.for_shard(1));
        for routes in &shards {
            let hop = |a: [u8; 4]| {
                routes
                    .lookup(u32::from_be_bytes(a))
                    .map(|hop| (hop.port.0, hop.via))
            };
            assert_eq!(hop([10, 0, 0, 77]), Some((0, None)), "on the link");
            assert_eq!(hop([10, 1, 2, 3]), Some((0, Some([10, 0, 0, 9].into()))));
            assert_eq!(hop([8, 8, 8, 8]), Some((1, Some([203, 0, 113, 1].into()))));
            assert_eq!(
                hop([192, 0, 2, 1]),
                Some((1, Some([203, 0, 113, 1].into())))
            );
        }
    }
}
