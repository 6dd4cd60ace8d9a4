//! What a party does with a ring: puts and takes, by bursts or all at once.
//!
//! The common case, nobody in front in mode MT or HTS, is inlined into its caller. What it needs follows from one
//! address and a word, so that who has the party in a local variable has all of it in registers.

use super::side::{Hand, Held};
use super::start::Start;
use super::words::MOST;
use super::{Mode, RingOf, Stalled};
use crate::ring::element::Element;

/// A party of a ring, a shard's number: what puts and takes. One thread at a time (I3).
#[derive(Clone, Copy)]
pub struct Party<E: Element = u32> {
    start: Start<E>,
    capacity: u32,
    modes: [Mode; 2],
    me: u8,
}

// In two registers, as it is passed.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Party>() == 16);

impl<E: Element> Party<E> {
    pub(super) fn new(ring: RingOf<E>, me: usize) -> Party<E> {
        let parties = ring.start.lines().len();
        assert!(me < parties, "party {me} of {parties}");
        Party {
            start: ring.start,
            capacity: ring.capacity,
            modes: ring.modes,
            me: me as u8,
        }
    }

    #[inline(always)]
    pub(super) fn producer(&self) -> Hand {
        let ring = self.ring();
        let lead = [ring.capacity(); 2];
        Hand::new(ring.producers(), ring.consumers(), self.me.into(), lead)
    }

    #[inline(always)]
    pub(super) fn consumer(&self) -> Hand {
        let ring = self.ring();
        let lead = [ring.capacity(), 0];
        Hand::new(ring.consumers(), ring.producers(), self.me.into(), lead)
    }

    /// The ring.
    #[inline]
    pub fn ring(&self) -> RingOf<E> {
        RingOf {
            start: self.start,
            capacity: self.capacity,
            modes: self.modes,
        }
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
            let Ok(Some(held)) = self.reserve_elements::<false>(most, give_up) else {
                return 0;
            };
            let found = self.ring().each(held, &mut claim);
            let finished = self.consumer().finish(held, give_up);
            if found > 0 || finished.is_err() {
                return found;
            }
        }
    }

    /// Reserves as a producer and goes no further, as if it died there.
    #[cfg(all(test, loom))]
    pub(in crate::ring) fn reserve_and_stop(&self, n: usize) {
        let plan = |_, room: usize| room.min(n);
        // In mode HTS another may hold it: then it dies before.
        let _ = self.producer().reserve(n, plan, &mut || true);
    }

    #[inline(always)]
    fn put<const ALL: bool>(
        &self,
        from: &[E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        debug_assert!(!from.contains(&E::NONE), "NONE is not an element");
        let producer = self.producer();
        let Some(held) = producer.reserve_alone(from.len(), |_| true) else {
            return self.put_among_others::<ALL>(from, give_up);
        };
        self.ring().slots().put(held.start, from);
        producer.side.advance_alone(held);
        Ok(from.len())
    }

    /// [`Party::put`] in any mode. Apart, and by value, so that what is done there costs the caller no register and
    /// does not keep the party in memory.
    #[cold]
    #[inline(never)]
    fn put_among_others<const ALL: bool>(
        self,
        from: &[E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        let (want, producer) = (from.len(), self.producer());
        let plan = |_, room| whole::<ALL>(want, room);
        let Some(held) = producer.reserve(want, plan, give_up)? else {
            return Ok(0);
        };
        self.ring().slots().put(held.start, &from[..held.n]);
        producer.finish(held, give_up)?;
        Ok(held.n)
    }

    #[inline(always)]
    fn take<const ALL: bool>(
        &self,
        to: &mut [E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        let (consumer, ring) = (self.consumer(), self.ring());
        let Some(held) = consumer.reserve_alone(to.len(), |start| !ring.hole_ahead(start)) else {
            return self.take_among_others::<ALL>(to, give_up);
        };
        ring.slots().get(held.start, to);
        consumer.side.advance_alone(held);
        Ok(to.len())
    }

    /// [`Party::take`] as [`Party::put_among_others`].
    #[cold]
    #[inline(never)]
    fn take_among_others<const ALL: bool>(
        self,
        to: &mut [E],
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<usize, Stalled> {
        loop {
            let Some(held) = self.reserve_elements::<ALL>(to.len(), give_up)? else {
                return Ok(0);
            };
            if !self.ring().hole_ahead(held.start) {
                self.ring().slots().get(held.start, &mut to[..held.n]);
                self.consumer().finish(held, give_up)?;
                return Ok(held.n);
            }
            let found = self.ring().each(held, |i, element| to[i] = element);
            self.consumer().finish(held, give_up)?;
            if found > 0 {
                return Ok(found);
            }
            // Nothing but a hole: there may be something behind it.
        }
    }

    /// Reserves up to `want` positions (`ALL`: those that hold so many elements, or none).
    #[inline(always)]
    fn reserve_elements<const ALL: bool>(
        &self,
        want: usize,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<Option<Held>, Stalled> {
        let (ring, consumer) = (self.ring(), self.consumer());
        if !ALL {
            let plan = |_, have| whole::<false>(want, have);
            return consumer.reserve(want, plan, give_up);
        }
        if want == 0 {
            return Ok(None);
        }
        // Among holes it takes more positions than elements.
        let near = ring.hole_ahead(consumer.side.load_head().position());
        let ask = if near { ring.capacity() } else { want };
        let plan = |start, have| {
            if ring.hole_ahead(start) {
                return ring.span(start, have, want);
            }
            whole::<true>(want, have)
        };
        consumer.reserve(ask, plan, give_up)
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

impl<E: Element> core::fmt::Debug for Party<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "party {} of {:?}", self.me, self.ring())
    }
}
