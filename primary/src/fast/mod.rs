//! What: the fast path, for the packets that nearly all packets are: TCP or UDP of a session that is
//! there, with a next hop that is known ([`Common`]).
//!
//! ```text
//! stage 1  read      all packets: which are common, by columns of words
//!          direct    each packet: its way, its session's hash; the index line is asked for
//! stage 2  look_up   each packet: the likely row and the next hop; the row's lines are asked for
//! stage 3  send_all  each packet in its order: the row is compared, the packet translated and sent
//! ```
//!
//! Invariants:
//!
//! - F1 it does to a packet, its session and the counters what the whole path does ([`Gateway::whole`]
//!   by `classify`, `translate`, `local`), or nothing at all: then the whole path has its turn with
//!   the untouched packet. So it never drops, asks, complains, or opens a session;
//! - F2 stage 3 takes a packet when all packets before it are done: what they opened or changed is
//!   seen, by comparing rows and asking for neighbours then and not before.

mod lanes;

use crate::config::Nat;
use crate::gateway::Gateway;
use crate::links::Target;
use crate::session::{SessionKey, SessionLayout};
use crate::state::{State, leads_from_outside};
use crate::translate::Sender;
use baton::prelude::{Burst, CsumSource, Packet, PortId, Setup, Shard};
use baton_datapath::common::{Common, RawEnd, Station, Which, mac_word, set_mac_words};
use baton_datapath::parse::TCP;
use baton_datapath::tcp_state::TcpState;
use baton_datapath::{L4, Mac};
use baton_shared_state::BURST;
use baton_shared_state::simd::Path;
use baton_shared_state::table::NO_ID;
use lanes::Lanes;
use std::net::Ipv4Addr;
use zerocopy::IntoBytes;

/// A port, as the fast path asks about it.
#[derive(Clone, Copy, Debug)]
struct Gate {
    station: Station,
    /// Our Ethernet address on it.
    mac: u64,
    mtu: u16,
    /// Where its packets go, if they are common.
    way: Way,
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

/// The way to a next hop.
#[derive(Clone, Copy, Debug)]
struct Exit {
    neighbour: u64,
    ours: u64,
    port: PortId,
}

/// What is done to a packet: everything that has to be known before it is touched.
#[derive(Clone, Copy, Debug)]
struct Plan {
    session: u32,
    state: TcpState,
    flags: u8,
    new: RawEnd,
    exit: Exit,
}

/// What the fast path knows besides the state.
#[derive(Debug)]
pub(crate) struct Fast {
    /// Off only to compare with the whole path, or without translation.
    pub(crate) enabled: bool,
    path: Path,
    gates: Vec<Gate>,
    outside: PortId,
    /// Taken out while a burst goes through.
    lanes: Option<Box<Lanes>>,
}

impl Fast {
    pub(crate) fn new(setup: &Setup, nat: Option<&Nat>) -> Fast {
        let gates = setup.ports().iter().map(|port| {
            let inside =
                nat.is_some_and(|nat| nat.inside.get(usize::from(port.id.0)) == Some(&true));
            let mac = Mac(port.mac.0);
            Gate {
                station: Station::new(mac, port.csum == CsumSource::Detect, !inside),
                mac: mac_word(mac),
                mtu: port.mtu,
                way: if inside { Way::Out } else { Way::In },
            }
        });
        Fast {
            enabled: nat.is_some() && !off(),
            path: Path::best(),
            gates: gates.collect(),
            outside: nat.map_or(PortId(u16::MAX), |nat| nat.outside),
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

/// The key of the session that a packet from its inside end belongs to; from outside, the same with
/// the outside end in place of the inside.
#[inline]
fn key(common: &Common) -> SessionKey {
    let words = [common.addresses.to_le_bytes(), common.second.to_le_bytes()];
    zerocopy::transmute!(words)
}

impl<S: SessionLayout> Gateway<S> {
    /// A whole burst.
    #[inline]
    pub(crate) fn run_burst(&mut self, shard: &mut Shard<Self>, mut burst: Burst) {
        let len = burst.len().min(BURST);
        let mut lanes = self.fast.lanes.take().unwrap_or_default();
        lanes.read(&self.fast, &burst);
        self.direct(&shard.state, &mut lanes, len);
        lanes.look_up(&shard.state, len);
        self.send_all(shard, &mut burst, &lanes);
        self.fast.lanes = Some(lanes);
    }

    /// Stage 1, second half: which way it is, and the hash of its session.
    #[inline(never)]
    fn direct(&self, state: &State<S>, lanes: &mut Lanes, len: usize) {
        for at in 0..len.min(BURST) {
            let Some(common) = lanes.heads.get(at) else {
                lanes.ways[at] = Way::Whole;
                continue;
            };
            lanes.hashes[at] = match lanes.ways[at] {
                Way::Out if self.own.get(common.far()).is_none() => {
                    let hash = state.sessions.hash(&key(&common));
                    state.sessions.prefetch_hash(hash);
                    let destination = u32::from(common.far());
                    state.routes.prefetch(destination);
                    lanes.destinations[at] = destination;
                    hash
                }
                Way::In if self.own.get(common.near()) == Some(TRANSLATED) => {
                    let hash = state.from_outside.hash(key(&common).as_bytes());
                    state.from_outside.prefetch(hash);
                    hash
                }
                _ => {
                    lanes.ways[at] = Way::Whole;
                    0
                }
            };
        }
    }

    /// Stage 3.
    #[inline(never)]
    fn send_all(&mut self, shard: &mut Shard<Self>, burst: &mut Burst, lanes: &Lanes) {
        let (mut at, len) = (0, burst.len().min(BURST));
        while at < len {
            let next = match lanes.ways[at] {
                Way::Whole => at,
                Way::Out => self.send_run::<true>(shard, burst, lanes, at),
                Way::In => self.send_run::<false>(shard, burst, lanes, at),
            };
            if next == at
                && let Some(packet) = burst.take(at)
            {
                self.whole(shard, packet);
            }
            at = next.max(at + 1);
        }
    }

    /// Sends the packets of one direction from lane `at` on, as long as they are the common case; gives the
    /// first lane that is not. Compiled once for each direction: a loop has the registers to itself.
    #[inline(never)]
    fn send_run<const OUT: bool>(
        &mut self,
        shard: &mut Shard<Self>,
        burst: &mut Burst,
        lanes: &Lanes,
        mut at: usize,
    ) -> usize {
        let (way, ends) = match OUT {
            true => (Way::Out, (Which::Source, Sender::Inside)),
            false => (Way::In, (Which::Destination, Sender::Remote)),
        };
        let len = burst.len().min(BURST);
        while at < len && lanes.ways[at] == way {
            let planned = match OUT {
                true => self.plan_outwards(&shard.state, lanes, at),
                false => self.plan_inwards(&shard.state, lanes, at),
            };
            let Some((common, plan)) = planned else { break };
            let Some(packet) = burst.take(at) else { break };
            self.go(shard, packet, &common, plan, ends);
            at += 1;
        }
        at
    }

    /// What is done to a packet from inside, if it is the common case.
    #[inline(always)]
    fn plan_outwards(&self, state: &State<S>, lanes: &Lanes, at: usize) -> Option<(Common, Plan)> {
        let common = lanes.heads.get(at)?;
        let (hash, candidate) = (lanes.hashes[at], lanes.candidates[at]);
        let session = state.sessions.confirm(hash, &key(&common), candidate)?;
        let exit = self.exit(state, lanes.hops[at], common.far(), common.ip_len)?;
        if exit.port != self.fast.outside {
            return None;
        }
        let known = state.sessions.value(session).known();
        let (address, port) = (known.outside.address, known.outside.port);
        let plan = Plan {
            session,
            state: known.state,
            flags: known.flags,
            new: RawEnd::new(address.octets(), port.to_be_bytes()),
            exit,
        };
        Some((common, plan))
    }

    /// The same for one from outside.
    #[inline(always)]
    fn plan_inwards(&self, state: &State<S>, lanes: &Lanes, at: usize) -> Option<(Common, Plan)> {
        let common = lanes.heads.get(at)?;
        let lane = (lanes.hashes[at], lanes.candidates[at]);
        let (session, key, record) = from_outside(state, lane, &key(&common))?;
        let inside = key.inside().address;
        if self.own.get(inside).is_some() {
            return None;
        }
        let hop = state.routes.number(u32::from(inside));
        let exit = self.exit(state, hop, inside, common.ip_len)?;
        let known = record.known();
        let plan = Plan {
            session,
            state: known.state,
            flags: known.flags,
            new: RawEnd::new(key.inside_addr, key.inside_port),
            exit,
        };
        Some((common, plan))
    }

    /// Counts a packet, changes it and lets it out.
    #[inline(always)]
    fn go(
        &mut self,
        shard: &mut Shard<Self>,
        mut packet: Packet,
        common: &Common,
        plan: Plan,
        (near, sender): (Which, Sender),
    ) {
        let l4 = match common.protocol() {
            TCP => L4::Tcp(common.flags),
            _ => L4::Udp,
        };
        let asked = (l4, usize::from(common.ip_len));
        self.follow(shard, plan.session, (plan.state, plan.flags), asked, sender);
        let frame = packet.data_mut();
        common.translate(frame, near, plan.new);
        set_mac_words(frame, plan.exit.neighbour, plan.exit.ours);
        shard.transmit(plan.exit.port, packet);
    }

    /// The way of a packet of `ip_len` bytes to `dst` over next hop number `hop`, if there is one.
    #[inline(always)]
    fn exit(&self, state: &State<S>, hop: u16, dst: Ipv4Addr, ip_len: u16) -> Option<Exit> {
        let hop = state.routes.hop(hop)?;
        let mac = state.neighbours.get(hop.port, hop.via.unwrap_or(dst))?;
        let gate = self.fast.gates.get(usize::from(hop.port.0))?;
        (ip_len <= gate.mtu).then_some(Exit {
            neighbour: mac_word(Mac(mac.0)),
            ours: gate.mac,
            port: hop.port,
        })
    }
}

/// An own address that stands for a translated host.
const TRANSLATED: Target = Target::Own { translated: true };

/// The session of a packet from outside.
#[inline(always)]
fn from_outside<S: SessionLayout>(
    state: &State<S>,
    (hash, candidate): (u64, u32),
    asked: &SessionKey,
) -> Option<(u32, SessionKey, S)> {
    if candidate == NO_ID {
        return None;
    }
    let likely = state.sessions.get(candidate);
    if let Some((key, session)) = likely
        && leads_from_outside(&key, &session, asked)
    {
        return Some((candidate, key, session));
    }
    let same = |id| state.is_from_outside(id, asked);
    let id = state.from_outside.find(hash, same)?;
    let (key, session) = state.sessions.get(id)?;
    Some((id, key, session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton::prelude::PortInfo;

    #[test]
    fn a_port_that_does_not_mark_unfinished_checksums_has_them_looked_for() {
        for (csum, detect) in [(CsumSource::Detect, true), (CsumSource::Flagged, false)] {
            let port = PortInfo {
                id: PortId(0),
                name: "outside".into(),
                mac: baton::prelude::Mac([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                addresses: vec![],
                csum,
            };
            let fast = Fast::new(&Setup::new(vec![port], vec![], 0, 1), None);
            let station = Station::new(Mac([2, 0, 0, 0, 0, 1]), detect, true);
            assert_eq!(fast.gates[0].station, station);
        }
    }
}
