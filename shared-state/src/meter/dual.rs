//! Two rates, each with a bucket of its own: RFC 2698 and RFC 4115.
//!
//! In RFC 2698 a green packet is charged to both buckets, so the peak rate bounds green and yellow
//! together; in RFC 4115 each packet is charged to one, and a yellow one never takes the committed
//! tokens of a green one that comes later.

use core::hint::select_unpredictable;

use super::bucket::{Bucket, when};
use super::{Color, Meter, MeterWords, RateError};

/// A two rate three color marker (RFC 2698).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrTcm {
    committed: Bucket,
    peak: Bucket,
}

impl TrTcm {
    /// A marker of `cir` and `pir` bytes a second with bursts of `cbs` and `pbs` bytes, on a clock
    /// of `hz` ticks a second. The peak rate is at least the committed one, no burst is 0.
    pub fn new(cir: u64, cbs: u64, pir: u64, pbs: u64, hz: u64) -> Result<TrTcm, RateError> {
        let committed = Bucket::new("CBS", cir, cbs, hz)?;
        let peak = Bucket::new("PBS", pir, pbs, hz)?;
        if pir < cir {
            return Err(RateError::PeakUnderCommitted {
                committed: cir,
                peak: pir,
            });
        }
        if cbs == 0 || pbs == 0 {
            return Err(RateError::NoBurst {
                committed: cbs,
                second: pbs,
            });
        }
        Ok(TrTcm { committed, peak })
    }

    /// Begins a meter with full buckets.
    pub fn start(&self, meter: Meter, now: u64) {
        meter.second_first(MeterWords {
            committed: self.committed.full(now),
            second: self.peak.full(now),
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
        let committed = self.committed.level(words.committed, now);
        let peak = self.peak.level(words.second, now);
        let passes = (came != Color::Red) & peak.holds(bytes);
        if came == Color::Green && passes & committed.holds(bytes) {
            meter.second_first(MeterWords {
                committed: committed.position_after(bytes),
                second: peak.position_after(bytes),
            });
            return Color::Green;
        }
        meter.second_first(MeterWords {
            committed: committed.position_after(0),
            second: peak.position_after(when(passes, bytes)),
        });
        select_unpredictable(passes, Color::Yellow, Color::Red)
    }
}

/// The differentiated two rate three color marker (RFC 4115).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfc4115 {
    committed: Bucket,
    excess: Bucket,
}

impl Rfc4115 {
    /// A marker of `cir` and `eir` bytes a second with bursts of `cbs` and `ebs` bytes, on a clock
    /// of `hz` ticks a second. One of both bursts is larger than 0.
    pub fn new(cir: u64, cbs: u64, eir: u64, ebs: u64, hz: u64) -> Result<Rfc4115, RateError> {
        let committed = Bucket::new("CBS", cir, cbs, hz)?;
        let excess = Bucket::new("EBS", eir, ebs, hz)?;
        if cbs == 0 && ebs == 0 {
            return Err(RateError::NoBurst {
                committed: cbs,
                second: ebs,
            });
        }
        Ok(Rfc4115 { committed, excess })
    }

    /// Begins a meter with full buckets.
    pub fn start(&self, meter: Meter, now: u64) {
        meter.committed_first(MeterWords {
            committed: self.committed.full(now),
            second: self.excess.full(now),
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
        let committed = self.committed.level(words.committed, now);
        let excess = self.excess.level(words.second, now);
        if came == Color::Green && committed.holds(bytes) {
            meter.committed_first(MeterWords {
                committed: committed.position_after(bytes),
                second: excess.position_after(0),
            });
            return Color::Green;
        }
        let yellow = (came != Color::Red) & excess.holds(bytes);
        meter.committed_first(MeterWords {
            committed: committed.position_after(0),
            second: excess.position_after(when(yellow, bytes)),
        });
        select_unpredictable(yellow, Color::Yellow, Color::Red)
    }
}
