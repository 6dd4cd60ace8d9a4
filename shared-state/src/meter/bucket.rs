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
    /// The position of a full one.
    full: u64,
    /// How far the position is ahead of that: less than nothing if bytes have found the bucket full.
    ahead: i64,
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
        let ahead = position.wrapping_sub(full).cast_signed();
        let means = ahead <= (2 * self.burst).cast_signed();
        let taken = select_unpredictable(means, ahead.max(0).cast_unsigned(), 0);
        Level {
            full,
            ahead,
            taken,
            burst: self.burst,
        }
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

    /// Bytes that came since the position was stored and found the bucket full.
    #[inline(always)]
    pub(super) fn spilt(&self) -> u64 {
        self.ahead.wrapping_neg().max(0).cast_unsigned()
    }

    /// The position after `charge` is taken.
    #[inline(always)]
    pub(super) fn position_after(&self, charge: u64) -> u64 {
        self.full.wrapping_add(self.taken).wrapping_add(charge)
    }
}

/// `bytes` if `yes`, else 0; what color comes next cannot be foreseen by the processor, either.
#[inline(always)]
pub(super) fn when(yes: bool, bytes: u64) -> u64 {
    select_unpredictable(yes, bytes, 0)
}
