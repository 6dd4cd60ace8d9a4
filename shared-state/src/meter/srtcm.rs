//! RFC 2697: one rate, whose spill fills a second bucket.

use core::hint::select_unpredictable;

use super::bucket::{Bucket, when};
use super::{Color, Meter, MeterWords, RateError};

/// A single rate three color marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SrTcm {
    committed: Bucket,
    excess_burst: u64,
}

impl SrTcm {
    /// A marker of `cir` bytes a second with bursts of `cbs` and `ebs` bytes, on a clock of `hz`
    /// ticks a second. One of both bursts is larger than 0.
    pub fn new(cir: u64, cbs: u64, ebs: u64, hz: u64) -> Result<SrTcm, RateError> {
        let committed = Bucket::new("CBS", cir, cbs, hz)?;
        let excess_burst = Bucket::new("EBS", cir, ebs, hz)?.burst();
        if cbs == 0 && ebs == 0 {
            return Err(RateError::NoBurst {
                committed: cbs,
                second: ebs,
            });
        }
        Ok(SrTcm {
            committed,
            excess_burst,
        })
    }

    /// Begins a meter with full buckets.
    pub fn start(&self, meter: Meter, now: u64) {
        meter.committed_first(MeterWords {
            committed: self.committed.full(now),
            second: self.excess_burst,
        });
    }

    /// The color of a packet of `bytes`, whatever it came with.
    #[inline(always)]
    pub fn mark_blind(&self, meter: Meter, now: u64, bytes: u32) -> Color {
        self.mark_aware(meter, now, bytes, Color::Green)
    }

    /// The color of a packet of `bytes` that came with one: never a better one.
    #[inline(always)]
    pub fn mark_aware(&self, meter: Meter, now: u64, bytes: u32, came: Color) -> Color {
        let bytes = u64::from(bytes);
        let words = meter.read();
        let level = self.committed.level(words.committed, now);
        // A word that no marker stored may wrap here, to fewer tokens (M2).
        let excess = words.second.wrapping_add(level.spilt());
        let excess = excess.min(self.excess_burst);
        if came == Color::Green && level.holds(bytes) {
            meter.committed_first(MeterWords {
                committed: level.position_after(bytes),
                second: excess,
            });
            return Color::Green;
        }
        let yellow = (came != Color::Red) & (excess >= bytes);
        meter.committed_first(MeterWords {
            committed: level.position_after(0),
            second: excess - when(yellow, bytes),
        });
        select_unpredictable(yellow, Color::Yellow, Color::Red)
    }
}
