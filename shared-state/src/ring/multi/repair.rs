//! What becomes of a dead party's reservations, and what is in a ring.
//!
//! Order
//! - producer's: [`Element::NONE`] into each of its slots, the end of the hole, the tail, its note FREE.
//! - consumer's: each element to the repairer, the tail, the note FREE.
//!
//! In mode HTS the word names its holder, whose note says where it began; nothing is filled or given.
//!
//! Failure: a repairer that dies leaves the reservation in flight, and the repair is repeated as a
//! whole; only what it gave to its caller it gives again.

use super::side::{Held, NO_HOLES, Side};
use super::words::{after, ahead};
use super::{Mode, RingOf};
use crate::ring::element::Element;
use crate::sync::Ordering;

impl Side {
    /// Whether the tail may be moved over a reservation.
    fn is_next(&self, held: Held) -> bool {
        self.mode != Mode::Mt || self.load_tail().position() == held.start
    }

    /// Finishes a dead party's reservation, which is the next.
    fn advance(&self, dead: usize, held: Held) {
        match self.mode {
            Mode::Mt => {
                self.mt_advance(held);
                self.mt_clear(dead);
            }
            Mode::Rts => self.rts_advance(dead, held),
            Mode::Hts => self.hts_leave(held.start),
        }
    }

    /// Frees the note of a dead party that has nothing in flight, where notes are freed.
    fn clear(&self, dead: usize) {
        match self.mode {
            Mode::Mt => self.mt_clear(dead),
            Mode::Rts => self.rts_clear(dead),
            Mode::Hts => {}
        }
    }

    /// All that parties which move no more hold without having finished, the oldest first.
    fn all_in_flight(&self, capacity: usize) -> Vec<Held> {
        if self.mode == Mode::Hts {
            // What is held there is as if it were not.
            return Vec::new();
        }
        let head = self.load_head().position();
        let mut all: Vec<Held> = (0..self.parties())
            .filter_map(|party| self.in_flight(party, capacity))
            .collect();
        all.sort_by_key(|held| core::cmp::Reverse(ahead(head, held.start)));
        all
    }
}

impl<E: Element> RingOf<E> {
    /// Ends what a dead party has under way; false if one that reserved before it has to finish or
    /// to be repaired first (mode MT alone): then call again.
    ///
    /// The elements that a dead consumer had reserved go to `give`. If the repairer dies, too, the
    /// next one is given the same again. (In mode HTS they stay in the ring.)
    /// What a dead producer was about to put is still with whoever had it.
    pub fn repair(self, dead: usize, give: impl FnMut(E)) -> bool {
        let produced = self.repair_producer(dead);
        let consumed = self.repair_consumer(dead, give);
        produced && consumed
    }

    fn repair_producer(self, dead: usize) -> bool {
        let side = self.producers();
        let Some(held) = side.in_flight(dead, self.capacity()) else {
            side.clear(dead);
            return true;
        };
        if !side.is_next(held) {
            return false;
        }
        if side.mode != Mode::Hts {
            for i in 0..held.n as u64 {
                let position = held.start.wrapping_add(i);
                E::NONE.store(self.slots().at(position));
            }
            self.say_hole(after(held.start, held.n));
        }
        side.advance(dead, held);
        true
    }

    fn repair_consumer(self, dead: usize, mut give: impl FnMut(E)) -> bool {
        let side = self.consumers();
        let Some(held) = side.in_flight(dead, self.capacity()) else {
            side.clear(dead);
            return true;
        };
        if !side.is_next(held) {
            return false;
        }
        if side.mode != Mode::Hts {
            self.each(held, |_, element| give(element));
        }
        side.advance(dead, held);
        true
    }

    /// Consumers look for holes up to `end` at least.
    fn say_hole(self, end: u64) {
        // Where a hole ends with the last position of all, one further.
        let end = if end == NO_HOLES { after(end, 1) } else { end };
        let near = 2 * self.capacity() as u64;
        let mut seen = self.holes().load(Ordering::Relaxed);
        // Older ends, and such as have been passed a whole wrap ago, are replaced.
        while seen == NO_HOLES || ahead(seen, end) > near {
            let swapped =
                self.holes()
                    .compare_exchange(seen, end, Ordering::Release, Ordering::Relaxed);
            match swapped {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }

    /// Shows every element in the ring, oldest first, those included that a dead consumer had
    /// reserved and no repair has ended. Exact while nobody moves, whatever died.
    pub fn window(self, visit: &mut dyn FnMut(E)) {
        let capacity = self.capacity();
        let head = self.consumers().load_head().position();
        for held in self.consumers().all_in_flight(capacity) {
            self.each(held, |_, element| visit(element));
        }
        let open = self.producers().all_in_flight(capacity);
        let used = ahead(self.producers().load_head().position(), head) as usize;
        for i in 0..used.min(capacity) {
            let position = after(head, i);
            let is_open = open
                .iter()
                .any(|held| ahead(position, held.start) < held.n as u64);
            let element = self.element(head, i);
            if !is_open && element != E::NONE {
                visit(element);
            }
        }
    }
}
