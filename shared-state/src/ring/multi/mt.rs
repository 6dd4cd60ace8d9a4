//! Mode MT: whoever has reserved earlier finishes earlier, as `rte_ring` does it by default.
//!
//! Order
//! - note (TRY: start, n, and who reserved before), then the compare-and-swap of the head
//!   (Release) that reserves; slots; the tail, once it stands at `start` (Release). The note stays
//!   until the next one: a chain that leads to a finished one is behind the tail.
//! - A party loads the tail (Acquire) before it moves it on, so what its predecessors did comes with it.
//!
//! Invariants
//! - I1 A head names its last reserver and where that one's reservation ends. While it stands the
//!   reserver's note is that reservation, or one it tries since, which ends later.
//! - I2 Whoever reserves after others that are not finished cannot finish before them, so its note
//!   stays, and names the one before it. From the head back, reservations not finished are a chain.
//!
//! Failure: the owner of a note TRY that is dead has the reservation if the chain from the head
//! leads to it (I1, I2) and the tail stands before its end. Nobody ever writes another's note. A
//! dead one stops the tail, so those behind it wait, and say so to whoever asked for it, until it is repaired.

use super::Stalled;
use super::side::{Hand, Held, Side, Wait};
use super::words::{MOST, Note, State, Word, after};
use crate::sync::Ordering;

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
                return None;
            }
            let held = self.mt_claim(seen, n);
            if held.is_some() {
                return held;
            }
        }
    }

    /// Reserves `want` positions if they are there and `good`, at the first attempt: the common case,
    /// without a loop, so that nothing is spilled before the swap. A locked instruction waits for
    /// every store before it.
    #[inline(always)]
    pub(super) fn mt_try(&self, want: usize, good: impl Fn(u64) -> bool) -> Option<Held> {
        let seen = self.side.load_head();
        let start = seen.position();
        let enough = self.available(start, want)? >= want;
        if !enough || want.wrapping_sub(1) >= MOST || !good(start) {
            return None;
        }
        self.mt_claim(seen, want)
    }

    /// Notes `n` positions from where the head was seen, and moves it there if it still is.
    #[inline(always)]
    fn mt_claim(&self, seen: Word, n: usize) -> Option<Held> {
        let start = seen.position();
        let note = Note::new(start, n, seen.party() as u64, State::Try);
        self.note.store(note.0, Ordering::Relaxed);
        let next = Word::new(after(start, n), self.me);
        let (order, turn) = (Ordering::AcqRel, 0);
        let swapped = self
            .side
            .head
            .compare_exchange(seen.0, next.0, order, Ordering::Relaxed);
        swapped.is_ok().then_some(Held { start, n, turn })
    }

    #[inline(always)]
    pub(super) fn mt_finish(
        &self,
        held: Held,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<(), Stalled> {
        if self.side.load_tail().position() != held.start {
            self.mt_wait(held.start, give_up)?;
        }
        self.side.mt_advance(held);
        Ok(())
    }

    /// Waits until the tail is at `start`.
    #[cold]
    #[inline(never)]
    fn mt_wait(&self, start: u64, give_up: &mut impl FnMut() -> bool) -> Result<(), Stalled> {
        let mut wait = Wait::default();
        while self.side.load_tail().position() != start {
            wait.again(give_up)?;
        }
        Ok(())
    }
}

impl Side {
    /// Moves the tail, which stands at the start of a reservation, to its end.
    #[inline]
    pub(super) fn mt_advance(&self, held: Held) {
        let end = Word::new(after(held.start, held.n), 0);
        self.tail.store(end.0, Ordering::Release);
    }

    pub(super) fn mt_in_flight(&self, party: usize, capacity: usize) -> Option<Held> {
        let head = self.load_head();
        let note = self.mt_reservation(head, party)?;
        let left = note.until_end(self.load_tail().position());
        let held = Held {
            start: note.start_before(head.position()),
            n: note.n(),
            turn: 0,
        };
        (1..=capacity as u64).contains(&left).then_some(held)
    }

    /// The note of a party's reservation, if the chain from a head leads to it.
    fn mt_reservation(&self, head: Word, party: usize) -> Option<Note> {
        let (mut end, mut last) = (head.position(), head.party());
        for _ in 0..self.parties() {
            let note = self.load_note(last);
            if note.state() == State::Free || !note.ends_at(end) {
                return None;
            }
            if last == party {
                return Some(note);
            }
            (end, last) = (note.start_before(end), note.extra() as usize);
        }
        None
    }
}
