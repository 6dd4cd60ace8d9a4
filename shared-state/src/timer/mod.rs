//! A hierarchical timer wheel by id, for rows that end when they were silent for too long.
//!
//! Arming again is lazy: a packet stores last-seen, which the hot words do anyway, and does not
//! come here. When the slot of a row is due the row is looked at: if it was seen since, it is
//! queued anew for its real deadline, else it ends. So a row costs one look per timeout, not one
//! update per packet.
//!
//! Layout (private memory, all of it taken by [`Wheel::new`])
//! ```text
//! level   0: 256 slots of 1 tick    1..=4: 64 slots of 2^8, 2^14, 2^20, 2^26 ticks
//! slot    -> newest chunk; chunk = [next, slot, 14 ids], one cache line, only the newest not full
//! place   id -> chunk * 16 + position, 0 = not queued      (4 bytes an id, and 4.6 in the chunks)
//! ```
//! A tick is whatever the caller counts. A slot of a higher level is due when its first tick is:
//! its rows are looked at early and queued anew, to the tick. There is no cascade beside that.
//!
//! Invariants: W1 an id is in the wheel once or not at all; W2 no memory is taken after `new`:
//! `ids / 14` chunks and one for each slot always suffice; W3 a row is never lost, and never
//! looked at later than its deadline, or the tick after it was queued, unless work was limited; W4 one call of
//! [`Wheel::advance`] makes no more looks than it was told: the rest of a burst waits, in order of
//! ticks, for the next calls.
//!
//! Why private and not in a zone: what the wheel says follows from last-seen, which is shared, and
//! from the timeouts of the config. After a change of hands or a death the next owner scans its
//! rows anyway, for the free ids, and [`Wheel::insert`]s each live one: some nanoseconds an id.
//! Were the wheel shared, every link would need an order of stores and a repair, a new version with
//! other timeouts would have to rebuild it all the same, and no other process would learn anything
//! from it that last-seen does not say.
//!
//! Failure: nothing of this is seen by another process, nothing survives, nothing is repaired.

mod chunks;

use chunks::{Chunks, IDS_PER_CHUNK};

const FINE_BITS: u32 = 8;
const COARSE_BITS: u32 = 6;
const FINE_SLOTS: u64 = 1 << FINE_BITS;
/// As many as bits of a word of [`Chunks::used`].
const COARSE_SLOTS: u64 = 1 << COARSE_BITS;
const COARSE_LEVELS: u32 = 4;
const SLOTS: usize = (FINE_SLOTS + COARSE_LEVELS as u64 * COARSE_SLOTS) as usize;
/// Ticks that the wheel spans; what is due later waits in the last slot and is looked at then.
const SPAN: u64 = 1 << (FINE_BITS + COARSE_LEVELS * COARSE_BITS);

/// What a look at a row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The row is due at this tick (the next one, if it is past): look again then.
    At(u64),
    /// The row is gone or to end: the wheel forgets it.
    Expired,
}

/// What is asked of the rows of a wheel.
pub trait Rows {
    /// When a row is due. It may end the row, but not touch the wheel.
    fn look(&mut self, id: u32) -> Next;

    /// A look at this row follows soon.
    fn prefetch(&mut self, _id: u32) {}
}

impl<F: FnMut(u32) -> Next> Rows for F {
    #[inline]
    fn look(&mut self, id: u32) -> Next {
        self(id)
    }
}

/// What a call of [`Wheel::advance`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Advanced {
    /// Rows looked at.
    pub looked: u32,
    /// Rows forgotten.
    pub expired: u32,
}

/// A timer wheel; see the module.
#[derive(Debug)]
pub struct Wheel {
    /// The first tick that is not finished.
    at: u64,
    /// The coarse slots that are due at `at` are empty.
    coarse_done: bool,
    chunks: Chunks<SLOTS>,
}

impl Wheel {
    /// An empty wheel for ids below `ids`, whose first tick is `now`.
    pub fn new(ids: u32, now: u64) -> Wheel {
        Wheel {
            at: now,
            coarse_done: false,
            chunks: Chunks::new(ids),
        }
    }

    /// Ids that can be queued are below this.
    pub fn ids(&self) -> u32 {
        self.chunks.ids()
    }

    /// Ids that are queued.
    pub fn len(&self) -> u32 {
        self.chunks.len()
    }

    /// Whether no id is queued.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an id is queued.
    ///
    /// # Panics
    /// When there is no such id.
    pub fn contains(&self, id: u32) -> bool {
        self.chunks.slot_of(id).is_some()
    }

    /// The first tick that is not finished: `now + 1` when nothing waits.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Bytes that the wheel takes.
    pub fn bytes(&self) -> usize {
        self.chunks.bytes()
    }

    /// Queues an id for a look at tick `deadline`, the next one if it is past. An id that is
    /// queued for an earlier tick stays there: the look finds the later deadline.
    ///
    /// # Panics
    /// When there is no such id.
    #[inline]
    pub fn insert(&mut self, id: u32, deadline: u64) {
        match self.chunks.slot_of(id) {
            None => self.push(id, deadline),
            Some(slot) if self.due(slot) <= deadline => {}
            Some(_) => self.rearm(id, deadline),
        }
    }

    /// Moves an id to tick `deadline` at once, whether it was queued or not.
    ///
    /// # Panics
    /// When there is no such id.
    #[inline]
    pub fn rearm(&mut self, id: u32, deadline: u64) {
        let slot = self.slot_for(deadline);
        if self.chunks.slot_of(id) != Some(slot) {
            self.chunks.remove(id);
            self.chunks.push(slot, id);
        }
    }

    /// Takes an id out; returns whether it was queued. Whoever leaves it in answers a look at a
    /// row that is gone by [`Next::Expired`], which costs less than this.
    ///
    /// # Panics
    /// When there is no such id.
    #[inline]
    pub fn remove(&mut self, id: u32) -> bool {
        self.chunks.remove(id)
    }

    /// Brings what [`Wheel::rearm`] and [`Wheel::remove`] read first into the processor's cache.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        self.chunks.prefetch(id);
    }

    /// Forgets all ids and begins again at tick `now`.
    pub fn clear(&mut self, now: u64) {
        self.chunks.clear();
        self.at = now;
        self.coarse_done = false;
    }

    /// Looks at what is due until tick `now`, in order of ticks, at `limit` rows at most.
    pub fn advance(&mut self, now: u64, limit: u32, rows: &mut impl Rows) -> Advanced {
        let mut done = Advanced::default();
        while self.at <= now {
            if self.is_empty() {
                self.go_to(now + 1);
                break;
            }
            if !self.coarse_done && !self.drain_coarse(limit, rows, &mut done) {
                break;
            }
            self.coarse_done = true;
            let slot = (self.at % FINE_SLOTS) as usize;
            if !self.drain(slot, limit, rows, &mut done) {
                break;
            }
            self.go_to(self.next_tick().min(now + 1));
        }
        done
    }

    fn go_to(&mut self, tick: u64) {
        self.at = tick;
        self.coarse_done = !tick.is_multiple_of(FINE_SLOTS);
    }

    /// The next tick with something to do.
    fn next_tick(&self) -> u64 {
        const WORDS: usize = (FINE_SLOTS / 64) as usize;
        let used = self.chunks.used();
        let block = self.at - self.at % FINE_SLOTS;
        let after = self.at % FINE_SLOTS + 1;
        for (word, bits) in (0..).zip(&used[..WORDS]) {
            let first = after.saturating_sub(word * 64);
            let bits = bits & u64::MAX.checked_shl(first as u32).unwrap_or(0);
            if bits != 0 {
                return block + word * 64 + u64::from(bits.trailing_zeros());
            }
        }
        let fine_later = used[..WORDS].iter().any(|bits| *bits != 0);
        let mut next = if fine_later {
            block + FINE_SLOTS
        } else {
            u64::MAX
        };
        for (level, bits) in (1..).zip(&used[WORDS..]) {
            if *bits != 0 {
                let unit = (self.at >> shift_of(level)) + 1;
                let units = bits
                    .rotate_right((unit % COARSE_SLOTS) as u32)
                    .trailing_zeros();
                next = next.min((unit + u64::from(units)) << shift_of(level));
            }
        }
        next
    }

    /// Empties the slots of all coarse levels that are due at `at`; false if the limit is met.
    fn drain_coarse(&mut self, limit: u32, rows: &mut impl Rows, done: &mut Advanced) -> bool {
        for level in (1..=COARSE_LEVELS).rev() {
            let shift = shift_of(level);
            if self.at.is_multiple_of(1 << shift) {
                let slot = coarse_slot(level, self.at >> shift);
                if !self.drain(slot, limit, rows, done) {
                    return false;
                }
            }
        }
        true
    }

    /// Looks at all rows of a slot; false if the limit was met before.
    fn drain(
        &mut self,
        slot: usize,
        limit: u32,
        rows: &mut impl Rows,
        done: &mut Advanced,
    ) -> bool {
        let mut ids = [0; IDS_PER_CHUNK];
        loop {
            let most = (limit - done.looked).min(IDS_PER_CHUNK as u32) as usize;
            let ids = &mut ids[..most];
            let n = self.chunks.pop_burst(slot, ids, |id| rows.prefetch(id));
            if n == 0 {
                return self.chunks.is_slot_empty(slot);
            }
            done.looked += n as u32;
            for id in &ids[..n] {
                match rows.look(*id) {
                    Next::At(deadline) => self.push(*id, deadline.max(self.again())),
                    Next::Expired => done.expired += 1,
                }
            }
        }
    }

    /// The first tick for which a row that was just looked at may be queued.
    fn again(&self) -> u64 {
        self.at + u64::from(self.coarse_done)
    }

    #[inline]
    fn push(&mut self, id: u32, deadline: u64) {
        self.chunks.push(self.slot_for(deadline), id);
    }

    /// The slot that is due at `deadline`, or before.
    #[inline]
    fn slot_for(&self, deadline: u64) -> usize {
        let deadline = deadline.clamp(self.at, self.at + (SPAN - 1));
        let ahead = deadline - self.at;
        if ahead < FINE_SLOTS {
            return (deadline % FINE_SLOTS) as usize;
        }
        let level = (ahead.ilog2() - FINE_BITS) / COARSE_BITS + 1;
        coarse_slot(level, deadline >> shift_of(level))
    }

    /// The tick at which what is in a slot is looked at.
    #[inline]
    fn due(&self, slot: usize) -> u64 {
        let slot = slot as u64;
        if slot < FINE_SLOTS {
            return self.at + (slot.wrapping_sub(self.at) % FINE_SLOTS);
        }
        let coarse = slot - FINE_SLOTS;
        let shift = shift_of((coarse / COARSE_SLOTS) as u32 + 1);
        let unit = self.at.div_ceil(1 << shift);
        (unit + (coarse.wrapping_sub(unit) % COARSE_SLOTS)) << shift
    }
}

/// Bits of a tick below those that choose a slot of a coarse level.
const fn shift_of(level: u32) -> u32 {
    FINE_BITS + (level - 1) * COARSE_BITS
}

const fn coarse_slot(level: u32, unit: u64) -> usize {
    (FINE_SLOTS + (level as u64 - 1) * COARSE_SLOTS + unit % COARSE_SLOTS) as usize
}

#[cfg(test)]
mod tests;
