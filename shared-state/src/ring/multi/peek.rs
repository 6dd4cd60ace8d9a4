//! Elements written and read where they lie, as `rte_ring_peek_zc`: start, look or fill, finish.
//!
//! Only a side in mode [`Mode::Hts`] can do this: there is one reservation at a time, so the rest of
//! it can be given back.
//!
//! Failure: as in any HTS operation. What is held counts as untouched until [`Hold::finish`], whoever dies.

use core::marker::PhantomData;

use super::side::{Hand, Held};
use super::words::MOST;
use super::{Mode, Party, Stalled};
use crate::ring::element::Element;
use crate::ring::slots::{Parts, Slots};

/// Positions that a party holds on one side; dropped unfinished it is as if it had not been.
pub struct Hold<'a, E: Element = u32> {
    hand: Hand,
    of: PhantomData<&'a Party<E>>,
    slots: Slots<E>,
    held: Held,
    finished: usize,
}

impl<E: Element> Party<E> {
    /// Holds up to `most` free positions, to be filled in place; `None` if there is none.
    ///
    /// `give_up` is asked as by [`Party::enqueue_unless`].
    ///
    /// # Panics
    /// When the producers' mode is not HTS.
    pub fn start_enqueue(
        &self,
        most: usize,
        give_up: impl FnMut() -> bool,
    ) -> Result<Option<Hold<'_, E>>, Stalled> {
        self.hold(self.producer(), most, give_up)
    }

    /// Holds up to `most` elements, to be looked at in place; `None` if there is none. Behind
    /// producers in another mode some may be [`Element::NONE`]: holes, to be passed over.
    ///
    /// # Panics
    /// When the consumers' mode is not HTS.
    pub fn start_dequeue(
        &self,
        most: usize,
        give_up: impl FnMut() -> bool,
    ) -> Result<Option<Hold<'_, E>>, Stalled> {
        self.hold(self.consumer(), most, give_up)
    }

    fn hold(
        &self,
        hand: Hand,
        most: usize,
        mut give_up: impl FnMut() -> bool,
    ) -> Result<Option<Hold<'_, E>>, Stalled> {
        let mode = hand.side.mode;
        assert!(
            mode == Mode::Hts,
            "a ring in mode {mode:?} cannot be peeked"
        );
        let plan = |_, available: usize| most.min(available).min(MOST);
        let held = hand.reserve(most, plan, &mut give_up)?;
        Ok(held.map(|held| Hold {
            hand,
            of: PhantomData,
            slots: self.ring().slots(),
            held,
            finished: 0,
        }))
    }
}

impl<E: Element> Hold<'_, E> {
    /// How many positions.
    #[expect(clippy::len_without_is_empty, reason = "there is no empty one")]
    pub fn len(&self) -> usize {
        self.held.n
    }

    /// The slots, oldest first: up to the end of the array, and from its start.
    pub fn slots(&self) -> Parts<E> {
        self.slots.part(self.held.start, self.held.n)
    }

    /// Gives the first `n` of them to the other side, and the rest back.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn finish(mut self, n: usize) {
        assert!(n <= self.held.n, "{n} of {} positions", self.held.n);
        self.finished = n;
    }
}

impl<E: Element> Drop for Hold<'_, E> {
    fn drop(&mut self) {
        self.hand.hts_finish(self.held, self.finished);
    }
}

impl<E: Element> core::fmt::Debug for Hold<'_, E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} positions from {}", self.held.n, self.held.start)
    }
}
