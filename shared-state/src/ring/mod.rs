//! Rings of `u32` in shared memory: how mbuf indices travel between threads and processes.
//!
//! [`SpscRing`] has one producer and one consumer at a time (a steering ring between two shards);
//! [`MpmcRing`] has any number of both (the common pool of mbufs). Both are `Copy` views over a
//! [`Region`], hold up to a power of two of elements, move up to a burst at a call, and may be
//! used from several processes that map the memory at different addresses.
//!
//! Each file states its own layout, order of stores, and what a death leaves behind. In short: an
//! element is either in the ring, which [`SpscRing::window`] and [`MpmcRing::window`] show, or in
//! the hands of whoever was about to put it there or had just taken it; never in both, and the
//! ring itself stays usable whoever dies where.

mod mpmc;
mod spsc;

pub use mpmc::MpmcRing;
pub use spsc::SpscRing;

use thiserror::Error;

use crate::region::{Region, RegionError};
use crate::sync::Ordering;

/// Not an element: the one `u32` a ring does not carry.
pub const NONE: u32 = u32::MAX;

/// Most elements a ring may hold, so that free-running 32-bit positions compare safely.
pub const MAX_CAPACITY: usize = 1 << 30;

/// Bytes of the header line every ring starts with.
const HEADER: usize = 64;
const MAGIC_AT: usize = 0;
const CAPACITY_AT: usize = 4;

/// Why a region is not a ring.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum RingError {
    /// A capacity that positions cannot wrap over.
    #[error("ring of {capacity} elements asked for, possible are powers of two up to {max}")]
    Capacity {
        /// What was asked for, or found.
        capacity: usize,
        /// The largest possible.
        max: usize,
    },
    /// The bytes do not start as this kind of ring does.
    #[error("ring of kind {wanted:#010x} expected, {found:#010x} found")]
    Kind {
        /// The magic number found.
        found: u32,
        /// The magic number of this kind.
        wanted: u32,
    },
    /// The region is smaller than the ring.
    #[error("region too small for a ring: {0}")]
    Region(#[from] RegionError),
}

fn check_capacity(capacity: usize) -> Result<u32, RingError> {
    if capacity.is_power_of_two() && capacity <= MAX_CAPACITY {
        return Ok(u32::try_from(capacity).expect("MAX_CAPACITY fits 32 bits"));
    }
    let max = MAX_CAPACITY;
    Err(RingError::Capacity { capacity, max })
}

/// Writes the header; the magic number is the last store and says that the ring is whole.
fn write_header(region: &Region, magic: u32, capacity: u32) {
    region.u32(CAPACITY_AT).store(capacity, Ordering::Relaxed);
    region.u32(MAGIC_AT).store(magic, Ordering::Release);
}

/// Checks the header and gives the capacity.
fn read_header(region: &Region, wanted: u32) -> Result<usize, RingError> {
    region.slice(0, HEADER)?;
    let found = region.u32(MAGIC_AT).load(Ordering::Acquire);
    if found != wanted {
        return Err(RingError::Kind { found, wanted });
    }
    let capacity = region.u32(CAPACITY_AT).load(Ordering::Relaxed) as usize;
    check_capacity(capacity)?;
    Ok(capacity)
}

#[cfg(test)]
mod tests;
