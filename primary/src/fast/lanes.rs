//! The packets of a burst on their way through the fast path, a column for each thing known of them.

use super::{Fast, Way};
use crate::gateway::Gateway;
use crate::session::SessionLayout;
use crate::state::State;
use baton::prelude::{Burst, PortId, Shard};
use baton_datapath::common::{Changes, Ethernet, Heads, WINDOW};
use baton_shared_state::BURST;
use baton_shared_state::lpm::NO_ROUTE;
use baton_shared_state::mbuf::CSUM_PARTIAL;
use baton_shared_state::table::NO_ID;
use core::ops::Range;

/// The packets of a burst, as each stage leaves them to the next.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) heads: Heads,
    pub(super) ways: [Way; BURST],
    pub(super) destinations: [u32; BURST],
    pub(super) hashes: [u64; BURST],
    /// The rows that the hashes lead to, or [`NO_ID`]; not yet compared. Of a run that is planned, its sessions.
    pub(super) candidates: [u32; BURST],
    /// How many rows had ended when these were named.
    pub(super) ended: u32,
    /// Up to which lane the rows of a run outwards are compared, and how many had ended then.
    pub(super) compared: (usize, u32),
    /// The next hops' numbers.
    pub(super) hops: [u16; BURST],
    /// What is planned for the packets of a run. Where they go: the next Ethernet address, and if they come from
    /// outside, the port.
    pub(super) macs: [u64; BURST],
    pub(super) ports: [PortId; BURST],
    /// And what they become.
    pub(super) changes: Changes,
}

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes {
            heads: Heads::default(),
            ways: [Way::Whole; BURST],
            destinations: [0; BURST],
            hashes: [0; BURST],
            candidates: [NO_ID; BURST],
            ended: 0,
            compared: (0, 0),
            hops: [NO_ROUTE; BURST],
            macs: [0; BURST],
            ports: [PortId(u16::MAX); BURST],
            changes: Changes::default(),
        }
    }
}

/// Where a packet goes, if it is common.
#[inline(always)]
fn destination(window: &[u8; WINDOW]) -> u32 {
    let [.., a, b, c, d] = *window.first_chunk::<34>().unwrap_or(&[0; 34]);
    u32::from_be_bytes([a, b, c, d])
}

impl Lanes {
    /// Stage 1, first half: what the frames say.
    #[inline(never)]
    pub(super) fn read<S: SessionLayout>(&mut self, fast: &Fast, state: &State<S>, burst: &Burst) {
        let len = burst.len().min(BURST);
        for at in 0..len {
            let known = burst.get(at).and_then(|packet| {
                let line = packet.line();
                let gate = fast.gates.get(usize::from(line.port()))?;
                let window = packet.head::<WINDOW>()?;
                (line.flags() & CSUM_PARTIAL == 0).then_some((gate, window, packet.len()))
            });
            match known {
                Some((gate, window, len)) => {
                    if gate.way == Way::Out {
                        state.routes.prefetch(destination(window));
                    }
                    self.heads.put(at, window, len, &gate.station);
                    self.ways[at] = gate.way;
                }
                None => self.heads.skip(at),
            }
        }
        self.heads.read(len, fast.path);
    }

    /// Counts the packets at `range`, which are planned.
    #[inline(never)]
    pub(super) fn count<S: SessionLayout>(&self, shard: &Shard<Gateway<S>>, range: Range<usize>) {
        let (sessions, now_s) = (&shard.state.sessions, shard.now_s());
        for at in range.start..range.end.min(BURST) {
            let bytes = self.heads.known(at).ip_len;
            sessions.count(self.candidates[at], 1, bytes.into(), now_s);
        }
    }

    /// How many of the lanes of `range` leave by the port that the first does, one after the other.
    pub(super) fn of_one_port(&self, range: Range<usize>) -> (PortId, usize) {
        let port = self.ports[range.start];
        let same = self.ports[range].iter().take_while(|other| **other == port);
        (port, same.count())
    }

    /// Changes the packets at `range`, which leave by `port` with our address `own`, and lets them out.
    #[inline(never)]
    pub(super) fn let_out<S: SessionLayout>(
        &self,
        shard: &mut Shard<Gateway<S>>,
        burst: &mut Burst,
        range: Range<usize>,
        (port, own): (PortId, u64),
    ) {
        shard.transmit_each(port, burst, range, |at, packet| {
            let ethernet = Ethernet::new(self.macs[at % BURST], own);
            let frame = packet.data_mut();
            self.changes.write(at % BURST, frame, ethernet);
        });
    }

    /// Stage 2. Not inlined, as the other stages: each has the registers to itself.
    #[inline(never)]
    pub(super) fn look_up<S: SessionLayout>(&mut self, state: &State<S>, len: usize) {
        let len = len.min(BURST);
        self.ended = state.sessions.ended();
        self.compared = (0, self.ended);
        state
            .routes
            .lookup_burst(&self.destinations[..len], &mut self.hops[..len]);
        let outwards = |all, way: &Way| all & (*way == Way::Out);
        if self.ways[..len].iter().fold(true, outwards) {
            let (hashes, out) = (&self.hashes[..len], &mut self.candidates[..len]);
            return state.sessions.candidates(hashes, out);
        }
        for at in 0..len {
            let hash = self.hashes[at];
            match self.ways[at] {
                Way::Whole => {}
                Way::Out => self.candidates[at] = state.sessions.candidate(hash),
                Way::In => {
                    let candidate = state.from_outside.candidate(hash);
                    state.sessions.prefetch(candidate);
                    self.candidates[at] = candidate;
                }
            }
        }
    }
}
