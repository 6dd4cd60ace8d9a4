//! Keys by id, and whether a row is live.
//!
//! Layout: key `id` at `id * stride`, zero up to 8 bytes; behind the last one the states, u32 each. So as
//! many keys as can be lie in a line and in a page, and a lookup by who changes the rows needs no state.
//! The state counts up: 0 never used, odd free (or being written), even and not 0 live. A row
//! that is freed and used again has another state, so (id, state) names one life of a row.
//!
//! Order: publish stores the key, then the even state (Release). A reader loads the state
//! (Acquire), copies the key, and believes the copy if the state is still the same.
//!
//! Failure: a death before the state's store leaves a free slot.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::TableError;
use super::words::{self, WORD};
use crate::region::Region;
use crate::simd::prefetch;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};

/// Keys of one type, by id.
pub struct Keys<K> {
    words: &'static [AtomicU64],
    states: &'static [AtomicU32],
    of: PhantomData<fn() -> K>,
}

impl<K> Clone for Keys<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Keys<K> {}

impl<K: FromBytes + IntoBytes + Immutable + Copy> Keys<K> {
    /// Distance of two keys.
    pub const STRIDE: usize = WORD * Self::WORDS;
    const WORDS: usize = size_of::<K>().div_ceil(WORD);

    /// Bytes that `count` slots take.
    pub const fn bytes_for(count: u32) -> usize {
        (Self::STRIDE + size_of::<u32>()) * count as usize
    }

    /// A view of `count` slots. Zeroed memory is an array of free slots, so making and opening
    /// are one.
    pub fn new(region: Region, count: u32) -> Result<Keys<K>, TableError> {
        region.slice(0, Self::bytes_for(count))?;
        Ok(Keys {
            words: region.u64s(0, Self::WORDS * count as usize),
            states: region.u32s(Self::STRIDE * count as usize, count as usize),
            of: PhantomData,
        })
    }

    /// Slots in the array.
    pub fn count(&self) -> u32 {
        self.states.len() as u32
    }

    /// Makes a row live: its record and hot words must be stored already. Returns the new state.
    ///
    /// # Panics
    /// When there is no such slot; in debug builds, when the row is live.
    #[inline]
    pub fn publish(&self, id: u32, key: &K) -> u32 {
        let state = self.state_word(id);
        let old = state.load(Ordering::Relaxed);
        debug_assert!(!is_live(old), "row {id} is live");
        words::store(self.slot(id), key);
        let new = match (old | 1).wrapping_add(1) {
            0 => 2,
            even => even,
        };
        state.store(new, Ordering::Release);
        new
    }

    /// Ends a row.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn unpublish(&self, id: u32) {
        let state = self.state_word(id);
        let old = state.load(Ordering::Relaxed);
        if is_live(old) {
            state.store(old + 1, Ordering::Release);
            // The key may be overwritten only after readers can see that it is not live.
            fence(Ordering::Release);
        }
    }

    /// The key of a live row.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn read(&self, id: u32) -> Option<K> {
        let state = self.state_word(id);
        let before = state.load(Ordering::Acquire);
        if !is_live(before) {
            return None;
        }
        let key = words::load(self.slot(id));
        fence(Ordering::Acquire);
        (state.load(Ordering::Relaxed) == before).then_some(key)
    }

    /// Whether a row is live and has this key: what a lookup asks of a candidate.
    #[inline]
    pub fn is(&self, id: u32, key: &K) -> bool {
        let Some(state) = self.states.get(id as usize) else {
            return false;
        };
        let before = state.load(Ordering::Acquire);
        let same = self.holds(id, key);
        fence(Ordering::Acquire);
        same && state.load(Ordering::Relaxed) == before && is_live(before)
    }

    /// Whether a row has this key, live or not: all that has to be asked by who alone changes rows and index,
    /// of an id that the index names now. It names live rows only.
    #[inline]
    pub fn holds(&self, id: u32, key: &K) -> bool {
        let from = id as usize * Self::WORDS;
        let slot = self.words.get(from..from + Self::WORDS);
        slot.is_some_and(|slot| words::same(slot, key))
    }

    /// The state of a slot; see the module for its meaning.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn state(&self, id: u32) -> u32 {
        self.state_word(id).load(Ordering::Acquire)
    }

    /// Whether a row is live.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn is_live(&self, id: u32) -> bool {
        is_live(self.state(id))
    }

    /// Where the words of a key lie, if there is such a slot.
    #[inline(always)]
    pub(super) fn at(&self, id: u32) -> Option<*const u64> {
        let first = self.words.as_ptr().wrapping_add(id as usize * Self::WORDS);
        (id < self.count()).then_some(first.cast())
    }

    /// Brings a key into the processor's cache; [`super::NO_ID`] is no key.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        words::prefetch_row(self.words, id, Self::WORDS);
    }

    /// The same with its state: before it is published, or asked for by [`Keys::is`] or [`Keys::read`].
    #[inline]
    pub fn prefetch_slot(&self, id: u32) {
        self.prefetch(id);
        prefetch(self.states.as_ptr().wrapping_add(id as usize));
    }

    #[inline]
    fn state_word(&self, id: u32) -> &'static AtomicU32 {
        match self.states.get(id as usize) {
            Some(state) => state,
            None => words::no_row(id, self.states.len()),
        }
    }

    #[inline]
    fn slot(&self, id: u32) -> &'static [AtomicU64] {
        words::row(self.words, id, Self::WORDS)
    }
}

impl<K: FromBytes + IntoBytes + Immutable + Copy> core::fmt::Debug for Keys<K> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Keys({} x {} bytes)", self.count(), Self::STRIDE)
    }
}

#[inline]
const fn is_live(state: u32) -> bool {
    // Half of it is not 0, and has not got the lowest bit as its highest.
    state.rotate_right(1).wrapping_sub(1) < u32::MAX >> 1
}
