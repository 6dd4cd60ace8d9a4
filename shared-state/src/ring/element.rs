//! What a ring carries: elements of 4 to 64 bytes, and the slots in which they lie.
//!
//! A slot is as many 32-bit words as its element has, so it is aligned to four bytes whatever the element is.
//!
//! Order: none of its own, as of `slots`. An element of several words is whole because its slot is one
//! party's alone until the ring's own word publishes it; no load sees half of one.
//!
//! Why a value and no mark beside the slots says "no element": producers then need not clear a mark when a slot
//! comes around again, or a mark a slot would have to say of which round it is, four bytes more each. The
//! price is one value of each type, and its author says which.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sync::{AtomicU32, Ordering};

/// The slot of an element of `N` words.
pub type Words<const N: usize> = [AtomicU32; N];

/// Most words of an element: a cache line.
#[cfg(not(loom))]
const MOST_WORDS: usize = 16;

/// What a ring carries: plain bytes that mean the same in every process, 4 to 64 of them, a multiple of four.
///
/// No pointer, descriptor or handle of one process may be among them.
///
/// ```
/// use baton_shared_state::Region;
/// use baton_shared_state::ring::{Element, SpscRingOf, Words};
/// use zerocopy::{FromBytes, Immutable, IntoBytes};
///
/// #[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
/// #[repr(C)]
/// struct Event {
///     flow: u64,
///     kind: u32,
///     reserved: u32,
/// }
///
/// impl Element for Event {
///     type Slot = Words<4>;
///     const NONE: Event = Event { flow: 0, kind: u32::MAX, reserved: 0 };
/// }
/// ```
pub trait Element: Copy + Eq + FromBytes + IntoBytes + Immutable + 'static {
    /// Its slot: [`Words`] of a quarter of its bytes. Another number does not compile where a ring is made.
    type Slot: Slot;

    /// Not an element: what a repair puts where a dead producer has put nothing. A ring does not carry it.
    const NONE: Self;

    /// Loads it from its slot, which is the caller's alone, as [`super::SpscRingOf::peek`] and
    /// [`super::Hold::slots`] give them.
    #[inline(always)]
    fn load(slot: &Self::Slot) -> Self {
        let mut element = Self::new_zeroed();
        let bytes = element.as_mut_bytes().chunks_exact_mut(4);
        for (word, bytes) in slot.words().iter().zip(bytes) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        element
    }

    /// Stores it to its slot, which is the caller's alone, as [`super::SpscRingOf::reserve`] and
    /// [`super::Hold::slots`] give them.
    #[inline(always)]
    fn store(self, slot: &Self::Slot) {
        let bytes = self.as_bytes().as_chunks().0;
        for (word, bytes) in slot.words().iter().zip(bytes) {
            word.store(u32::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
    }
}

/// Some words of shared memory: [`AtomicU32`] or [`Words`].
pub trait Slot: sealed::Slot + Sync + Sized + 'static {}

mod sealed {
    use crate::sync::AtomicU32;

    pub trait Slot: Sized {
        const WORDS: usize;
        fn words(&self) -> &[AtomicU32];
        /// As many slots as the words make.
        #[cfg(not(loom))]
        fn many(words: &'static [AtomicU32]) -> &'static [Self];
    }
}
pub(super) use sealed::Slot as SlotWords;

impl Slot for AtomicU32 {}
impl sealed::Slot for AtomicU32 {
    const WORDS: usize = 1;
    #[inline(always)]
    fn words(&self) -> &[AtomicU32] {
        core::slice::from_ref(self)
    }
    #[cfg(not(loom))]
    fn many(words: &'static [AtomicU32]) -> &'static [AtomicU32] {
        words
    }
}

impl<const N: usize> Slot for Words<N> {}
impl<const N: usize> sealed::Slot for Words<N> {
    const WORDS: usize = N;
    #[inline(always)]
    fn words(&self) -> &[AtomicU32] {
        self
    }
    #[cfg(not(loom))]
    fn many(words: &'static [AtomicU32]) -> &'static [Words<N>] {
        words.as_chunks().0
    }
}

/// Bytes of an element; does not compile where its slot has another size.
#[cfg(not(loom))]
pub(super) const fn bytes_of<E: Element>() -> usize {
    const {
        let words = <E::Slot as SlotWords>::WORDS;
        assert!(size_of::<E>() == 4 * words, "a slot of another size");
        assert!(words >= 1 && words <= MOST_WORDS, "4 to 64 bytes");
        4 * words
    }
}

/// An index, as of an mbuf.
impl Element for u32 {
    type Slot = AtomicU32;
    const NONE: u32 = super::NONE;
    // Without the way over bytes, so that what calls it is inlined as it was.
    #[inline(always)]
    fn load(slot: &AtomicU32) -> u32 {
        slot.load(Ordering::Relaxed)
    }
    #[inline(always)]
    fn store(self, slot: &AtomicU32) {
        slot.store(self, Ordering::Relaxed);
    }
}

impl Element for u64 {
    type Slot = Words<2>;
    const NONE: u64 = u64::MAX;
}

/// Words as they are; a record of one's own is told from [`Element::NONE`] more easily.
impl<const N: usize> Element for [u32; N] {
    type Slot = Words<N>;
    const NONE: [u32; N] = [u32::MAX; N];
}
