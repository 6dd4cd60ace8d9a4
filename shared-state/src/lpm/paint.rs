//! Painting: giving a range of entries a new value where the rule they come from gives way.
//!
//! Entries lie two in a 32-bit word, their depths eight in a 64-bit word. Eight entries are
//! compared at once in a word of lanes; a lane is one byte, its high bit the answer.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The depth of an entry whose block has a group: it never gives way, its group may.
pub(super) const IN_GROUP: u8 = 0x7f;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
const LANES: usize = 8;

/// Which entries give way.
#[derive(Debug, Clone, Copy)]
pub(super) enum Over {
    /// Those of rules up to this long: a rule is announced.
    UpTo(u8),
    /// Those of rules exactly this long: a rule is withdrawn.
    Exactly(u8),
}

/// What they become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    pub(super) over: Over,
    pub(super) entry: u32,
    pub(super) depth: u8,
}

impl Paint {
    /// Paints `count` entries from number `from`; `in_group` is called for each that has a group.
    pub(super) fn over(
        self,
        entries: &[AtomicU32],
        depths: &[AtomicU64],
        from: usize,
        count: usize,
        mut in_group: impl FnMut(usize),
    ) {
        let end = from + count;
        let mut at = from & !(LANES - 1);
        while at < end {
            let word = &depths[at / LANES];
            let found = word.load(Ordering::Relaxed);
            let asked = lanes(from.saturating_sub(at), (end - at).min(LANES));
            let hit = self.over.hits(found) & asked;
            if hit != 0 {
                let bytes = (hit >> 7) * 0xff;
                store_entries(&entries[at / 2..at / 2 + LANES / 2], bytes, self.entry);
                // Behind the entries: an entry whose depth is still the old one is painted again.
                let depth = ONES * u64::from(self.depth);
                word.store(found & !bytes | depth & bytes, Ordering::Release);
            }
            let mut groups = equal(found, IN_GROUP) & asked;
            while groups != 0 {
                in_group(at + groups.trailing_zeros() as usize / 8);
                groups &= groups - 1;
            }
            at += LANES;
        }
    }
}

/// The entries that have exactly this depth, in order.
pub(super) fn of_depth(depths: &[AtomicU64], depth: u8) -> impl Iterator<Item = usize> + '_ {
    depths.iter().enumerate().flat_map(move |(i, word)| {
        let found = equal(word.load(Ordering::Relaxed), depth);
        let lanes = (0..LANES).filter(move |lane| found >> (lane * 8) & 0x80 != 0);
        lanes.map(move |lane| i * LANES + lane)
    })
}

impl Over {
    #[inline(always)]
    fn hits(self, depths: u64) -> u64 {
        match self {
            // No lane borrows: depths are at most 0x7f.
            Over::UpTo(depth) => (((ONES * u64::from(depth)) | HIGH) - depths) & HIGH,
            Over::Exactly(depth) => equal(depths, depth),
        }
    }
}

/// The depth of entry `at`.
pub(super) fn depth_of(depths: &[AtomicU64], at: usize) -> u8 {
    (depths[at / LANES].load(Ordering::Relaxed) >> (at % LANES * 8)) as u8
}

/// Stores the depth of entry `at`.
pub(super) fn set_depth(depths: &[AtomicU64], at: usize, depth: u8) {
    let (word, shift) = (&depths[at / LANES], at % LANES * 8);
    let kept = word.load(Ordering::Relaxed) & !(0xff << shift);
    word.store(kept | u64::from(depth) << shift, Ordering::Release);
}

/// Lanes that hold `depth`.
#[inline(always)]
fn equal(depths: u64, depth: u8) -> u64 {
    (HIGH - ((depths & !HIGH) ^ (ONES * u64::from(depth)))) & HIGH
}

/// Lanes `first..last`, `first` at most 7 and `last` 1 to 8.
#[inline(always)]
fn lanes(first: usize, last: usize) -> u64 {
    (HIGH << (8 * first)) & (HIGH >> (8 * (LANES - last)))
}

/// Stores the entry in the halves of four words whose lane byte is 0xff.
#[inline(always)]
fn store_entries(words: &[AtomicU32], lanes: u64, entry: u32) {
    let both = entry | entry << 16;
    for (i, word) in words.iter().enumerate() {
        let pair = (lanes >> (16 * i)) as u32 & 0xffff;
        let mask = ((pair & 0xff) * 0x101) | ((pair >> 8) * 0x101_0000);
        if mask == u32::MAX {
            word.store(both, Ordering::Release);
        } else if mask != 0 {
            let kept = word.load(Ordering::Relaxed) & !mask;
            word.store(kept | both & mask, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_paints_what_gives_way_and_nothing_beside_the_range() {
        for from in 0..17 {
            for count in 0..20usize.min(33 - from) {
                for over in [Over::UpTo(9), Over::Exactly(9)] {
                    check(from, count, over);
                }
            }
        }
    }

    fn check(from: usize, count: usize, over: Over) {
        let depth = |i: usize| [0, 9, 10, 24, 8, IN_GROUP, 9][i % 7];
        let entries: Vec<AtomicU32> = (0..20u32).map(|i| AtomicU32::new(i * 7)).collect();
        let old: Vec<u32> = (0..40).map(|i| crate::lpm::half(&entries, i)).collect();
        let depths: Vec<AtomicU64> = (0..5).map(|_| AtomicU64::new(0)).collect();
        (0..40).for_each(|i| set_depth(&depths, i, depth(i)));
        let (entry, mut groups) = (0x7abc, Vec::new());
        let paint = Paint {
            over,
            entry,
            depth: 5,
        };
        paint.over(&entries, &depths, from, count, |i| groups.push(i));
        for (i, old) in old.into_iter().enumerate() {
            let inside = (from..from + count).contains(&i);
            let gives = match over {
                Over::UpTo(most) => depth(i) <= most,
                Over::Exactly(same) => depth(i) == same,
            };
            let expected = if inside && gives {
                (entry, 5)
            } else {
                (old, depth(i))
            };
            let found = (crate::lpm::half(&entries, i), depth_of(&depths, i));
            assert_eq!(found, expected, "{i} of {from}+{count} {over:?}");
            assert_eq!(groups.contains(&i), inside && depth(i) == IN_GROUP);
        }
    }
}
