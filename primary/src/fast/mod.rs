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
use crate::session::{Beginning, SessionKey, SessionLayout};
use crate::state::{State, leads_from_outside};
use crate::translate::Sender;
use baton::prelude::{Burst, CsumSource, NextHop, PortId, Setup, Shard};
use baton_datapath::Mac;
use baton_datapath::common::{Common, Ethernet, RawEnd, Station, mac_word};
use baton_datapath::parse::TCP;
use baton_shared_state::BURST;
use baton_shared_state::simd::Path;
use baton_shared_state::table::NO_ID;
use core::ops::Range;
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
    ethernet: Ethernet,
    port: PortId,
    mtu: u16,
}

/// Where a packet goes that has no exit yet.
const NOWHERE: Exit = Exit {
    ethernet: Ethernet::NONE,
    port: PortId(u16::MAX),
    mtu: 0,
};

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
    pub(crate) fn run_burst(&mut self, shard: &mut Shard<Self>, burst: &mut Burst) {
        let len = burst.len().min(BURST);
        let mut lanes = self.fast.lanes.take().unwrap_or_default();
        lanes.read(&self.fast, burst);
        self.direct(&shard.state, &mut lanes, len);
        lanes.look_up(&shard.state, len);
        self.send_all(shard, burst, &mut lanes);
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
    fn send_all(&mut self, shard: &mut Shard<Self>, burst: &mut Burst, lanes: &mut Lanes) {
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
    /// first lane that is not. None of them changes what is asked for the others, but for a connection's state.
    #[inline]
    fn send_run<const OUT: bool>(
        &mut self,
        shard: &mut Shard<Self>,
        burst: &mut Burst,
        lanes: &mut Lanes,
        at: usize,
    ) -> usize {
        let len = burst.len().min(BURST);
        let end = match OUT {
            true => self.plan_outwards(shard, lanes, at..len),
            false => self.plan_inwards(shard, lanes, at..len),
        };
        lanes.changes.compute(&lanes.heads, at..end, self.fast.path);
        let mut from = at;
        while from < end {
            let port = lanes.exits[from].port;
            let same = lanes.exits[from..end].iter();
            let to = from + same.take_while(|exit| exit.port == port).count();
            lanes.let_out(shard, burst, from..to);
            from = to;
        }
        end
    }

    /// What is done to the packets from inside at `range`, up to the first that is not the common case. They are
    /// counted: what is planned is done.
    #[inline(never)]
    fn plan_outwards(
        &mut self,
        shard: &mut Shard<Self>,
        lanes: &mut Lanes,
        range: Range<usize>,
    ) -> usize {
        let mut last = (u32::MAX, 0);
        for at in range.start..range.end.min(BURST) {
            if lanes.ways[at] != Way::Out {
                return at;
            }
            let common = lanes.heads.known(at);
            let (hash, candidate) = (lanes.hashes[at], lanes.candidates[at]);
            let session = shard.state.sessions.confirm(hash, &key(&common), candidate);
            let Some(session) = session else {
                return at;
            };
            let known = self.exit_at(&shard.state, lanes, at, &mut last);
            let exit = &lanes.exits[at];
            if !known || exit.port != self.fast.outside || common.ip_len > exit.mtu {
                return at;
            }
            let known = S::beginning(shard.state.sessions.first_word(session));
            lanes.changes.set(at, known.outside());
            self.count(shard, session, known, &common, Sender::Inside);
        }
        range.end
    }

    /// The same for those from outside.
    #[inline(never)]
    fn plan_inwards(
        &mut self,
        shard: &mut Shard<Self>,
        lanes: &mut Lanes,
        range: Range<usize>,
    ) -> usize {
        for at in range.start..range.end.min(BURST) {
            if lanes.ways[at] != Way::In {
                return at;
            }
            let (state, common) = (&shard.state, lanes.heads.known(at));
            let lane = (lanes.hashes[at], lanes.candidates[at]);
            let Some((session, key)) = from_outside(state, lane, &key(&common)) else {
                return at;
            };
            let inside = key.inside().address;
            if self.own.get(inside).is_some() {
                return at;
            }
            let hop = state.routes.hop(state.routes.number(u32::from(inside)));
            let exit = hop.and_then(|hop| self.exit(state, hop, inside));
            let Some(exit) = exit.filter(|exit| common.ip_len <= exit.mtu) else {
                return at;
            };
            lanes.exits[at] = exit;
            let new = RawEnd::new(key.inside_addr, key.inside_port);
            lanes.changes.set(at, new);
            let known = S::beginning(state.sessions.first_word(session));
            self.count(shard, session, known, &common, Sender::Remote);
        }
        range.end
    }

    /// Counts a packet and follows its connection.
    #[inline(always)]
    fn count(
        &mut self,
        shard: &mut Shard<Self>,
        session: u32,
        known: Beginning,
        common: &Common,
        sender: Sender,
    ) {
        if common.protocol() == TCP {
            let known = (known.state(), known.flags());
            self.follow(shard, session, known, common.flags, sender);
        }
        let (bytes, now_s) = (common.ip_len.into(), shard.now_s());
        shard.state.sessions.count(session, 1, bytes, now_s);
    }

    /// Finds the way of lane `at`; `last` is the lane of a router's, and its number: many packets in a row have the same.
    #[inline(always)]
    fn exit_at(
        &self,
        state: &State<S>,
        lanes: &mut Lanes,
        at: usize,
        last: &mut (u32, usize),
    ) -> bool {
        let number = lanes.hops[at];
        if u32::from(number) == last.0 {
            lanes.exits[at] = lanes.exits[last.1 % BURST];
            return true;
        }
        let Some(hop) = state.routes.hop(number) else {
            return false;
        };
        let Some(exit) = self.exit(state, hop, lanes.heads.known(at).far()) else {
            return false;
        };
        lanes.exits[at] = exit;
        if hop.via.is_some() {
            *last = (number.into(), at);
        }
        true
    }

    /// The way to `dst` over a next hop, if there is one.
    #[inline(always)]
    fn exit(&self, state: &State<S>, hop: NextHop, dst: Ipv4Addr) -> Option<Exit> {
        let mac = state
            .neighbours
            .get_word(hop.port, hop.via.unwrap_or(dst))?;
        let gate = self.fast.gates.get(usize::from(hop.port.0))?;
        Some(Exit {
            // Its first byte is the highest of 48 bits; in a frame it comes first.
            ethernet: Ethernet::new(mac.swap_bytes() >> 16, gate.mac),
            port: hop.port,
            mtu: gate.mtu,
        })
    }
}

/// An own address that stands for a translated host.
const TRANSLATED: Target = Target::Own { translated: true };

/// The session of a packet from outside, and its key.
#[inline(always)]
fn from_outside<S: SessionLayout>(
    state: &State<S>,
    (hash, candidate): (u64, u32),
    asked: &SessionKey,
) -> Option<(u32, SessionKey)> {
    if candidate == NO_ID {
        return None;
    }
    let likely = state.sessions.get(candidate);
    if let Some((key, session)) = likely
        && leads_from_outside(&key, &session, asked)
    {
        return Some((candidate, key));
    }
    let same = |id| state.is_from_outside(id, asked);
    let id = state.from_outside.find(hash, same)?;
    let (key, _) = state.sessions.get(id)?;
    Some((id, key))
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
