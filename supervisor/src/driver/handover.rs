//! How shards change hands, by the words of the ledger alone: ask, withdraw, watch, take from the
//! dead. A step is all shards of one lcore; the control shard goes with lcore 0.

use std::time::{Duration, Instant};

use baton_shared_state::ledger::{
    self, AskError, Ledger, Lost, RequestState, RequestWord, lcore_slot, tenant_of,
};
use baton_shared_state::lifeline::{Lifelines, Status};
use baton_shared_state::sync::Ordering;
use baton_shared_state::{CONTROL_SHARD, LCORES_PER_TENANT, sys};

use crate::receipt::ShardRecord;

/// How long after a change of owner its first poll is waited for, so that the receipt can name it.
const FIRST_POLL: Duration = Duration::from_millis(200);

/// How an instance's shards lie on its lcores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) shards: u16,
    pub(super) lcores: u16,
}

/// One who may own: a tenant slot and its generation set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) slot: u16,
    pub(super) generation: u16,
}

/// What a shard's change of hands took, and its ring at the takeover: used entries, all entries.
pub(super) type Arrival = (ShardRecord, Option<(u32, u32)>);

/// A step that was asked for and is watched.
#[derive(Debug)]
pub(super) struct Handover {
    step: u16,
    to: Owner,
    direction: &'static str,
    asked: Vec<(usize, RequestWord)>,
    arrived: Option<Instant>,
}

impl Layout {
    /// All owner words in use.
    pub(super) fn all(self) -> impl Iterator<Item = usize> {
        (0..usize::from(self.shards)).chain([CONTROL_SHARD])
    }

    /// The shards of a step.
    pub(super) fn of_step(self, step: u16) -> impl Iterator<Item = usize> {
        self.all()
            .filter(move |shard| self.lcore_of(*shard) == step)
    }

    /// The lcore that runs a shard, in every tenant.
    pub(super) fn lcore_of(self, shard: usize) -> u16 {
        if shard == CONTROL_SHARD {
            return 0;
        }
        u16::try_from(shard).unwrap_or(0) % self.lcores.max(1)
    }

    /// Whether the shards lie on the lcores as this layout says.
    pub(super) fn fits(self, ledger: &Ledger) -> bool {
        self.all().all(|shard| {
            let lcore = ledger.owner_word(shard).lcore;
            lcore.is_some_and(|slot| slot % LCORES_PER_TENANT as u16 == self.lcore_of(shard))
        })
    }

    fn slot(self, owner: Owner, shard: usize) -> u16 {
        lcore_slot(owner.slot, usize::from(self.lcore_of(shard)))
    }

    /// Gives every shard of a fresh instance its first owner.
    pub(super) fn claim(self, ledger: &Ledger, owner: Owner) -> Result<(), Lost> {
        self.all().try_for_each(|shard| {
            ledger
                .claim_first(shard, self.slot(owner, shard), owner.generation)
                .map(|_| ())
        })
    }

    /// Whether a tenant owns every shard and has promised none of them to anybody.
    pub(super) fn all_with(self, ledger: &Ledger, slot: u16) -> bool {
        self.all()
            .all(|shard| is_with(ledger, shard, slot) && !is_promised(ledger, shard))
    }

    /// Gives `heir` each shard whose owner's lifeline reads dead; how many.
    pub(super) fn take_from_dead(
        self,
        lifelines: &Lifelines,
        ledger: &Ledger,
        heir: Owner,
    ) -> usize {
        let mut taken = 0;
        for shard in self.all() {
            let seen = ledger.owner_word(shard);
            let Some(lcore) = seen.lcore else { continue };
            if tenant_of(lcore) == heir.slot || lifelines.status(lcore) != Status::Dead {
                continue;
            }
            ledger.swap(shard).clear();
            if ledger::take_from_dead(
                ledger.owner(shard),
                seen,
                self.slot(heir, shard),
                heir.generation,
            ) {
                let _ = sys::futex_wake(ledger.owner_epoch(shard), u32::MAX);
                taken += 1;
            }
        }
        taken
    }

    /// Takes back what is asked and nobody has accepted; how many shards that was. An accepted
    /// request completes, or its owner dies.
    pub(super) fn withdraw(self, ledger: &Ledger) -> usize {
        let asked = |shard: &usize| {
            let word = ledger.request_word(*shard);
            let current = word.epoch == ledger.owner_word(*shard).epoch;
            current
                && word.state == RequestState::Asked
                && ledger::withdraw(ledger.request(*shard), word)
        };
        self.all().filter(asked).count()
    }

    /// Asks the owners of a step's shards to hand them to `to`.
    pub(super) fn ask(
        self,
        ledger: &Ledger,
        step: u16,
        to: Owner,
        direction: &'static str,
    ) -> (Handover, Vec<(usize, AskError)>) {
        let mut handover = Handover {
            step,
            to,
            direction,
            asked: Vec::new(),
            arrived: None,
        };
        let refused = handover.ask_missing(self, ledger);
        (handover, refused)
    }
}

impl Handover {
    /// Which step it is.
    pub(super) fn step(&self) -> u16 {
        self.step
    }

    /// Asks for every shard that is not there and not asked for yet. An owner that accepted an
    /// earlier request completes that first; what it gave away is then asked for from the next.
    fn ask_missing(&mut self, layout: Layout, ledger: &Ledger) -> Vec<(usize, AskError)> {
        let mut refused = Vec::new();
        for shard in layout.of_step(self.step) {
            if is_with(ledger, shard, self.to.slot) || is_asked(ledger, shard) {
                continue;
            }
            ledger.swap(shard).clear();
            let (owner, request) = (ledger.owner(shard), ledger.request(shard));
            match ledger::ask(
                owner,
                request,
                layout.slot(self.to, shard),
                self.to.generation,
            ) {
                Ok(word) => {
                    self.asked.retain(|(known, _)| *known != shard);
                    self.asked.push((shard, word));
                }
                Err(error) => refused.push((shard, error)),
            }
        }
        refused
    }

    /// Once all of its shards have arrived: what each change took, with the ring's state at the
    /// takeover. `None` while something is still missing.
    pub(super) fn arrived(&mut self, layout: Layout, ledger: &Ledger) -> Option<Vec<Arrival>> {
        let there = |shard| is_with(ledger, shard, self.to.slot) && !is_promised(ledger, shard);
        if !layout.of_step(self.step).all(there) {
            // An owner that died meanwhile is the machine's business.
            self.ask_missing(layout, ledger);
            return None;
        }
        let since = *self.arrived.get_or_insert_with(Instant::now);
        let polled = |shard: usize| ledger.swap(shard).first_poll_ns().load(Ordering::Acquire) != 0;
        let measured = self.asked.iter().all(|(shard, _)| polled(*shard));
        if !measured && since.elapsed() < FIRST_POLL {
            return None;
        }
        Some(
            self.asked
                .iter()
                .map(|(shard, word)| self.record(ledger, *shard, word))
                .collect(),
        )
    }

    fn record(&self, ledger: &Ledger, shard: usize, asked: &RequestWord) -> Arrival {
        let swap = ledger.swap(shard).read();
        let owner = ledger.owner_word(shard);
        let measured = swap.stopped_ns != 0 && swap.first_poll_ns >= swap.stopped_ns;
        let lcore = owner
            .lcore
            .map_or(0, |slot| slot % LCORES_PER_TENANT as u16);
        let small = |word: u64| u32::try_from(word).ok();
        let ring = small(swap.ring_used)
            .zip(small(swap.ring_entries))
            .filter(|(_, entries)| *entries > 0);
        let record = ShardRecord {
            shard: u16::try_from(shard).unwrap_or(u16::MAX),
            direction: self.direction.to_owned(),
            canary: false,
            lcore,
            // The control shard has no queue, hence no gap.
            gap_ns: (measured && shard != CONTROL_SHARD)
                .then(|| swap.first_poll_ns - swap.stopped_ns),
            epoch_before: asked.epoch,
            epoch_after: owner.epoch,
            records_in_last_delta: (swap.first_poll_ns != 0).then_some(swap.delta_records),
            queues: Vec::new(),
        };
        (record, ring)
    }
}

/// Whether the owner has accepted a request: it will hand the shard over, or die.
fn is_promised(ledger: &Ledger, shard: usize) -> bool {
    current_request(ledger, shard) == RequestState::Accepted
}

fn is_asked(ledger: &Ledger, shard: usize) -> bool {
    current_request(ledger, shard) != RequestState::None
}

fn current_request(ledger: &Ledger, shard: usize) -> RequestState {
    let request = ledger.request_word(shard);
    if request.epoch == ledger.owner_word(shard).epoch {
        request.state
    } else {
        RequestState::None
    }
}

fn is_with(ledger: &Ledger, shard: usize, slot: u16) -> bool {
    ledger
        .owner_word(shard)
        .lcore
        .is_some_and(|lcore| tenant_of(lcore) == slot)
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
