//! A bucket that a rate fills: what it granted until now, and what of it is left.
//!
//! The rate is kept as bytes per tick in 64.64 fixed point, rounded down: `granted` takes two
//! multiplications and no division, and the error of `now * 2^-64` bytes stays under one byte for
//! every 64-bit clock (M1).

use super::RateError;

/// Most bytes of a burst: positions are compared by the sign of their distance.
const MOST_BURST: u64 = 1 << 62;

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    whole: u64,
    part: u64,
    burst: u64,
}

/// A bucket at a moment: `position + tokens` is where its rate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// Bytes that the rate has granted.
    pub(super) granted: u64,
    /// Bytes in the bucket.
    pub(super) tokens: u64,
    /// Bytes that found it full since its position was stored.
    pub(super) spilt: u64,
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

    /// The bucket at `now`.
    #[inline(always)]
    pub(super) fn level(&self, position: u64, now: u64) -> Level {
        let granted = self.granted(now);
        let since = granted.wrapping_sub(position);
        if since > u64::MAX >> 1 {
            return self.ahead(position, granted);
        }
        let tokens = since.min(self.burst);
        Level {
            granted,
            tokens,
            spilt: since - tokens,
        }
    }

    /// The position of a full bucket.
    pub(super) fn full(&self, now: u64) -> u64 {
        self.granted(now).wrapping_sub(self.burst)
    }

    /// A position ahead of the clock (M2).
    #[cold]
    fn ahead(&self, position: u64, granted: u64) -> Level {
        let clock_is_behind = position.wrapping_sub(granted) <= self.burst;
        Level {
            granted: if clock_is_behind { position } else { granted },
            tokens: if clock_is_behind { 0 } else { self.burst },
            spilt: 0,
        }
    }
}

impl Level {
    /// The position after `bytes`, no more than there are, were taken.
    #[inline(always)]
    pub(super) fn position_after(&self, bytes: u64) -> u64 {
        self.granted.wrapping_sub(self.tokens - bytes)
    }
}

/// `bytes` if `yes`, else 0, without a branch: what color comes next cannot be foreseen.
#[inline(always)]
pub(super) fn when(yes: bool, bytes: u64) -> u64 {
    bytes & u64::from(yes).wrapping_neg()
}
