//! Mode HTS: one reservation at a time, as `rte_ring_hts`.
//!
//! One word says where the side stands and who holds what follows, if anybody.
//!
//! Order: note (start, n), then the compare-and-swap of the word that holds it (AcqRel); slots;
//! the word with its new position and nobody (Release). The note counts only while the word names it.
//! Where nobody holds the word [`Hand::reserve_alone`] does this.
//!
//! Failure: a dead holder is named by the word. Nothing it did counts: a repair gives the word back
//! with its old position. Until then the others wait, and say so to whoever asked for it.

use super::Stalled;
use super::side::{Hand, Held, Side, Wait};
use super::words::{Note, State, Word, after};
use crate::sync::Ordering;

impl Hand {
    #[inline]
    pub(super) fn hts_reserve(
        &self,
        want: usize,
        plan: impl Fn(u64, usize) -> usize,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<Option<Held>, Stalled> {
        let mut wait = Wait::default();
        loop {
            let seen = self.side.load_head();
            if !seen.is_free() {
                wait.again(give_up)?;
                continue;
            }
            let start = seen.position();
            let n = match self.available(start, want) {
                Some(available) => plan(start, available),
                None if self.side.load_head() == seen => 0, // the words of no ring (I1)
                None => continue,
            };
            if n == 0 {
                return Ok(None);
            }
            let note = Note::new(start, n, 0, State::Try);
            self.note.store(note.0, Ordering::Relaxed);
            let held = Word::held(start, Some(self.me));
            let swapped = self.side.head.compare_exchange(
                seen.0,
                held.0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if swapped.is_ok() {
                let turn = 0;
                return Ok(Some(Held { start, n, turn }));
            }
        }
    }

    /// Gives the first `n` of the positions to the other side, and the rest back.
    #[inline]
    pub(super) fn hts_finish(&self, held: Held, n: usize) {
        self.side.hts_leave(after(held.start, n));
    }
}

impl Side {
    /// Leaves the word at a position, for whoever holds it.
    #[inline]
    pub(super) fn hts_leave(&self, position: u64) {
        let free = Word::held(position, None);
        self.head.store(free.0, Ordering::Release);
    }

    pub(super) fn hts_in_flight(&self, party: usize) -> Option<Held> {
        let head = self.load_head();
        let start = head.position();
        let n = self.load_note(party).n();
        let turn = 0;
        (head == Word::held(start, Some(party))).then_some(Held { start, n, turn })
    }
}
