//! Shards that are asked for, handed over, and taken up, by one lcore.
//!
//! Order of a hand-over: the last burst is flushed and kicked, the ports' cursors are stored, the
//! tables' last delta is out; then one compare-and-swap of the owner word each; then one wake-up.
//! Failure: before the swap of a word the shard is still ours (our death is seen by our lifeline),
//! after it the next lcore's.

use super::Lcore;
use crate::datapath::Datapath;
use crate::zone::Gain;
use baton_shared_state::ledger::{OwnerWord, RequestState, RequestWord};
use baton_shared_state::sync::Ordering;
use baton_shared_state::{ownership, sys};

/// After the first request, how long the requests for an lcore's other shards are waited for.
const GATHER_NS: u64 = 1_000_000;
/// How long an lcore that is to own a shard next stays awake for it before it sleeps again.
const ALERT_NS: u64 = 2_000_000;

impl<D: Datapath> Lcore<D> {
    /// One load of each request word; true when all our shards are asked for, or the first has waited long.
    /// The first sight of a request wakes the next lcore and goes on polling: it wakes, warms and
    /// waits in line while packets still flow.
    #[inline]
    pub(super) fn ready_to_hand_over(&mut self, now: u64) -> bool {
        let (mut asked, mut owned, mut given) = (0, 0, false);
        let mut asks = None;
        for tenure in &self.tenures {
            if tenure.owned {
                owned += 1;
                let word =
                    RequestWord::unpack(self.ledger.request(tenure.shard).load(Ordering::Relaxed));
                let meant = word.state == RequestState::Asked && word.epoch == tenure.epoch;
                if meant {
                    asked += 1;
                    asks = Some((tenure.shard, word.next));
                }
            } else {
                let word = self.ledger.owner(tenure.shard).load(Ordering::Relaxed);
                given |= OwnerWord::unpack(word).lcore == Some(self.slot);
            }
        }
        self.settled = asked == 0 && owned == self.tenures.len();
        if given {
            self.gain_given();
        }
        let Some((shard, next)) = asks else {
            self.asked_since = None;
            return false;
        };
        let Some(first) = self.asked_since else {
            self.asked_since = Some(now);
            wake(self.ledger.owner_epoch(shard), u32::MAX);
            self.runs
                .iter_mut()
                .for_each(|run| run.shard.expect_leave());
            return false;
        };
        let awake = || self.ledger.heartbeat(next).load(Ordering::Relaxed) > first;
        (asked == owned && awake()) || now.saturating_sub(first) > GATHER_NS
    }

    /// Whether an owner is asked to hand a shard to this lcore, since not much longer than a hand-over takes.
    pub(super) fn is_expected(&mut self) -> bool {
        let expected = self.tenures.iter().any(|tenure| {
            let request =
                RequestWord::unpack(self.ledger.request(tenure.shard).load(Ordering::Acquire));
            request.state != RequestState::None
                && request.next == self.slot
                && request.epoch == self.ledger.owner_word(tenure.shard).epoch
        });
        if !expected {
            self.alert_since = None;
            return false;
        }
        let now = sys::clock_boottime_ns();
        now.saturating_sub(*self.alert_since.get_or_insert(now)) < ALERT_NS
    }

    /// Hands over every shard that is asked for, in one step.
    pub(super) fn hand_over(&mut self) {
        let stopped = sys::clock_boottime_ns();
        self.asked_since = None;
        let mut accepted: Vec<(usize, RequestWord)> = Vec::with_capacity(self.tenures.len());
        for (at, tenure) in self
            .tenures
            .iter()
            .enumerate()
            .filter(|(_, tenure)| tenure.owned)
        {
            if let Some(request) = ownership::accept(
                self.ledger.owner(tenure.shard),
                self.ledger.request(tenure.shard),
                self.slot,
            ) {
                accepted.push((at, request));
            }
        }
        for &(at, _) in &accepted {
            let tenure = &self.tenures[at];
            if let Some(run) = tenure.run {
                self.runs[run].release();
            }
            self.ledger
                .swap(tenure.shard)
                .stopped_ns()
                .store(stopped, Ordering::Relaxed);
        }
        for &(at, request) in &accepted {
            let shard = self.tenures[at].shard;
            let handed = ownership::hand_over(self.ledger.owner(shard), request, self.slot);
            debug_assert!(
                handed.is_ok(),
                "an accepted request can only be completed by its owner"
            );
            self.tenures[at].owned = false;
            self.tenures[at].lent = true;
        }
        if accepted.is_empty() {
            return;
        }
        // On a shared CPU the next lcore is in line and runs now. The wake-up is for one that went to sleep
        // again; it sleeps on all its words at once, so one is enough.
        std::thread::yield_now();
        let mut woken: Vec<u16> = Vec::with_capacity(1);
        for &(at, request) in &accepted {
            if !woken.contains(&request.next) {
                woken.push(request.next);
                wake(self.ledger.owner_epoch(self.tenures[at].shard), u32::MAX);
            }
        }
    }

    /// Takes up every shard whose owner word names this lcore.
    pub(crate) fn gain_given(&mut self) {
        let taken = sys::clock_boottime_ns();
        let mut gained: Vec<usize> = Vec::with_capacity(self.tenures.len());
        for (at, tenure) in self
            .tenures
            .iter_mut()
            .enumerate()
            .filter(|(_, tenure)| !tenure.owned)
        {
            let owner = OwnerWord::unpack(self.ledger.owner(tenure.shard).load(Ordering::Acquire));
            if owner.lcore == Some(self.slot) {
                tenure.owned = true;
                tenure.epoch = owner.epoch;
                gained.push(at);
            }
        }
        for &at in &gained {
            let how = self.how_gained(self.tenures[at].shard);
            self.gain(at, taken, how);
        }
    }

    /// The owner word itself says whether its predecessor handed it over: a request proves nothing, it may
    /// have been standing when the owner died.
    fn how_gained(&self, shard: usize) -> Gain {
        match self.ledger.owner_word(shard) {
            OwnerWord { repair: true, .. } => Gain::FromDead,
            OwnerWord { epoch: 0 | 1, .. } => Gain::First,
            _ => Gain::Handed,
        }
    }

    fn gain(&mut self, at: usize, taken: u64, how: Gain) {
        let shard = self.tenures[at].shard;
        self.tenures[at].lent = false;
        let swap = self.ledger.swap(shard);
        swap.taken_ns().store(taken, Ordering::Relaxed);
        if let Some(run) = self.tenures[at].run {
            let run = &mut self.runs[run];
            let delta = run.gain(how);
            let (used, entries) = run.ring_used();
            swap.ring_used().store(used.into(), Ordering::Relaxed);
            swap.ring_entries().store(entries.into(), Ordering::Relaxed);
            swap.delta_records().store(delta, Ordering::Relaxed);
            swap.first_poll_ns()
                .store(sys::clock_boottime_ns(), Ordering::Release);
            run.poll(taken);
            run.resume();
        } else {
            swap.first_poll_ns().store(taken, Ordering::Release);
        }
        self.mailbox.set_active(true);
    }
}

/// Wakes whoever sleeps on an owner word; one that is missed looks by itself after [`super::ASLEEP`].
fn wake(word: &baton_shared_state::sync::AtomicU32, count: u32) {
    let _ = sys::futex_wake(word, count);
}
