//! A ring with any number of producers and consumers, none of whom can block another by dying.
//!
//! Layout
//! ```text
//!   0  magic, capacity      64  tail (hint)      128  head (hint)
//! 192  capacity x u64: position (high half) | element (low half), NONE = empty
//! ```
//!
//! Invariants
//! - I1 The slot of position `p` (free-running, `p % capacity`) goes through
//!   `(p, NONE) -> (p, element) -> (p + capacity, NONE)`, each step one compare-and-swap.
//! - I2 `tail` and `head` never pass a position whose step is not done, and may lag behind: they
//!   save a search, the slots are the truth. Whoever finds one lagging helps it along.
//!
//! Order: the compare-and-swap that fills a slot is the publication (Release), the one that
//! empties it takes the element (Acquire).
//!
//! Failure: there is no reservation, hence nothing half done: a producer dies either before its
//! element is in or after, a consumer either before it has it or after. Nothing to repair. This is
//! why each element costs a compare-and-swap of its own; the pool's caches make that rare.
//!
//! Limit: a thread that stops between load and compare-and-swap for exactly a multiple of 2^32
//! operations could take a slot for an older one.

use super::NONE;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// A multi-producer multi-consumer ring.
#[derive(Clone, Copy)]
pub struct MpmcRing {
    pub(super) tail: &'static AtomicU32,
    pub(super) head: &'static AtomicU32,
    pub(super) slots: &'static [AtomicU64],
}

/// What one look at a slot says.
enum Step {
    Done,
    /// Someone else did this position; the next may be free.
    Later,
    /// The ring is full (for a producer) or empty (for a consumer) at this position.
    Stop,
}

impl MpmcRing {
    /// Publishes as many elements as fit, from the front of `from`; returns how many.
    ///
    /// # Panics
    /// In debug builds, when an element is [`NONE`].
    #[inline]
    pub fn enqueue_burst(&self, from: &[u32]) -> usize {
        let mut position = self.tail.load(Ordering::Acquire);
        let mut done = 0;
        while let Some(element) = from.get(done) {
            debug_assert_ne!(*element, NONE, "NONE is not an element");
            match self.put(position, *element) {
                Step::Done => done += 1,
                Step::Later => {}
                Step::Stop => break,
            }
            position = position.wrapping_add(1);
        }
        advance(self.tail, position);
        done
    }

    /// Takes as many elements as there are and `to` can hold, oldest first; returns how many.
    #[inline]
    pub fn dequeue_burst(&self, to: &mut [u32]) -> usize {
        let room = to.len();
        self.dequeue_with(room, |i, element| to[i] = element)
    }

    /// Takes up to `most` elements; before it tries for the `i`-th it says which one that would
    /// be, so that a death in between leaves a note of what may have been taken.
    ///
    /// `claim(i, _)` may be called several times for one `i`: the last call names the element.
    #[inline]
    pub fn dequeue_with(&self, most: usize, mut claim: impl FnMut(usize, u32)) -> usize {
        let mut position = self.head.load(Ordering::Acquire);
        let mut done = 0;
        while done < most {
            match self.take(position, |element| claim(done, element)) {
                Step::Done => done += 1,
                Step::Later => {}
                Step::Stop => break,
            }
            position = position.wrapping_add(1);
        }
        advance(self.head, position);
        done
    }

    /// Tries to fill the slot of `position`.
    #[inline]
    fn put(&self, position: u32, element: u32) -> Step {
        let slot = self.slot(position);
        let seen = slot.load(Ordering::Acquire);
        let ahead = position_of(seen).wrapping_sub(position).cast_signed();
        if ahead < 0 {
            return Step::Stop;
        }
        let empty = pack(position, NONE);
        let full = pack(position, element);
        let swapped = seen == empty
            && slot
                .compare_exchange(empty, full, Ordering::Release, Ordering::Relaxed)
                .is_ok();
        if swapped { Step::Done } else { Step::Later }
    }

    /// Tries to empty the slot of `position`.
    #[inline]
    fn take(&self, position: u32, claim: impl FnOnce(u32)) -> Step {
        let slot = self.slot(position);
        let seen = slot.load(Ordering::Acquire);
        let ahead = position_of(seen).wrapping_sub(position).cast_signed();
        if ahead > 0 {
            return Step::Later;
        }
        if ahead < 0 || element_of(seen) == NONE {
            return Step::Stop;
        }
        claim(element_of(seen));
        let empty = pack(position.wrapping_add(self.slots.len() as u32), NONE);
        match slot.compare_exchange(seen, empty, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Step::Done,
            Err(_) => Step::Later,
        }
    }

    /// Elements in the ring; a snapshot while others move.
    pub fn len(&self) -> usize {
        let head = self.head.load(Ordering::Acquire);
        let used = self.tail.load(Ordering::Acquire).wrapping_sub(head);
        // A lagging `tail` may stand behind `head` for a moment.
        if used.cast_signed() < 0 {
            return 0;
        }
        (used as usize).min(self.slots.len())
    }

    /// Whether nothing is in the ring.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that can be published now.
    pub fn free(&self) -> usize {
        self.slots.len() - self.len()
    }

    /// Most elements it can hold.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Shows every element in the ring, oldest first; exact while nobody moves, whatever died.
    pub fn window(&self, visit: &mut dyn FnMut(u32)) {
        let head = self.head.load(Ordering::Acquire);
        for i in 0..self.slots.len() {
            let slot = self.slot(head.wrapping_add(i as u32));
            let element = element_of(slot.load(Ordering::Acquire));
            if element != NONE {
                visit(element);
            }
        }
    }

    #[inline]
    fn slot(&self, position: u32) -> &AtomicU64 {
        &self.slots[position as usize & (self.slots.len() - 1)]
    }
}

/// Moves a hint forward to `to`, never back.
#[inline]
fn advance(hint: &AtomicU32, to: u32) {
    let mut seen = hint.load(Ordering::Relaxed);
    while to.wrapping_sub(seen).cast_signed() > 0 {
        match hint.compare_exchange_weak(seen, to, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

pub(super) const fn pack(position: u32, element: u32) -> u64 {
    (position as u64) << 32 | element as u64
}

const fn position_of(slot: u64) -> u32 {
    (slot >> 32) as u32
}

const fn element_of(slot: u64) -> u32 {
    slot as u32
}

impl core::fmt::Debug for MpmcRing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "MpmcRing({} of {})", self.len(), self.capacity())
    }
}
