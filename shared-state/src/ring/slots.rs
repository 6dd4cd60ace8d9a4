//! The slots of a ring, and how a burst goes in and out of them: in two parts where the array ends.
//!
//! Order: none of its own. Whoever calls has these positions to itself, by its ring's invariants,
//! from a word it has loaded (Acquire) until a word it will store (Release).

use super::element::Element;
#[cfg(not(loom))]
use super::element::SlotWords;
#[cfg(not(loom))]
use crate::sync::as_one;

/// Slots up to the end of the array, then from its start.
pub(super) type Parts<E> = [&'static [<E as Element>::Slot]; 2];

/// The array of a ring; its length is a power of two.
pub(super) struct Slots<E: Element>(pub(super) &'static [E::Slot]);

// A derive would ask the slots to be copied.
impl<E: Element> Clone for Slots<E> {
    fn clone(&self) -> Slots<E> {
        *self
    }
}

impl<E: Element> Copy for Slots<E> {}

impl<E: Element> Slots<E> {
    /// How many there are.
    #[inline]
    pub(super) fn capacity(self) -> usize {
        self.0.len()
    }

    /// The slot of a position.
    #[inline]
    pub(super) fn at(self, position: u64) -> &'static E::Slot {
        &self.0[position as usize & (self.0.len() - 1)]
    }

    /// Stores elements from `position` on. They are at most the capacity.
    #[inline]
    pub(super) fn put(self, position: u64, from: &[E]) {
        let at = position as usize & (self.0.len() - 1);
        if let Some(slots) = self.0.get(at..at + from.len()) {
            return fill(slots, from);
        }
        let [first, second] = self.part(position, from.len());
        let (head, tail) = from.split_at(first.len());
        fill(first, head);
        fill(second, tail);
    }

    /// Copies the elements from `position` on. `to` holds at most the capacity.
    #[inline]
    pub(super) fn get(self, position: u64, to: &mut [E]) {
        let at = position as usize & (self.0.len() - 1);
        if let Some(slots) = self.0.get(at..at + to.len()) {
            return copy(slots, to);
        }
        let [first, second] = self.part(position, to.len());
        let (head, tail) = to.split_at_mut(first.len());
        copy(first, head);
        copy(second, tail);
    }

    /// The slots of the `n` positions from `position`: up to the end of the array, then from its
    /// start. `n` is at most the capacity.
    #[inline]
    pub(super) fn part(self, position: u64, n: usize) -> Parts<E> {
        let at = position as usize & (self.0.len() - 1);
        let first = n.min(self.0.len() - at);
        [&self.0[at..at + first], &self.0[..n - first]]
    }
}

/// Below this many words a loop is faster than a copy of bytes.
#[cfg(not(loom))]
const BYTEWISE: usize = 8;

/// Whether `n` elements are copied as bytes.
#[cfg(not(loom))]
#[inline(always)]
fn bytewise<E: Element>(n: usize) -> bool {
    n >= const { BYTEWISE.div_ceil(<E::Slot as SlotWords>::WORDS) }
}

/// Stores elements in slots of the same number, which are the caller's alone.
#[inline]
fn fill<E: Element>(slots: &[E::Slot], from: &[E]) {
    #[cfg(not(loom))]
    if bytewise::<E>(slots.len()) && slots.len() == from.len() {
        // JUSTIFICATION: the compiler keeps atomic stores apart, four bytes each.
        // SAFETY: both ranges hold as many bytes (`layout` has made sure that an element is as large as its
        // slot) and do not overlap (`from` is this process's); nobody else loads or stores these slots now
        // (Order, above). Bytes need no alignment.
        as_one(|| unsafe {
            let to = slots.as_ptr().cast_mut().cast::<u8>();
            core::ptr::copy_nonoverlapping(from.as_ptr().cast(), to, size_of_val(from));
        });
        return;
    }
    for (slot, element) in slots.iter().zip(from) {
        element.store(slot);
    }
}

/// Copies elements out of slots of the same number, which nobody stores to.
#[inline]
fn copy<E: Element>(slots: &[E::Slot], to: &mut [E]) {
    #[cfg(not(loom))]
    if bytewise::<E>(slots.len()) && slots.len() == to.len() {
        // JUSTIFICATION: as in `fill`.
        // SAFETY: as in `fill`; nobody stores to these slots now (Order, above). Any bytes are an element.
        unsafe {
            let from = slots.as_ptr().cast::<u8>();
            core::ptr::copy_nonoverlapping(from, to.as_mut_ptr().cast(), size_of_val(to));
        }
        return;
    }
    for (slot, element) in slots.iter().zip(to) {
        *element = E::load(slot);
    }
}
