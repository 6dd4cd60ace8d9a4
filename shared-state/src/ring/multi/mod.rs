//! A ring with any number of producers and consumers, as fast as `rte_ring` and in its modes,
//! that can be repaired after a death at any store.
//!
//! Layout
//! ```text
//!    0 magic, capacity, modes u32 each     16 end of the last hole u64, 0 = none
//!  128 producers' head   256 producers' tail   384 consumers' head   512 consumers' tail
//!  640 64 lines of 64 bytes: note as producer, as consumer, last seen as producer, as consumer
//! 4736 capacity x element
//! ```
//! The words are of `words.rs`. A head stands where elements are reserved up to, a tail where they are done.
//!
//! Invariants
//! - I1 consumers' tail <= consumers' head <= producers' tail <= producers' head <= consumers'
//!   tail + capacity, in wrapping positions.
//! - I2 A position between head and tail of a side is its reserver's alone.
//! - I3 A party has at most one operation under way on each side; it is one thread at a time.
//!
//! Order: a party notes what it is about to reserve (MT: unless nobody is in front), reserves it by one compare-and-swap
//! of the head, copies, and moves the tail (Release), which the other side loads (Acquire). How
//! neighbours in the ring agree on the tail is the [`Mode`]'s, each in its own file.
//!
//! Failure: [`RingOf::repair`] finishes what a dead party has reserved. By its note and the heads it
//! is always known what that is. A dead producer's positions are filled with [`Element::NONE`],
//! which consumers pass over; a dead consumer's elements go to the repairer. One process repairs a
//! party at a time, as with everything else of a dead shard; others go on meanwhile.
//!
//! Damaged bytes: a head that cannot be is a ring from which nothing is taken and to which nothing is put;
//! a holder or predecessor that does not exist is waited for as for a dead one.
//!
//! Limits: positions of notes wrap after 2^36 elements. A death between the store of the tail and
//! that of the note, repaired after a multiple of 2^36 elements to within one capacity, would be
//! taken for one before both; a compare-and-swap that is held up for as long may hit as well.
//! A hole that ends where positions wrap (2^44) is said to end one further on; builds that knew no word for "none" say 0 there.

mod hts;
mod mt;
mod party;
mod peek;
mod repair;
mod rts;
mod side;
#[cfg_attr(loom, path = "start_loom.rs")]
mod start;
mod words;

use thiserror::Error;

use super::element::Element;
use super::slots::Slots;
use crate::sync::{AtomicU64, Ordering};
pub use party::Party;
pub use peek::Hold;
use side::{CONSUMERS, HOLES, Held, NO_HOLES, PRODUCERS, Side};
#[cfg(all(test, loom))]
pub(super) use start::Parts;
#[cfg(not(loom))]
pub(super) use start::SLOTS_AT;
pub(super) use start::Start;
use words::{MOST, ahead};

/// How the parties of one side keep out of each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// Who reserved first finishes first, and the next wait for it: `rte_ring`'s default. The
    /// fastest where every party has a core. (Number 1 was the same with a note for each reservation.)
    Mt = 4,
    /// Nobody waits; the last to finish publishes for all (`rte_ring_rts`).
    Rts = 2,
    /// One operation at a time (`rte_ring_hts`). A death leaves nothing to fill or to hand on.
    Hts = 3,
}

/// A wait for another party was given up.
///
/// What was reserved stays reserved: [`RingOf::repair`] of the own party, once the one in front is
/// repaired, ends it as for a dead one.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("another party of the ring does not finish")]
pub struct Stalled;

/// A ring of `u32` with many producers and consumers.
pub type Ring = RingOf<u32>;

/// A ring of many producers and consumers; copies name the same ring.
#[derive(Clone, Copy)]
pub struct RingOf<E: Element> {
    pub(super) start: Start<E>,
    pub(super) capacity: u32,
    /// How producers and consumers keep out of each other's way.
    pub(super) modes: [Mode; 2],
}

impl<E: Element> RingOf<E> {
    /// The ring as a party uses it.
    ///
    /// # Panics
    /// When there is no such party; there are 64.
    pub fn party(self, party: usize) -> Party<E> {
        Party::new(self, party)
    }

    #[inline(always)]
    fn producers(&self) -> Side {
        self.side(self.modes[0], PRODUCERS)
    }

    #[inline(always)]
    fn consumers(&self) -> Side {
        self.side(self.modes[1], CONSUMERS)
    }

    #[inline(always)]
    fn side(&self, mode: Mode, from: usize) -> Side {
        Side::new(self.start.words(), self.start.lines(), mode, from)
    }

    /// The end of the last hole that a repair left: no consumer looks for one after that.
    #[inline(always)]
    fn holes(&self) -> &'static AtomicU64 {
        &self.start.words()[HOLES]
    }

    #[inline(always)]
    fn slots(&self) -> Slots<E> {
        // SAFETY: the capacity is that with which the start was made.
        unsafe { self.start.slots(self.capacity()) }
    }

    /// How producers keep out of each other's way.
    pub fn producer_mode(self) -> Mode {
        self.modes[0]
    }

    /// How consumers keep out of each other's way.
    pub fn consumer_mode(self) -> Mode {
        self.modes[1]
    }

    /// Elements, and holes of dead producers, that can be taken; a snapshot while others move.
    pub fn len(self) -> usize {
        let head = self.consumers().load_head().position();
        let used = ahead(self.producers().load_tail().position(), head);
        (used as usize).min(self.capacity())
    }

    /// Whether there is nothing to take.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Elements that can be put now; a snapshot while others move.
    pub fn free(self) -> usize {
        let tail = self.consumers().load_tail().position();
        let used = ahead(self.producers().load_head().position(), tail);
        self.capacity().saturating_sub(used as usize)
    }

    /// Most elements it can hold.
    #[inline]
    pub fn capacity(self) -> usize {
        self.capacity as usize
    }

    /// Whether a consumer at `start` may come upon a hole. What it says of one is stored before the
    /// tail that publishes it.
    #[inline]
    fn hole_ahead(&self, start: u64) -> bool {
        let end = self.holes().load(Ordering::Acquire);
        end != NO_HOLES && ahead(end, start).wrapping_sub(1) < u64::from(self.capacity)
    }

    /// How many of the `have` positions from `start` hold `want` elements; 0 if they do not.
    #[cold]
    fn span(&self, start: u64, have: usize, want: usize) -> usize {
        let mut elements = (0..have.min(MOST)).filter(|i| self.element(start, *i) != E::NONE);
        elements.nth(want - 1).map_or(0, |last| last + 1)
    }

    /// Shows what a consumer holds, holes left out; how many there were.
    #[cold]
    fn each(&self, held: Held, mut visit: impl FnMut(usize, E)) -> usize {
        let elements = (0..held.n).map(|i| self.element(held.start, i));
        let mut found = 0;
        for element in elements.filter(|element| *element != E::NONE) {
            visit(found, element);
            found += 1;
        }
        found
    }

    #[inline]
    fn element(&self, start: u64, i: usize) -> E {
        let position = start.wrapping_add(i as u64);
        E::load(self.slots().at(position))
    }
}

impl<E: Element> core::fmt::Debug for RingOf<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (producers, consumers) = (self.producer_mode(), self.consumer_mode());
        let (len, capacity) = (self.len(), self.capacity());
        write!(f, "Ring({producers:?}/{consumers:?}, {len} of {capacity})")
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
