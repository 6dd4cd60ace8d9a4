//! Traffic meters: srTCM (RFC 2697), trTCM (RFC 2698) and its differentiated variant (RFC 4115),
//! each color-blind and color-aware. A packet's length goes in, a [`Color`] comes out.
//!
//! Layout: row `id` is two words at `id * 16` ([`MeterWords`]). Tokens are bytes. A bucket that a
//! rate fills by itself is stored as the *position* at which it was empty: of the bytes that the
//! rate has granted since the clock's zero, how many are spent or spilt. So time is not stored,
//! and the tokens of a moment are `granted(now) - position`, at most the burst, and a packet is charged by
//! adding its length.
//!
//! ```text
//! srTCM       committed: position in CIR      second: tokens of the excess bucket
//! trTCM       committed: position in CIR      second: position of the peak bucket in PIR
//! RFC 4115    committed: position in CIR      second: position of the excess bucket in EIR
//! ```
//!
//! The rates are not in shared memory: each process makes them ([`SrTcm::new`] and the others)
//! from its config. `now` is any clock that all processes read alike (`CLOCK_BOOTTIME`, an
//! invariant TSC), `hz` its ticks in a second.
//!
//! Invariants: M1 `granted` is at most one byte behind the exact `rate * now / hz`, for any clock,
//! and exact where `rate / hz` divides a power of two; M2 any words are a meter: they never give
//! more than full buckets. Zeros are a meter that was idle since the clock's zero. A position that
//! lies ahead of the clock by no more than the burst is a clock a little behind another core's:
//! the bucket is empty until time has caught up. One farther ahead is of another rate or another
//! clock: the bucket is full. So a change of rates costs each meter one burst at most.
//!
//! One branch in each marker, for green: who keeps to a rate does so packet after packet, who does not is
//! red likewise. Yellow or red of what is left over is a choice without one.
//!
//! Order: one writer, the shard's owner; plain loads and stores. A reader sees each word whole.
//!
//! Failure: a writer that dies between its two stores, and never used the color of that packet:
//!
//! - srTCM stores the position first, then the excess tokens. What spilt from the committed bucket
//!   since this meter's packet before is lost, at most EBS; nothing is granted twice.
//! - trTCM stores the peak bucket first. The packet is charged to it and not to the committed one:
//!   at most one packet's length of PIR is lost.
//! - RFC 4115 charges one bucket; the other word's store changes its form, not its tokens. Nothing
//!   is lost, or the one packet's length if its bucket was stored.
//!
//! Nothing needs repair (M2).

mod bucket;
mod dual;
mod srtcm;

use baton_schema::Record;
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use dual::{Rfc4115, TrTcm};
pub use srtcm::SrTcm;

use crate::region::{Region, RegionError};
use crate::sync::{AtomicU64, Ordering};

/// What a meter says of a packet, or an earlier meter has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Color {
    /// Within the committed rate.
    Green = 0,
    /// Above it, within the excess or the peak.
    Yellow = 1,
    /// Above all.
    Red = 2,
}

/// Why rates or bursts are refused.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum RateError {
    /// A clock that does not move.
    #[error("a clock of 0 ticks a second")]
    Clock,
    /// Too large to count.
    #[error("{what} of {found} bytes, possible are 0 to {most}")]
    TooLarge {
        /// Which burst.
        what: &'static str,
        /// What was asked for.
        found: u64,
        /// The most possible.
        most: u64,
    },
    /// RFC 2697 and RFC 4115: one of both bursts is larger than 0; RFC 2698: both are.
    #[error("bursts of {committed} and {second} bytes: no packet could ever be let through")]
    NoBurst {
        /// CBS.
        committed: u64,
        /// EBS or PBS.
        second: u64,
    },
    /// RFC 2698: the peak rate is at least the committed one.
    #[error("peak rate {peak} bytes/s under the committed rate {committed} bytes/s")]
    PeakUnderCommitted {
        /// CIR.
        committed: u64,
        /// PIR.
        peak: u64,
    },
}

/// The words of one meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "baton.meter", version = 1)]
#[repr(C)]
pub struct MeterWords {
    /// Bytes of the committed rate that are spent or spilt since the clock's zero.
    pub committed: u64,
    /// srTCM: tokens of the excess bucket; else: bytes of the second rate, spent or spilt.
    pub second: u64,
}

const _: () = assert!(size_of::<MeterWords>() == 16 && align_of::<MeterWords>() == 8);
const _: () = assert!(core::mem::offset_of!(MeterWords, second) == 8);

const WORDS: usize = size_of::<MeterWords>() / size_of::<u64>();

/// Meters by id.
#[derive(Clone, Copy)]
pub struct Meters {
    words: &'static [AtomicU64],
}

impl Meters {
    /// Bytes that `count` meters take.
    pub const fn bytes_for(count: u32) -> usize {
        size_of::<MeterWords>() * count as usize
    }

    /// A view of `count` meters. Any memory is meters (M2), so making and opening are one.
    pub fn new(region: Region, count: u32) -> Result<Meters, RegionError> {
        region.slice(0, Self::bytes_for(count))?;
        let words = region.u64s(0, WORDS * count as usize);
        Ok(Meters { words })
    }

    /// Meters in the array.
    pub fn count(&self) -> u32 {
        (self.words.len() / WORDS) as u32
    }

    /// One meter.
    ///
    /// # Panics
    /// When there is no such meter.
    #[inline(always)]
    pub fn at(&self, id: u32) -> Meter {
        let at = id as usize * WORDS;
        let Some([committed, second]) = self.words.get(at..at + WORDS) else {
            no_meter(id, self.count())
        };
        Meter { committed, second }
    }

    /// Brings a meter into the processor's cache.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        crate::simd::prefetch(self.words.as_ptr().wrapping_add(id as usize * WORDS));
    }
}

#[cold]
#[inline(never)]
fn no_meter(id: u32, count: u32) -> ! {
    panic!("meter {id} of {count}");
}

impl core::fmt::Debug for Meters {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Meters({})", self.count())
    }
}

/// The words of one meter, where they are.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    committed: &'static AtomicU64,
    second: &'static AtomicU64,
}

impl Meter {
    /// A copy of the words; of two moments, if its writer is at work.
    #[inline(always)]
    pub fn read(&self) -> MeterWords {
        MeterWords {
            committed: self.committed.load(Ordering::Relaxed),
            second: self.second.load(Ordering::Relaxed),
        }
    }

    /// Stores the committed word, then the second.
    #[inline(always)]
    fn committed_first(&self, words: MeterWords) {
        self.committed.store(words.committed, Ordering::Relaxed);
        self.second.store(words.second, Ordering::Release);
    }

    /// Stores the second word, then the committed.
    #[inline(always)]
    fn second_first(&self, words: MeterWords) {
        self.second.store(words.second, Ordering::Relaxed);
        self.committed.store(words.committed, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
