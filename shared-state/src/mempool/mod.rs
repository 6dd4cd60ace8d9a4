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
mod sockets;
mod whole;

use cache::CacheSlot;
pub use cache::{CACHE_SIZE, Cache};
pub use error::PoolError;
pub use sockets::Sockets;

use std::sync::OnceLock;

use crate::limits::{HEADROOM, MAX_SHARDS};
use crate::mbuf::Line;
use crate::place::{Holder, Place};
use crate::region::Region;
use crate::ring::MpmcRing;
use crate::sync::Ordering;

const MAGIC: u32 = u32::from_le_bytes(*b"pool");
const VERSION: u32 = 1;
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 4;
const COUNT_AT: usize = 8;
const CHUNK_AT: usize = 12;
const HEADROOM_AT: usize = 16;
const PAGE: usize = 4096;
const CACHES_AT: usize = PAGE;
const RING_AT: usize = CACHES_AT + MAX_SHARDS * size_of::<CacheSlot>();
const _: () = assert!(RING_AT == 139_264 && RING_AT.is_multiple_of(PAGE));

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
    /// Bytes of metadata that `count` buffers take.
    pub const fn meta_bytes(count: u32) -> usize {
        lines_at(count) + count as usize * size_of::<Line>()
    }

    /// Bytes of packet data that `count` buffers take.
    pub const fn data_bytes(count: u32, chunk: u32) -> usize {
        count as usize * chunk as usize
    }

    /// Makes a pool of as many buffers as `data` holds, all of them free, in zeroed segments that
    /// nobody else uses yet.
    pub fn create(meta: Region, data: Region, chunk: u32) -> Result<Pool, PoolError> {
        let count = u32::try_from(data.len() / chunk.max(1) as usize).unwrap_or(u32::MAX / 2);
        Pool::create_with(meta, data, chunk, count)
    }

    /// As [`Pool::create`], with fewer buffers than `data` has room for.
    pub fn create_with(
        meta: Region,
        data: Region,
        chunk: u32,
        count: u32,
    ) -> Result<Pool, PoolError> {
        check_shape(&data, chunk, count)?;
        meta.slice(0, Pool::meta_bytes(count))?;
        let ring = meta.slice(RING_AT, meta.len() - RING_AT)?;
        MpmcRing::create(ring, ring_capacity(count))?;
        meta.u32(VERSION_AT).store(VERSION, Ordering::Relaxed);
        meta.u32(COUNT_AT).store(count, Ordering::Relaxed);
        meta.u32(CHUNK_AT).store(chunk, Ordering::Relaxed);
        meta.u32(HEADROOM_AT).store(HEADROOM, Ordering::Relaxed);
        let pool = Pool::view(meta, data)?;
        for m in 0..count {
            pool.set_place(m, Place::new(Holder::POOL, 0));
            pool.ring().enqueue_burst(&[m]);
        }
        meta.u32(MAGIC_AT).store(MAGIC, Ordering::Release);
        Ok(pool)
    }

    /// Opens the pool that another process made; stores nothing.
    pub fn attach(meta: Region, data: Region) -> Result<Pool, PoolError> {
        meta.slice(0, RING_AT)?;
        let found = meta.u32(MAGIC_AT).load(Ordering::Acquire);
        if found != MAGIC {
            let wanted = MAGIC;
            return Err(PoolError::Magic { found, wanted });
        }
        let found = meta.u32(VERSION_AT).load(Ordering::Relaxed);
        if found != VERSION {
            let wanted = VERSION;
            return Err(PoolError::Version { found, wanted });
        }
        Pool::view(meta, data)
    }

    fn view(meta: Region, data: Region) -> Result<Pool, PoolError> {
        let count = meta.u32(COUNT_AT).load(Ordering::Relaxed);
        let chunk = meta.u32(CHUNK_AT).load(Ordering::Relaxed);
        let headroom = meta.u32(HEADROOM_AT).load(Ordering::Relaxed).min(chunk / 2);
        check_shape(&data, chunk, count)?;
        let ring = meta.slice(RING_AT, MpmcRing::bytes_for(ring_capacity(count)))?;
        let lines = meta.slice(lines_at(count), count as usize * size_of::<Line>())?;
        let caches = meta.slice(CACHES_AT, MAX_SHARDS * size_of::<CacheSlot>())?;
        Ok(Pool(Box::leak(Box::new(View {
            lines: atomics(lines)?,
            data,
            chunk,
            chunk_shift: chunk.trailing_zeros(),
            headroom: headroom as u16,
            ring: MpmcRing::attach(ring)?,
            caches: atomics(caches)?,
            outside: OnceLock::new(),
        }))))
    }

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

    /// First byte and length of the packet in a buffer.
    #[inline]
    pub fn bytes(self, m: u32) -> (*mut u8, usize) {
        let (off, len) = self.packet(m);
        // SAFETY: `off <= chunk`, so the pointer stays in, or one past, the chunk.
        let start = unsafe { self.chunk_ptr(m).add(usize::from(off)) };
        (start, usize::from(len))
    }

    /// Offset and length of the packet in a buffer; (0, 0) if what is stored leaves the chunk.
    #[inline]
    pub fn packet(self, m: u32) -> (u16, u16) {
        self.line(m).data_in(self.0.chunk)
    }

    /// The packet in a buffer, for copying it to or from a device.
    ///
    /// # Safety
    /// - The caller is the holder of `m` (invariant I1 of [`crate::mbuf`]).
    /// - No other slice or [`crate::mbuf::Packet`] of `m` is alive.
    #[inline]
    pub unsafe fn data_mut(self, m: u32) -> &'static mut [u8] {
        let (start, len) = self.bytes(m);
        // SAFETY: `bytes` stays inside the chunk; uniqueness is the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(start, len) }
    }

    /// Says where in its chunk the packet lies.
    ///
    /// # Panics
    /// When it would leave the chunk: a driver that accepts such a length has a bug.
    #[inline]
    pub fn set_packet(self, m: u32, off: u16, len: u16) {
        self.check_packet(off, len);
        self.line(m).set_data(off, len);
    }

    /// Begins a packet at `at` (offset and length) that arrived at `arrival` (port and queue), a single segment.
    ///
    /// # Panics
    /// As [`Pool::set_packet`].
    #[inline]
    pub fn start_packet(self, m: u32, at: (u16, u16), arrival: (u16, u16), flags: u32) {
        self.check_packet(at.0, at.1);
        self.line(m).start(at, arrival, flags);
    }

    /// As [`Pool::start_packet`] for many, each at `place_of` its number.
    ///
    /// # Panics
    /// As [`Pool::set_packet`].
    #[inline]
    pub fn start_packets(
        self,
        mbufs: &[u32],
        at: (u16, u16),
        arrival: (u16, u16),
        place_of: impl Fn(u32) -> Place,
    ) {
        self.check_packet(at.0, at.1);
        let lines = self.lines();
        for (i, m) in (0u32..).zip(mbufs) {
            let line = &lines[*m as usize];
            line.start(at, arrival, 0);
            line.set_place(place_of(i));
        }
    }

    /// Says of mbufs where each is, `place_of` its number; gives the bytes of their packets.
    #[inline]
    pub fn set_places(self, mbufs: &[u32], place_of: impl Fn(u32) -> Place) -> u64 {
        let (lines, mut bytes) = (self.lines(), 0);
        for (i, m) in (0u32..).zip(mbufs) {
            let line = &lines[*m as usize];
            bytes += u64::from(line.data_len());
            line.set_place(place_of(i));
        }
        bytes
    }

    #[inline]
    fn check_packet(self, off: u16, len: u16) {
        assert!(
            u32::from(off) + u32::from(len) <= self.0.chunk,
            "packet of {len} bytes at {off} in a chunk of {}",
            self.0.chunk
        );
    }

    /// Offset of the packet in its chunk.
    #[inline]
    pub fn data_off(self, m: u32) -> u16 {
        self.line(m).data_off()
    }

    /// Length of the packet.
    #[inline]
    pub fn data_len(self, m: u32) -> u16 {
        self.line(m).data_len()
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

fn check_shape(data: &Region, chunk: u32, count: u32) -> Result<(), PoolError> {
    if !chunk.is_power_of_two() || !(2048..=32768).contains(&chunk) {
        return Err(PoolError::Chunk { chunk });
    }
    if count == 0 {
        let data = data.len();
        return Err(PoolError::Empty { data, chunk });
    }
    data.slice(0, Pool::data_bytes(count, chunk))?;
    Ok(())
}

const fn ring_capacity(count: u32) -> usize {
    (count as usize).next_power_of_two()
}

const fn lines_at(count: u32) -> usize {
    (RING_AT + MpmcRing::bytes_for(ring_capacity(count))).next_multiple_of(PAGE)
}

/// A region as an array of structs made of atomics.
fn atomics<T: AllAtomic>(region: Region) -> Result<&'static [T], PoolError> {
    let address = region.as_ptr().addr();
    if !address.is_multiple_of(align_of::<T>()) {
        return Err(PoolError::Alignment { address });
    }
    let n = region.len() / size_of::<T>();
    // SAFETY: bounds by the division, alignment checked; regions live as long as the process, and
    // `AllAtomic` types may be shared with writers elsewhere, in any bit pattern.
    Ok(unsafe { core::slice::from_raw_parts(region.as_ptr().cast::<T>(), n) })
}

/// Structs that consist of atomic words alone.
///
/// # Safety
/// - `repr(C)`, every byte belongs to an atomic integer.
unsafe trait AllAtomic {}

// SAFETY: `repr(C)`; its fields are atomics and fill its 64 bytes (asserted at its definition).
unsafe impl AllAtomic for Line {}
// SAFETY: `repr(C)`; its fields are atomics and fill it (asserted at its definition).
unsafe impl AllAtomic for CacheSlot {}

#[cfg(test)]
pub(crate) mod tests;
