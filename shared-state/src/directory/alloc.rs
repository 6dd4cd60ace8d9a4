//! Where a new zone goes: first fit over the segments for zones.
//!
//! A range is taken while a zone is building or ready, and for [`QUARANTINE_NS`] after it was
//! retired: a reader that cannot write has that long to notice.

use super::{ZoneEntry, ZoneState};
use crate::arena::{SegmentInfo, layout};

/// How long a retired zone's bytes are left alone.
pub const QUARANTINE_NS: u64 = 1_000_000_000;

/// Zones begin on a page, so that tools and devices may map them.
pub(super) const ALIGN: u64 = 4096;

/// The free ranges of all segments for zones, in the order of their offsets.
pub(super) fn free_ranges(
    segments: &[SegmentInfo],
    zones: &[ZoneEntry],
    now_ns: u64,
) -> Vec<(u64, u64)> {
    let mut taken: Vec<(u64, u64)> = zones
        .iter()
        .filter(|zone| is_taken(zone, now_ns))
        .map(|zone| (zone.offset, zone.offset.saturating_add(zone.len)))
        .collect();
    taken.sort_unstable();
    let mut free = Vec::new();
    for segment in segments.iter().filter(|s| layout::holds_zones(&s.name)) {
        let end = segment.offset + segment.region.len() as u64;
        let mut at = segment.offset;
        for (from, to) in &taken {
            if *to <= at || *from >= end {
                continue;
            }
            if *from > at {
                free.push((at, *from));
            }
            at = to.checked_next_multiple_of(ALIGN).unwrap_or(end).max(at);
        }
        if at < end {
            free.push((at, end));
        }
    }
    free
}

/// The first free range that `len` bytes fit, or the length of the longest there is.
pub(super) fn first_fit(free: &[(u64, u64)], len: u64) -> Result<u64, u64> {
    let fits = free.iter().find(|(from, to)| to - from >= len);
    let longest = || free.iter().map(|(from, to)| to - from).max().unwrap_or(0);
    fits.map(|(from, _)| *from).ok_or_else(longest)
}

pub(super) fn is_taken(zone: &ZoneEntry, now_ns: u64) -> bool {
    zone.state != ZoneState::Retired || now_ns.saturating_sub(zone.retired_ns) < QUARANTINE_NS
}
