//! What the tests of all rings share: elements of several sizes, and the ways in which a burst is moved.

use proptest::prelude::*;

use super::Element;

/// Elements made of numbers: one that is torn, or of another ring, is equal to none.
pub(in crate::ring) trait Sample: Element + core::fmt::Debug + Send {
    fn of(number: u32) -> Self;
}

impl Sample for u32 {
    fn of(number: u32) -> u32 {
        number
    }
}

impl Sample for u64 {
    fn of(number: u32) -> u64 {
        u64::from(!number) << 32 | u64::from(number)
    }
}

impl<const N: usize> Sample for [u32; N] {
    fn of(number: u32) -> [u32; N] {
        core::array::from_fn(|i| number ^ (i as u32) << 24)
    }
}

/// How a burst is moved.
#[derive(Debug, Clone, Copy)]
pub(in crate::ring) enum How {
    Burst,
    Bulk,
    InPlace,
}

impl How {
    /// How many of `want` move where `have` can be.
    pub(in crate::ring) fn moves(self, want: usize, have: usize) -> usize {
        match self {
            How::Bulk if want > have => 0,
            _ => want.min(have),
        }
    }
}

pub(in crate::ring) fn how() -> impl Strategy<Value = How> {
    prop_oneof![Just(How::Burst), Just(How::Bulk), Just(How::InPlace)]
}

/// Fills slots in place; how many there were.
pub(in crate::ring) fn fill<E: Element>(parts: [&[E::Slot]; 2], from: &[E]) -> usize {
    let slots = parts.into_iter().flatten();
    slots.zip(from).map(|(slot, one)| one.store(slot)).count()
}

/// Looks at slots in place; how many there were.
pub(in crate::ring) fn look<E: Element>(parts: [&[E::Slot]; 2], to: &mut [E]) -> usize {
    let slots = parts.into_iter().flatten();
    slots
        .zip(to)
        .map(|(slot, one)| *one = E::load(slot))
        .count()
}
