//! A bucket that a rate fills: what it granted until now, and what of it is left.
//!
//! The rate is kept as bytes per tick in 64.64 fixed point, rounded down: `granted` takes two
//! multiplications and no division, and the error of `now * 2^-64` bytes stays under one byte for
//! every 64-bit clock (M1).

use core::hint::select_unpredictable;

use super::RateError;

/// Most bytes of a burst: positions are compared by their distance, up to two bursts, with a sign.
const MOST_BURST: u64 = 1 << 61;

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    whole: u64,
    part: u64,
    burst: u64,
}

/// A bucket at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// Where it was empty: what is taken is added.
    position: u64,
    /// Bytes taken since it was full; more than the burst if the clock is behind.
    taken: u64,
    burst: u64,
}

impl Bucket {
    pub(super) fn new(
        what: &'static str,
        rate: u64,
        burst: u64,
        hz: u64,
    ) -> Result<Bucket, RateError> {
        if hz == 0 {
            return Err(RateError::Clock);
        }
        if burst > MOST_BURST {
            return Err(RateError::TooLarge {
                what,
                found: burst,
                most: MOST_BURST,
            });
        }
        let part = (u128::from(rate % hz) << 64) / u128::from(hz);
        Ok(Bucket {
            whole: rate / hz,
            part: part as u64,
            burst,
        })
    }

    pub(super) fn burst(&self) -> u64 {
        self.burst
    }

    /// Bytes granted from the clock's zero to `now`, modulo 2^64.
    #[inline(always)]
    pub(super) fn granted(&self, now: u64) -> u64 {
        let part = (u128::from(now) * u128::from(self.part)) >> 64;
        now.wrapping_mul(self.whole).wrapping_add(part as u64)
    }

    /// The bucket at `now`. Without a branch: a position before `full` has spilt what came since;
    /// one ahead of the clock by a burst at most has nothing; beyond that it means nothing (M2).
    #[inline(always)]
    pub(super) fn level(&self, position: u64, now: u64) -> Level {
        let full = self.full(now);
        let taken = position.wrapping_sub(full);
        let means = taken <= 2 * self.burst;
        Level {
            position: select_unpredictable(means, position, full),
            taken: select_unpredictable(means, taken, 0),
            burst: self.burst,
        }
    }

    /// Bytes that came since `position` was stored and found the bucket full.
    #[inline(always)]
    pub(super) fn spilt(&self, position: u64, now: u64) -> u64 {
        let spilt = self.full(now).wrapping_sub(position);
        select_unpredictable(spilt <= u64::MAX >> 1, spilt, 0)
    }

    /// The position of a full bucket.
    #[inline(always)]
    pub(super) fn full(&self, now: u64) -> u64 {
        self.granted(now).wrapping_sub(self.burst)
    }
}

impl Level {
    /// Whether there are so many bytes in the bucket.
    #[inline(always)]
    pub(super) fn holds(&self, bytes: u64) -> bool {
        self.taken as i64 <= self.burst as i64 - bytes as i64
    }

    /// The position after `charge` is taken, if the bucket `holds` the packet. What the charge is
    /// does not depend on this bucket, so that it is known before its level.
    #[inline(always)]
    pub(super) fn position_after(&self, holds: bool, charge: u64) -> u64 {
        let after = self.position.wrapping_add(charge);
        select_unpredictable(holds, after, self.position)
    }
}

/// `bytes` if `yes`, else 0; what color comes next cannot be foreseen by the processor, either.
#[inline(always)]
pub(super) fn when(yes: bool, bytes: u64) -> u64 {
    select_unpredictable(yes, bytes, 0)
}
