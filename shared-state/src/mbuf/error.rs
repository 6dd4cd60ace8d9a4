//! Why the bytes of some lines are no packet.

use thiserror::Error;

/// Why an index in shared memory does not name the head of a whole packet.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ChainError {
    /// The index names no mbuf.
    #[error("mbuf {m} of a pool of {count}")]
    NoMbuf {
        /// The index.
        m: u32,
        /// Mbufs of the pool.
        count: u32,
    },
    /// It hangs on another mbuf, so it is no head.
    #[error("mbuf {m} is a segment behind mbuf {on}, not a head")]
    NotHead {
        /// The index.
        m: u32,
        /// What it hangs on.
        on: u32,
    },
    /// More segments than there may be.
    #[error("mbuf {m} says {found} segments, at most {most} are possible")]
    Segments {
        /// The head.
        m: u32,
        /// What it says.
        found: u16,
        /// [`super::MAX_SEGMENTS`].
        most: u16,
    },
    /// A segment names one that the pool does not have.
    #[error("segment {at} is followed by mbuf {next} of a pool of {count}")]
    Range {
        /// The segment.
        at: u32,
        /// What it names.
        next: u32,
        /// Mbufs of the pool.
        count: u32,
    },
    /// A segment names one that does not hang on it: an end that was not reached, or a circle.
    #[error("segment {at} is followed by mbuf {next}, which does not hang on it")]
    Link {
        /// The segment.
        at: u32,
        /// What it names.
        next: u32,
    },
}
