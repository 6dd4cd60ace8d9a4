//! How a pool is made, and found by the processes that come later: the layout that [`super`] draws.
//!
//! Order: the magic number is the last store of [`Pool::create`] and the first load of [`Pool::attach`].
//!
//! Failure: a pool whose maker died has no magic number, and nobody attaches it.

use std::sync::OnceLock;

use super::cache::CacheSlot;
use super::{Pool, PoolError, View};
use crate::limits::{HEADROOM, MAX_SHARDS};
use crate::mbuf::Line;
use crate::place::{Holder, Place};
use crate::region::Region;
use crate::ring::MpmcRing;
use crate::sync::Ordering;

const MAGIC: u32 = u32::from_le_bytes(*b"pool");
const VERSION: u32 = 1;
const MAGIC_AT: usize = 0;
pub(super) const VERSION_AT: usize = 4;
const COUNT_AT: usize = 8;
const CHUNK_AT: usize = 12;
const HEADROOM_AT: usize = 16;
const PAGE: usize = 4096;
pub(super) const CACHES_AT: usize = PAGE;
const RING_AT: usize = CACHES_AT + MAX_SHARDS * size_of::<CacheSlot>();
const _: () = assert!(RING_AT == 139_264 && RING_AT.is_multiple_of(PAGE));

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
