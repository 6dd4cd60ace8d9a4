//! Why a pool cannot be made or opened.

use thiserror::Error;

use crate::region::RegionError;
use crate::ring::RingError;

/// Why there is no pool in these regions.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum PoolError {
    /// Offsets in a chunk are 16 bits, and UMEM wants a power of two.
    #[error("chunks of {chunk} bytes asked for, possible are 2048, 4096, 8192, 16384 and 32768")]
    Chunk {
        /// What was asked for, or found.
        chunk: u32,
    },
    /// No room for a single buffer.
    #[error("{data} bytes of packet data hold no chunk of {chunk} bytes")]
    Empty {
        /// Bytes of the data segment.
        data: usize,
        /// Bytes of a chunk.
        chunk: u32,
    },
    /// The bytes are not a pool's.
    #[error("pool header {wanted:#010x} expected, {found:#010x} found")]
    Magic {
        /// What was found.
        found: u32,
        /// What a pool starts with.
        wanted: u32,
    },
    /// A pool of another layout.
    #[error("pool layout v{found} found, this build reads v{wanted}")]
    Version {
        /// The version found.
        found: u32,
        /// The one version this build knows.
        wanted: u32,
    },
    /// The base of the metadata is not on a cache line.
    #[error("pool metadata starts at {address:#x}, not at a multiple of 64")]
    Alignment {
        /// Where it starts in this process.
        address: usize,
    },
    /// A segment is too small.
    #[error("segment too small for the pool: {0}")]
    Region(#[from] RegionError),
    /// The common ring is damaged.
    #[error("the pool's common ring: {0}")]
    Ring(#[from] RingError),
}
