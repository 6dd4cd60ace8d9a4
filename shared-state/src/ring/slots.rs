//! The slots of a ring, and how a burst goes in and out of them: in two parts where the array ends.
//!
//! Order: none of its own. Whoever calls has these positions to itself, by its ring's invariants,
//! from a word it has loaded (Acquire) until a word it will store (Release).

#[cfg(not(loom))]
use crate::sync::as_one;
use crate::sync::{AtomicU32, Ordering};

/// The array of a ring; its length is a power of two.
#[derive(Clone, Copy)]
pub(super) struct Slots(pub(super) &'static [AtomicU32]);

impl Slots {
    /// How many there are.
    #[inline]
    pub(super) fn capacity(self) -> usize {
        self.0.len()
    }

    /// The slot of a position.
    #[inline]
    pub(super) fn at(self, position: u64) -> &'static AtomicU32 {
        &self.0[position as usize & (self.0.len() - 1)]
    }

    /// Stores elements from `position` on. They are at most the capacity.
    #[inline]
    pub(super) fn put(self, position: u64, from: &[u32]) {
        let at = position as usize & (self.0.len() - 1);
        if let Some(slots) = self.0.get(at..at + from.len()) {
            return fill(slots, from);
        }
        let (first, second) = self.part(position, from.len());
        let (head, tail) = from.split_at(first.len());
        fill(first, head);
        fill(second, tail);
    }

    /// Copies the elements from `position` on. `to` holds at most the capacity.
    #[inline]
    pub(super) fn get(self, position: u64, to: &mut [u32]) {
        let at = position as usize & (self.0.len() - 1);
        if let Some(slots) = self.0.get(at..at + to.len()) {
            return copy(slots, to);
        }
        let (first, second) = self.part(position, to.len());
        let (head, tail) = to.split_at_mut(first.len());
        copy(first, head);
        copy(second, tail);
    }

    /// The slots of the `n` positions from `position`: up to the end of the array, then from its
    /// start. `n` is at most the capacity.
    #[inline]
    pub(super) fn part(
        self,
        position: u64,
        n: usize,
    ) -> (&'static [AtomicU32], &'static [AtomicU32]) {
        let at = position as usize & (self.0.len() - 1);
        let first = n.min(self.0.len() - at);
        (&self.0[at..at + first], &self.0[..n - first])
    }
}

/// Below this many elements a loop is faster than a copy of bytes.
#[cfg(not(loom))]
const BYTEWISE: usize = 8;

/// Stores elements in slots of the same number, which are the caller's alone.
#[inline]
fn fill(slots: &[AtomicU32], from: &[u32]) {
    #[cfg(not(loom))]
    if slots.len() >= BYTEWISE && slots.len() == from.len() {
        // JUSTIFICATION: the compiler keeps atomic stores apart, four bytes each.
        // SAFETY: both ranges hold that many 32-bit words and do not overlap (`from` is this
        // process's); nobody else loads or stores these slots now (Order, above).
        as_one(|| unsafe {
            let to = slots.as_ptr().cast_mut().cast::<u32>();
            core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        });
        return;
    }
    for (slot, element) in slots.iter().zip(from) {
        slot.store(*element, Ordering::Relaxed);
    }
}

/// Copies elements out of slots of the same number, which nobody stores to.
#[inline]
fn copy(slots: &[AtomicU32], to: &mut [u32]) {
    #[cfg(not(loom))]
    if slots.len() >= BYTEWISE && slots.len() == to.len() {
        // JUSTIFICATION: as in `fill`.
        // SAFETY: as in `fill`; nobody stores to these slots now (Order, above).
        unsafe {
            let from = slots.as_ptr().cast::<u32>();
            core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
        }
        return;
    }
    for (slot, element) in slots.iter().zip(to) {
        *element = slot.load(Ordering::Relaxed);
    }
}
