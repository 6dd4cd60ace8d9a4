//! What: the fast path, for the packets that nearly all packets are: TCP or UDP of a session that is
//! there, with a next hop that is known ([`Common`]).
//!
//! ```text
//! stage 1  read      each packet: its line of the flow cache is asked for;
//!                    all packets: which are common, by columns of words
//! stage 2  recall    each packet: what is known of its flow; the session's hot words are asked for
//!          look_up   those of whose flow nothing is: the likely row and the next hop; key and record are asked for
//! stage 3  send_all  the packets in their order, by runs of common ones of one direction:
//!          plan      each packet: its exit and new end; if it was looked up, its row is compared
//!          compute   all of the run: checksums, addresses and ports, by columns
//!          count     each packet
//!          let_out   each packet: it gets its new bytes, and leaves
//! ```
//! A core waits for 10 to 16 lines at once, and a prefetch too many blocks like a load. So each loop asks for
//! about as many as come while it works.
//!
//! Invariants:
//!
//! - F1 it does to a packet, its session and the counters what the whole path does ([`Gateway::whole`]
//!   by `classify`, `translate`, `local`), or nothing at all: then the whole path has its turn with
//!   the untouched packet. So it never drops, asks, complains, or opens a session;
//! - F2 stage 3 takes a packet when all packets before it are done: what they opened or changed is
//!   seen, by comparing rows (or asking the flow cache which sessions were forgotten since), and by asking for
//!   neighbours then and not before.

mod flows;
mod lanes;
mod run;
mod search;

use crate::config::Nat;
use crate::gateway::Gateway;
use crate::links::Target;
use crate::session::{SessionKey, SessionLayout};
use crate::state::{State, seen_from_outside};
use baton::prelude::{Burst, CsumSource, PortId, Setup, Shard};
use baton_datapath::Mac;
use baton_datapath::common::{Common, Station, mac_word};
use baton_shared_state::BURST;
use baton_shared_state::simd::Path;
use flows::{FlowCache, FlowKey, Known};
use lanes::Lanes;

/// A port, as the fast path asks about it.
#[derive(Clone, Copy, Debug)]
struct Gate {
    station: Station,
    /// Our Ethernet address on it.
    mac: u64,
    mtu: u16,
}

/// What the fast path knows besides the state.
#[derive(Debug)]
pub(crate) struct Fast {
    /// Off only to compare with the whole path, or without translation.
    pub(crate) enabled: bool,
    path: Path,
    gates: Vec<Gate>,
    outside: PortId,
    flows: FlowCache,
    /// Taken out while a burst goes through.
    lanes: Option<Box<Lanes>>,
}

impl Fast {
    /// For a shard of so many sessions.
    pub(crate) fn new(setup: &Setup, nat: Option<&Nat>, sessions: u32) -> Fast {
        let enabled = nat.is_some() && !off();
        let gates = setup.ports().iter().map(|port| {
            let inside =
                nat.is_some_and(|nat| nat.inside.get(usize::from(port.id.0)) == Some(&true));
            let mac = Mac(port.mac.0);
            Gate {
                station: Station::new(mac, port.csum == CsumSource::Detect, !inside),
                mac: mac_word(mac),
                mtu: port.mtu,
            }
        });
        Fast {
            enabled,
            path: Path::best(),
            gates: gates.collect(),
            outside: nat.map_or(PortId(u16::MAX), |nat| nat.outside),
            flows: FlowCache::new(if enabled { sessions } else { 0 }),
            lanes: Some(Box::default()),
        }
    }

    /// A session ends, or its record changes: what is known of its flows is so no longer.
    pub(crate) fn forget<S: SessionLayout>(&mut self, state: &State<S>, id: u32) {
        let Some((key, session)) = state.sessions.get(id) else {
            return;
        };
        let outside = seen_from_outside(&key, &session);
        let flows = [FlowKey::new(&key, false), FlowKey::new(&outside, true)];
        self.flows.forget(id, &flows);
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
    // Without the direction.
    let second = common.second & 0xff_ffff_ffff;
    let words = [common.addresses.to_le_bytes(), second.to_le_bytes()];
    zerocopy::transmute!(words)
}

impl<S: SessionLayout> Gateway<S> {
    /// A whole burst.
    #[inline]
    pub(crate) fn run_burst(&mut self, shard: &mut Shard<Self>, burst: &mut Burst) {
        let (state, len) = (&shard.state, burst.len().min(BURST));
        self.fast.flows.renew(Known {
            gains: state.sessions.gains(),
            routes: state.routes.changes(),
        });
        let mut lanes = self.fast.lanes.take().unwrap_or_default();
        lanes.read(&self.fast, burst);
        let unknown = lanes.recall(&self.fast.flows, state, len);
        if unknown != 0 {
            self.look_up(state, &mut lanes, unknown);
        }
        self.send_all(shard, burst, &mut lanes);
        self.fast.lanes = Some(lanes);
    }

    /// Stage 3.
    #[inline(never)]
    fn send_all(&mut self, shard: &mut Shard<Self>, burst: &mut Burst, lanes: &mut Lanes) {
        let (mut at, len) = (0, burst.len().min(BURST));
        while at < len {
            let next = if lanes.out >> at & 1 != 0 {
                self.send_run::<true>(shard, burst, lanes, at)
            } else if lanes.inwards >> at & 1 != 0 {
                self.send_run::<false>(shard, burst, lanes, at)
            } else {
                at
            };
            if next == at
                && let Some(packet) = burst.take(at)
            {
                self.whole(shard, packet);
            }
            at = next.max(at + 1);
        }
    }
}

/// An own address that stands for a translated host.
const TRANSLATED: Target = Target::Own { translated: true };

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
            let fast = Fast::new(&Setup::new(vec![port], vec![], 0, 1), None, 0);
            let station = Station::new(Mac([2, 0, 0, 0, 0, 1]), detect, true);
            assert_eq!(fast.gates[0].station, station);
        }
    }
}
