//! A queue of values that may be freed once their readers have moved on, in shared memory.
//!
//! Layout
//! ```text
//!   0 magic u32, capacity u32       64 head u64          128 tail u64
//! 192 capacity x { token u64, value u64 (32 bits used) }
//! ```
//! One owner at a time (whoever owns what is freed), which may change between processes.
//!
//! Order: an entry is written, then `tail` is stored (Release); a value is freed, then `head` is
//! stored. The next owner loads both.
//!
//! Failure: death before `tail` is stored: the value is not in the queue, and its owner finds it
//! as it finds what was unlinked and not yet put here (that owner's intent or audit). Death after
//! the value was given to `free` and before `head` is stored: the next owner is given it once
//! more, so `free` must be a store that may be repeated ("this block is free").

use super::{Qsbr, RcuError, check_magic};
use crate::region::Region;
use crate::sync::{AtomicU64, Ordering};

const MAGIC: u32 = u32::from_le_bytes(*b"dfrq");
pub(super) const CAPACITY_AT: usize = 4;
pub(super) const HEAD_AT: usize = 64;
pub(super) const TAIL_AT: usize = 128;
pub(super) const ENTRIES_AT: usize = 192;
const ENTRY_WORDS: usize = 2;

/// Values that wait for a grace period; copies are the same queue.
#[derive(Clone, Copy)]
pub struct DeferQueue {
    head: &'static AtomicU64,
    tail: &'static AtomicU64,
    entries: &'static [AtomicU64],
}

impl DeferQueue {
    /// Bytes of a queue for `capacity` values.
    pub const fn bytes_for(capacity: u32) -> usize {
        ENTRIES_AT + capacity as usize * ENTRY_WORDS * size_of::<u64>()
    }

    /// Makes an empty queue in a zeroed region nobody else uses yet.
    pub fn create(region: Region, capacity: u32) -> Result<DeferQueue, RcuError> {
        region.slice(0, Self::bytes_for(capacity))?;
        region.u32(CAPACITY_AT).store(capacity, Ordering::Relaxed);
        region.u32(0).store(MAGIC, Ordering::Release);
        Self::attach(region)
    }

    /// Opens a queue that another process made.
    pub fn attach(region: Region) -> Result<DeferQueue, RcuError> {
        region.slice(0, ENTRIES_AT)?;
        check_magic("defer queue", region.u32(0).load(Ordering::Acquire), MAGIC)?;
        let capacity = region.u32(CAPACITY_AT).load(Ordering::Relaxed);
        let region = region.slice(0, Self::bytes_for(capacity))?;
        let queue = DeferQueue {
            head: region.u64(HEAD_AT),
            tail: region.u64(TAIL_AT),
            entries: region.u64s(ENTRIES_AT, capacity as usize * ENTRY_WORDS),
        };
        let (what, found, most) = ("values in the queue", queue.waiting(), capacity.into());
        if found > most {
            return Err(RcuError::Number { what, found, most });
        }
        Ok(queue)
    }

    /// Takes a token for `value`, which has just been unlinked, and keeps both.
    pub fn defer_free(&self, qsbr: &Qsbr, value: u32) -> Result<(), RcuError> {
        let capacity = self.capacity();
        if self.waiting() >= u64::from(capacity) {
            return Err(RcuError::Full { capacity });
        }
        let tail = self.tail.load(Ordering::Relaxed);
        let entry = self.entry(tail);
        entry[0].store(qsbr.start(), Ordering::Relaxed);
        entry[1].store(value.into(), Ordering::Relaxed);
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
        Ok(())
    }

    /// Gives to `free` the values whose readers have moved on, oldest first; how many.
    pub fn reclaim(
        &self,
        qsbr: &Qsbr,
        mut is_dead: impl FnMut(u16) -> bool,
        mut free: impl FnMut(u32),
    ) -> usize {
        let mut freed = 0;
        let mut head = self.head.load(Ordering::Acquire);
        while head != self.tail.load(Ordering::Acquire) {
            let entry = self.entry(head);
            if !qsbr.check(entry[0].load(Ordering::Relaxed), &mut is_dead) {
                break;
            }
            free(entry[1].load(Ordering::Relaxed) as u32);
            head = head.wrapping_add(1);
            self.head.store(head, Ordering::Release);
            freed += 1;
        }
        freed
    }

    /// The values that wait, oldest first: for an audit that accounts for everything.
    pub fn values(&self) -> impl Iterator<Item = u32> + '_ {
        let head = self.head.load(Ordering::Acquire);
        let count = self.waiting().min(self.capacity().into());
        (0..count).map(move |i| self.entry(head.wrapping_add(i))[1].load(Ordering::Relaxed) as u32)
    }

    /// How many values wait.
    pub fn waiting(&self) -> u64 {
        let tail = self.tail.load(Ordering::Acquire);
        tail.wrapping_sub(self.head.load(Ordering::Acquire))
    }

    /// How many values it holds at most.
    pub fn capacity(&self) -> u32 {
        (self.entries.len() / ENTRY_WORDS) as u32
    }

    fn entry(&self, number: u64) -> &'static [AtomicU64] {
        let at = (number % u64::from(self.capacity())) as usize * ENTRY_WORDS;
        &self.entries[at..at + ENTRY_WORDS]
    }
}

impl core::fmt::Debug for DeferQueue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "DeferQueue({} of {})", self.waiting(), self.capacity())
    }
}
