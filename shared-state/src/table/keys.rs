//! Keys by id, and whether a row is live.
//!
//! Layout: slot `id` at `id * stride`: state u32, zero u32, key, zero; stride = 8 + size rounded up
//! to 8, and 24 to 32, so that a slot of that size, an IPv4 session's, never lies in two cache lines.
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
use crate::sync::{AtomicU64, Ordering, fence};

/// Keys of one type, by id.
pub struct Keys<K> {
    /// The first word of a slot is its state (high half zero), the others its key.
    words: &'static [AtomicU64],
    of: PhantomData<fn() -> K>,
}

impl<K> Clone for Keys<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Keys<K> {}

impl<K: FromBytes + IntoBytes + Immutable + Copy> Keys<K> {
    /// Distance of two slots.
    pub const STRIDE: usize = WORD * Self::WORDS;
    const WORDS: usize = match 1 + size_of::<K>().div_ceil(WORD) {
        3 => 4,
        words => words,
    };

    /// Bytes that `count` slots take.
    pub const fn bytes_for(count: u32) -> usize {
        Self::STRIDE * count as usize
    }

    /// A view of `count` slots. Zeroed memory is an array of free slots, so making and opening
    /// are one.
    pub fn new(region: Region, count: u32) -> Result<Keys<K>, TableError> {
        region.slice(0, Self::bytes_for(count))?;
        let words = region.u64s(0, Self::WORDS * count as usize);
        let of = PhantomData;
        Ok(Keys { words, of })
    }

    /// Slots in the array.
    pub fn count(&self) -> u32 {
        (self.words.len() / Self::WORDS) as u32
    }

    /// Makes a row live: its record and hot words must be stored already. Returns the new state.
    ///
    /// # Panics
    /// When there is no such slot; in debug builds, when the row is live.
    #[inline]
    pub fn publish(&self, id: u32, key: &K) -> u32 {
        let slot = self.slot(id);
        let old = slot[0].load(Ordering::Relaxed) as u32;
        debug_assert!(!is_live(old), "row {id} is live");
        words::store(&slot[1..], key);
        let new = match (old | 1).wrapping_add(1) {
            0 => 2,
            even => even,
        };
        slot[0].store(new.into(), Ordering::Release);
        new
    }

    /// Ends a row.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn unpublish(&self, id: u32) {
        let state = &self.slot(id)[0];
        let old = state.load(Ordering::Relaxed) as u32;
        if is_live(old) {
            state.store(u64::from(old) + 1, Ordering::Release);
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
        let slot = self.slot(id);
        let before = slot[0].load(Ordering::Acquire);
        if !is_live(before as u32) {
            return None;
        }
        let key = words::load(&slot[1..]);
        fence(Ordering::Acquire);
        (slot[0].load(Ordering::Relaxed) == before).then_some(key)
    }

    /// Whether a row is live and has this key: what a lookup asks of a candidate.
    #[inline]
    pub fn is(&self, id: u32, key: &K) -> bool {
        let from = id as usize * Self::WORDS;
        let Some(slot) = self.words.get(from..from + Self::WORDS) else {
            return false;
        };
        let before = slot[0].load(Ordering::Acquire);
        let same = words::same(&slot[1..], key);
        fence(Ordering::Acquire);
        same && slot[0].load(Ordering::Relaxed) == before && is_live(before as u32)
    }

    /// The state of a slot; see the module for its meaning.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn state(&self, id: u32) -> u32 {
        self.slot(id)[0].load(Ordering::Acquire) as u32
    }

    /// Whether a row is live.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn is_live(&self, id: u32) -> bool {
        is_live(self.state(id))
    }

    /// Brings a slot into the processor's cache.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        words::prefetch_row(self.words, id, Self::WORDS);
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
