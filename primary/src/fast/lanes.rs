//! The packets of a burst on their way through the fast path, a column for each thing known of them.

use super::Fast;
use super::flows::{Flow, FlowCache, FlowKey};
use crate::gateway::Gateway;
use crate::session::{Beginning, SessionLayout};
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
    /// A bit for each lane of a packet that may be common, by its way.
    pub(super) out: u32,
    pub(super) inwards: u32,
    /// The home sets of the flows.
    homes: [u32; BURST],
    /// A bit for each lane whose flow was recalled, when so many had been forgotten.
    recalled: u32,
    forgotten: u32,
    /// The rows of the flows that were recalled; of the others those that the hashes lead to, or [`NO_ID`], not yet
    /// compared. Of a run that is planned, its sessions.
    pub(super) sessions: [u32; BURST],
    /// How many rows had ended when these were named.
    pub(super) ended: u32,
    /// What is known of the flows: the next hops' numbers, and what they become.
    pub(super) hops: [u16; BURST],
    pub(super) changes: Changes,
    /// Where the packets of a run go: the next Ethernet address, and if they come from outside, the port.
    pub(super) macs: [u64; BURST],
    pub(super) ports: [PortId; BURST],
}

const _: () = assert!(BURST == u32::BITS as usize);

impl Default for Lanes {
    fn default() -> Lanes {
        Lanes {
            heads: Heads::default(),
            out: 0,
            inwards: 0,
            homes: [0; BURST],
            recalled: 0,
            forgotten: 0,
            sessions: [NO_ID; BURST],
            ended: 0,
            hops: [NO_ROUTE; BURST],
            macs: [0; BURST],
            ports: [PortId(u16::MAX); BURST],
            changes: Changes::default(),
        }
    }
}

/// Addresses, and ports with the protocol above them, if a packet is common.
#[inline(always)]
fn ends_in(window: &[u8; WINDOW]) -> (u64, u64) {
    let word = |at: usize| {
        let bytes = window.get(at..at + 8).and_then(|bytes| bytes.first_chunk());
        u64::from_le_bytes(*bytes.unwrap_or(&[0; 8]))
    };
    let protocol = word(20) << 8 & 0xff_0000_0000;
    (word(26), word(34) & 0xffff_ffff | protocol)
}

/// Lanes by their bits, the lowest first.
pub(super) struct Each(pub(super) u32);

impl Iterator for Each {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let at = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (at < BURST).then_some(at)
    }
}

impl Lanes {
    /// Stage 1: what the frames say; the sets of their flows are asked for.
    #[inline(never)]
    pub(super) fn read(&mut self, fast: &Fast, burst: &Burst) {
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
                    let (addresses, ports) = ends_in(window);
                    self.homes[at] = fast.flows.home_of(addresses, ports);
                    self.heads.put(at, window, len, &gate.station);
                }
                None => self.heads.skip(at),
            }
        }
        self.heads.read(len, fast.path);
        [self.out, self.inwards] = self.heads.common();
    }

    /// Stage 2, first half: what is known of the flows. Gives a bit for each lane of whose flow nothing is.
    #[inline(never)]
    pub(super) fn recall<S: SessionLayout>(
        &mut self,
        flows: &FlowCache,
        state: &State<S>,
        len: usize,
    ) -> u32 {
        let mut recalled = 0;
        for at in 0..len.min(BURST) {
            let (is_known, flow) = flows.recall(self.homes[at], FlowKey::of(&self.heads.known(at)));
            state.sessions.prefetch_count(flow.session);
            self.set(at, flow);
            recalled |= u32::from(is_known) << at;
        }
        let common = self.out | self.inwards;
        let further = common & !recalled;
        Each(further).for_each(|at| flows.prefetch_further(self.homes[at]));
        for at in Each(further) {
            let (is_known, flow) =
                flows.recall_further(self.homes[at], FlowKey::of(&self.heads.known(at)));
            state.sessions.prefetch_count(flow.session);
            self.set(at, flow);
            recalled |= u32::from(is_known) << at;
        }
        (self.recalled, self.forgotten) = (recalled, flows.forgotten());
        self.ended = state.sessions.ended();
        common & !recalled
    }

    /// What is known of a lane's flow.
    #[inline(always)]
    pub(super) fn set(&mut self, at: usize, flow: Flow) {
        self.changes.set(at, flow.becomes.0);
        self.sessions[at] = flow.session;
        self.hops[at] = flow.hop;
    }

    /// What the packet of a lane becomes, of which something is known.
    #[inline(always)]
    pub(super) fn becomes(&self, at: usize) -> Beginning {
        Beginning(self.changes.new_end(at))
    }

    /// A bit for each lane whose flow was recalled, if its session was not forgotten since.
    #[inline(always)]
    pub(super) fn recalled(&mut self, flows: &FlowCache) -> u32 {
        self.recalled &= !flows.forgotten_since(self.forgotten, &self.sessions);
        self.forgotten = flows.forgotten();
        self.recalled
    }

    /// Counts the packets at `range`, which are planned.
    #[inline(never)]
    pub(super) fn count<S: SessionLayout>(&self, shard: &Shard<Gateway<S>>, range: Range<usize>) {
        let (sessions, now_s) = (&shard.state.sessions, shard.now_s());
        for at in range.start..range.end.min(BURST) {
            let bytes = self.heads.known(at).ip_len;
            sessions.count(self.sessions[at], 1, bytes.into(), now_s);
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
}
