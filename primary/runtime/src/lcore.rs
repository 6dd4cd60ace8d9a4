//! An lcore: one thread, pinned to one CPU, that polls the shards it owns and runs the datapath.
//!
//! ```text
//!            +---- owner word names me -----+
//!            v                              |
//!   [asleep: owns nothing] <--hand over-- [polling] --stop--> [gone]
//! ```
//!
//! An lcore without shards sleeps in `futex_waitv` on the owner words it may be given, and on the
//! lifelines of those it gave shards to; it never spins. All shards of an lcore move in one step:
//! once one is asked for, the others' requests are waited for, at most [`GATHER_NS`].
//! Failure: the thread holds a lifeline from start to exit; when it dies, whoever may own next
//! sees it there.

use crate::burst::Burst;
use crate::config::Idle;
use crate::counters::Count;
use crate::datapath::Datapath;
use crate::mailbox::Mailbox;
use crate::shard::Shard;
use crate::steering::Steering;
use crate::transition::{Fold, Transition};
use crate::zone::Gain;
use baton_shared_state::BURST;
use baton_shared_state::audit::{Audit, settle};
use baton_shared_state::mbuf::Packet;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A shard with everything needed to run it.
pub(crate) struct Run<D: Datapath> {
    pub(crate) shard: Shard<D>,
    pub(crate) datapath: D,
    pub(crate) steering: Steering,
    transition: Arc<Transition>,
    /// When the next tick is due (boot-time nanoseconds), or [`JUST_GAINED`].
    next_tick: u64,
}

/// No tick since the shard became ours. The first is a tick away: what waits in the rings comes before work
/// that can wait.
const JUST_GAINED: u64 = 0;

/// Nanoseconds between two ticks of a shard.
const TICK_NS: u64 = 1_000_000;
/// Records whose carried counters are folded in a tick.
const FOLD_LIMIT: u32 = 256;
/// Empty rounds after which an adaptive lcore sleeps.
const SPINS: u32 = 256;
/// The longest sleep: a request, a tick or a steered packet waits no longer.
const SLEEP_MS: u16 = 1;

impl<D: Datapath> Run<D> {
    pub(crate) fn new(
        shard: Shard<D>,
        datapath: D,
        steering: Steering,
        transition: Arc<Transition>,
    ) -> Run<D> {
        Run {
            shard,
            datapath,
            steering,
            transition,
            next_tick: JUST_GAINED,
        }
    }

    /// One round: every queue once, then what other shards sent. Returns the packets met.
    pub(crate) fn poll(&mut self, now_ns: u64) -> usize {
        self.shard.set_time(now_ns);
        let mut raw = [0u32; BURST];
        let mut met = 0;
        for queue in 0..self.shard.io.queues.len() {
            let io = &mut self.shard.io;
            let n = io.queues[queue].rx_burst(&mut io.cache, &mut raw);
            if n > 0 {
                met += n;
                self.received(&raw[..n]);
            }
        }
        if self.shard.io.count > 1 {
            let n = self.steering.take(&mut raw);
            if n > 0 {
                met += n;
                self.shard.io.counters.count(Count::SteeredIn, n as u64);
                self.deliver(&raw[..n]);
            }
        }
        if met > 0 {
            self.shard.io.flush();
            self.shard.io.counters.count(Count::Bursts, 1);
        }
        met
    }

    /// The last thing before this shard is another's: everything out, cursors stored.
    pub(crate) fn release(&mut self) {
        let io = &mut self.shard.io;
        io.flush();
        for queue in &mut io.queues {
            queue.release(&mut io.cache);
        }
        self.shard.leave();
    }

    /// The first thing after this shard became ours, the first poll is next; the records that catching up took.
    pub(crate) fn gain(&mut self, how: Gain) -> u64 {
        self.next_tick = JUST_GAINED;
        let held = if how == Gain::FromDead {
            self.repair()
        } else {
            Vec::new()
        };
        let delta = self.shard.gain(how);
        for packets in held.chunks(BURST) {
            self.deliver(packets);
        }
        if !held.is_empty() {
            self.shard.io.flush();
        }
        delta
    }

    /// After the first poll: buffers are posted, and sent what the last owner could not.
    pub(crate) fn resume(&mut self) {
        let io = &mut self.shard.io;
        let queues = io.queues.iter_mut();
        queues.for_each(|queue| queue.resume(&mut io.cache));
    }

    /// Queues and buffers as a dead owner left them; gives the packets it had in hand.
    fn repair(&mut self) -> Vec<u32> {
        let io = &mut self.shard.io;
        let (pool, shard) = (io.pool, usize::from(io.index));
        // Before anything else uses the dead one's cache: its next refill would write over the note of
        // what was on its way.
        settle(pool, shard, &Audit::new(pool).finish());
        let mut held = Vec::new();
        for queue in &mut io.queues {
            queue.repair(&mut io.cache, &mut held);
        }
        let accounting = Audit::of(pool, |visit| {
            let queues = io.queues.iter();
            queues.for_each(|queue| queue.windows(visit));
        });
        // Taken out of the pool and not come to anything: buffers that were to be posted, replies half made.
        let in_hand = settle(pool, shard, &accounting).in_hand;
        let blank: Vec<u32> = in_hand
            .into_iter()
            .filter(|mbuf| !held.contains(mbuf))
            .collect();
        io.cache.free_packets(&blank);
        held
    }

    /// The fullest receive ring: packets that wait, and how many it holds.
    pub(crate) fn ring_used(&self) -> (u32, u32) {
        self.shard
            .io
            .queues
            .iter()
            .map(|queue| queue.ring_used())
            .max()
            .unwrap_or_default()
    }

    /// Counts what a queue gave and sends each packet to the shard that owns its bucket.
    fn received(&mut self, raw: &[u32]) {
        let io = &mut self.shard.io;
        io.counters.count(Count::RxPackets, raw.len() as u64);
        if io.count == 1 {
            let bytes = self.deliver(raw);
            self.shard.io.counters.count(Count::RxBytes, bytes);
            return;
        }
        let (mut mine, mut bytes) = ([0u32; BURST], 0);
        let mut len = 0;
        for &mbuf in raw {
            let packet = Packet::from_raw(mbuf, self.shard.io.pool);
            bytes += packet.len() as u64;
            let owner = u16::from(self.datapath.steer(&packet)) % self.shard.io.count;
            let mbuf = packet.into_raw();
            if owner == self.shard.io.index {
                mine[len] = mbuf;
                len += 1;
            } else {
                self.steering.stage(owner, mbuf);
            }
        }
        let io = &mut self.shard.io;
        let (pool, counters) = (io.pool, io.counters);
        counters.count(Count::RxBytes, bytes);
        self.steering.flush(&pool, &counters, |mbuf| io.free(mbuf));
        self.deliver(&mine[..len]);
    }

    /// Gives buffers to the datapath; how many bytes they had.
    fn deliver(&mut self, raw: &[u32]) -> u64 {
        if raw.is_empty() {
            return 0;
        }
        let (burst, bytes) = Burst::of(raw, self.shard.io.pool);
        self.datapath.burst(&mut self.shard, burst);
        if self.shard.io.passed_len > 0 {
            self.pass_on();
        }
        bytes
    }

    /// Sends what the burst gave to other shards on its way.
    fn pass_on(&mut self) {
        let io = &mut self.shard.io;
        let (passed, len) = io.take_passed();
        for &(owner, mbuf) in &passed[..len] {
            self.steering.stage(owner, mbuf);
        }
        let (pool, counters) = (io.pool, io.counters);
        self.steering.flush(&pool, &counters, |mbuf| io.free(mbuf));
    }

    /// The work of about each millisecond.
    pub(crate) fn tick(&mut self, now_ns: u64) {
        if now_ns < self.next_tick {
            return;
        }
        let due = core::mem::replace(&mut self.next_tick, now_ns + TICK_NS);
        if due == JUST_GAINED {
            return;
        }
        self.shard.set_time(now_ns);
        self.datapath.tick(&mut self.shard);
        self.shard.io.flush();
        let (done, records) = self.shard.fold(FOLD_LIMIT);
        self.shard.io.counters.set(Count::Records, records);
        if done && self.transition.fold() != Fold::No {
            self.transition.set_folded(self.shard.index());
        }
    }
}

/// What an idle lcore does next.
pub(crate) struct Idler {
    mode: Idle,
    empty: u32,
}

impl Idler {
    pub(crate) fn new(mode: Idle) -> Idler {
        Idler { mode, empty: 0 }
    }

    /// After a round that met `met` packets: sleeps when it is time to.
    pub(crate) fn after<D: Datapath>(
        &mut self,
        met: usize,
        runs: &[Run<D>],
        mailbox: &Arc<Mailbox>,
    ) {
        if met > 0 {
            self.empty = 0;
            return;
        }
        self.empty = self.empty.saturating_add(1);
        let patient = match self.mode {
            Idle::Spin => return,
            Idle::Adaptive => SPINS,
            Idle::Sleep => 1,
        };
        if self.empty < patient || mailbox.waiting() {
            core::hint::spin_loop();
            return;
        }
        let fds = runs.iter().flat_map(|run| {
            run.shard
                .io
                .queues
                .iter()
                .filter_map(|queue| queue.poll_fd())
        });
        let mut fds: Vec<PollFd<'_>> = fds
            .map(|fd: BorrowedFd<'_>| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        // An interrupted or failed sleep is a short one: the next round looks at everything anyway.
        let _ = poll(&mut fds, PollTimeout::from(SLEEP_MS));
    }
}
