//! Who owns which shard, seen from one lcore: waiting for shards, polling them, handing them on.
//!
//! Order of a hand-over: the last burst is flushed and kicked, the ports' cursors are stored, the
//! tables' last delta is out; then one compare-and-swap of the owner word each; then one wake-up.
//! Failure: before the swap of a word the shard is still ours (our death is seen by our lifeline),
//! after it the next lcore's.

use crate::config::Idle;
use crate::datapath::Datapath;
use crate::lcore::{Idler, Run};
use crate::mailbox::{Ask, Inventory, Mailbox, Rendezvous};
use crate::zone::Gain;
use baton_shared_state::arena::Arena;
use baton_shared_state::ledger::{Ledger, OwnerWord, RequestState, RequestWord};
use baton_shared_state::lifeline::{self, Lifeline, Lifelines, MAX_WAITS, Status};
use baton_shared_state::ownership;
use baton_shared_state::sync::Ordering;
use baton_shared_state::{CONTROL_SHARD, sys};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// After the first request, how long the requests for an lcore's other shards are waited for.
const GATHER_NS: u64 = 1_000_000;
/// How long an lcore that is to own a shard next stays awake for it before it sleeps again.
const ALERT_NS: u64 = 2_000_000;
/// Of so many rounds in a row that all met packets, one looks at what others ask: the lines of those words are pushed
/// out of the nearest cache by each burst. A request waits for some bursts more, while packets still flow.
const LOOK_EVERY: u8 = 16;
/// The longest sleep without shards: a stop is seen no later.
const ASLEEP: Duration = Duration::from_millis(50);

/// An owner word this lcore may hold, with the shard to run behind it (none for the control shard).
struct Tenure {
    shard: usize,
    run: Option<usize>,
    owned: bool,
    /// The owner word's epoch since which we own it.
    epoch: u32,
    /// We handed it on and may have to take it back if the next owner dies.
    lent: bool,
}

/// What an lcore is made of.
pub(crate) struct Lcore<D: Datapath> {
    pub(crate) cpu: usize,
    pub(crate) slot: u16,
    pub(crate) generation: u16,
    pub(crate) arena: Arena,
    pub(crate) ledger: Ledger,
    pub(crate) lifelines: Lifelines,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) idle: Idle,
    pub(crate) runs: Vec<Run<D>>,
    tenures: Vec<Tenure>,
    asked_since: Option<u64>,
    /// All shards are ours and none is asked for, as of the last look.
    settled: bool,
    /// Rounds until the next look.
    look_in: u8,
    /// Since when a shard is about to be ours.
    alert_since: Option<u64>,
}

impl<D: Datapath> Lcore<D> {
    /// An lcore for the shards of `runs`, and for the control shard if `control`.
    #[allow(
        clippy::too_many_arguments,
        reason = "each is one part of the lcore, named at the one call"
    )]
    pub(crate) fn new(
        cpu: usize,
        slot: u16,
        generation: u16,
        arena: Arena,
        ledger: Ledger,
        lifelines: Lifelines,
        mailbox: Arc<Mailbox>,
        idle: Idle,
        runs: Vec<Run<D>>,
        control: bool,
    ) -> Lcore<D> {
        let mut tenures: Vec<Tenure> = runs
            .iter()
            .enumerate()
            .map(|(run, at)| Tenure {
                shard: usize::from(at.shard.index()),
                run: Some(run),
                owned: false,
                epoch: 0,
                lent: false,
            })
            .collect();
        if control {
            tenures.push(Tenure {
                shard: CONTROL_SHARD,
                run: None,
                owned: false,
                epoch: 0,
                lent: false,
            });
        }
        Lcore {
            cpu,
            slot,
            generation,
            arena,
            ledger,
            lifelines,
            mailbox,
            idle,
            runs,
            tenures,
            asked_since: None,
            settled: false,
            look_in: 0,
            alert_since: None,
        }
    }

    /// The thread's body. `ready` hears of the held lifeline, or why there is none.
    pub(crate) fn run(mut self, ready: &Sender<Result<(), String>>) {
        if let Err(why) = sys::set_affinity(self.cpu) {
            let _ = ready.send(Err(format!(
                "lcore on CPU {}: {why}; name a CPU this process may use in instance.lcores",
                self.cpu
            )));
            return;
        }
        // An ordinary user may not; the lcore then shares its CPU as any thread does.
        let _ = sys::set_nice(-20);
        let _lifeline = match Lifeline::hold(&self.arena, self.slot) {
            Ok(lifeline) => lifeline,
            Err(why) => {
                let _ = ready.send(Err(format!("lifeline of lcore slot {}: {why}", self.slot)));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        self.work();
        self.give_up();
    }

    fn work(&mut self) {
        let mut idler = Idler::new(self.idle);
        while !self.mailbox.stopping() {
            if !self.tenures.iter().any(|tenure| tenure.owned) {
                self.mailbox.set_active(false);
                self.beat(sys::clock_boottime_ns());
                if self.is_expected() {
                    self.runs.iter_mut().for_each(|run| run.shard.expect_gain());
                    // On a shared CPU the owner runs meanwhile, and this thread is next in line.
                    std::thread::yield_now();
                } else {
                    self.sleep();
                }
                self.gain_given();
                continue;
            }
            let now = sys::clock_boottime_ns();
            match self.round(now) {
                Some(met) if self.asked_since.is_none() => {
                    idler.after(met, &self.runs, &self.mailbox);
                }
                // On a shared CPU the next lcore wakes up now, between two bursts.
                Some(_) => std::thread::yield_now(),
                None => {}
            }
        }
    }

    /// One round of the loop: requests, then packets. The packets met; `None` when shards were handed on.
    /// Requests, questions and the heartbeat have their turn in every round but those [`LOOK_EVERY`] leaves out.
    #[inline]
    pub(crate) fn round(&mut self, now: u64) -> Option<usize> {
        if self.look_in == 0 {
            self.beat(now);
            if self.ready_to_hand_over(now) {
                self.hand_over();
                return None;
            }
            if self.mailbox.waiting() {
                self.answer();
            }
        }
        let met = self.poll(now);
        self.look_in = match self.look_in {
            _ if met == 0 || !self.settled => 0,
            0 => LOOK_EVERY - 1,
            rounds => rounds - 1,
        };
        Some(met)
    }

    /// The packets of one round, and its ticks: what a program that is never replaced would do. Not inlined, so that
    /// the same code runs in [`Lcore::round`] and where a benchmark leaves the rest of that out.
    #[inline(never)]
    pub(crate) fn poll(&mut self, now: u64) -> usize {
        let mut met = 0;
        for tenure in &self.tenures {
            if let (true, Some(run)) = (tenure.owned, tenure.run) {
                met += self.runs[run].poll(now);
                self.runs[run].tick(now);
            }
        }
        met
    }

    /// One load of each request word; true when all our shards are asked for, or the first has waited long.
    /// The first sight of a request wakes the next lcore and goes on polling: it wakes, warms and
    /// waits in line while packets still flow.
    #[inline]
    fn ready_to_hand_over(&mut self, now: u64) -> bool {
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
    fn is_expected(&mut self) -> bool {
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
    fn hand_over(&mut self) {
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

    /// Sleeps until an owner word changes, the owner of a lent shard dies, or [`ASLEEP`] is over.
    fn sleep(&mut self) {
        let mut words = Vec::with_capacity(2 * self.tenures.len());
        for tenure in &self.tenures {
            let word = OwnerWord::unpack(self.ledger.owner(tenure.shard).load(Ordering::Acquire));
            if word.lcore == Some(self.slot) {
                return;
            }
            words.push((self.ledger.owner_epoch(tenure.shard), word.epoch));
        }
        let lent: Vec<usize> = (0..self.tenures.len())
            .filter(|&at| self.tenures[at].lent)
            .collect();
        for at in lent {
            let shard = self.tenures[at].shard;
            let seen = self.ledger.owner_word(shard);
            let Some(slot) = seen.lcore else { continue };
            let Ok(word) = self.lifelines.word(slot) else {
                continue;
            };
            let alive = word.load(Ordering::Acquire);
            match self.lifelines.status(slot) {
                // It died between the two looks, or before: the owner word was read first.
                Status::Dead => self.take_back(at, seen),
                Status::Alive if words.len() < MAX_WAITS => words.push((word, alive)),
                Status::Alive | Status::Never => {}
            }
        }
        if lifeline::wait(&words, ASLEEP).is_err() {
            std::thread::sleep(ASLEEP / 10);
        }
    }

    /// This lcore lives: stored before it owns anything, so that no owner's heartbeat is an old one.
    #[inline]
    fn beat(&self, now: u64) {
        let word = self.ledger.heartbeat(self.slot);
        word.store(now, Ordering::Relaxed);
    }

    /// The owner of a shard we lent is dead: takes it, if nobody else has.
    fn take_back(&mut self, at: usize, seen: OwnerWord) {
        let shard = self.tenures[at].shard;
        self.beat(sys::clock_boottime_ns());
        ownership::take_from_dead(self.ledger.owner(shard), seen, self.slot, self.generation);
    }

    /// The end of the thread: shards still ours are given up, so that nobody waits for us.
    fn give_up(&mut self) {
        for tenure in self.tenures.iter().filter(|tenure| tenure.owned) {
            if let Some(run) = tenure.run {
                self.runs[run].release();
            }
            let seen = self.ledger.owner_word(tenure.shard);
            ownership::release(self.ledger.owner(tenure.shard), seen);
        }
    }

    /// Lists every buffer while nobody moves any; nobody waits for the control thread.
    fn stand_still(&self, together: &Rendezvous, leads: bool) -> Inventory {
        let mut inventory = Inventory::default();
        if !together.arrive() {
            return inventory;
        }
        self.runs
            .iter()
            .for_each(|run| run.inventory(&mut inventory));
        if let (true, Some(run)) = (leads, self.runs.first()) {
            run.pool_inventory(&mut inventory);
        }
        inventory.exact = together.leave();
        inventory
    }

    fn answer(&mut self) {
        for ask in self.mailbox.take() {
            match ask {
                Ask::Ports(answer) => {
                    let stats = self.runs.iter().flat_map(Run::port_stats).collect();
                    let _ = answer.send(stats);
                }
                Ask::Export { older, answer } => {
                    self.runs
                        .iter_mut()
                        .for_each(|run| run.shard.export(&older));
                    let _ = answer.send(());
                }
                Ask::Audit {
                    together,
                    leads,
                    answer,
                } => {
                    let _ = answer.send(self.stand_still(&together, leads));
                }
            }
        }
    }
}

/// Wakes whoever sleeps on an owner word; one that is missed looks by itself after [`ASLEEP`].
fn wake(word: &baton_shared_state::sync::AtomicU32, count: u32) {
    let _ = sys::futex_wake(word, count);
}
