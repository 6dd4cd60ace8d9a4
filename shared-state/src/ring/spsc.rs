//! A ring with one producer and one consumer at a time, in two threads or two processes.
//!
//! Layout
//! ```text
//!   0  magic, capacity      64  prod (free-running)      128  cons (free-running)
//! 192  capacity x element
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

use super::element::Element;
use super::slots::{Parts, Slots};
use crate::sync::{AtomicU32, Ordering};

/// A single-producer single-consumer ring of `u32`.
pub type SpscRing = SpscRingOf<u32>;

/// A single-producer single-consumer ring; see the module for who may call what.
#[derive(Clone, Copy)]
pub struct SpscRingOf<E: Element> {
    pub(super) prod: &'static AtomicU32,
    pub(super) cons: &'static AtomicU32,
    pub(super) slots: Slots<E>,
}

impl<E: Element> SpscRingOf<E> {
    /// Publishes as many elements as fit, from the front of `from`; returns how many.
    #[inline]
    pub fn enqueue_burst(&self, from: &[E]) -> usize {
        let prod = self.prod.load(Ordering::Relaxed);
        let used = prod.wrapping_sub(self.cons.load(Ordering::Acquire)) as usize;
        let n = from.len().min(self.slots.capacity().saturating_sub(used));
        self.slots.put(u64::from(prod), &from[..n]);
        self.prod
            .store(prod.wrapping_add(n as u32), Ordering::Release);
        n
    }

    /// Publishes all elements or, if they do not all fit, none; whether it did.
    #[inline]
    pub fn enqueue_bulk(&self, from: &[E]) -> bool {
        self.free() >= from.len() && self.enqueue_burst(from) == from.len()
    }

    /// Takes as many elements as there are and `to` can hold, oldest first; returns how many.
    #[inline]
    pub fn dequeue_burst(&self, to: &mut [E]) -> usize {
        let n = self.peek_burst(to);
        self.consume(n);
        n
    }

    /// Fills `to` or, if there are not so many elements, takes none; whether it did.
    #[inline]
    pub fn dequeue_bulk(&self, to: &mut [E]) -> bool {
        self.len() >= to.len() && self.dequeue_burst(to) == to.len()
    }

    /// Copies the oldest elements without taking them; [`SpscRingOf::consume`] takes them.
    ///
    /// Between the two the consumer stores each element's new `place`, so that a death leaves
    /// each either in the ring or where its `place` says.
    #[inline]
    pub fn peek_burst(&self, to: &mut [E]) -> usize {
        let cons = self.cons.load(Ordering::Relaxed);
        let used = self.prod.load(Ordering::Acquire).wrapping_sub(cons) as usize;
        let n = to.len().min(used).min(self.slots.capacity());
        self.slots.get(u64::from(cons), &mut to[..n]);
        n
    }

    /// Takes the `n` oldest elements, which [`SpscRingOf::peek_burst`] has just copied.
    #[inline]
    pub fn consume(&self, n: usize) {
        let cons = self.cons.load(Ordering::Relaxed);
        self.cons
            .store(cons.wrapping_add(n as u32), Ordering::Release);
    }

    /// The free slots for up to `most` elements, to be filled in place: up to the end of the array,
    /// and from its start. [`SpscRingOf::commit`] publishes what was filled.
    #[inline]
    pub fn reserve(&self, most: usize) -> Parts<E> {
        let prod = self.prod.load(Ordering::Relaxed);
        let used = prod.wrapping_sub(self.cons.load(Ordering::Acquire)) as usize;
        let n = most.min(self.slots.capacity().saturating_sub(used));
        self.slots.part(u64::from(prod), n)
    }

    /// Publishes the first `n` slots that [`SpscRingOf::reserve`] has just given.
    #[inline]
    pub fn commit(&self, n: usize) {
        let prod = self.prod.load(Ordering::Relaxed);
        self.prod
            .store(prod.wrapping_add(n as u32), Ordering::Release);
    }

    /// The slots of up to `most` of the oldest elements, to be read in place, which
    /// [`SpscRingOf::consume`] then takes.
    #[inline]
    pub fn peek(&self, most: usize) -> Parts<E> {
        let cons = self.cons.load(Ordering::Relaxed);
        self.slots.part(u64::from(cons), most.min(self.len()))
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
        used.min(self.slots.capacity())
    }

    /// Whether nothing is in the ring.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Elements that can be published now.
    #[inline]
    pub fn free(&self) -> usize {
        self.slots.capacity() - self.len()
    }

    /// Most elements it can hold.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Shows every published element, oldest first; exact while nobody moves.
    pub fn window(&self, visit: &mut dyn FnMut(E)) {
        let cons = self.cons.load(Ordering::Acquire);
        for i in 0..self.len() {
            let position = u64::from(cons) + i as u64;
            visit(E::load(self.slots.at(position)));
        }
    }
}

impl<E: Element> core::fmt::Debug for SpscRingOf<E> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SpscRing({} of {})", self.len(), self.capacity())
    }
}
