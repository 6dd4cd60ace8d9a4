//! A shard's cache of free mbufs: the fast path of the pool, in shared memory.
//!
//! Layout: `len u32, moving u32, note of 16 bytes ([`crate::mbuf`], references), zero to 64, 512 x u32`. The first `len` entries are the free
//! mbufs of this shard, last in first out. While `moving` is not 0, the `moving` entries past the
//! end name mbufs on their way from or to the common ring.
//!
//! Invariant: the `place` of a mbuf in here is (cache of this shard, 0), and stays so when it is
//! allocated: what has this place and stands in no window is in the owner's hands, unused. Who puts it
//! anywhere else says so first. So alloc stores nothing per mbuf, and a free of many only where one came back
//! from elsewhere.
//!
//! Order
//! - alloc: `len` (Release). free: entries and `place`s, then `len`.
//! - refill: entry past the end and `moving`, then the ring's compare-and-swap that takes the
//!   mbuf, `place` = cache, then `len`, `moving` = 0.
//! - spill: `len`, `moving`, `place` = pool, then the compare-and-swap that puts it, `moving` = 0.
//!
//! Failure: a mbuf that no window shows was allocated or in free, refill or spill (`place` cache of this
//! shard), or in refill or spill (`place` pool and named past the end): the audit gives them back.
//! The next owner of the shard goes on with the cache as it is.

use super::Pool;
use crate::mbuf::Packet;
use crate::mbuf::refs::Note;
use crate::place::{Holder, HolderKind, Place};
use crate::sync::{AtomicU32, Ordering, as_one};
use core::ptr;

/// Entries of a shard's cache.
pub const CACHE_SIZE: usize = 512;
const HALF: usize = CACHE_SIZE / 2;

/// The shared half of a cache.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct CacheSlot {
    len: AtomicU32,
    moving: AtomicU32,
    pub(super) note: Note,
    zero: [AtomicU32; 10],
    entries: [AtomicU32; CACHE_SIZE],
}

const _: () = assert!(size_of::<CacheSlot>() == 64 + 4 * CACHE_SIZE);

impl CacheSlot {
    #[inline]
    fn len(&self) -> usize {
        self.stored_len().min(CACHE_SIZE)
    }

    /// The length as it is stored, for who compares it with [`CACHE_SIZE`] anyway: from one call to the next
    /// it goes through this word, and each step in between is waited for.
    #[inline]
    fn stored_len(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }

    #[inline]
    fn set_len(&self, len: usize) {
        self.len.store(len as u32, Ordering::Release);
    }

    /// Copies the entries from `from` on.
    #[inline]
    fn copy_out(&self, from: usize, to: &mut [u32]) {
        let entries = &self.entries[from..from + to.len()];
        // SAFETY: as many words as `to` has; only the owner of the shard, who is here, writes entries.
        unsafe { ptr::copy_nonoverlapping(entries.as_ptr().cast(), to.as_mut_ptr(), to.len()) };
    }

    /// Overwrites the entries from `at` on, which are past the end.
    #[inline]
    fn copy_in(&self, at: usize, mbufs: &[u32]) {
        let entries = &self.entries[at..at + mbufs.len()];
        let to: *mut u32 = entries.as_ptr().cast_mut().cast();
        // SAFETY: as many words as `mbufs` has, atomics and so writable; nobody reads past the end.
        as_one(|| unsafe { ptr::copy_nonoverlapping(mbufs.as_ptr(), to, mbufs.len()) });
    }

    fn set_moving(&self, n: usize) {
        self.moving.store(n as u32, Ordering::Release);
    }

    /// Shows the free mbufs in here.
    pub(super) fn window(&self, visit: &mut dyn FnMut(u32)) {
        let len = (self.len.load(Ordering::Acquire) as usize).min(CACHE_SIZE);
        for entry in &self.entries[..len] {
            visit(entry.load(Ordering::Relaxed));
        }
    }

    /// The entries past the end that name mbufs on their way.
    pub(super) fn moving(&self) -> Vec<u32> {
        let from = self.len();
        let moving = self.moving.load(Ordering::Acquire) as usize;
        let to = from.saturating_add(moving).min(CACHE_SIZE);
        let entries = self.entries[from..to].iter();
        entries.map(|entry| entry.load(Ordering::Relaxed)).collect()
    }

    #[cfg(test)]
    pub(super) fn name_moving(&self, mbufs: &[u32]) {
        for (entry, m) in self.entries[self.len()..].iter().zip(mbufs) {
            entry.store(*m, Ordering::Relaxed);
        }
        self.set_moving(mbufs.len());
    }

    pub(super) fn settle(&self) {
        self.set_moving(0);
    }
}

/// A shard's cache, held by the lcore that owns the shard.
pub struct Cache {
    pool: Pool,
    slot: &'static CacheSlot,
    shard: u16,
    /// What a mbuf of this cache says of itself, as it is stored.
    place: u64,
}

impl Cache {
    pub(super) fn new(pool: Pool, slot: &'static CacheSlot, shard: u16) -> Cache {
        let place = Place::new(Holder::cache(shard), 0).bits();
        Cache {
            pool,
            slot,
            shard,
            place,
        }
    }

    /// The pool behind it.
    #[inline]
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// The shard it belongs to.
    #[inline]
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// Free mbufs in it.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a count, not a container")]
    pub fn len(&self) -> usize {
        self.slot.len()
    }

    /// Allocates up to `out.len()` mbufs; fewer only when the pool has no more.
    #[inline]
    pub fn alloc_burst(&mut self, out: &mut [u32]) -> usize {
        let mut done = 0;
        for part in out.chunks_mut(HALF) {
            let n = self.alloc_part(part);
            done += n;
            if n < part.len() {
                break;
            }
        }
        done
    }

    /// Allocates up to `out.len()` mbufs as empty packets behind the headroom (`rte_pktmbuf_alloc_bulk`).
    #[inline]
    pub fn alloc_packets(&mut self, out: &mut [u32]) -> usize {
        let n = self.alloc_burst(out);
        let (lines, at) = (self.pool.lines(), (self.pool.headroom(), 0));
        for m in &out[..n] {
            lines[*m as usize].start(at, (0, 0), 0);
        }
        n
    }

    #[inline]
    fn alloc_part(&mut self, out: &mut [u32]) -> usize {
        let mut len = self.slot.len();
        if len < out.len() {
            len = self.refill(len, out.len());
        }
        let n = out.len().min(len);
        self.slot.copy_out(len - n, &mut out[..n]);
        self.slot.set_len(len - n);
        n
    }

    /// Allocates one empty packet.
    #[inline]
    pub fn alloc(&mut self) -> Option<Packet> {
        let slot = self.slot;
        let mut last = slot.stored_len().wrapping_sub(1);
        if last >= CACHE_SIZE {
            last = self.last_of_few()?;
        }
        let m = slot.entries[last].load(Ordering::Relaxed);
        slot.set_len(last);
        Some(Packet::fresh(m, self.pool))
    }

    /// The last entry of a cache that was empty, or says that it has more than it can.
    #[cold]
    #[inline(never)]
    fn last_of_few(&mut self) -> Option<usize> {
        let mut len = self.slot.len();
        if len == 0 {
            len = self.refill(len, 1);
        }
        len.checked_sub(1)
    }

    /// Frees mbufs that the caller holds, each of a single segment that nobody refers to;
    /// [`Cache::free_packets`] frees any.
    ///
    /// # Panics
    /// In debug builds, when one of them is free already, or more than that.
    #[inline]
    pub fn free_burst(&mut self, mbufs: &[u32]) {
        self.say_here(mbufs);
        self.give_back(mbufs);
    }

    /// Gives back what [`Cache::alloc_burst`] gave and was put nowhere since (`rte_mempool_put_bulk`): their
    /// place is still this cache, and they need not be looked at.
    ///
    /// One that was put somewhere goes through [`Cache::free_burst`], or after a death an audit would look for it
    /// where it has been before.
    ///
    /// # Panics
    /// In debug builds, when one of them says that it is elsewhere, or is free already.
    #[inline]
    pub fn give_back(&mut self, mbufs: &[u32]) {
        for part in mbufs.chunks(HALF) {
            let mut len = self.slot.len();
            if len + part.len() > CACHE_SIZE {
                len = self.spill(len);
            }
            self.debug_check_ours(part);
            self.slot.copy_in(len, part);
            self.slot.set_len(len + part.len());
        }
    }

    /// What comes back says that it is here, and is in nobody's hands but the caller's.
    #[inline]
    fn debug_check_ours(&self, mbufs: &[u32]) {
        if cfg!(debug_assertions) {
            let place = self.place();
            for m in mbufs {
                debug_check_not_free(self.pool, *m);
                assert!(
                    !self.pool.line(*m).is_elsewhere(place),
                    "mbuf {m} given back to {self:?}, but it is in the {}",
                    self.pool.place(*m).holder
                );
            }
        }
    }

    /// Where a mbuf of this cache is.
    #[inline]
    pub(crate) fn place(&self) -> Place {
        Place::from_bits(self.place)
    }

    /// Says of mbufs that come back that they are here, where they do not say so already.
    ///
    /// Most come back from where they went by this cache alone: one look at all, then no store.
    #[inline]
    fn say_here(&self, mbufs: &[u32]) {
        let (place, lines) = (self.place(), self.pool.lines());
        let mut elsewhere = false;
        for m in mbufs {
            debug_check_not_free(self.pool, *m);
            elsewhere |= lines[*m as usize].is_elsewhere(place);
        }
        if elsewhere {
            for m in mbufs {
                lines[*m as usize].set_place(place);
            }
        }
    }

    /// Takes in a mbuf whose place says it is in here already, though the cache does not show it.
    pub(crate) fn put_back(&mut self, m: u32) {
        let mut len = self.slot.len();
        if len == CACHE_SIZE {
            len = self.spill(len);
        }
        self.slot.entries[len].store(m, Ordering::Relaxed);
        self.slot.set_len(len + 1);
    }

    /// Frees one packet.
    #[inline]
    pub fn free(&mut self, packet: Packet) {
        let (line, m, slot) = (packet.line(), packet.into_raw(), self.slot);
        let len = slot.stored_len();
        if len >= CACHE_SIZE || !line.is_plain() {
            return self.free_rare(m);
        }
        debug_check_not_free(self.pool, m);
        // Also where it says so already: for one alone the question costs more than the store.
        line.set_place(self.place());
        slot.entries[len].store(m, Ordering::Relaxed);
        slot.set_len(len + 1);
    }

    /// Into a full cache, or a packet of more than a plain buffer.
    #[cold]
    #[inline(never)]
    fn free_rare(&mut self, m: u32) {
        self.free_packets(&[m]);
    }

    /// Frees one mbuf to the common ring, past the cache.
    pub fn free_one(&mut self, m: u32) {
        self.pool.free_one(m);
    }

    /// Gives everything in it to the common ring; for a shard that will not be polled again.
    pub fn flush(&mut self) {
        while self.slot.len() > 0 {
            let len = self.slot.len();
            self.spill_to(len, len.saturating_sub(HALF));
        }
    }

    /// Takes from the common ring until the cache is half full and has `want`; returns its length.
    #[cold]
    #[inline(never)]
    fn refill(&mut self, len: usize, want: usize) -> usize {
        let most = HALF.max(want) - len;
        let slot = self.slot;
        let taken = self.pool.ring().dequeue_with(most, |i, m| {
            slot.entries[len + i].store(m, Ordering::Relaxed);
            slot.set_moving(i + 1);
        });
        let place = self.place();
        for entry in &slot.entries[len..len + taken] {
            self.pool.set_place(entry.load(Ordering::Relaxed), place);
        }
        slot.set_len(len + taken);
        slot.set_moving(0);
        len + taken
    }

    /// Gives the upper half to the common ring; returns the cache's new length.
    #[cold]
    #[inline(never)]
    fn spill(&mut self, len: usize) -> usize {
        self.spill_to(len, HALF.min(len))
    }

    fn spill_to(&mut self, len: usize, keep: usize) -> usize {
        let mut out = [0; HALF];
        let n = len - keep;
        self.slot.copy_out(keep, &mut out[..n]);
        self.slot.set_len(keep);
        self.slot.set_moving(n);
        for m in &out[..n] {
            self.pool.set_place(*m, Place::new(Holder::POOL, 0));
        }
        let put = self.pool.ring().enqueue_burst(&out[..n]);
        assert!(put == n, "the common ring has room for every mbuf");
        self.slot.set_moving(0);
        keep
    }
}

impl core::fmt::Debug for Cache {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (shard, len) = (self.shard, self.len());
        write!(f, "Cache(shard {shard}, {len} free)")
    }
}

/// A mbuf whose place is the pool, or a cache that shows it, is free already.
#[inline]
pub(super) fn debug_check_not_free(pool: Pool, m: u32) {
    if cfg!(debug_assertions) {
        let holder = pool.place(m).holder;
        let free = match holder.kind() {
            HolderKind::Pool => true,
            HolderKind::Cache => pool.is_cached(m, usize::from(holder.a())),
            _ => false,
        };
        assert!(!free, "mbuf {m} freed twice: it is in the {holder}");
        let plain = pool.line(m).is_plain();
        assert!(plain, "mbuf {m} is a chain or refers: `free_packets`");
    }
}
