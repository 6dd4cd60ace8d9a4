//! The mempool: every packet buffer of an instance, free or not, in memory that outlives processes.
//!
//! Layout
//! ```text
//! meta segment  0      header: magic, version, count, chunk, headroom
//!               4096   64 caches of 2,112 bytes: count, moving, note, 512 x u32 ([`Cache`])
//!               139264 common ring, MPMC, room for every mbuf                 ([`MpmcRing`])
//!               ...    count x 64-byte metadata line                          ([`Line`])
//! data segment  count x chunk
//! ```
//! The chunk of mbuf `m` starts at `m * chunk` of the data segment; that is also its UMEM address.
//!
//! Order: the header's magic number is the last store of [`Pool::create`]. Caches and ring say
//! theirs in their own files.
//!
//! Failure: a free mbuf is in the common ring or in a cache; one found in neither, nor in any
//! other window, is where its `place` says. [`crate::audit`] does that sum, and gives back what a
//! dead shard had between two of them.

mod cache;
mod error;
mod layout;
mod packets;
mod sockets;
mod whole;

use cache::CacheSlot;
pub use cache::{CACHE_SIZE, Cache};
pub use error::PoolError;
pub use sockets::Sockets;

use std::sync::OnceLock;

use crate::mbuf::Line;
use crate::place::{Holder, Place};
use crate::region::Region;
use crate::ring::MpmcRing;

/// A view of the pool in this process; copies name the same buffers.
#[derive(Clone, Copy)]
pub struct Pool(&'static View);

struct View {
    lines: &'static [Line],
    data: Region,
    chunk: u32,
    chunk_shift: u32,
    headroom: u16,
    ring: MpmcRing,
    caches: &'static [CacheSlot],
    /// Memory that may be lent to packets; see [`Pool::lend_from`].
    outside: OnceLock<Vec<(u64, Region)>>,
}

impl Pool {
    /// Buffers in the pool.
    #[inline]
    pub fn count(self) -> u32 {
        self.0.lines.len() as u32
    }

    /// Bytes of one buffer.
    #[inline]
    pub fn chunk(self) -> u32 {
        self.0.chunk
    }

    /// Bytes kept free in front of a packet that is made or received.
    #[inline]
    pub fn headroom(self) -> u16 {
        self.0.headroom
    }

    /// Offset of a buffer's chunk in the data segment: its UMEM address.
    #[inline]
    pub fn data_offset(self, m: u32) -> u64 {
        u64::from(m) << self.0.chunk_shift
    }

    /// The buffer that an offset in the data segment (a UMEM address) lies in.
    #[inline]
    pub fn mbuf_at(self, offset: u64) -> Option<u32> {
        let m = offset >> self.0.chunk_shift;
        (m < u64::from(self.count())).then_some(m as u32)
    }

    /// The data segment, for registering it with a device.
    pub fn data(self) -> Region {
        self.0.data
    }

    /// The metadata of a buffer.
    ///
    /// # Panics
    /// When the pool has no such buffer.
    #[inline]
    pub fn line(self, m: u32) -> &'static Line {
        &self.0.lines[m as usize]
    }

    /// The metadata of all buffers: a loop over many takes it once.
    #[inline]
    pub(crate) fn lines(self) -> &'static [Line] {
        self.0.lines
    }

    /// First byte of a buffer's chunk; the holder of the buffer may use `chunk()` bytes from here.
    ///
    /// # Panics
    /// When the pool has no such buffer.
    #[inline]
    pub fn chunk_ptr(self, m: u32) -> *mut u8 {
        // As `line` asks, so that who wants both is asked once.
        if m as usize >= self.0.lines.len() {
            Pool::no_mbuf(m, self.0.lines.len());
        }
        // SAFETY: `m < count` and `count * chunk <= data.len()` (checked by `check_shape`).
        unsafe { self.0.data.as_ptr().add((m as usize) << self.0.chunk_shift) }
    }

    /// The metadata of a buffer and its chunk, looked for once.
    ///
    /// # Panics
    /// When the pool has no such buffer.
    #[inline(always)]
    pub(crate) fn buffer(self, m: u32) -> (&'static Line, *mut u8) {
        let Some(line) = self.0.lines.get(m as usize) else {
            Pool::no_mbuf(m, self.0.lines.len());
        };
        // SAFETY: as in `chunk_ptr`; there is a line of `m`, so `m < count`.
        let chunk = unsafe { self.0.data.as_ptr().add((m as usize) << self.0.chunk_shift) };
        (line, chunk)
    }

    /// Not inlined: what a message is made of is written to memory where it is made.
    #[cold]
    #[inline(never)]
    pub(crate) fn no_mbuf(m: u32, lines: usize) -> ! {
        panic!("mbuf {m} of a pool of {lines}");
    }

    /// Where the buffer says it is.
    #[inline]
    pub fn place(self, m: u32) -> Place {
        self.line(m).place()
    }

    /// Says where the buffer will be, before the store that publishes it there.
    #[inline]
    pub fn set_place(self, m: u32, place: Place) {
        self.line(m).set_place(place);
    }

    /// The cache of a shard, for its owner alone.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn cache(self, shard: usize) -> Cache {
        Cache::new(self, &self.0.caches[shard], shard as u16)
    }

    /// Frees one buffer to the common ring; for who has no cache.
    #[cold]
    pub fn free_one(self, m: u32) {
        cache::debug_check_not_free(self, m);
        self.set_place(m, Place::new(Holder::POOL, 0));
        let put = self.ring().enqueue_burst(&[m]);
        assert!(put == 1, "the common ring has room for every mbuf");
    }

    /// The common ring.
    #[inline]
    pub fn ring(self) -> MpmcRing {
        self.0.ring
    }

    /// Shows every free buffer and who has it: common ring and caches.
    pub fn windows(self, visit: &mut dyn FnMut(Holder, u32)) {
        self.0.ring.window(&mut |m| visit(Holder::POOL, m));
        for (shard, slot) in (0u16..).zip(self.0.caches) {
            slot.window(&mut |m| visit(Holder::cache(shard), m));
        }
    }

    /// Whether the cache of a shard shows a mbuf.
    fn is_cached(self, m: u32, shard: usize) -> bool {
        let mut found = false;
        self.0.caches[shard].window(&mut |other| found |= other == m);
        found
    }

    /// What a shard that died was moving between its cache and the common ring, if anything.
    /// Each may meanwhile be somewhere else: only one found nowhere is settled by this.
    pub fn moving(self, shard: usize) -> Vec<u32> {
        self.0.caches[shard].moving()
    }

    /// Whether another shard than `but` names a mbuf as on its way.
    pub(crate) fn is_moving_elsewhere(self, m: u32, but: usize) -> bool {
        let caches = self.0.caches.iter().enumerate();
        caches
            .filter(|(shard, _)| *shard != but)
            .any(|(_, slot)| slot.moving().contains(&m))
    }

    /// Leaves a shard's cache as a death in the middle of a refill or spill would.
    #[cfg(test)]
    pub(crate) fn name_moving(self, shard: usize, mbufs: &[u32]) {
        self.0.caches[shard].name_moving(mbufs);
    }

    /// Says that what a dead shard was moving is settled.
    pub fn settle_moving(self, shard: usize) {
        self.0.caches[shard].settle();
    }
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (count, chunk) = (self.count(), self.chunk());
        write!(
            f,
            "Pool({count} x {chunk}, {} in the ring)",
            self.ring().len()
        )
    }
}

#[cfg(test)]
pub(crate) mod tests;
