//! The tree in shared memory: ways down to a rule's node, and rules up to /16 in arrays.

use super::layout::{LEVELS, LINE_WORDS, above, slot, width};
use super::node::Node;
use super::{Lpm6, NODE, OWN, layout};
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The longest rule that lies in arrays.
pub(super) const SHORT: u8 = 16;

/// The table with what only its writer touches.
#[derive(Clone, Copy)]
pub(super) struct Tree {
    pub(super) shared: Lpm6,
    pub(super) rules: &'static AtomicU32,
    pub(super) intent: &'static [AtomicU64],
    depth16: &'static [AtomicU64],
    short: &'static [AtomicU32],
}

/// A node on the way to a rule, and the word that names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) entry: u32,
    pub(super) named_by: &'static AtomicU32,
}

/// A rule longer than /16, by what its way needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) bytes: [u8; 16],
    /// Nodes above its own.
    pub(super) level: usize,
    /// Its heap number in its node.
    pub(super) number: u32,
}

impl Rule {
    pub(super) fn new(prefix: u128, depth: u8) -> Rule {
        let inside = |level: &usize| u32::from(depth) <= above(*level) + width(*level);
        let level = (0..LEVELS).find(inside).unwrap_or(LEVELS - 1);
        let bits = u32::from(depth) - above(level);
        let bytes = prefix.to_be_bytes();
        let number = 1 << bits | u32::from(slot(&bytes, level)) >> (width(level) - bits);
        Rule {
            bytes,
            level,
            number,
        }
    }

    /// The slot on the way in the node at `level`.
    pub(super) fn slot(&self, level: usize) -> u16 {
        slot(&self.bytes, level)
    }

    pub(super) fn top(&self) -> usize {
        usize::from(u16::from_be_bytes([self.bytes[0], self.bytes[1]]))
    }
}

impl Tree {
    pub(super) fn over(region: Region, shared: Lpm6) -> Tree {
        Tree {
            shared,
            rules: region.u32(layout::RULES_AT),
            intent: region.u64s(layout::INTENT_AT, 4),
            depth16: region.u64s(layout::DEPTH16_AT, layout::TOPS / 8),
            short: region.u32s(layout::SHORT_AT, layout::SHORT_RULES / 2),
        }
    }

    /// The nodes on the way to a rule that exist, from the top: at most `level + 1`.
    pub(super) fn way(&self, rule: &Rule) -> Vec<Step> {
        let mut way = Vec::with_capacity(rule.level + 1);
        let mut named_by = &self.shared.tbl16[rule.top()];
        loop {
            let entry = named_by.load(Ordering::Relaxed);
            if entry & NODE == 0 {
                return way;
            }
            way.push(Step { entry, named_by });
            if way.len() > rule.level {
                return way;
            }
            let level = way.len() - 1;
            let at = self.shared.node(entry);
            named_by = &self.shared.pool[self.shared.slot_at(at, level, rule.slot(level))];
        }
    }

    /// The word of a node that says what holds above it.
    pub(super) fn own(&self, entry: u32) -> &'static AtomicU32 {
        &self.shared.pool[self.shared.node(entry) + OWN]
    }

    /// Stores `own` where it differs: afterwards all below it inherits the new one.
    pub(super) fn set_own(&self, entry: u32, own: u32) {
        let word = self.own(entry);
        if word.load(Ordering::Relaxed) != own {
            word.store(own, Ordering::Release);
        }
    }

    /// The entry of a rule, 0 for none.
    pub(super) fn get(&self, prefix: u128, depth: u8) -> u32 {
        match depth {
            0 => self.shared.default.load(Ordering::Relaxed),
            1..=SHORT => half(self.short, short_at(prefix, depth)),
            _ => {
                let rule = Rule::new(prefix, depth);
                let way = self.way(&rule);
                let node = way.get(rule.level);
                node.map_or(0, |step| {
                    Node::read(&self.shared, step.entry)
                        .rule(rule.number)
                        .into()
                })
            }
        }
    }

    /// Sets a rule of /1 to /16 and paints what it covers. Done again, it changes nothing.
    pub(super) fn set_short(&self, prefix: u128, depth: u8, entry: u32) {
        set_half(self.short, short_at(prefix, depth), entry);
        let (paint, becomes) = match entry {
            0 => self.cover(prefix, depth),
            _ => (entry, depth),
        };
        let first = (prefix >> 112) as usize;
        for top in first..first + (1 << (SHORT - depth)) {
            let (word, shift) = (&self.depth16[top / 8], top % 8 * 8);
            let depths = word.load(Ordering::Relaxed);
            let found = (depths >> shift) as u8;
            let gives = if entry == 0 {
                found == depth
            } else {
                found <= depth
            };
            if !gives {
                continue;
            }
            let at = &self.shared.tbl16[top];
            let old = at.load(Ordering::Relaxed);
            if old & NODE != 0 {
                self.set_own(old, paint);
            } else {
                at.store(paint, Ordering::Release);
            }
            // Behind the entry: one whose depth is still the old one is painted again.
            let kept = depths & !(0xff << shift);
            word.store(kept | u64::from(becomes) << shift, Ordering::Release);
        }
    }

    fn cover(&self, prefix: u128, depth: u8) -> (u32, u8) {
        let above = (1..depth).rev();
        let mut above = above.map(|d| (half(self.short, short_at(prefix, d)), d));
        above.find(|(entry, _)| *entry != 0).unwrap_or((0, 0))
    }

    /// Every rule: prefix, length, next hop.
    pub(super) fn all(&self) -> Vec<(u128, u8, u16)> {
        let mut all = Vec::new();
        let mut push = |prefix, depth, entry: u32| {
            if entry != 0 {
                all.push((prefix, depth, (entry - 1) as u16));
            }
        };
        push(0, 0, self.shared.default.load(Ordering::Relaxed));
        for at in 2..layout::SHORT_RULES {
            let depth = at.ilog2();
            let prefix = ((at - (1 << depth)) as u128) << (128 - depth);
            push(prefix, depth as u8, half(self.short, at));
        }
        self.each_node(|entry, prefix, level| {
            for (number, rule) in Node::read(&self.shared, entry).rules {
                let depth = number.max(1).ilog2().min(width(level));
                let bits = u128::from(number) & ((1 << depth) - 1);
                let prefix = prefix | bits << (128 - above(level) - depth);
                push(prefix, (above(level) + depth) as u8, rule.into());
            }
        });
        all
    }

    /// Every node: its entry, the bits above it and its level.
    pub(super) fn each_node(&self, mut see: impl FnMut(u32, u128, usize)) {
        let mut open: Vec<(u32, u128, usize)> = Vec::new();
        for (top, word) in self.shared.tbl16.iter().enumerate() {
            let entry = word.load(Ordering::Relaxed);
            open.push((entry, (top as u128) << 112, 0));
            while let Some((entry, prefix, level)) = open.pop() {
                if entry & NODE == 0 || level >= LEVELS {
                    continue;
                }
                see(entry, prefix, level);
                for (slot, child) in Node::read(&self.shared, entry).children {
                    let below = 128 - above(level) - width(level);
                    open.push((child, prefix | u128::from(slot) << below, level + 1));
                }
            }
        }
    }

    /// The words of `count` lines from `first`.
    pub(super) fn lines(&self, first: u32, count: u32) -> &'static [AtomicU32] {
        let (first, count) = (first as usize * LINE_WORDS, count as usize * LINE_WORDS);
        &self.shared.pool[first..first + count]
    }
}

/// Where a rule of /1 to /16 lies.
fn short_at(prefix: u128, depth: u8) -> usize {
    1 << depth | (prefix >> (128 - u32::from(depth))) as usize
}

fn half(table: &[AtomicU32], at: usize) -> u32 {
    table[at / 2].load(Ordering::Relaxed) >> (at % 2 * 16) & 0xffff
}

fn set_half(table: &[AtomicU32], at: usize, entry: u32) {
    let (word, shift) = (&table[at / 2], at % 2 * 16);
    let kept = word.load(Ordering::Relaxed) & !(0xffff << shift);
    word.store(kept | entry << shift, Ordering::Release);
}
