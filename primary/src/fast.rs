//! What: the fast path, for the packets that nearly all packets are: TCP or UDP of a session that is
//! there, with a next hop that is known ([`Common`]).
//!
//! ```text
//! stage 1  read, direct  each packet: a few wide loads; its session's hash; the index line is asked for
//! stage 2  look_up       each packet: the likely row and the next hop; the row's lines are asked for
//! stage 3  send_all      each packet in its order: the row is compared, the packet translated and sent
//! ```
//!
//! Invariants:
//!
//! - F1 it does to a packet, its session and the counters what the whole path does ([`Gateway::whole`]
//!   by `classify`, `translate`, `local`), or nothing at all: then the whole path has its turn with
//!   the untouched packet. So it never drops, asks, complains, or opens a session;
//! - F2 stage 3 takes a packet when all packets before it are done: what they opened or changed is
//!   seen, by comparing rows then and not before;
//! - F3 what a burst has learned of neighbours is forgotten with it: they may move at any time.

use crate::config::Nat;
use crate::gateway::Gateway;
use crate::links::Target;
use crate::session::{SessionKey, SessionLayout};
use crate::state::{State, leads_from_outside};
use crate::translate::Sender;
use baton::prelude::{Burst, CsumSource, Packet, PortId, Setup, Shard};
use baton_datapath::common::{Common, RawEnd, Which, mac_word, set_mac_words};
use baton_datapath::parse::TCP;
use baton_datapath::{L4, Mac};
use baton_shared_state::BURST;
use baton_shared_state::lpm::NO_ROUTE;
use baton_shared_state::mbuf::CSUM_PARTIAL;
use baton_shared_state::table::NO_ID;
use std::net::Ipv4Addr;
use zerocopy::IntoBytes;

/// A port, as the fast path asks about it.
#[derive(Clone, Copy, Debug)]
struct Gate {
    /// Our Ethernet address on it.
    mac: u64,
    mtu: u16,
    /// Its hosts are translated.
    inside: bool,
    /// Unfinished checksums are not marked.
    detect: bool,
}

/// The way to a next hop.
#[derive(Clone, Copy, Debug)]
struct Exit {
    neighbour: u64,
    port: PortId,
}

/// What the fast path knows besides the state.
#[derive(Debug)]
pub(crate) struct Fast {
    /// Off only to compare with the whole path, or without translation.
    pub(crate) enabled: bool,
    gates: Vec<Gate>,
    outside: PortId,
    /// The number of this burst, from 1.
    burst: u64,
    /// By the next hop's number: the router's way, and the burst that it was looked up in.
    routers: Vec<(u64, Exit)>,
    /// The last host on a link that was sent to, likewise.
    host: (u64, PortId, Ipv4Addr, Exit),
    /// Taken out while a burst goes through.
    lanes: Option<Box<Lanes>>,
}

impl Fast {
    /// `routers` is how many next hops routes have.
    pub(crate) fn new(setup: &Setup, nat: Option<&Nat>, routers: usize) -> Fast {
        let gates = setup.ports().iter().map(|port| Gate {
            mac: mac_word(Mac(port.mac.0)),
            mtu: port.mtu,
            inside: nat.is_some_and(|nat| nat.inside.get(usize::from(port.id.0)) == Some(&true)),
            detect: port.csum == CsumSource::Detect,
        });
        let nowhere = Exit {
            neighbour: 0,
            port: PortId(u16::MAX),
        };
        Fast {
            enabled: nat.is_some() && !off(),
            gates: gates.collect(),
            outside: nat.map_or(PortId(u16::MAX), |nat| nat.outside),
            burst: 0,
            routers: vec![(0, nowhere); routers + setup.ports().len()],
            host: (0, PortId(u16::MAX), Ipv4Addr::UNSPECIFIED, nowhere),
            lanes: Some(Box::default()),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// Gateways made in this thread have no fast path.
    pub(crate) static OFF: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

#[cfg(test)]
fn off() -> bool {
    OFF.get()
}

#[cfg(not(test))]
fn off() -> bool {
    false
}

/// How a packet may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The whole path.
    Whole,
    /// From a translated host outwards.
    Out,
    /// To a translated address.
    In,
}

/// A packet, as the first two stages leave it to the third.
#[derive(Clone, Copy, Debug)]
struct Lane {
    common: Common,
    hash: u64,
    /// The row that the hash leads to, or [`NO_ID`]; not yet compared.
    candidate: u32,
    /// The next hop's number.
    hop: u16,
    way: Way,
}

/// The packets of a burst.
#[derive(Debug)]
struct Lanes {
    lanes: [Lane; BURST],
    destinations: [u32; BURST],
}

impl Default for Lanes {
    #[inline]
    fn default() -> Lanes {
        let lane = Lane {
            common: Common {
                addresses: 0,
                ports: 0,
                protocol: 0,
                flags: 0,
                ip_len: 0,
            },
            hash: 0,
            candidate: NO_ID,
            hop: NO_ROUTE,
            way: Way::Whole,
        };
        Lanes {
            lanes: [lane; BURST],
            destinations: [0; BURST],
        }
    }
}

impl Lanes {
    /// Stage 2. Not inlined, as the other stages: each has the registers to itself.
    #[inline(never)]
    fn look_up<S: SessionLayout>(&mut self, state: &State<S>, len: usize) {
        let mut hops = [NO_ROUTE; BURST];
        let len = len.min(BURST);
        state
            .routes
            .lookup_burst(&self.destinations[..len], &mut hops[..len]);
        for (at, lane) in self.lanes[..len].iter_mut().enumerate() {
            lane.hop = hops[at];
            match lane.way {
                Way::Whole => {}
                Way::Out => lane.candidate = state.sessions.candidate(lane.hash),
                Way::In => {
                    lane.candidate = state.from_outside.candidate(lane.hash);
                    state.sessions.prefetch(lane.candidate);
                }
            }
        }
    }
}

/// The key of the session that a packet from its inside end belongs to.
#[inline]
fn key(common: &Common) -> SessionKey {
    let second = u64::from(common.ports) | u64::from(common.protocol) << 32;
    let words = [common.addresses.to_le_bytes(), second.to_le_bytes()];
    zerocopy::transmute!(words)
}

impl<S: SessionLayout> Gateway<S> {
    /// A whole burst.
    #[inline]
    pub(crate) fn run_burst(&mut self, shard: &mut Shard<Self>, mut burst: Burst) {
        let len = burst.len().min(BURST);
        let mut lanes = self.fast.lanes.take().unwrap_or_default();
        self.fast.burst += 1;
        self.read(&burst, &mut lanes.lanes[..len]);
        self.direct(&shard.state, &mut lanes, len);
        lanes.look_up(&shard.state, len);
        self.send_all(shard, &mut burst, &lanes.lanes[..len]);
        self.fast.lanes = Some(lanes);
    }

    /// Stage 1, first half: what the frames say. A common one is marked to go out for now.
    #[inline(never)]
    fn read(&self, burst: &Burst, lanes: &mut [Lane]) {
        for (at, lane) in lanes.iter_mut().enumerate() {
            lane.way = Way::Whole;
            let Some(packet) = burst.get(at) else {
                continue;
            };
            let line = packet.line();
            let Some(gate) = self.fast.gates.get(usize::from(line.port())) else {
                continue;
            };
            let frame = packet.data();
            if let Some(common) = Common::read(frame, gate.mac)
                && line.flags() & CSUM_PARTIAL == 0
                && !(gate.detect && common.seems_unfinished(frame))
            {
                lane.common = common;
                lane.way = if gate.inside { Way::Out } else { Way::In };
            }
        }
    }

    /// Stage 1, second half: which way it is, and the hash of its session.
    #[inline(never)]
    fn direct(&self, state: &State<S>, lanes: &mut Lanes, len: usize) {
        for (at, lane) in lanes.lanes[..len].iter_mut().enumerate() {
            let common = &lane.common;
            match (lane.way, self.own.get(common.dst())) {
                (Way::Out, None) => {
                    lane.hash = state.sessions.hash(&key(common));
                    state.sessions.prefetch_hash(lane.hash);
                    lanes.destinations[at] = u32::from(common.dst());
                }
                (Way::In, Some(Target::Own { translated: true })) => {
                    let asked = key(&common.reversed());
                    lane.hash = state.from_outside.hash(asked.as_bytes());
                    state.from_outside.prefetch(lane.hash);
                }
                _ => lane.way = Way::Whole,
            }
        }
    }

    /// Stage 3.
    #[inline(never)]
    fn send_all(&mut self, shard: &mut Shard<Self>, burst: &mut Burst, lanes: &[Lane]) {
        for (at, lane) in lanes.iter().enumerate() {
            if let Some(packet) = burst.take(at)
                && let Err(packet) = self.common(shard, packet, lane)
            {
                self.whole(shard, packet);
            }
        }
    }

    /// Sends a packet, or gives it back, as it came, if it is not the common case.
    #[inline(always)]
    fn common(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
        lane: &Lane,
    ) -> Result<(), Packet> {
        match lane.way {
            Way::Whole => Err(packet),
            Way::Out => self.common_out(shard, packet, lane),
            Way::In => self.common_in(shard, packet, lane),
        }
    }

    #[inline(always)]
    fn common_out(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
        lane: &Lane,
    ) -> Result<(), Packet> {
        let common = &lane.common;
        let sessions = &shard.state.sessions;
        let Some(id) = sessions.confirm(lane.hash, &key(common), lane.candidate) else {
            return Err(packet);
        };
        let Some(exit) = self.exit(shard, lane.hop, common.dst(), common.ip_len) else {
            return Err(packet);
        };
        if exit.port != self.fast.outside {
            return Err(packet);
        }
        let known = shard.state.sessions.value(id).known();
        let outside = known.outside;
        let new = RawEnd::new(outside.address.octets(), outside.port.to_be_bytes());
        let state = (known.state, known.flags);
        self.follow(shard, id, state, kind(common), Sender::Inside);
        self.go(shard, packet, common, (Which::Source, new), exit);
        Ok(())
    }

    #[inline(always)]
    fn common_in(
        &mut self,
        shard: &mut Shard<Self>,
        packet: Packet,
        lane: &Lane,
    ) -> Result<(), Packet> {
        let common = &lane.common;
        let asked = key(&common.reversed());
        let Some((id, key, session)) = from_outside(&shard.state, lane, &asked) else {
            return Err(packet);
        };
        let inside = key.inside().address;
        if self.own.get(inside).is_some() {
            return Err(packet);
        }
        let hop = shard.state.routes.number(u32::from(inside));
        let Some(exit) = self.exit(shard, hop, inside, common.ip_len) else {
            return Err(packet);
        };
        let new = RawEnd::new(key.inside_addr, key.inside_port);
        let known = session.known();
        let state = (known.state, known.flags);
        self.follow(shard, id, state, kind(common), Sender::Remote);
        self.go(shard, packet, common, (Which::Destination, new), exit);
        Ok(())
    }

    /// Changes a packet and lets it out.
    #[inline(always)]
    fn go(
        &self,
        shard: &mut Shard<Self>,
        mut packet: Packet,
        common: &Common,
        (which, new): (Which, RawEnd),
        exit: Exit,
    ) {
        let frame = packet.data_mut();
        common.translate(frame, which, new);
        let ours = self.fast.gates.get(usize::from(exit.port.0));
        set_mac_words(frame, exit.neighbour, ours.map_or(0, |gate| gate.mac));
        shard.transmit(exit.port, packet);
    }

    /// The way of a packet of `ip_len` bytes to `dst` over next hop number `hop`, if there is one.
    #[inline(always)]
    fn exit(&mut self, shard: &Shard<Self>, hop: u16, dst: Ipv4Addr, ip_len: u16) -> Option<Exit> {
        let exit = match self.fast.routers.get(usize::from(hop)) {
            Some(&(burst, exit)) if burst == self.fast.burst => exit,
            _ => self.find_exit(shard, hop, dst)?,
        };
        let gate = self.fast.gates.get(usize::from(exit.port.0))?;
        (ip_len <= gate.mtu).then_some(exit)
    }

    /// The same for a hop that this burst has not met.
    fn find_exit(&mut self, shard: &Shard<Self>, number: u16, dst: Ipv4Addr) -> Option<Exit> {
        let burst = self.fast.burst;
        let hop = shard.state.routes.hop(number)?;
        let (host_burst, host_port, host, known) = self.fast.host;
        if (host_burst, host_port, host) == (burst, hop.port, dst) && hop.via.is_none() {
            return Some(known);
        }
        let neighbours = &shard.state.neighbours;
        let mac = neighbours.get(hop.port, hop.via.unwrap_or(dst))?;
        let exit = Exit {
            neighbour: mac_word(Mac(mac.0)),
            port: hop.port,
        };
        match hop.via {
            Some(_) => {
                if let Some(slot) = self.fast.routers.get_mut(usize::from(number)) {
                    *slot = (burst, exit);
                }
            }
            None => self.fast.host = (burst, hop.port, dst, exit),
        }
        Some(exit)
    }
}

/// The session of a packet from outside.
#[inline(always)]
fn from_outside<S: SessionLayout>(
    state: &State<S>,
    lane: &Lane,
    asked: &SessionKey,
) -> Option<(u32, SessionKey, S)> {
    if lane.candidate == NO_ID {
        return None;
    }
    let likely = state.sessions.get(lane.candidate);
    if let Some((key, session)) = likely
        && leads_from_outside(&key, &session, asked)
    {
        return Some((lane.candidate, key, session));
    }
    let same = |id| state.is_from_outside(id, asked);
    let id = state.from_outside.find(lane.hash, same)?;
    let (key, session) = state.sessions.get(id)?;
    Some((id, key, session))
}

/// What a connection's state and the counters ask of a packet.
#[inline(always)]
fn kind(common: &Common) -> (L4, usize) {
    let l4 = match common.protocol {
        TCP => L4::Tcp(common.flags),
        _ => L4::Udp,
    };
    (l4, usize::from(common.ip_len))
}
