//! What: where an address leads, from one shard's view of ports, routes and the pool; and the
//! questions to neighbours that were asked lately.
//!
//! Layout: the gateway's own addresses and the pool's stand in a small table of this process, which
//! is asked first; where all others lead, the links' networks and the static routes, is in the
//! state's [`Routes`].

use crate::config::Nat;
use baton::prelude::{CsumSource, PortId, Routes, Setup};
use baton_datapath::Mac;
use baton_datapath::rewrite::L4Sum;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// It is the gateway's own.
    Own {
        /// The pool or a forward uses it, too.
        translated: bool,
    },
    /// It is on the link of this port.
    Link(PortId),
    /// A router on the link of this port knows more.
    Via(PortId, Ipv4Addr),
}

impl Target {
    /// Port and next hop of a packet to `dst`; `None` if it stays here.
    #[inline]
    #[must_use]
    pub fn next_hop(self, dst: Ipv4Addr) -> Option<(PortId, Ipv4Addr)> {
        match self {
            Target::Own { .. } => None,
            Target::Link(port) => Some((port, dst)),
            Target::Via(port, via) => Some((port, via)),
        }
    }
}

/// A port as the datapath needs it.
#[derive(Clone, Debug)]
pub struct Link {
    /// Our Ethernet address on it.
    pub mac: Mac,
    /// The largest IP packet.
    pub mtu: usize,
    /// Our addresses on it, with prefix lengths.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// What an unmarked packet's transport checksum is.
    pub sum: L4Sum,
}

impl Link {
    /// Whether `address` is in a network of this link.
    #[must_use]
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        let mut own = self.addresses.iter();
        own.any(|own| in_network(*own, address))
    }

    /// The address that we speak to `other` with.
    #[must_use]
    pub fn address_towards(&self, other: Ipv4Addr) -> Option<Ipv4Addr> {
        let mut own = self.addresses.iter();
        let found = own.find(|own| in_network(**own, other));
        found.or(self.addresses.first()).map(|&(own, _)| own)
    }
}

/// Whether an address is in the network of one with a prefix of that length.
#[must_use]
pub fn in_network((own, len): (Ipv4Addr, u8), address: Ipv4Addr) -> bool {
    let hosts = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
    (u32::from(own) ^ u32::from(address)) & !hosts == 0
}

/// The ports, by number.
#[must_use]
pub fn links(setup: &Setup) -> Vec<Link> {
    let link = |port: &baton::prelude::PortInfo| Link {
        mac: Mac(port.mac.0),
        mtu: usize::from(port.mtu),
        addresses: port.addresses.clone(),
        sum: match port.csum {
            CsumSource::Flagged => L4Sum::Whole,
            CsumSource::Detect => L4Sum::Unknown,
        },
    };
    setup.ports().iter().map(link).collect()
}

/// Where the routes lead an address that is not our own.
#[inline]
#[must_use]
pub fn route(routes: &Routes, address: Ipv4Addr) -> Option<Target> {
    let hop = routes.lookup(u32::from(address))?;
    Some(match hop.via {
        Some(via) => Target::Via(hop.port, via),
        None => Target::Link(hop.port),
    })
}

/// The first port on whose link an address is.
fn port_of(setup: &Setup, links: &[Link], address: Ipv4Addr) -> Option<PortId> {
    let mut on = setup.ports().iter().zip(links);
    on.find(|(_, link)| link.holds(address))
        .map(|(port, _)| port.id)
}

/// By their place in the config, the routes whose next hop is on no link.
#[must_use]
pub fn lost(setup: &Setup) -> Vec<usize> {
    let links = links(setup);
    let routes = setup.routes().iter().enumerate();
    routes
        .filter(|(_, route)| port_of(setup, &links, route.via).is_none())
        .map(|(at, _)| at)
        .collect()
}

/// The next hops of all routes, each once.
#[must_use]
pub fn routers(setup: &Setup) -> Vec<(PortId, Ipv4Addr)> {
    let links = links(setup);
    let vias: BTreeSet<Ipv4Addr> = setup.routes().iter().map(|route| route.via).collect();
    let known = |via| Some((port_of(setup, &links, via)?, via));
    vias.into_iter().filter_map(known).collect()
}

/// The gateway's own addresses, those of the pool and the forwards among them.
///
/// Layout: open addressing at a fill of at most a quarter; a slot is the address in the low 32 bits
/// and above it 0 for free, else 1, or 3 where it is translated.
#[derive(Debug)]
pub struct Own {
    slots: Vec<u64>,
    shift: u32,
}

const TAKEN: u64 = 1 << 32;
const TRANSLATED: u64 = 2 << 32;

impl Own {
    /// All own addresses of a set-up.
    #[must_use]
    pub fn new(setup: &Setup, nat: Option<&Nat>) -> Own {
        let translated = nat.into_iter().flat_map(|nat| {
            let forwards = nat.forwards.iter().map(|forward| forward.outside.address);
            nat.pool.iter().copied().chain(forwards)
        });
        let mut all: BTreeMap<Ipv4Addr, u64> = setup
            .ports()
            .iter()
            .flat_map(|port| &port.addresses)
            .map(|&(own, _)| (own, TAKEN))
            .collect();
        all.extend(translated.map(|address| (address, TAKEN | TRANSLATED)));
        let bits = (all.len().max(1) * 4).next_power_of_two().trailing_zeros();
        let mut own = Own {
            slots: vec![0; 1 << bits],
            shift: 32 - bits,
        };
        for (address, marks) in all {
            let mut at = own.home(address);
            while own.slots[at] != 0 {
                at = (at + 1) % own.slots.len();
            }
            own.slots[at] = marks | u64::from(u32::from(address));
        }
        own
    }

    /// What an address is, if it is ours.
    #[inline]
    #[must_use]
    pub fn get(&self, address: Ipv4Addr) -> Option<Target> {
        let mut at = self.home(address);
        loop {
            let slot = *self.slots.get(at)?;
            if slot == 0 {
                return None;
            }
            if slot as u32 == u32::from(address) {
                let translated = slot & TRANSLATED != 0;
                return Some(Target::Own { translated });
            }
            at = (at + 1) % self.slots.len();
        }
    }

    /// Where any address leads.
    #[inline]
    #[must_use]
    pub fn target(&self, routes: &Routes, address: Ipv4Addr) -> Option<Target> {
        self.get(address).or_else(|| route(routes, address))
    }

    /// By Fibonacci hashing: the high bits of a product.
    #[inline]
    fn home(&self, address: Ipv4Addr) -> usize {
        (u32::from(address).wrapping_mul(0x9e37_79b9) >> self.shift) as usize
    }
}

/// The neighbours asked for lately: one question each 100 ms for an address.
#[derive(Debug)]
pub struct Asks {
    recent: [(u16, u32, u64); REMEMBERED],
    next: usize,
}

const REMEMBERED: usize = 64;
const BETWEEN_NS: u64 = 100_000_000;

impl Default for Asks {
    fn default() -> Asks {
        Asks {
            recent: [(u16::MAX, 0, 0); REMEMBERED],
            next: 0,
        }
    }
}

impl Asks {
    /// Whether a question is due now; if so it counts as asked.
    pub fn due(&mut self, port: PortId, address: Ipv4Addr, now_ns: u64) -> bool {
        let address = u32::from(address);
        let known = self
            .recent
            .iter_mut()
            .find(|ask| (ask.0, ask.1) == (port.0, address));
        if let Some(ask) = known {
            let due = now_ns.saturating_sub(ask.2) >= BETWEEN_NS;
            if due {
                ask.2 = now_ns;
            }
            return due;
        }
        self.recent[self.next] = (port.0, address, now_ns);
        self.next = (self.next + 1) % REMEMBERED;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton::prelude::{Mac as PortMac, PortInfo, RouteConfig};

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    fn setup() -> Setup {
        let port = |id, name: &str, address: &str, len| PortInfo {
            id: PortId(id),
            name: name.into(),
            mac: PortMac([2, 0, 0, 0, 0, id as u8]),
            mtu: 1500,
            addresses: vec![(ip(address), len)],
            csum: CsumSource::Detect,
        };
        let route = |prefix, len, via| RouteConfig {
            prefix: ip(prefix),
            len,
            via: ip(via),
        };
        Setup::new(
            vec![
                port(0, "inside", "10.0.0.1", 16),
                port(1, "outside", "203.0.113.2", 24),
            ],
            vec![
                route("0.0.0.0", 0, "203.0.113.1"),
                route("9.0.0.0", 8, "172.16.0.1"),
            ],
            0,
            1,
        )
    }

    #[test]
    fn an_address_leads_to_us_a_link_or_a_router() {
        let setup = setup();
        let (own, routes) = (Own::new(&setup, None), Routes::private(&setup));
        let target = |address| own.target(&routes, ip(address));
        assert_eq!(target("10.0.0.1"), Some(Target::Own { translated: false }));
        assert_eq!(target("10.0.7.20"), Some(Target::Link(PortId(0))));
        let router = Target::Via(PortId(1), ip("203.0.113.1"));
        assert_eq!(target("198.51.100.9"), Some(router));
        let hop = Some((PortId(1), ip("203.0.113.1")));
        assert_eq!(router.next_hop(ip("1.1.1.1")), hop);
        assert_eq!(lost(&setup), [1]);
        assert_eq!(routers(&setup), [(PortId(1), ip("203.0.113.1"))]);
    }

    #[test]
    fn every_own_address_is_known_and_no_other() {
        let mut nat = Nat {
            inside: vec![true, false],
            outside: PortId(1),
            pool: (0..3_000u32)
                .map(|n| Ipv4Addr::from(0xcb00_0000 + n * 7))
                .collect(),
            ports: Default::default(),
            per_source: 1,
            timeouts: Default::default(),
            forwards: Vec::new(),
        };
        nat.pool.push(ip("0.0.0.0"));
        let own = Own::new(&setup(), Some(&nat));
        let translated = Some(Target::Own { translated: true });
        assert!(
            nat.pool
                .iter()
                .all(|&address| own.get(address) == translated)
        );
        let not = Some(Target::Own { translated: false });
        assert_eq!(
            [own.get(ip("10.0.0.1")), own.get(ip("203.0.113.2"))],
            [not; 2]
        );
        for n in 1..100_000u32 {
            let address = Ipv4Addr::from(0xcb00_0000 + n);
            let ours = n % 7 == 0 && n / 7 < 3_000 || address == ip("203.0.113.2");
            assert_eq!(own.get(address).is_some(), ours, "{address}");
        }
    }

    #[test]
    fn we_speak_with_the_address_of_the_same_network() {
        let mut link = links(&setup())[0].clone();
        link.addresses.push((ip("192.0.2.1"), 24));
        assert_eq!(link.address_towards(ip("192.0.2.9")), Some(ip("192.0.2.1")));
        assert_eq!(link.address_towards(ip("8.8.8.8")), Some(ip("10.0.0.1")));
    }

    #[test]
    fn a_neighbour_is_asked_for_once_in_100_ms() {
        let mut asks = Asks::default();
        let (port, other) = (PortId(1), PortId(2));
        assert!(asks.due(port, ip("10.0.0.9"), 0));
        assert!(!asks.due(port, ip("10.0.0.9"), BETWEEN_NS - 1));
        assert!(asks.due(other, ip("10.0.0.9"), BETWEEN_NS - 1));
        assert!(asks.due(port, ip("10.0.0.9"), BETWEEN_NS));
    }
}
