//! What: where an address leads, from one shard's view of ports, routes and the pool; and the
//! questions to neighbours that were asked lately.
//!
//! Layout: one table of ranges holds the gateway's own addresses and the pool's (as /32), the
//! links' networks and the static routes, so that one search says all.

use crate::config::Nat;
use baton::prelude::{CsumSource, PortId, Setup};
use baton_datapath::Mac;
use baton_datapath::rewrite::L4Sum;
use baton_datapath::route::RouteTable;
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
        self.addresses.iter().any(|&(own, len)| {
            let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            (u32::from(own) ^ u32::from(address)) & !host == 0
        })
    }

    /// The address that we speak to `other` with.
    #[must_use]
    pub fn address_towards(&self, other: Ipv4Addr) -> Option<Ipv4Addr> {
        let near = |&&(own, len): &&(Ipv4Addr, u8)| {
            let host = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
            (u32::from(own) ^ u32::from(other)) & !host == 0
        };
        let found = self.addresses.iter().find(near);
        found.or(self.addresses.first()).map(|&(own, _)| own)
    }
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

/// The table of targets, and by their place in the config the routes whose next hop is on no link.
#[must_use]
pub fn targets(setup: &Setup, nat: Option<&Nat>) -> (RouteTable<Target>, Vec<usize>) {
    let mut all: Vec<(Ipv4Addr, u8, Target)> = Vec::new();
    let mut lost = Vec::new();
    let links = links(setup);
    for (port, link) in setup.ports().iter().zip(&links) {
        let networks = link.addresses.iter();
        all.extend(networks.map(|&(own, len)| (own, len, Target::Link(port.id))));
    }
    for (at, route) in setup.routes().iter().enumerate() {
        let on = setup.ports().iter().zip(&links);
        match on
            .filter(|(_, link)| link.holds(route.via))
            .map(|(port, _)| port.id)
            .next()
        {
            Some(port) => all.push((route.prefix, route.len, Target::Via(port, route.via))),
            None => lost.push(at),
        }
    }
    let translated: Vec<Ipv4Addr> = nat.map_or(Vec::new(), |nat| {
        let forwards = nat.forwards.iter().map(|forward| forward.outside.address);
        nat.pool.iter().copied().chain(forwards).collect()
    });
    for link in &links {
        for &(own, _) in &link.addresses {
            let translated = translated.contains(&own);
            all.push((own, 32, Target::Own { translated }));
        }
    }
    let own = translated
        .iter()
        .map(|&address| (address, 32, Target::Own { translated: true }));
    all.extend(own);
    (RouteTable::new(&all), lost)
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
        let (targets, lost) = targets(&setup(), None);
        assert_eq!(
            targets.lookup(ip("10.0.0.1")),
            Some(Target::Own { translated: false })
        );
        assert_eq!(
            targets.lookup(ip("10.0.7.20")),
            Some(Target::Link(PortId(0)))
        );
        let router = Target::Via(PortId(1), ip("203.0.113.1"));
        assert_eq!(targets.lookup(ip("198.51.100.9")), Some(router));
        assert_eq!(
            router.next_hop(ip("1.1.1.1")),
            Some((PortId(1), ip("203.0.113.1")))
        );
        assert_eq!(lost, [1]);
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
