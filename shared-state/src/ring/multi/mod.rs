//! A ring with any number of producers and consumers, as fast as `rte_ring` and in its modes,
//! that can be repaired after a death at any store.
//!
//! Layout
//! ```text
//!    0 magic, capacity, modes u32 each     16 end of the last hole u64
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

mod hts;
mod mt;
mod peek;
mod repair;
mod rts;
mod side;
mod words;

use thiserror::Error;

use super::element::Element;
use super::slots::Slots;
use crate::sync::{AtomicU64, Ordering};
pub use peek::Hold;
use side::{HTS, Hand, Held, MT, RTS};
pub(super) use side::{LINE_WORDS, Side};
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
    pub(super) producers: Side,
    pub(super) consumers: Side,
    /// The end of the last hole that a repair left: no consumer looks for one after that.
    pub(super) holes: &'static AtomicU64,
    pub(super) slots: Slots<E>,
}

/// A party of a ring, a shard's number: what puts and takes. One thread at a time (I3).
#[derive(Clone, Copy)]
pub struct Party<E: Element = u32> {
    ring: RingOf<E>,
    producer: Hand,
    consumer: Hand,
}

impl<E: Element> RingOf<E> {
    /// The ring as a party uses it.
    ///
    /// # Panics
    /// When there is no such party; there are 64.
    pub fn party(self, party: usize) -> Party<E> {
        let (ring, capacity) = (self, self.capacity());
        let (ours, theirs) = (ring.producers, ring.consumers);
        assert!(
            party < ours.parties(),
            "party {party} of {}",
            ours.parties()
        );
        Party {
            ring,
            producer: Hand::new(ours, theirs, party, capacity, capacity),
            consumer: Hand::new(theirs, ours, party, capacity, 0),
        }
    }

    /// How producers keep out of each other's way.
    pub fn producer_mode(self) -> Mode {
        self.producers.mode
    }

    /// How consumers keep out of each other's way.
    pub fn consumer_mode(self) -> Mode {
        self.consumers.mode
    }

    /// Elements, and holes of dead producers, that can be taken; a snapshot while others move.
    pub fn len(self) -> usize {
        let head = self.consumers.load_head().position();
        let used = ahead(self.producers.load_tail().position(), head);
        (used as usize).min(self.capacity())
    }

    /// Whether there is nothing to take.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Elements that can be put now; a snapshot while others move.
    pub fn free(self) -> usize {
        let tail = self.consumers.load_tail().position();
        let used = ahead(self.producers.load_head().position(), tail);
        self.capacity().saturating_sub(used as usize)
    }

    /// Most elements it can hold.
    pub fn capacity(self) -> usize {
        self.slots.capacity()
    }

    /// Whether a consumer at `start` may come upon a hole. What it says of one is stored before the
    /// tail that publishes it.
    #[inline]
    fn hole_ahead(&self, start: u64) -> bool {
        let end = self.holes.load(Ordering::Acquire);
        ahead(end, start).wrapping_sub(1) < self.slots.capacity() as u64
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
        E::load(self.slots.at(position))
    }
}

impl<E: Element> Party<E> {
    /// The ring.
    pub fn ring(&self) -> RingOf<E> {
        self.ring
    }

    /// Puts as many elements as fit, from the front of `from`; returns how many.
    ///
    /// # Panics
    /// In debug builds, when an element is [`Element::NONE`].
    #[inline]
    pub fn enqueue_burst(&self, from: &[E]) -> usize {
        self.put::<false>(from, &mut || false).unwrap_or(0)
    }

    /// Puts all elements or, if they do not all fit, none; whether it did.
    ///
    /// # Panics
    /// As [`Party::enqueue_burst`].
    #[inline]
    pub fn enqueue_bulk(&self, from: &[E]) -> bool {
        self.put::<true>(from, &mut || false) == Ok(from.len())
    }

    /// As [`Party::enqueue_burst`]. Where it has to wait for another party, it asks `give_up`
    /// after each longer while, which may repair that one, or say that it waits no more.
    #[inline]
    pub fn enqueue_unless(
        &self,
        from: &[E],
        mut give_up: impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        self.put::<false>(from, &mut give_up)
    }

    /// Takes as many elements as there are and `to` can hold, oldest first; returns how many.
    /// Where it comes upon a hole it may stop behind it, though there is more.
    #[inline]
    pub fn dequeue_burst(&self, to: &mut [E]) -> usize {
        self.take::<false>(to, &mut || false).unwrap_or(0)
    }

    /// Fills `to` or, if there are not so many elements, takes none; whether it did.
    #[inline]
    pub fn dequeue_bulk(&self, to: &mut [E]) -> bool {
        self.take::<true>(to, &mut || false) == Ok(to.len())
    }

    /// As [`Party::dequeue_burst`], and waits as [`Party::enqueue_unless`].
    #[inline]
    pub fn dequeue_unless(
        &self,
        to: &mut [E],
        mut give_up: impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        self.take::<false>(to, &mut give_up)
    }

    /// Takes up to `most` elements and shows each to `claim` before it counts as taken, so that
    /// a death leaves it to a repair of this ring, to what `claim` has stored, or to both. At a hole
    /// as [`Party::dequeue_burst`].
    pub fn dequeue_with(&self, most: usize, mut claim: impl FnMut(usize, E)) -> usize {
        let give_up = &mut || false;
        loop {
            let reserved = match self.consumer.side.mode {
                Mode::Mt => self.reserve_elements::<false, MT>(most, give_up),
                Mode::Rts => self.reserve_elements::<false, RTS>(most, give_up),
                Mode::Hts => self.reserve_elements::<false, HTS>(most, give_up),
            };
            let Ok(Some(held)) = reserved else {
                return 0;
            };
            let found = self.ring.each(held, &mut claim);
            let finished = self.consumer.finish(held, give_up);
            if found > 0 || finished.is_err() {
                return found;
            }
        }
    }

    /// Reserves as a producer and goes no further, as if it died there.
    #[cfg(all(test, loom))]
    pub(super) fn reserve_and_stop(&self, n: usize) {
        let plan = |_, room: usize| room.min(n);
        // In mode HTS another may hold it: then it dies before.
        let _ = self.producer.reserve(n, plan, &mut || true);
    }

    #[inline(always)]
    fn put<const ALL: bool>(
        &self,
        from: &[E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        debug_assert!(!from.contains(&E::NONE), "NONE is not an element");
        match self.producer.side.mode {
            Mode::Mt => {
                let Some(held) = self.producer.mt_alone(from.len(), |_| true) else {
                    return self.put_apart::<ALL, MT>(from, give_up);
                };
                self.ring.slots.put(held.start, from);
                self.producer.side.mt_advance(held);
                Ok(from.len())
            }
            Mode::Rts => self.put_apart::<ALL, RTS>(from, give_up),
            Mode::Hts => self.put_as::<ALL, HTS>(from, give_up),
        }
    }

    /// [`Party::put_as`], apart so that what is done there costs the caller no register.
    #[inline(never)]
    fn put_apart<const ALL: bool, const MODE: u8>(
        &self,
        from: &[E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        self.put_as::<ALL, MODE>(from, give_up)
    }

    /// [`Party::put`] where the side is in a mode.
    #[inline(always)]
    fn put_as<const ALL: bool, const MODE: u8>(
        &self,
        from: &[E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        let want = from.len();
        let plan = |_, room| whole::<ALL>(want, room);
        let Some(held) = self.producer.reserve_as::<MODE>(want, plan, give_up)? else {
            return Ok(0);
        };
        self.ring.slots.put(held.start, &from[..held.n]);
        self.producer.finish_as::<MODE>(held, give_up)?;
        Ok(held.n)
    }

    #[inline(always)]
    fn take<const ALL: bool>(
        &self,
        to: &mut [E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        match self.consumer.side.mode {
            Mode::Mt => {
                let whole = |start| !self.ring.hole_ahead(start);
                let Some(held) = self.consumer.mt_alone(to.len(), whole) else {
                    return self.take_apart::<ALL, MT>(to, give_up);
                };
                self.ring.slots.get(held.start, to);
                self.consumer.side.mt_advance(held);
                Ok(to.len())
            }
            Mode::Rts => self.take_apart::<ALL, RTS>(to, give_up),
            Mode::Hts => self.take_as::<ALL, HTS>(to, give_up),
        }
    }

    /// [`Party::take_as`], apart so that what is done there costs the caller no register.
    #[inline(never)]
    fn take_apart<const ALL: bool, const MODE: u8>(
        &self,
        to: &mut [E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        self.take_as::<ALL, MODE>(to, give_up)
    }

    /// [`Party::take`] where the side is in a mode.
    #[inline(always)]
    fn take_as<const ALL: bool, const MODE: u8>(
        &self,
        to: &mut [E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        loop {
            let Some(held) = self.reserve_elements::<ALL, MODE>(to.len(), give_up)? else {
                return Ok(0);
            };
            if !self.ring.hole_ahead(held.start) {
                self.ring.slots.get(held.start, &mut to[..held.n]);
                self.consumer.finish_as::<MODE>(held, give_up)?;
                return Ok(held.n);
            }
            let found = self.ring.each(held, |i, element| to[i] = element);
            self.consumer.finish_as::<MODE>(held, give_up)?;
            if found > 0 {
                return Ok(found);
            }
            // Nothing but a hole: there may be something behind it.
        }
    }

    /// Reserves up to `want` positions (`ALL`: those that hold so many elements, or none).
    #[inline(always)]
    fn reserve_elements<const ALL: bool, const MODE: u8>(
        &self,
        want: usize,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<Option<Held>, Stalled> {
        let ring = &self.ring;
        if !ALL {
            let plan = |_, have| whole::<false>(want, have);
            return self.consumer.reserve_as::<MODE>(want, plan, give_up);
        }
        if want == 0 {
            return Ok(None);
        }
        // Among holes it takes more positions than elements.
        let near = ring.hole_ahead(ring.consumers.load_head().position());
        let ask = if near { ring.capacity() } else { want };
        let plan = |start, have| {
            if ring.hole_ahead(start) {
                return ring.span(start, have, want);
            }
            whole::<true>(want, have)
        };
        self.consumer.reserve_as::<MODE>(ask, plan, give_up)
    }
}

/// How many of `want` to move where `have` can be: all or none, or as many as go.
#[inline(always)]
fn whole<const ALL: bool>(want: usize, have: usize) -> usize {
    if ALL {
        return if want <= have.min(MOST) { want } else { 0 };
    }
    want.min(have).min(MOST)
}

impl<E: Element> core::fmt::Debug for RingOf<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (producers, consumers) = (self.producer_mode(), self.consumer_mode());
        let (len, capacity) = (self.len(), self.capacity());
        write!(f, "Ring({producers:?}/{consumers:?}, {len} of {capacity})")
    }
}

impl<E: Element> core::fmt::Debug for Party<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "party {} of {:?}", self.producer.me, self.ring)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
