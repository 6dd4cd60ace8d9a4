//! The one writer of a route table: rules in private memory, painted over the shared tables.
//!
//! A rule's block of addresses is painted where no longer prefix lies inside it. Hence entries
//! need no depth of their own, and a deletion is the painting of the covering rule.

use std::collections::{BTreeMap, VecDeque};

use super::{EXTENDED, GROUP_ENTRIES, Lpm, LpmError, MAX_NEXT_HOP, half};
use crate::sync::{AtomicU32, Ordering};

/// The writer of a route table. One at a time; readers use [`LpmWriter::reader`].
#[derive(Debug)]
pub struct LpmWriter {
    shared: Lpm,
    /// (first address, depth) -> next hop: sorted so that the rules inside a block follow it.
    rules: BTreeMap<(u32, u8), u16>,
    free: Vec<u32>,
    resting: VecDeque<u32>,
}

impl LpmWriter {
    /// For a table that is still empty.
    pub(super) fn new(shared: Lpm) -> LpmWriter {
        LpmWriter {
            shared,
            rules: BTreeMap::new(),
            free: (0..shared.groups()).rev().collect(),
            resting: VecDeque::new(),
        }
    }

    /// The view for readers.
    pub fn reader(&self) -> Lpm {
        self.shared
    }

    /// Rules in the table.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The next hop of exactly this prefix.
    pub fn get(&self, prefix: u32, depth: u8) -> Option<u16> {
        self.rules
            .get(&(first(prefix, depth.min(32)), depth))
            .copied()
    }

    /// Every rule: first address, depth, next hop.
    pub fn rules(&self) -> impl Iterator<Item = (u32, u8, u16)> + '_ {
        self.rules
            .iter()
            .map(|((address, depth), hop)| (*address, *depth, *hop))
    }

    /// Adds a rule or changes its next hop. Bits of `prefix` past `depth` are ignored. After an
    /// error the table is as before.
    pub fn insert(&mut self, prefix: u32, depth: u8, next_hop: u16) -> Result<(), LpmError> {
        check_depth(depth)?;
        if next_hop > MAX_NEXT_HOP {
            let max = MAX_NEXT_HOP;
            return Err(LpmError::NextHop { next_hop, max });
        }
        let prefix = first(prefix, depth);
        if depth > 24 && self.free.is_empty() && self.group_of(prefix).is_none() {
            return Err(self.full());
        }
        self.rules.insert((prefix, depth), next_hop);
        self.paint_rule(prefix, depth, u32::from(next_hop) + 1);
        Ok(())
    }

    /// Removes a rule; its next hop, if it was there.
    pub fn delete(&mut self, prefix: u32, depth: u8) -> Result<Option<u16>, LpmError> {
        check_depth(depth)?;
        let prefix = first(prefix, depth);
        let Some(gone) = self.rules.remove(&(prefix, depth)) else {
            return Ok(None);
        };
        let covering = self.covering(prefix, depth);
        self.paint_rule(prefix, depth, covering);
        if depth > 24 {
            self.fold_group(prefix);
        }
        Ok(Some(gone))
    }

    /// Says that every reader has finished the lookups it was in: groups that rest may be used
    /// again. True after each reader has been seen between two bursts.
    pub fn quiesced(&mut self) {
        self.free.extend(self.resting.drain(..));
    }

    /// Groups that no entry names any more, and some reader may still be in.
    pub fn resting(&self) -> u32 {
        self.resting.len() as u32
    }

    /// The entry of the longest rule above this one; the default has a word of its own.
    fn covering(&self, prefix: u32, depth: u8) -> u32 {
        let above = (1..depth).rev();
        let mut above = above.filter_map(|d| self.rules.get(&(first(prefix, d), d)));
        above.next().map_or(0, |next_hop| u32::from(*next_hop) + 1)
    }

    /// Paints the block of a rule, leaving out the blocks of longer ones inside it.
    fn paint_rule(&mut self, prefix: u32, depth: u8, entry: u32) {
        if depth == 0 {
            self.shared.default.store(entry, Ordering::Release);
            return;
        }
        let end = last(prefix, depth);
        let mut from = Some((prefix, depth + 1));
        let mut at = prefix;
        while let Some(next) = from {
            let inside = self.rules.range(next..=(end, u8::MAX)).next();
            let Some(((inner, inner_depth), _)) = inside else {
                return self.paint(at, end, entry);
            };
            let (inner, inner_end) = (*inner, last(*inner, *inner_depth));
            if inner > at {
                self.paint(at, inner - 1, entry);
            }
            // The next rule that is not inside this one begins after its end.
            match inner_end.checked_add(1) {
                Some(after) if inner_end < end => at = after,
                _ => return,
            }
            from = Some((at, 0));
        }
    }

    /// Paints the addresses `from..=to`.
    fn paint(&mut self, from: u32, to: u32, entry: u32) {
        let (first_block, last_block) = (from >> 8, to >> 8);
        for block in first_block..=last_block {
            let low = if block == first_block { from & 0xff } else { 0 };
            let high = if block == last_block { to & 0xff } else { 0xff };
            if (low, high) == (0, 0xff) {
                self.set_block(block, entry);
            } else {
                self.paint_in_group(block, low, high, entry);
            }
        }
    }

    /// Gives a whole block of 256 addresses one entry.
    fn set_block(&mut self, block: u32, entry: u32) {
        let old = half(self.shared.tbl24, block as usize);
        if old == entry {
            return;
        }
        set_half(self.shared.tbl24, block as usize, entry);
        if old & EXTENDED != 0 {
            self.resting.push_back(old - EXTENDED);
        }
    }

    fn paint_in_group(&mut self, block: u32, low: u32, high: u32, entry: u32) {
        let old = half(self.shared.tbl24, block as usize);
        let named = old & EXTENDED != 0;
        let group = if named {
            old - EXTENDED
        } else {
            let free = self.free.pop();
            free.expect("`insert` saw a free group, and nothing else needs a new one")
        };
        let at = group as usize * GROUP_ENTRIES;
        if !named {
            for i in 0..GROUP_ENTRIES {
                set_half(self.shared.tbl8, at + i, old);
            }
        }
        for i in low..=high {
            set_half(self.shared.tbl8, at + i as usize, entry);
        }
        if !named {
            set_half(self.shared.tbl24, block as usize, EXTENDED + group);
        }
    }

    /// Gives a group back when no rule longer than 24 bits is left in its block.
    fn fold_group(&mut self, prefix: u32) {
        let (from, to) = (first(prefix, 24), last(prefix, 24));
        let longer = self.rules.range((from, 25)..=(to, 32));
        let mut longer = longer.filter(|((_, depth), _)| *depth > 24);
        if longer.next().is_none() {
            let entry = self.covering(from, 25);
            self.set_block(from >> 8, entry);
        }
    }

    fn group_of(&self, address: u32) -> Option<u32> {
        let entry = half(self.shared.tbl24, address as usize >> 8);
        (entry & EXTENDED != 0).then(|| entry - EXTENDED)
    }

    fn full(&self) -> LpmError {
        let (groups, resting) = (self.shared.groups(), self.resting());
        LpmError::Full {
            groups,
            used: groups - resting,
            resting,
        }
    }
}

/// Stores one entry of a word that holds two: one writer, so a load and a store do.
fn set_half(table: &[AtomicU32], at: usize, entry: u32) {
    let (word, shift) = (&table[at / 2], at % 2 * 16);
    let kept = word.load(Ordering::Relaxed) & !(0xffff << shift);
    word.store(kept | entry << shift, Ordering::Release);
}

fn check_depth(depth: u8) -> Result<(), LpmError> {
    if depth <= 32 {
        return Ok(());
    }
    Err(LpmError::Depth { depth })
}

fn mask(depth: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(depth)).unwrap_or(0)
}

fn first(prefix: u32, depth: u8) -> u32 {
    prefix & mask(depth)
}

fn last(prefix: u32, depth: u8) -> u32 {
    prefix | !mask(depth)
}
