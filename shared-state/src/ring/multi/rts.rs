//! Mode RTS: nobody waits for anybody, as `rte_ring_rts`. Head and tail count operations; whoever
//! finishes last of those under way moves the tail to where the head stands.
//!
//! Order
//! - the note of the last reserver is made WON if it is that one's (see below), own note (TRY:
//!   start, n, turn), compare-and-swap of the head (AcqRel) that reserves; slots; the note of the
//!   last finisher is made DONE, compare-and-swap of the tail (AcqRel) that counts; own note FREE.
//!
//! Invariants
//! - I1 The head names its last reserver and where it ends; the tail names its last finisher and
//!   that one's turn. Turns of a party differ from one operation to the next.
//! - I2 Neither is overwritten before the note of the one it names says so. So a note TRY is a
//!   reservation if the head names it and it ends there, else it lost; and a note WON or TRY is
//!   finished if the tail names its turn, else it is not.
//!
//! Failure: by I2 it is always known whether a dead party has reserved, and whether it has
//! finished; a repair finishes in its place. Until then the tail stands, so the others find the
//! ring ever fuller (or emptier) and go on without waiting.
//!
//! Limit: a thread that stops between two loads of a tail while exactly 1,024 operations finish, the
//! last by the same party in the same turn, and none moves it, may take it for unchanged.

use super::side::{Hand, Held, Side};
use super::words::{Note, State, TURNS, Word, after};
use crate::sync::Ordering;

impl Hand {
    #[inline]
    pub(super) fn rts_reserve(
        &self,
        want: usize,
        plan: impl Fn(u64, usize) -> usize,
    ) -> Option<Held> {
        let before = Note(self.note.load(Ordering::Relaxed)).extra();
        let turn = (before + 1) & TURNS;
        let mut tried = false;
        loop {
            let seen = self.side.load_head();
            let start = seen.position();
            let n = match self.available(start, want) {
                Some(available) => plan(start, available),
                None if self.side.load_head() == seen => 0, // the words of no ring (I1)
                None => continue,
            };
            if n == 0 {
                if tried {
                    // A lost attempt leaves no turn behind.
                    self.note.store(Note::free(before).0, Ordering::Relaxed);
                }
                return None;
            }
            self.side.rts_say_won(seen, self.me);
            let note = Note::new(start, n, turn, State::Try);
            self.note.store(note.0, Ordering::Relaxed);
            let next = Word::counted(after(start, n), self.me, 0, seen.next_count());
            let swapped = self.side.head.compare_exchange(
                seen.0,
                next.0,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if swapped.is_ok() {
                return Some(Held { start, n, turn });
            }
            tried = true;
        }
    }

    #[inline]
    pub(super) fn rts_finish(&self, held: Held) {
        self.side.rts_advance(self.me, held);
    }
}

impl Side {
    /// Counts what `party` holds as finished.
    #[inline]
    pub(super) fn rts_advance(&self, party: usize, held: Held) {
        let mut seen = self.load_tail();
        loop {
            if !self.rts_say_done(seen, party) {
                seen = self.load_tail();
                continue;
            }
            let head = self.load_head();
            let last = seen.next_count() == head.count();
            let position = if last { head } else { seen }.position();
            let next = Word::counted(position, party, held.turn, seen.next_count());
            let swapped =
                self.tail
                    .compare_exchange(seen.0, next.0, Ordering::AcqRel, Ordering::Acquire);
            match swapped {
                Ok(_) => break,
                Err(now) => seen = Word(now),
            }
        }
        let free = Note::free(held.turn);
        self.note(party).store(free.0, Ordering::Release);
    }

    /// Makes the note of the reserver that a head names say that it has reserved.
    #[inline]
    fn rts_say_won(&self, head: Word, me: usize) {
        let last = head.party();
        if last == me {
            return;
        }
        let note = self.load_note(last);
        if note.state() == State::Try && note.ends_at(head.position()) {
            // Else its owner, or who says the same or more, was faster.
            self.rts_say(last, note, State::Won);
        }
    }

    /// Makes the note of the finisher that a tail names say that it has finished; false if tail or
    /// note have changed meanwhile.
    #[inline]
    fn rts_say_done(&self, tail: Word, me: usize) -> bool {
        let last = tail.party();
        if last == me {
            return true;
        }
        let note = self.load_note(last);
        let open = matches!(note.state(), State::Try | State::Won);
        if open && note.extra() == tail.turn() {
            // Of this turn, or of an older one with the same number: then the tail is not the last.
            if self.load_tail() != tail {
                return false;
            }
            return self.rts_say(last, note, State::Done);
        }
        true
    }

    fn rts_say(&self, party: usize, note: Note, state: State) -> bool {
        let said = note.with(state).0;
        self.note(party)
            .compare_exchange(note.0, said, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Frees the note of a party that has nothing in flight; a lost attempt leaves no turn behind.
    pub(super) fn rts_clear(&self, party: usize) {
        let tail = self.load_tail();
        let note = self.load_note(party);
        let finished = tail.party() == party && tail.turn() == note.extra();
        let lost = note.state() == State::Try && !finished;
        let turn = if lost {
            note.extra().wrapping_sub(1)
        } else {
            note.extra()
        };
        let free = Note::free(turn & TURNS);
        self.note(party).store(free.0, Ordering::Release);
    }

    pub(super) fn rts_in_flight(&self, party: usize) -> Option<Held> {
        let head = self.load_head();
        let note = self.load_note(party);
        let named = head.party() == party && note.ends_at(head.position());
        match note.state() {
            State::Try if !named => return None,
            State::Free | State::Done => return None,
            State::Try | State::Won => {}
        }
        let tail = self.load_tail();
        let finished = tail.party() == party && tail.turn() == note.extra();
        if finished || self.load_note(party).state() == State::Done {
            return None;
        }
        Some(Held {
            start: note.start_before(head.position()),
            n: note.n(),
            turn: note.extra(),
        })
    }
}
