//! The rules themselves, in arrays beside the tables: for the writer and its successors.
//!
//! A rule's place is computed from its prefix. Lengths 1 to 23 are in heaps of eight levels (the
//! node of a heap at level `s` has the number `1 << s | next s bits`), one for each prefix of 0, 8
//! and 16 bits, so that the rules above one lie in few cache lines. Length 24 is where the table
//! says so itself (its depth is 24), or in the heap of the block's group with those up to 32.

use super::layout::{self, BLOCKS, GROUP_RULES, SHORT_RULES};
use super::paint::{IN_GROUP, Paint, depth_of, of_depth, set_depth};
use super::{EXTENDED, GROUP_ENTRIES, Lpm, half};
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The longest rule that has no place in a block or its group.
pub(super) const SHORT: u8 = 23;

/// The tables and the rules they come from.
#[derive(Clone, Copy)]
pub(super) struct Rib {
    pub(super) shared: Lpm,
    pub(super) rules: &'static AtomicU32,
    pub(super) intent: &'static [AtomicU64],
    pub(super) depth24: &'static [AtomicU64],
    short: &'static [AtomicU32],
    group_rules: &'static [AtomicU32],
    group_depths: &'static [AtomicU64],
    owners: &'static [AtomicU32],
}

impl Rib {
    pub(super) fn over(region: Region, shared: Lpm) -> Rib {
        let groups = shared.groups();
        let n = groups as usize;
        Rib {
            shared,
            rules: region.u32(layout::RULES_AT),
            intent: region.u64s(layout::INTENT_AT, 2),
            depth24: region.u64s(layout::depth24_at(groups), BLOCKS / 8),
            short: region.u32s(layout::short_at(groups), SHORT_RULES / 2),
            group_rules: region.u32s(layout::group_rules_at(groups), n * GROUP_RULES / 2),
            group_depths: region.u64s(layout::group_depths_at(groups), n * GROUP_ENTRIES / 8),
            owners: region.u32s(layout::owners_at(groups), n),
        }
    }

    /// The entry of exactly this rule, 0 for none. `prefix` has no bit past `depth`.
    pub(super) fn get(&self, prefix: u32, depth: u8) -> u32 {
        let block = prefix as usize >> 8;
        match (depth, self.group_of(block)) {
            (0, _) => self.shared.default.load(Ordering::Relaxed),
            (1..=SHORT, _) => half(self.short, short_at(prefix, depth)),
            (_, Some(group)) => half(self.group_rules, in_group(group, prefix, depth)),
            (24, None) if depth_of(self.depth24, block) == 24 => half(self.shared.tbl24, block),
            (_, None) => 0,
        }
    }

    /// Sets a rule that has a place of its own (a /24 without a group is its table entry).
    pub(super) fn set(&self, prefix: u32, depth: u8, entry: u32) {
        if depth <= SHORT {
            set_half(self.short, short_at(prefix, depth), entry);
        } else if let Some(group) = self.group_of(prefix as usize >> 8) {
            self.set_in_group(group, prefix, depth, entry);
        }
    }

    pub(super) fn set_in_group(&self, group: u32, prefix: u32, depth: u8, entry: u32) {
        set_half(self.group_rules, in_group(group, prefix, depth), entry);
    }

    /// The entry and length of the longest rule shorter than `depth`; (0, 0) for none but the
    /// default, which has a word of its own.
    pub(super) fn cover(&self, prefix: u32, depth: u8) -> (u32, u8) {
        let mut above = depth.saturating_sub(1);
        if above > SHORT
            && let Some(group) = self.group_of(prefix as usize >> 8)
        {
            while above > SHORT {
                let entry = half(self.group_rules, in_group(group, prefix, above));
                if entry != 0 {
                    return (entry, above);
                }
                above -= 1;
            }
        }
        for above in (1..=above.min(SHORT)).rev() {
            let entry = half(self.short, short_at(prefix, above));
            if entry != 0 {
                return (entry, above);
            }
        }
        (0, 0)
    }

    /// Paints the addresses of a rule, in tbl24 and in the groups of its blocks.
    pub(super) fn paint(&self, prefix: u32, depth: u8, paint: Paint) {
        let (tbl24, block) = (self.shared.tbl24, prefix as usize >> 8);
        if depth > 24 {
            if let Some(group) = self.group_of(block) {
                self.paint_in_group(group, prefix, depth, paint);
            }
            return;
        }
        let blocks = 1 << (24 - depth);
        paint.over(tbl24, self.depth24, block, blocks, |block| {
            if let Some(group) = self.group_of(block) {
                self.paint_in_group(group, 0, 24, paint);
            }
        });
    }

    /// Paints addresses of one group.
    pub(super) fn paint_in_group(&self, group: u32, prefix: u32, depth: u8, paint: Paint) {
        let from = group as usize * GROUP_ENTRIES + (prefix & 0xff) as usize;
        let count = GROUP_ENTRIES >> (depth - 24);
        paint.over(self.shared.tbl8, self.group_depths, from, count, |_| {});
    }

    /// The group of a block, if it has one.
    pub(super) fn group_of(&self, block: usize) -> Option<u32> {
        let entry = half(self.shared.tbl24, block);
        (entry & EXTENDED != 0).then_some(entry & (EXTENDED - 1))
    }

    /// Fills a group nobody reads with what its block says.
    pub(super) fn fill_group(&self, group: u32, block: usize) {
        let n = group as usize;
        self.owners[n].store(block as u32 + 1, Ordering::Relaxed);
        let (entry, depth) = (
            half(self.shared.tbl24, block),
            depth_of(self.depth24, block),
        );
        let words = GROUP_ENTRIES / 2;
        for word in &self.shared.tbl8[n * words..(n + 1) * words] {
            word.store(entry | entry << 16, Ordering::Relaxed);
        }
        let (words, depths) = (GROUP_ENTRIES / 8, u64::from_le_bytes([depth; 8]));
        for word in &self.group_depths[n * words..(n + 1) * words] {
            word.store(depths, Ordering::Relaxed);
        }
        let words = GROUP_RULES / 2;
        for word in &self.group_rules[n * words..(n + 1) * words] {
            word.store(0, Ordering::Relaxed);
        }
        if depth == 24 {
            self.set_in_group(group, 0, 24, entry);
        }
    }

    /// Lets a block name its group. Done again by a repair when only the first store was.
    pub(super) fn name_group(&self, group: u32, block: usize) {
        set_half(self.shared.tbl24, block, EXTENDED | group);
        set_depth(self.depth24, block, IN_GROUP);
    }

    /// Takes a group without rules longer than /24 out of its block; whether it did.
    pub(super) fn fold_group(&self, group: u32, prefix: u32) -> bool {
        let words = GROUP_RULES / 2;
        let rules = &self.group_rules[group as usize * words..][..words];
        // The first word holds numbers 0 (unused) and 1, the /24.
        if rules[1..].iter().any(|w| w.load(Ordering::Relaxed) != 0) {
            return false;
        }
        let block = prefix as usize >> 8;
        let (entry, depth) = self.cover(prefix, 25);
        // Depth first: a repair still finds the group named, and its /24 in it.
        set_depth(self.depth24, block, depth);
        set_half(self.shared.tbl24, block, entry);
        true
    }

    /// Whether the block that a group was filled for names it.
    pub(super) fn is_named(&self, group: u32) -> bool {
        let owner = self.owners[group as usize].load(Ordering::Relaxed);
        let block = owner.wrapping_sub(1) as usize;
        block < BLOCKS && self.group_of(block) == Some(group)
    }

    /// Every rule: prefix, length, next hop.
    pub(super) fn all(&self) -> Vec<(u32, u8, u16)> {
        let mut all = Vec::new();
        let mut push = |prefix, depth, entry: u32| {
            if entry != 0 {
                all.push((prefix, depth, (entry - 1) as u16));
            }
        };
        push(0, 0, self.shared.default.load(Ordering::Relaxed));
        for (i, word) in self.short.iter().enumerate() {
            if word.load(Ordering::Relaxed) != 0 {
                for at in [2 * i, 2 * i + 1] {
                    let (prefix, depth) = short_rule(at);
                    push(prefix, depth, half(self.short, at));
                }
            }
        }
        for block in of_depth(self.depth24, 24) {
            push((block as u32) << 8, 24, half(self.shared.tbl24, block));
        }
        for group in (0..self.shared.groups()).filter(|group| self.is_named(*group)) {
            let block = self.owners[group as usize].load(Ordering::Relaxed) - 1;
            for at in 1..GROUP_RULES as u32 {
                let depth = at.ilog2();
                let inside = (at - (1 << depth)) << (8 - depth);
                let entry = half(self.group_rules, group as usize * GROUP_RULES + at as usize);
                push(block << 8 | inside, 24 + depth as u8, entry);
            }
        }
        all
    }
}

/// Where a rule of length 1 to 23 lies.
#[inline(always)]
fn short_at(prefix: u32, depth: u8) -> usize {
    let (heap, level) = (u32::from(depth / 8), u32::from(depth % 8));
    let bits = prefix >> (32 - u32::from(depth));
    let node = 1 << level | bits & ((1 << level) - 1);
    let heap = HEAPS[heap as usize] + (bits >> level);
    (heap << 8 | node) as usize
}

/// The number of the first heap for prefixes of 0, 8 and 16 bits.
const HEAPS: [u32; 3] = [0, 1, 1 + (1 << 8)];

/// The rule that lies at `at`; the reverse of [`short_at`].
fn short_rule(at: usize) -> (u32, u8) {
    let (heap, node) = ((at >> 8) as u32, (at & 0xff) as u32);
    let level = node.max(1).ilog2();
    let k = HEAPS.iter().rposition(|first| *first <= heap).unwrap_or(0);
    let bits = (heap - HEAPS[k]) << level | (node - (1 << level).min(node));
    let depth = k as u32 * 8 + level;
    (bits.checked_shl(32 - depth).unwrap_or(0), depth as u8)
}

#[inline(always)]
fn in_group(group: u32, prefix: u32, depth: u8) -> usize {
    let level = u32::from(depth) - 24;
    let node = 1 << level | (prefix & 0xff) >> (8 - level);
    group as usize * GROUP_RULES + node as usize
}

/// Stores one entry of a word that holds two: one writer, so a load and a store do.
pub(super) fn set_half(table: &[AtomicU32], at: usize, entry: u32) {
    let (word, shift) = (&table[at / 2], at % 2 * 16);
    let kept = word.load(Ordering::Relaxed) & !(0xffff << shift);
    word.store(kept | entry << shift, Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_place_of_its_own_and_is_found_from_it() {
        let mut seen = std::collections::HashSet::new();
        for depth in 1..=SHORT {
            for prefix in [0, 1 << 31, 0x5a5a_5a5a, u32::MAX, 0x0180_ff00] {
                let prefix = prefix & u32::MAX << (32 - depth);
                let at = short_at(prefix, depth);
                assert!(at < SHORT_RULES);
                assert_eq!(short_rule(at), (prefix, depth));
                seen.insert(at);
            }
        }
        assert_eq!(short_at(u32::MAX << 9, 23), SHORT_RULES - 1);
        assert!(seen.len() > 90);
    }
}
