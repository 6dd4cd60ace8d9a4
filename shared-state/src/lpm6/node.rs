//! A node in private memory: read from the pool, changed, and written as a new one.

use super::{COUNTS, LINE_WORDS, Lpm6, NODE, OWN, RUNS};
use crate::sync::{AtomicU32, Ordering};

const SLOTS: usize = 256;
/// Rules of a node at most: a heap of the levels 1 to 8.
const MAX_RULES: usize = 2 * SLOTS - 2;

/// What a node says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) own: u32,
    /// (slot, entry), by slot.
    pub(super) children: Vec<(u8, u32)>,
    /// (heap number, entry), by number: shorter rules first.
    pub(super) rules: Vec<(u16, u16)>,
}

impl Node {
    /// Reads a node; whatever the bytes are, within the pool.
    pub(super) fn read(table: &Lpm6, entry: u32) -> Node {
        let pool = table.pool;
        let node = table.node(entry);
        let word = |at: usize| pool.get(node + at).map_or(0, |w| w.load(Ordering::Relaxed));
        let mut children = Vec::new();
        let mut runs = 0;
        for part in 0..8 {
            let mut bits = word(part);
            while bits != 0 {
                let entry = word(RUNS + runs);
                if entry & NODE != 0 {
                    children.push(((part as u32 * 32 + bits.trailing_zeros()) as u8, entry));
                }
                runs += 1;
                bits &= bits - 1;
            }
        }
        let count = (word(RUNS + runs) as usize).min(MAX_RULES);
        let rule = |i| word(RUNS + runs + 1 + i);
        let rules = (0..count).map(|i| (rule(i) as u16 & 0x1ff, (rule(i) >> 16) as u16));
        Node {
            own: word(OWN),
            children,
            rules: rules.collect(),
        }
    }

    /// Words of the node that `entry` names.
    pub(super) fn words_of(table: &Lpm6, entry: u32) -> usize {
        let node = table.node(entry);
        let word = |at: usize| table.pool[node + at].load(Ordering::Relaxed);
        let runs: u32 = (0..8).map(|part| word(part).count_ones()).sum();
        let rules = (word(RUNS + runs as usize) as usize).min(MAX_RULES);
        RUNS + runs as usize + 1 + rules
    }

    pub(super) fn is_empty(&self) -> bool {
        self.children.is_empty() && self.rules.is_empty()
    }

    /// The entry of a rule, 0 for none.
    pub(super) fn rule(&self, number: u16) -> u16 {
        let at = self.rules.binary_search_by_key(&number, |rule| rule.0);
        at.map_or(0, |at| self.rules[at].1)
    }

    /// Sets a rule, or takes it out (entry 0).
    pub(super) fn set_rule(&mut self, number: u16, entry: u16) {
        match self.rules.binary_search_by_key(&number, |rule| rule.0) {
            Ok(at) if entry == 0 => _ = self.rules.remove(at),
            Ok(at) => self.rules[at].1 = entry,
            Err(at) if entry != 0 => self.rules.insert(at, (number, entry)),
            Err(_) => {}
        }
    }

    /// Puts a child into a slot, or takes it out (entry 0).
    pub(super) fn set_child(&mut self, slot: u8, entry: u32) {
        match self.children.binary_search_by_key(&slot, |child| child.0) {
            Ok(at) if entry == 0 => _ = self.children.remove(at),
            Ok(at) => self.children[at].1 = entry,
            Err(at) if entry != 0 => self.children.insert(at, (slot, entry)),
            Err(_) => {}
        }
    }

    /// What the rules alone say of each slot.
    pub(super) fn painted(&self) -> [u32; SLOTS] {
        let mut slots = [0; SLOTS];
        for (number, entry) in &self.rules {
            slots[slots_of(*number)].fill(u32::from(*entry));
        }
        slots
    }

    /// The node's words, as they lie in the pool. A node of the first level is wide: each slot is a
    /// run, so that its entry is found without the bitmap.
    pub(super) fn words(&self, level: usize) -> Vec<u32> {
        let mut slots = self.painted();
        for (slot, entry) in &self.children {
            slots[usize::from(*slot)] = *entry;
        }
        let mut words = Vec::with_capacity(4 * LINE_WORDS);
        words.resize(RUNS, 0);
        words[OWN] = self.own;
        let mut last = !slots[0];
        for (part, slots) in slots.chunks_exact(32).enumerate() {
            if part % 2 == 0 {
                words[COUNTS] |= ((words.len() - RUNS) as u32) << (4 * part);
            }
            let mut bits = 0;
            for (bit, slot) in slots.iter().enumerate() {
                if *slot != last || level == 0 {
                    (bits, last) = (bits | 1 << bit, *slot);
                    words.push(last);
                }
            }
            words[part] = bits;
        }
        words.push(self.rules.len() as u32);
        let rules = self.rules.iter();
        words.extend(rules.map(|(number, entry)| u32::from(*entry) << 16 | u32::from(*number)));
        words
    }
}

/// Slots that a rule covers.
pub(super) fn slots_of(number: u16) -> core::ops::Range<usize> {
    let level = number.max(1).ilog2().min(8);
    let first = usize::from(number - (1 << level)) << (8 - level);
    first..first + (SLOTS >> level)
}

/// Stores the words of a node into lines that nobody reads.
pub(super) fn store(to: &[AtomicU32], words: &[u32]) {
    for (word, value) in to.iter().zip(words) {
        word.store(*value, Ordering::Relaxed);
    }
}
