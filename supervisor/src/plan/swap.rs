//! Whether the rings bear the time without a poller.

use super::{Facts, MIGRATION_RATE, QueueLoad, Swap};

/// A stop when no receipt tells of one: a futex wake on a shared core and its noise.
const USUAL_STOP_NS: u64 = 100_000;

/// Of the migrated records, how many may change while the last round is copied: one in so many.
const LAST_DELTA_SHARE: u64 = 1_000;

pub(super) fn swap(facts: &Facts<'_>, migrated: u64) -> Swap {
    let stop_ns = facts.measured_stop_ns.unwrap_or(0).max(USUAL_STOP_NS)
        + migrated / LAST_DELTA_SHARE * 1_000_000_000 / MIGRATION_RATE;
    let holds = |queue: &QueueLoad| {
        let ring = u64::from(queue.ring_entries.min(queue.posted));
        (ring > 0 && queue.rate_pps > 0)
            .then(|| (ring * 1_000_000_000 / queue.rate_pps, ring, queue.rate_pps))
    };
    let tightest = facts.load.iter().filter_map(holds).min();
    Swap {
        stop_ns,
        rate_pps: tightest
            .map(|(_, _, rate)| rate)
            .or_else(|| (!facts.load.is_empty()).then_some(0)),
        ring: tightest.map(|(_, ring, _)| ring),
        holds_ns: tightest.map(|(holds, _, _)| holds),
    }
}

/// An estimated stop that fills more than half of the ring is refused.
pub(super) fn too_slow(swap: &Swap) -> Option<String> {
    let (holds, ring, rate) = (swap.holds_ns?, swap.ring?, swap.rate_pps?);
    (swap.stop_ns > holds / 2).then(|| {
        format!(
            "swap: a stop of about {} us at {rate} packets/s brings {} packets, and half of the ring of {ring} is the limit",
            swap.stop_ns / 1_000,
            u128::from(swap.stop_ns) * u128::from(rate) / 1_000_000_000
        )
    })
}
