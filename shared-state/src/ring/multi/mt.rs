//! Mode MT: whoever has reserved earlier finishes earlier, as `rte_ring` does it by default.
//!
//! Order
//! - alone, where the tail stands at the head: the compare-and-swap of the head (Release) that
//!   reserves; slots; the tail (Release).
//! - behind others: the note (TRY: start, n, and who reserved before), then the same, the tail once it stands
//!   at `start`, and the note FREE.
//! - In the common case the first of these is [`Hand::reserve_alone`], which compares head and tail as whole words.
//! - A party loads the tail (Acquire) before it moves it on, so what its predecessors did comes with it.
//!
//! Invariants
//! - I1 A head names its last reserver and where that one's reservation ends.
//! - I2 Who reserved alone has all that is from the tail on, until it is finished: nobody reserves
//!   unseen between its loads of head and tail and its compare-and-swap.
//! - I3 Whoever reserved behind others that are not finished cannot finish before them, so its note
//!   stays, and names the one before it. From the head back, reservations not finished are a chain of
//!   notes, and the oldest may have none.
//! - I4 The note of a party that reserved alone is FREE, or of what it has just finished. (Positions of
//!   notes wrap: one that stayed would fit again some day.)
//!
//! Failure: a dead party has the reservation to which the chain from the head leads, if it ends behind the
//! tail; it starts as its note says, if that fits, or by I2 and I4 at the tail. Nobody writes another's note but the
//! repair, when nothing of the dead one is in flight. A
//! dead one stops the tail, so those behind it wait, and say so to whoever asked for it, until it is repaired.

use super::Stalled;
use super::side::{Hand, Held, Side, Wait};
use super::words::{Note, State, Word, after, ahead};
use crate::sync::Ordering;

const FREE: Note = Note::free(0);

impl Hand {
    #[inline]
    pub(super) fn mt_reserve(
        &self,
        want: usize,
        plan: impl Fn(u64, usize) -> usize,
    ) -> Option<Held> {
        loop {
            let seen = self.side.load_head();
            let start = seen.position();
            let n = match self.available(start, want) {
                Some(available) => plan(start, available),
                None if self.side.load_head() == seen => 0, // the words of no ring (I1)
                None => continue,
            };
            if n == 0 {
                self.side.mt_clear(self.me);
                return None;
            }
            // Of an attempt before, there may be one.
            let note = if self.is_next(start) {
                FREE
            } else {
                Note::new(start, n, seen.party() as u64, State::Try)
            };
            self.note.store(note.0, Ordering::Relaxed);
            let held = self.mt_move(seen, n);
            if held.is_some() {
                return held;
            }
        }
    }

    /// Whether all that was reserved before a position is finished.
    #[inline]
    fn is_next(&self, start: u64) -> bool {
        self.side.load_tail().position() == start
    }

    /// Moves the head on by `n` positions, if it still is where it was seen.
    #[inline]
    fn mt_move(&self, seen: Word, n: usize) -> Option<Held> {
        let next = seen.moved(n, self.me);
        let (order, turn) = (Ordering::AcqRel, 0);
        let head = self.side.head;
        let swapped = head.compare_exchange(seen.0, next.0, order, Ordering::Relaxed);
        let start = seen.position();
        swapped.is_ok().then_some(Held { start, n, turn })
    }

    #[inline]
    pub(super) fn mt_finish(
        &self,
        held: Held,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<(), Stalled> {
        let mut wait = Wait::default();
        while !self.is_next(held.start) {
            wait.again(give_up)?;
        }
        self.side.mt_advance(held);
        self.note.store(FREE.0, Ordering::Release);
        Ok(())
    }
}

impl Side {
    /// Moves the tail, which stands at the start of a reservation, to its end.
    #[inline(always)]
    pub(super) fn mt_advance(&self, held: Held) {
        let end = Word::new(after(held.start, held.n), 0);
        self.tail.store(end.0, Ordering::Release);
    }

    /// The reservation of a party that moves no more, if the chain from the head leads to it.
    pub(super) fn mt_in_flight(&self, party: usize, capacity: usize) -> Option<Held> {
        let head = self.load_head();
        // What is older than this is finished; what a dead one holds is not.
        let tail = self.load_tail().position();
        let (mut end, mut last) = (head.position(), head.party());
        for _ in 0..self.parties() {
            let left = ahead(end, tail);
            if !(1..=capacity as u64).contains(&left) {
                return None;
            }
            let note = self.load_note(last);
            let noted = note.start_before(end);
            let is_noted = note.ends_at(end) && ahead(noted, tail) < left;
            let start = if is_noted { noted } else { tail };
            if last == party {
                let (n, turn) = (ahead(end, start) as usize, 0);
                return Some(Held { start, n, turn });
            }
            if !is_noted {
                return None;
            }
            (end, last) = (start, note.extra() as usize);
        }
        None
    }

    /// Frees the note of a party that has nothing in flight (I4): its own, or of one that moves no more.
    pub(super) fn mt_clear(&self, party: usize) {
        let note = self.note(party);
        if note.load(Ordering::Relaxed) != FREE.0 {
            note.store(FREE.0, Ordering::Relaxed);
        }
    }
}
