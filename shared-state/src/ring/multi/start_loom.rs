//! The same as `start`, for a ring whose words and slots `loom` makes.

use super::side::{Line, Shared};
use crate::ring::element::Element;
use crate::ring::slots::Slots;

/// The parts of a ring in plain memory.
pub(in crate::ring) struct Start<E: Element>(pub(in crate::ring) &'static Parts<E>);

pub(in crate::ring) struct Parts<E: Element> {
    pub(in crate::ring) words: Shared,
    pub(in crate::ring) lines: Vec<Line>,
    pub(in crate::ring) slots: Vec<E::Slot>,
}

// A derive would ask the slots to be copied.
impl<E: Element> Clone for Start<E> {
    fn clone(&self) -> Start<E> {
        *self
    }
}

impl<E: Element> Copy for Start<E> {}

impl<E: Element> Start<E> {
    pub(super) fn words(self) -> &'static Shared {
        &self.0.words
    }

    pub(super) fn lines(self) -> &'static [Line] {
        &self.0.lines
    }

    /// # Safety
    /// - None is needed here.
    pub(super) unsafe fn slots(self, _: usize) -> Slots<E> {
        Slots(&self.0.slots)
    }
}
