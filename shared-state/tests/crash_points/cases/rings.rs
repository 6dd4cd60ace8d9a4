//! Rings: one party that dies, and several of which one stands in another's way; of elements of one and of four words.

mod many;
mod plain;

use baton_shared_state::Region;
use baton_shared_state::ring::Element;

use super::{expect, nothing};
use crate::Case;

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    plain::all().into_iter().chain(many::all()).collect()
}

/// What goes through the ring: the first half before anybody dies.
const THROUGH: [u32; 6] = [1, 2, 3, 10, 11, 12];

fn through<E: Sample>(numbers: &[u32]) -> Vec<E> {
    numbers.iter().map(|number| E::of(*number)).collect()
}

/// An element that tells its number, if it is whole.
trait Sample: Element {
    /// No number: it is torn.
    const TORN: u32 = 999;
    fn of(number: u32) -> Self;
    fn number(self) -> u32;
}

impl Sample for u32 {
    fn of(number: u32) -> u32 {
        number
    }
    fn number(self) -> u32 {
        self
    }
}

type Wide = [u32; 4];

impl Sample for Wide {
    fn of(number: u32) -> Wide {
        core::array::from_fn(|i| number + 100 * i as u32)
    }
    fn number(self) -> u32 {
        let [number, ..] = self;
        if self == Wide::of(number) {
            number
        } else {
            Self::TORN
        }
    }
}

/// Stores elements in slots, word by word; how many.
fn fill<E: Sample>(parts: [&[E::Slot]; 2], from: &[E]) -> usize {
    let slots = parts.into_iter().flatten();
    slots.zip(from).map(|(slot, one)| one.store(slot)).count()
}

/// The numbers of the elements in slots, but for holes.
fn look<E: Sample>(parts: [&[E::Slot]; 2]) -> Vec<u32> {
    let elements = parts.into_iter().flatten().map(E::load);
    let elements = elements.filter(|element| *element != E::NONE);
    elements.map(E::number).collect()
}
