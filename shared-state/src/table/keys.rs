//! Keys by id, and whether a row is live.
//!
//! Layout: slot `id` at `id * stride`: state u32, zero u32, key; stride = 8 + size rounded up to 8.
//! The state counts up: 0 never used, odd free (or being written), even and not 0 live. A row
//! that is freed and used again has another state, so (id, state) names one life of a row.
//!
//! Order: publish stores the key, then the even state (Release). A reader loads the state
//! (Acquire), copies the key, and believes the copy if the state is still the same.
//!
//! Failure: a death before the state's store leaves a free slot.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{TableError, prefetch_at};
use crate::region::Region;
use crate::sync::{Ordering, fence};

const KEY_AT: usize = 8;

/// Keys of one type, by id.
#[derive(Debug)]
pub struct Keys<K> {
    region: Region,
    count: u32,
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
    pub const STRIDE: usize = KEY_AT + size_of::<K>().next_multiple_of(8);

    /// Bytes that `count` slots take.
    pub const fn bytes_for(count: u32) -> usize {
        Self::STRIDE * count as usize
    }

    /// A view of `count` slots. Zeroed memory is an array of free slots, so making and opening
    /// are one.
    pub fn new(region: Region, count: u32) -> Result<Keys<K>, TableError> {
        let region = region.slice(0, Self::bytes_for(count))?;
        let of = PhantomData;
        Ok(Keys { region, count, of })
    }

    /// Slots in the array.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Makes a row live: its record and hot words must be stored already. Returns the new state.
    ///
    /// # Panics
    /// When there is no such slot; in debug builds, when the row is live.
    #[inline]
    pub fn publish(&self, id: u32, key: &K) -> u32 {
        let at = self.at(id);
        let state = self.region.u32(at);
        let old = state.load(Ordering::Relaxed);
        debug_assert!(!is_live(old), "row {id} is live");
        self.region.write(at + KEY_AT, key);
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
        let state = self.region.u32(self.at(id));
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
        let at = self.at(id);
        let state = self.region.u32(at);
        let before = state.load(Ordering::Acquire);
        if !is_live(before) {
            return None;
        }
        let key = self.region.read(at + KEY_AT);
        fence(Ordering::Acquire);
        (state.load(Ordering::Relaxed) == before).then_some(key)
    }

    /// Whether a row is live and has this key: what a lookup asks of a candidate.
    #[inline]
    pub fn is(&self, id: u32, key: &K) -> bool {
        id < self.count
            && self
                .read(id)
                .is_some_and(|found| found.as_bytes() == key.as_bytes())
    }

    /// The state of a slot; see the module for its meaning.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn state(&self, id: u32) -> u32 {
        self.region.u32(self.at(id)).load(Ordering::Acquire)
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
        if id < self.count {
            prefetch_at(&self.region, self.at(id));
        }
    }

    #[inline]
    fn at(&self, id: u32) -> usize {
        assert!(id < self.count, "row {id} of {}", self.count);
        id as usize * Self::STRIDE
    }
}

#[inline]
const fn is_live(state: u32) -> bool {
    state != 0 && state & 1 == 0
}
