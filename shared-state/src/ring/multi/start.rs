//! Where a ring lies in this process: one address, from which those of all its words and slots follow.
//!
//! Loads behind a locked instruction begin when it has ended, so there each address that has to be loaded is waited
//! for. This one stays in a register.
//!
//! Invariants
//! - I1 From the start there are mapped, for the process's life and aligned to their words, the words that all share,
//!   the lines of 64 parties, and the slots ([`Start::in_region`] has seen them).
//! - I2 All of it is atomics, and reached as such.

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::side::{Line, Shared};
use crate::limits::MAX_SHARDS;
use crate::region::Region;
use crate::ring::element::Element;
use crate::ring::slots::Slots;
use crate::sync::AtomicU64;

/// Where the slots begin.
pub(in crate::ring) const SLOTS_AT: usize = size_of::<Shared>() + MAX_SHARDS * size_of::<Line>();

/// The first byte of a ring.
pub(in crate::ring) struct Start<E: Element>(NonNull<u8>, PhantomData<&'static [E::Slot]>);

// A derive would ask the slots to be copied.
impl<E: Element> Clone for Start<E> {
    fn clone(&self) -> Start<E> {
        *self
    }
}

impl<E: Element> Copy for Start<E> {}

// SAFETY: what it points to is atomics of the process's life (I1, I2).
unsafe impl<E: Element> Send for Start<E> {}
// SAFETY: as above.
unsafe impl<E: Element> Sync for Start<E> {}

impl<E: Element> Start<E> {
    /// The ring that fills a region.
    ///
    /// # Panics
    /// When it does not have room for so many slots.
    pub(in crate::ring) fn in_region(region: &Region, capacity: usize) -> Start<E> {
        let there = region.len() >= SLOTS_AT + capacity * size_of::<E::Slot>();
        assert!(there, "{capacity} slots in {} bytes", region.len());
        // It asks for the words that are aligned the most.
        let first = region.u64s(0, SLOTS_AT / size_of::<AtomicU64>()).as_ptr();
        debug_assert_eq!(first.cast_mut().cast(), region.as_ptr());
        let start = NonNull::new(region.as_ptr()).expect("a mapping is somewhere");
        Start(start, PhantomData)
    }

    #[inline(always)]
    pub(super) fn words(self) -> &'static Shared {
        // SAFETY: these words are there, aligned, and atomics (I1, I2).
        unsafe { self.0.cast().as_ref() }
    }

    /// The words of all parties.
    #[inline(always)]
    pub(super) fn lines(self) -> &'static [Line] {
        let lines = self.0.as_ptr().wrapping_add(size_of::<Shared>()).cast();
        // SAFETY: as in `words`, for 64 lines.
        unsafe { core::slice::from_raw_parts(lines, MAX_SHARDS) }
    }

    /// The slots.
    ///
    /// # Safety
    /// - The ring has `capacity` of them, as [`Start::in_region`] has seen.
    #[inline(always)]
    pub(super) unsafe fn slots(self, capacity: usize) -> Slots<E> {
        let slots = self.0.as_ptr().wrapping_add(SLOTS_AT).cast();
        // SAFETY: as in `words`; so many are there (the caller's promise), and their words need less alignment.
        Slots(unsafe { core::slice::from_raw_parts(slots, capacity) })
    }
}
