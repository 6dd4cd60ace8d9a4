//! Routes of the config as a longest-prefix table in a memzone of this generation.
//!
//! Built anew by every version (`#[zone(rebuild)]`), once, before the first shard moves; read by all.
//! The zone is made for the config it is built from: 80 MiB, of which only the pages where routes lie
//! are ever touched (32 for lookups, the rest for the rules), and 1.8 KiB for each /24 network with
//! longer prefixes in it.

use crate::config::Config;
use crate::datapath::Error;
use crate::neighbours::Asked;
use crate::setup::{PortId, PortInfo, RouteConfig, Setup};
use crate::zone::{Declare, Init, Live, Opener, Size, Zone, ZoneError, ZoneSize};
use baton_schema::Policy;
use baton_shared_state::Region;
use baton_shared_state::lpm::{Lpm, LpmHead, LpmWriter, MAX_NEXT_HOP, NO_ROUTE};
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The port it leaves by.
    pub port: PortId,
    /// The router; `None` where the destination itself is on the link.
    pub via: Option<Ipv4Addr>,
}

/// The memzone's name.
pub(crate) const ZONE: &str = "route";

/// Most different next hops, and most /24 networks with longer prefixes in them.
const MOST: usize = MAX_NEXT_HOP as usize + 1;

/// A shard's view of the routes.
#[derive(Debug)]
pub struct Routes {
    region: Region,
    lpm: Lpm,
    hops: Vec<NextHop>,
    /// The routers that the next hops are, by the same numbers; `None` where the destination is on the link.
    routers: Vec<Option<Asked>>,
    builds: u32,
}

/// What the zone of a config's routes must have room for: the /24 networks with longer prefixes.
///
/// # Errors
/// More of them, or more next hops, than the table can tell apart; the key names the first too many.
pub(crate) fn groups(ports: &[PortInfo], routes: &[RouteConfig]) -> Result<u32, Error> {
    let mut blocks = HashSet::new();
    let networks = ports.iter().flat_map(|port| &port.addresses);
    for &(address, len) in networks {
        if len > 24 {
            blocks.insert(u32::from(address) >> 8);
        }
    }
    let mut hops = HashSet::new();
    for (at, route) in routes.iter().enumerate() {
        if route.len > 24 {
            blocks.insert(u32::from(route.prefix) >> 8);
        }
        hops.insert(route.via);
        let too_many = |key: &str, what: &str| {
            let what = format!("expected at most {MOST} {what}, found one more; take fewer");
            Err(Error::at(format!("route[{at}].{key}"), what))
        };
        if blocks.len() >= MOST {
            return too_many("prefix", "/24 networks with longer prefixes in them");
        }
        if hops.len() + ports.len() >= MOST {
            return too_many("via", "different next hops");
        }
    }
    Ok(blocks.len() as u32)
}

/// [`groups`] of a config, before its ports are open.
pub(crate) fn groups_of<C>(config: &Config<C>) -> Result<u32, Error> {
    groups(&config.ports_on_paper()?, &config.route_configs()?)
}

impl Routes {
    fn over(region: Region) -> Result<Routes, ZoneError> {
        let lpm = Lpm::attach(region).map_err(|why| ZoneError::Corrupt {
            name: ZONE.into(),
            why: why.to_string(),
        })?;
        Ok(Routes {
            region,
            lpm,
            hops: Vec::new(),
            routers: Vec::new(),
            builds: 0,
        })
    }

    /// Routes of a set-up in private memory, for tests.
    ///
    /// # Panics
    /// When there are too many for one table.
    pub fn private(setup: &Setup) -> Routes {
        let groups = groups(setup.ports(), setup.routes()).expect("few enough routes");
        let region = Region::private(Lpm::bytes_for(groups));
        drop(Lpm::create(region, groups));
        let mut routes = Routes::over(region).expect("the table was made just now");
        routes.build(&setup.for_shard(0));
        routes
    }

    /// Fills the view: connected networks from the ports' addresses, then the static routes. The
    /// first shard writes the table all share; a route whose next hop is on no link is left out and returned.
    pub fn build(&mut self, setup: &Setup) -> Vec<Ipv4Addr> {
        let mut unreachable = Vec::new();
        let mut prefixes: Vec<(u32, u8, NextHop)> = Vec::new();
        for port in setup.ports() {
            let hop = NextHop {
                port: port.id,
                via: None,
            };
            let networks = port.addresses.iter();
            prefixes.extend(networks.map(|&(address, len)| (u32::from(address), len, hop)));
        }
        let connected = prefixes.clone();
        for route in setup.routes() {
            let port = connected
                .iter()
                .find(|(address, len, _)| within(*address, *len, u32::from(route.via)))
                .map(|at| at.2.port);
            match port {
                Some(port) => {
                    let via = Some(route.via);
                    let hop = NextHop { port, via };
                    prefixes.push((u32::from(route.prefix), route.len, hop));
                }
                None => unreachable.push(route.via),
            }
        }
        let groups = self.lpm.groups();
        let mut writer: Option<LpmWriter> = (setup.shard() == 0)
            .then(|| Lpm::create(self.region, groups).ok())
            .flatten();
        let mut numbers = HashMap::new();
        self.builds = self.builds.wrapping_add(1);
        self.hops.clear();
        for (address, len, hop) in prefixes {
            let number = *numbers.entry(hop).or_insert_with(|| {
                self.hops.push(hop);
                (self.hops.len() - 1) as u16
            });
            if let Some(writer) = &mut writer
                && writer.insert(mask(address, len), len, number).is_err()
            {
                unreachable.push(Ipv4Addr::from(address));
            }
        }
        let routers = self.hops.iter();
        self.routers = routers
            .map(|hop| Some(Asked::new(hop.port, hop.via?)))
            .collect();
        unreachable
    }

    /// The next hop towards an address (host order).
    #[inline]
    pub fn lookup(&self, dst: u32) -> Option<NextHop> {
        self.hop(self.lpm.lookup(dst)?)
    }

    /// Brings what says the next hop towards an address into the processor's cache.
    #[inline]
    pub fn prefetch(&self, dst: u32) {
        self.lpm.prefetch(dst);
    }

    /// The numbers of the next hops towards many addresses; `NO_ROUTE` where there is none.
    #[inline]
    pub fn lookup_burst(&self, dst: &[u32], numbers: &mut [u16]) {
        self.lpm.lookup_burst(dst, numbers);
    }

    /// The number of the next hop towards an address; `NO_ROUTE` if there is none.
    #[inline]
    pub fn number(&self, dst: u32) -> u16 {
        self.lpm.lookup(dst).unwrap_or(NO_ROUTE)
    }

    /// Something that is another after each change of the routes: numbers that were looked up since it was read may
    /// be kept while it stays.
    #[inline]
    pub fn changes(&self) -> (u32, u32) {
        (self.lpm.changes(), self.builds)
    }

    /// A next hop by its number.
    #[inline]
    pub fn hop(&self, number: u16) -> Option<NextHop> {
        self.hops.get(usize::from(number)).copied()
    }

    /// The router that a next hop is, ready to be asked for; `None` where there is none.
    #[inline]
    pub fn router(&self, number: u16) -> Option<&Asked> {
        self.routers.get(usize::from(number))?.as_ref()
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
        const SIZE: Size = |groups, _| ZoneSize {
            len: Lpm::bytes_for(groups) as u64,
            count: u64::from(groups),
            stride: 0,
        };
        const INIT: Init = |region, groups, _| drop(Lpm::create(region, groups));
        declare.zone::<LpmHead>(ZONE, ZONE, Policy::Rebuild, SIZE, INIT);
    }

    fn open(
        _field: &'static str,
        _policy: Policy,
        opener: &mut Opener<'_>,
    ) -> Result<Routes, ZoneError> {
        Routes::over(opener.zone(ZONE)?.region)
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
        let region = Region::private(Lpm::bytes_for(0));
        drop(Lpm::create(region, 0).expect("a table"));
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

    #[test]
    fn a_hundred_thousand_routes_are_found_and_long_ones_have_room() {
        let ports = vec![port(0, [10, 0, 0, 1])];
        let mut routes = Vec::new();
        for n in 0..100_000u32 {
            // Every fourth is a /26 in a /24 network of its own, or in the one before.
            let (address, len) = match n % 4 {
                0 => (0x2000_0000 + (n / 8) * 256 + (n / 4) % 2 * 64, 26),
                _ => (0x4000_0000 + n * 512, 23),
            };
            let via = [10, 0, 0, 2 + (n % 200) as u8];
            routes.push(route(address.to_be_bytes(), len, via));
        }
        let setup = Setup::new(ports, routes, 0, 1);
        assert_eq!(
            groups(setup.ports(), setup.routes()).expect("few enough"),
            12_500
        );
        let table = Routes::private(&setup);
        for route in setup.routes() {
            let found = table
                .lookup(u32::from(route.prefix) | 3)
                .and_then(|hop| hop.via);
            assert_eq!(found, Some(route.via), "{}/{}", route.prefix, route.len);
        }
        assert_eq!(table.lookup(0x2000_0000 + 200), None, "between two /26");
    }

    #[test]
    fn more_long_prefixes_than_can_be_told_apart_are_refused_by_name() {
        let ports = vec![port(0, [10, 0, 0, 1])];
        let long = |n: u32| route((0x2000_0000 + n * 256).to_be_bytes(), 25, [10, 0, 0, 2]);
        let some = |n: usize| (0..n as u32).map(long).collect::<Vec<_>>();
        assert!(groups(&ports, &some(MOST - 1)).is_ok());
        let why = groups(&ports, &some(MOST))
            .expect_err("too many")
            .to_string();
        assert!(
            why.contains(&format!("route[{}].prefix", MOST - 1)),
            "{why}"
        );
    }
}
