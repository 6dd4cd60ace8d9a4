//! A node in private memory: read from the pool, changed, and written as a new one.
//!
//! Both forms (module above) say what they are: word [`COUNT`] is 0 in a wide node, and the number
//! of its ranges in the other.

use super::layout::{LINE_WORDS, SLOTS, WIDE_LEVELS, width};
use super::{COUNT, Lpm6, NODE, OWN, PARTS};
use crate::sync::{AtomicU32, Ordering};

/// Rules of a node at most, of the lengths that its slots leave open or not: a heap of 16 levels.
const MAX_RULES: usize = 1 << 16;
/// Heap numbers of rules as long as a range node's slots begin here; stored without it.
const FULL: u32 = 1 << 16;

/// What a node says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) own: u32,
    /// (slot, entry), by slot.
    pub(super) children: Vec<(u16, u32)>,
    /// (heap number, entry), by number: shorter rules first.
    pub(super) rules: Vec<(u32, u16)>,
}

/// Slots of a node as runs of equal ones: where each begins, and its entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    starts: Vec<u32>,
    entries: Vec<u32>,
}

impl Runs {
    /// The entry of a slot.
    pub(super) fn get(&self, slot: u16) -> u32 {
        let after = self.starts.partition_point(|start| *start <= slot.into());
        after.checked_sub(1).map_or(0, |at| self.entries[at])
    }

    fn fill(&mut self, slots: core::ops::Range<u32>, entry: u32) {
        let from = self.starts.partition_point(|start| *start < slots.start);
        let to = self.starts.partition_point(|start| *start < slots.end);
        self.entries[from..to].fill(entry);
    }

    /// Makes one run of neighbours with one entry.
    fn join(&mut self) {
        let mut kept = 0;
        for at in 0..self.starts.len() {
            if at == 0 || self.entries[at] != self.entries[kept - 1] {
                self.starts[kept] = self.starts[at];
                self.entries[kept] = self.entries[at];
                kept += 1;
            }
        }
        self.starts.truncate(kept);
        self.entries.truncate(kept);
    }
}

impl Node {
    /// Reads a node; whatever the bytes are, within the pool.
    pub(super) fn read(table: &Lpm6, entry: u32) -> Node {
        let node = table.node(entry);
        let word = |at: usize| word(table, node + at);
        let n = ranges(table, node);
        let mut children = Vec::new();
        for i in 0..if n == 0 { SLOTS } else { n } {
            let entry = word(entries_at(n) + i);
            if entry & NODE != 0 {
                let slot = match n {
                    0 => i as u16,
                    _ if i == 0 => 0,
                    _ => (word(PARTS + (i - 1) / 2) >> ((i - 1) % 2 * 16)) as u16,
                };
                children.push((slot, entry));
            }
        }
        let tail = tail_at(n);
        let (short, full) = counts(table, node + tail);
        let rules = (0..short + full).map(|i| {
            let rule = word(tail + 2 + i);
            let number = (rule & 0xffff) | if i < short { 0 } else { FULL };
            (number, (rule >> 16) as u16)
        });
        Node {
            own: word(OWN),
            children,
            rules: rules.collect(),
        }
    }

    /// Words of the node that `entry` names.
    pub(super) fn words_of(table: &Lpm6, entry: u32) -> usize {
        let node = table.node(entry);
        let tail = tail_at(ranges(table, node));
        let (short, full) = counts(table, node + tail);
        tail + 2 + short + full
    }

    pub(super) fn is_empty(&self) -> bool {
        self.children.is_empty() && self.rules.is_empty()
    }

    /// The entry of a rule, 0 for none.
    pub(super) fn rule(&self, number: u32) -> u16 {
        let at = self.rules.binary_search_by_key(&number, |rule| rule.0);
        at.map_or(0, |at| self.rules[at].1)
    }

    /// Sets a rule, or takes it out (entry 0).
    pub(super) fn set_rule(&mut self, number: u32, entry: u16) {
        match self.rules.binary_search_by_key(&number, |rule| rule.0) {
            Ok(at) if entry == 0 => _ = self.rules.remove(at),
            Ok(at) => self.rules[at].1 = entry,
            Err(at) if entry != 0 => self.rules.insert(at, (number, entry)),
            Err(_) => {}
        }
    }

    /// Puts a child into a slot, or takes it out (entry 0).
    pub(super) fn set_child(&mut self, slot: u16, entry: u32) {
        match self.children.binary_search_by_key(&slot, |child| child.0) {
            Ok(at) if entry == 0 => _ = self.children.remove(at),
            Ok(at) => self.children[at].1 = entry,
            Err(at) if entry != 0 => self.children.insert(at, (slot, entry)),
            Err(_) => {}
        }
    }

    /// What the rules alone say of each slot of a node at `level`.
    pub(super) fn painted(&self, level: usize) -> Runs {
        self.runs(level, &[])
    }

    fn runs(&self, level: usize, children: &[(u16, u32)]) -> Runs {
        let covered = |number: u32| slots_of(number, level);
        let mut starts = Vec::with_capacity(1 + 2 * (self.rules.len() + children.len()));
        starts.push(0);
        for (number, _) in &self.rules {
            let slots = covered(*number);
            starts.extend([slots.start, slots.end]);
        }
        for (slot, _) in children {
            starts.extend([u32::from(*slot), u32::from(*slot) + 1]);
        }
        starts.sort_unstable();
        starts.dedup();
        if starts.last() == Some(&(1 << width(level))) {
            starts.pop();
        }
        let entries = vec![0; starts.len()];
        let mut runs = Runs { starts, entries };
        for (number, entry) in &self.rules {
            runs.fill(covered(*number), u32::from(*entry));
        }
        for (slot, entry) in children {
            let slot = u32::from(*slot);
            runs.fill(slot..slot + 1, *entry);
        }
        runs
    }

    /// The node's words, as they lie in the pool of a table's `level`.
    pub(super) fn words(&self, level: usize) -> Vec<u32> {
        let mut runs = self.runs(level, &self.children);
        runs.join();
        let mut words = Vec::with_capacity(4 * LINE_WORDS);
        words.push(self.own);
        if level < WIDE_LEVELS {
            words.push(0);
            for (i, entry) in runs.entries.iter().enumerate() {
                let end = runs.starts.get(i + 1).map_or(SLOTS, |end| *end as usize);
                words.resize(PARTS + end, *entry);
            }
        } else {
            words.push(runs.starts.len() as u32);
            for pair in runs.starts[1..].chunks(2) {
                words.push(pair[0] | pair.get(1).map_or(0, |second| second << 16));
            }
            words.extend(&runs.entries);
        }
        let short = self.rules.partition_point(|(number, _)| *number < FULL);
        words.extend([short as u32, (self.rules.len() - short) as u32]);
        let rules = self.rules.iter();
        words.extend(rules.map(|(number, entry)| u32::from(*entry) << 16 | (number & 0xffff)));
        words
    }
}

/// Slots that a rule of a node at `level` covers.
pub(super) fn slots_of(number: u32, level: usize) -> core::ops::Range<u32> {
    let width = width(level);
    let bits = number.max(1).ilog2().min(width);
    let first = ((number - (1 << bits)) << (width - bits)) & ((1 << width) - 1);
    first..first + (1 << (width - bits))
}

/// Stores the words of a node into lines that nobody reads.
pub(super) fn store(to: &[AtomicU32], words: &[u32]) {
    for (word, value) in to.iter().zip(words) {
        word.store(*value, Ordering::Relaxed);
    }
}

/// Ranges of a node; 0 if it is wide.
fn ranges(table: &Lpm6, node: usize) -> usize {
    (word(table, node + COUNT) as usize).min(1 << 16)
}

/// Where the entries of a node with `n` ranges begin.
pub(super) fn entries_at(n: usize) -> usize {
    PARTS + n / 2
}

/// Where the numbers of rules lie in a node with `n` ranges.
fn tail_at(n: usize) -> usize {
    entries_at(n) + if n == 0 { SLOTS } else { n }
}

/// Numbers of rules: shorter than a range node's slots, and as long.
fn counts(table: &Lpm6, tail: usize) -> (usize, usize) {
    let count = |at: usize| (word(table, at) as usize).min(MAX_RULES);
    (count(tail), count(tail + 1))
}

fn word(table: &Lpm6, at: usize) -> u32 {
    let word = table.pool.get(at);
    word.map_or(0, |word| word.load(Ordering::Relaxed))
}
