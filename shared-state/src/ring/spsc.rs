//! A ring with one producer and one consumer at a time, in two threads or two processes.
//!
//! Layout
//! ```text
//!   0  magic, capacity      64  prod (free-running)      128  cons (free-running)
//! 192  capacity x u32
//! ```
//!
//! Invariants
//! - I1 `prod - cons` (wrapping) is at most the capacity; the elements `cons..prod` are published.
//! - I2 Only the producer stores `prod` and slots outside `cons..prod`; only the consumer stores
//!   `cons`. Who is producer or consumer changes only with the shard's owner word.
//!
//! Order: the producer stores the slots, then `prod` (Release); the consumer loads `prod`
//! (Acquire), copies the slots, then stores `cons` (Release), which gives the slots back.
//!
//! Failure: a producer that dies before the store of `prod` has published nothing, and its
//! elements are where their `place` says; a consumer that dies before the store of `cons` has
//! taken nothing. There is nothing to repair: the next owner goes on at the same positions.

use crate::sync::{AtomicU32, Ordering};

/// A single-producer single-consumer ring; see the module for who may call what.
#[derive(Clone, Copy)]
pub struct SpscRing {
    pub(super) prod: &'static AtomicU32,
    pub(super) cons: &'static AtomicU32,
    pub(super) slots: &'static [AtomicU32],
}

impl SpscRing {
    /// Publishes as many elements as fit, from the front of `from`; returns how many.
    #[inline]
    pub fn enqueue_burst(&self, from: &[u32]) -> usize {
        let prod = self.prod.load(Ordering::Relaxed);
        let used = prod.wrapping_sub(self.cons.load(Ordering::Acquire)) as usize;
        let n = from.len().min(self.slots.len().saturating_sub(used));
        let (first, second) = self.part(prod, n);
        let (head, tail) = from[..n].split_at(first.len());
        fill(first, head);
        fill(second, tail);
        self.prod
            .store(prod.wrapping_add(n as u32), Ordering::Release);
        n
    }

    /// Takes as many elements as there are and `to` can hold, oldest first; returns how many.
    #[inline]
    pub fn dequeue_burst(&self, to: &mut [u32]) -> usize {
        let n = self.peek_burst(to);
        self.consume(n);
        n
    }

    /// Copies the oldest elements without taking them; [`SpscRing::consume`] takes them.
    ///
    /// Between the two the consumer stores each element's new `place`, so that a death leaves
    /// each either in the ring or where its `place` says.
    #[inline]
    pub fn peek_burst(&self, to: &mut [u32]) -> usize {
        let cons = self.cons.load(Ordering::Relaxed);
        let used = self.prod.load(Ordering::Acquire).wrapping_sub(cons) as usize;
        let n = to.len().min(used).min(self.slots.len());
        let (first, second) = self.part(cons, n);
        let (head, tail) = to[..n].split_at_mut(first.len());
        copy(first, head);
        copy(second, tail);
        n
    }

    /// Takes the `n` oldest elements, which [`SpscRing::peek_burst`] has just copied.
    #[inline]
    pub fn consume(&self, n: usize) {
        let cons = self.cons.load(Ordering::Relaxed);
        self.cons
            .store(cons.wrapping_add(n as u32), Ordering::Release);
    }

    /// The position the next element will have; what `place.index` says of an element in here.
    #[inline]
    pub fn next_position(&self) -> u32 {
        self.prod.load(Ordering::Relaxed)
    }

    /// Elements in the ring; exact for its two users, a snapshot for others.
    #[inline]
    pub fn len(&self) -> usize {
        let cons = self.cons.load(Ordering::Acquire);
        let used = self.prod.load(Ordering::Acquire).wrapping_sub(cons) as usize;
        used.min(self.slots.len())
    }

    /// Whether nothing is in the ring.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that can be published now.
    #[inline]
    pub fn free(&self) -> usize {
        self.slots.len() - self.len()
    }

    /// Most elements it can hold.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Shows every published element, oldest first; exact while nobody moves.
    pub fn window(&self, visit: &mut dyn FnMut(u32)) {
        let cons = self.cons.load(Ordering::Acquire);
        for i in 0..self.len() {
            visit(
                self.slot(cons.wrapping_add(i as u32))
                    .load(Ordering::Relaxed),
            );
        }
    }

    /// The slots of the `n` positions from `position`: up to the end of the array, then from its
    /// start. `n` is at most the capacity.
    #[inline]
    fn part(&self, position: u32, n: usize) -> (&'static [AtomicU32], &'static [AtomicU32]) {
        let at = position as usize & (self.slots.len() - 1);
        let first = n.min(self.slots.len() - at);
        (&self.slots[at..at + first], &self.slots[..n - first])
    }

    #[inline]
    fn slot(&self, position: u32) -> &AtomicU32 {
        &self.slots[position as usize & (self.slots.len() - 1)]
    }
}

/// Below this many elements a loop is faster than a copy of bytes.
#[cfg(not(loom))]
const BYTEWISE: usize = 8;

/// Stores elements in slots of the same number, which are the producer's alone until `prod` moves.
#[inline]
fn fill(slots: &[AtomicU32], from: &[u32]) {
    #[cfg(not(loom))]
    if slots.len() >= BYTEWISE && slots.len() == from.len() {
        // JUSTIFICATION: the compiler keeps atomic stores apart, four bytes each.
        // SAFETY: both ranges hold that many 32-bit words and do not overlap (`from` is this
        // process's); by I1 and I2 nobody loads or stores these slots before `prod` (Release)
        // gives them away, after `cons` (Acquire) gave them back.
        unsafe {
            let to = slots.as_ptr().cast_mut().cast::<u32>();
            core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
        return;
    }
    for (slot, element) in slots.iter().zip(from) {
        slot.store(*element, Ordering::Relaxed);
    }
}

/// Copies elements out of slots of the same number, which nobody stores to until `cons` moves.
#[inline]
fn copy(slots: &[AtomicU32], to: &mut [u32]) {
    #[cfg(not(loom))]
    if slots.len() >= BYTEWISE && slots.len() == to.len() {
        // JUSTIFICATION: as in `fill`.
        // SAFETY: as in `fill`; `prod` (Acquire) has shown these slots, and only the store of
        // `cons`, after this, lets the producer have them again.
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

impl core::fmt::Debug for SpscRing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SpscRing({} of {})", self.len(), self.capacity())
    }
}
