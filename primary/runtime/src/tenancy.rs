//! Who owns which shard, seen from one lcore: waiting for shards, polling them, handing them on.
//!
//! How shards come and go is in [`handing`].

mod handing;

use crate::config::Idle;
use crate::datapath::Datapath;
use crate::lcore::{Idler, Run};
use crate::mailbox::{Ask, Inventory, Mailbox, Rendezvous};
use baton_shared_state::arena::Arena;
use baton_shared_state::ledger::{Ledger, OwnerWord};
use baton_shared_state::lifeline::{self, Lifeline, Lifelines, MAX_WAITS, Status};
use baton_shared_state::ownership;
use baton_shared_state::sync::Ordering;
use baton_shared_state::{CONTROL_SHARD, sys};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

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
