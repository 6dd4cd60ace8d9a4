//! A shard as its datapath sees it: the state, the way out for packets, the counters, the time.

use crate::burst::Burst;
use crate::counters::{Count, Words};
use crate::datapath::Datapath;
use crate::setup::PortId;
use crate::stage::Stage;
use crate::zone::{Gain, Previous, Zones};
use baton_ports::Port;
use baton_schema::Reason;
use baton_shared_state::BURST;
use baton_shared_state::mbuf::{Chain, Packet};
use baton_shared_state::mempool::{Cache, Pool};
use core::ops::Range;
use std::collections::HashMap;

/// One shard of a running program.
pub struct Shard<D: Datapath> {
    /// What outlives the process.
    pub state: D::State,
    pub(crate) io: Io,
}

impl<D: Datapath> core::fmt::Debug for Shard<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Shard")
            .field("index", &self.io.index)
            .finish_non_exhaustive()
    }
}

impl<D: Datapath> Shard<D> {
    /// A shard from its parts.
    pub(crate) fn new(state: D::State, io: Io) -> Shard<D> {
        Shard { state, io }
    }

    /// Warm: fills what is derived from the set-up.
    pub(crate) fn build(&mut self, setup: &crate::setup::Setup) {
        self.state.each(&mut |_, live| live.build(setup));
    }

    /// The shard is about to be ours: brings what the swap will need close to this CPU.
    pub(crate) fn expect_gain(&mut self) {
        for queue in &self.io.queues {
            core::hint::black_box((queue.ring_used(), queue.posted()));
        }
        self.state.each(&mut |_, live| live.expect_gain());
    }

    /// Brings the state up to date after a swap; the number of records that took.
    pub(crate) fn gain(&mut self, how: Gain) -> u64 {
        let mut delta = 0;
        self.state.each(&mut |_, live| delta += live.gain(how));
        delta
    }

    /// Keeps older generations current from here on.
    pub(crate) fn export(&mut self, older: &HashMap<String, Previous>) {
        self.state.each(&mut |_, live| live.export(older));
    }

    /// A swap is asked for: the state's work that need not wait for the last burst.
    pub(crate) fn expect_leave(&mut self) {
        self.state.each(&mut |_, live| live.expect_release());
    }

    /// The state's last work before a swap.
    pub(crate) fn leave(&mut self) {
        self.state.each(&mut |_, live| live.release());
    }

    /// A step of the work without deadline: whether nothing is left, and the records of the state's
    /// first zone, which is what the program is about.
    pub(crate) fn fold(&mut self, limit: u32) -> (bool, u64) {
        let (mut done, mut records) = (true, None);
        self.state.each(&mut |_, live| {
            done &= live.fold(limit);
            records.get_or_insert(live.records());
        });
        (done, records.unwrap_or_default())
    }

    /// The time of this round.
    #[inline]
    pub(crate) fn set_time(&mut self, now_ns: u64) {
        self.io.now_ns = now_ns;
        let now_s = (now_ns / 1_000_000_000) as u32;
        if now_s != self.io.now_s {
            self.io.now_s = now_s;
            self.state.each(&mut |_, live| live.set_time(now_s));
        }
    }

    /// This shard's number.
    pub fn index(&self) -> u16 {
        self.io.index
    }

    /// How many shards there are.
    pub fn count(&self) -> u16 {
        self.io.count
    }

    /// Seconds since the machine booted, sleep included; taken once a round of the loop.
    #[inline]
    pub fn now_s(&self) -> u32 {
        self.io.now_s
    }

    /// Nanoseconds since the machine booted, sleep included; taken once a round of the loop.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.io.now_ns
    }

    /// Sends a packet: it leaves at the end of the burst, in the order of the calls. One whose buffer is part of a
    /// chain, or whose bytes others read, is freed and counted as forgotten: that is for [`Shard::transmit_chain`].
    #[inline(always)]
    pub fn transmit(&mut self, port: PortId, packet: Packet) {
        let (len, is_plain) = (packet.len(), packet.line().is_plain());
        let m = packet.into_raw();
        if is_plain {
            self.io.transmit(port, m, len);
        } else {
            self.io.forget(m);
        }
    }

    /// Sends the packets of a burst that are at `lanes`, in their order, as [`Shard::transmit`] does each, after
    /// `change` has had it.
    #[inline(always)]
    pub fn transmit_each(
        &mut self,
        port: PortId,
        burst: &mut Burst,
        lanes: Range<usize>,
        mut change: impl FnMut(usize, &mut Packet),
    ) {
        let first = lanes.start;
        let change = |at, packet: &mut Packet| change(first + at, packet);
        self.io.transmit_each(port, burst.slots(lanes), change);
    }

    /// Sends a packet of several segments, or of data that others refer to, as [`Shard::transmit`] does. Ports
    /// send what lies in one piece in a buffer of its own, which is what a [`Packet`] is, so they meet
    /// nothing else: the packet is brought into that form here ([`Chain::into_one`]), and what does not fit a
    /// buffer is dropped for the reason `unfit`.
    pub fn transmit_chain(&mut self, port: PortId, chain: Chain, unfit: D::Drop) {
        match chain.into_one(&mut self.io.cache) {
            Ok(packet) => self.transmit(port, packet),
            Err(chain) => self.drop_chain(chain, unfit),
        }
    }

    /// Drops a packet of several segments, or of data that others refer to, and counts why.
    pub fn drop_chain(&mut self, chain: Chain, reason: D::Drop) {
        self.io.drops.add(reason.index(), 1);
        chain.free(&mut self.io.cache);
    }

    /// Gives a packet, as it now is, to the shard that owns a bucket: it comes with that shard's next
    /// burst. At most one for each packet of a burst; one for a bucket of this shard's own is dropped.
    pub fn pass_on(&mut self, bucket: u8, packet: Packet) {
        let owner = u16::from(bucket) % self.io.count;
        let mbuf = packet.into_raw();
        match self.io.passed.get_mut(self.io.passed_len) {
            Some(slot) if owner != self.io.index => {
                *slot = (owner, mbuf);
                self.io.passed_len += 1;
            }
            _ => self.io.forget(mbuf),
        }
    }

    /// Drops a packet and counts why.
    #[inline]
    pub fn drop(&mut self, packet: Packet, reason: D::Drop) {
        self.io.drops.add(reason.index(), 1);
        self.io.free(packet.into_raw());
    }

    /// Counts a drop reason without a packet (one that was refused before it had one).
    pub fn count_drop(&mut self, reason: D::Drop) {
        self.io.drops.add(reason.index(), 1);
    }

    /// An empty buffer for a packet of the program's own.
    pub fn alloc(&mut self) -> Option<Packet> {
        self.io.alloc()
    }

    /// The shard's cache of buffers, for what a [`Chain`] does with them: clones, copies, splits.
    pub fn cache(&mut self) -> &mut Cache {
        &mut self.io.cache
    }
}

/// A shard's queues, buffers and counters.
pub(crate) struct Io {
    pub(crate) index: u16,
    pub(crate) count: u16,
    pub(crate) now_ns: u64,
    pub(crate) now_s: u32,
    pub(crate) pool: Pool,
    pub(crate) cache: Cache,
    pub(crate) queues: Vec<Box<dyn Port>>,
    pub(crate) counters: Words,
    pub(crate) drops: Words,
    stages: Vec<Stage>,
    freed: [u32; BURST],
    freed_len: usize,
    /// Packets that this burst gave to other shards.
    passed: [(u16, u32); BURST],
    pub(crate) passed_len: usize,
}

/// How often a full transmit ring is kicked before its packets are dropped by name.
const FULL_RING_KICKS: u32 = 64;

impl Io {
    pub(crate) fn new(
        index: u16,
        count: u16,
        pool: Pool,
        queues: Vec<Box<dyn Port>>,
        counters: Words,
        drops: Words,
    ) -> Io {
        let stages = queues.iter().map(|_| Stage::default()).collect();
        let cache = pool.cache(usize::from(index));
        Io {
            index,
            count,
            now_ns: 0,
            now_s: 0,
            pool,
            cache,
            queues,
            counters,
            drops,
            stages,
            freed: [0; BURST],
            freed_len: 0,
            passed: [(0, 0); BURST],
            passed_len: 0,
        }
    }

    #[inline(always)]
    fn transmit(&mut self, port: PortId, mbuf: u32, len: usize) {
        let port = usize::from(port.0);
        let Some(stage) = self.stages.get_mut(port) else {
            return self.forget(mbuf);
        };
        stage.put(mbuf, len);
        if stage.len == BURST {
            self.flush_port(port);
        }
    }

    #[inline(always)]
    fn transmit_each(
        &mut self,
        port: PortId,
        packets: &mut [Option<Packet>],
        mut change: impl FnMut(usize, &mut Packet),
    ) {
        let (port, mut done) = (usize::from(port.0), 0);
        while done < packets.len() {
            if let Some(stage) = self.stages.get_mut(port) {
                done = stage.put_each(packets, done, &mut change);
                if stage.len == BURST {
                    self.flush_port(port);
                    continue;
                }
            }
            if let Some(unfit) = packets.get_mut(done).and_then(Option::take) {
                self.forget(unfit.into_raw());
            }
            done += 1;
        }
    }

    /// Frees a packet that cannot leave, which is the program's mistake.
    #[cold]
    #[inline(never)]
    fn forget(&mut self, mbuf: u32) {
        self.counters.count(Count::Forgotten, 1);
        self.free(mbuf);
    }

    /// What the last burst gave to other shards, in its order.
    #[inline]
    pub(crate) fn take_passed(&mut self) -> ([(u16, u32); BURST], usize) {
        (self.passed, core::mem::take(&mut self.passed_len))
    }

    /// Gives a buffer back, in bulk.
    #[inline]
    pub(crate) fn free(&mut self, mbuf: u32) {
        self.freed[self.freed_len] = mbuf;
        self.freed_len += 1;
        if self.freed_len == BURST {
            self.flush_freed();
        }
    }

    fn alloc(&mut self) -> Option<Packet> {
        let mut one = [0u32; 1];
        if self.cache.alloc_burst(&mut one) == 0 {
            return None;
        }
        Some(Packet::fresh(one[0], self.pool))
    }

    /// Ends a burst: everything staged goes to the rings, each ring is kicked once.
    #[inline]
    pub(crate) fn flush(&mut self) {
        for port in 0..self.stages.len() {
            if self.stages[port].len > 0 {
                self.flush_port(port);
            }
            if self.stages[port].unkicked {
                self.stages[port].unkicked = false;
                self.queues[port].kick();
            }
        }
        self.flush_freed();
    }

    /// A datapath may have dropped what a dead one left of a packet of several segments.
    fn flush_freed(&mut self) {
        self.cache.free_packets(&self.freed[..self.freed_len]);
        self.freed_len = 0;
    }

    #[inline(never)]
    fn flush_port(&mut self, port: usize) {
        let stage = &mut self.stages[port];
        let queue = &mut self.queues[port];
        let mut sent = 0;
        for _ in 0..FULL_RING_KICKS {
            sent += queue.tx_burst(&mut self.cache, &stage.mbufs[sent..stage.len]);
            if sent == stage.len {
                break;
            }
            queue.kick();
        }
        stage.unkicked = true;
        if sent < stage.len {
            self.counters
                .count(Count::TxFull, (stage.len - sent) as u64);
            self.cache.free_burst(&stage.mbufs[sent..stage.len]);
        }
        self.counters.count(Count::TxPackets, sent as u64);
        self.counters.count(Count::TxBytes, stage.bytes);
        stage.len = 0;
        stage.bytes = 0;
    }
}
