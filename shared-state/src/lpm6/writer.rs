//! The one writer of an IPv6 route table.

use super::alloc::Lines;
use super::layout::LINE_WORDS;
use super::node::{self, Node, slots_of};
use super::tree::{Rule, SHORT, Step, Tree};
use super::{Lpm6, Lpm6Error, MAX_NEXT_HOP, NODE};
use crate::rcu::Qsbr;
use crate::region::Region;
use crate::sync::Ordering;

const ACTIVE: u64 = 1 << 63;

/// The writer of an IPv6 route table. One at a time; readers use [`Lpm6Writer::reader`].
///
/// All it keeps in private memory is which lines are free; a successor finds that out.
#[derive(Debug)]
pub struct Lpm6Writer {
    tree: Tree,
    qsbr: Option<Qsbr>,
    lines: Lines,
}

/// A change of one rule, as the intent holds it. An `entry` of 0 withdraws.
#[derive(Debug, Clone, Copy)]
struct Change {
    prefix: u128,
    depth: u8,
    entry: u16,
    /// Rules in the table afterwards.
    rules: u32,
}

impl Lpm6Writer {
    /// For a table that is still empty.
    pub(super) fn first(region: Region) -> Result<Lpm6Writer, Lpm6Error> {
        let mut writer = Self::over(region)?;
        writer.lines.add(0, writer.tree.shared.lines());
        Ok(writer)
    }

    /// Takes a table over from a writer that has let go or died, and finishes what that one had
    /// begun. The caller owns the table from now on. Goes through all nodes (some 100 ns each).
    ///
    /// Lines that no node lies in rest until [`Lpm6Writer::recycle_by`] and a grace period, or
    /// [`Lpm6Writer::quiesced`]. An interrupted change of which readers have seen a part is
    /// finished here; one that had not named its node yet needs lines, and is made with them.
    pub fn resume(region: Region) -> Result<Lpm6Writer, Lpm6Error> {
        let mut writer = Self::over(region)?;
        // Whatever needs no lines: these are changes of which readers may have seen a part.
        let _ = writer.finish();
        writer.mark();
        Ok(writer)
    }

    fn over(region: Region) -> Result<Lpm6Writer, Lpm6Error> {
        let tree = Tree::over(region, Lpm6::attach(region)?);
        Ok(Lpm6Writer {
            tree,
            qsbr: None,
            lines: Lines::new(),
        })
    }

    /// Lets lines be used again after grace periods of `qsbr`, in which every reader of this
    /// table takes part.
    pub fn recycle_by(&mut self, qsbr: Qsbr) {
        self.lines.restart(qsbr.start());
        self.qsbr = Some(qsbr);
    }

    /// Makes lines free whose grace period is over; `is_dead` as in [`Qsbr::check`].
    pub fn reclaim(&mut self, is_dead: impl FnMut(u16) -> bool) {
        if let Some(qsbr) = self.qsbr {
            self.lines.reclaim(&qsbr, is_dead);
            let _ = self.finish();
        }
    }

    /// Says that every reader has finished the lookups it was in: lines that rest may be used
    /// again. True after each reader has been seen between two bursts.
    pub fn quiesced(&mut self) {
        self.lines.quiesced();
        let _ = self.finish();
    }

    /// The view for readers.
    pub fn reader(&self) -> Lpm6 {
        self.tree.shared
    }

    /// Rules in the table.
    pub fn len(&self) -> usize {
        self.tree.rules.load(Ordering::Relaxed) as usize
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lines that hold nodes: 64 bytes each.
    pub fn used_lines(&self) -> u32 {
        self.tree.shared.lines() - self.lines.free() - self.lines.resting()
    }

    /// The next hop of exactly this prefix (network byte order).
    pub fn get(&self, prefix: [u8; 16], depth: u8) -> Option<u16> {
        check_depth(depth).ok()?;
        let entry = self.tree.get(first(prefix, depth), depth);
        entry.checked_sub(1).map(|hop| hop as u16)
    }

    /// Every rule: first address, depth, next hop. Goes through all nodes.
    pub fn rules(&self) -> impl Iterator<Item = ([u8; 16], u8, u16)> + '_ {
        let all = self.tree.all().into_iter();
        all.map(|(prefix, depth, hop)| (prefix.to_be_bytes(), depth, hop))
    }

    /// Adds a rule or changes its next hop. Bits of `prefix` past `depth` are ignored. After an
    /// error the table is as before.
    pub fn insert(&mut self, prefix: [u8; 16], depth: u8, next_hop: u16) -> Result<(), Lpm6Error> {
        check_depth(depth)?;
        if next_hop > MAX_NEXT_HOP {
            let max = MAX_NEXT_HOP;
            return Err(Lpm6Error::NextHop { next_hop, max });
        }
        self.finish()?;
        let prefix = first(prefix, depth);
        let new = u32::from(self.tree.get(prefix, depth) == 0);
        self.change(Change {
            prefix,
            depth,
            entry: next_hop + 1,
            rules: self.tree.rules.load(Ordering::Relaxed) + new,
        })
    }

    /// Removes a rule; its next hop, if it was there. May need lines, as [`Lpm6Writer::insert`]:
    /// a node without the rule is a new node.
    pub fn delete(&mut self, prefix: [u8; 16], depth: u8) -> Result<Option<u16>, Lpm6Error> {
        check_depth(depth)?;
        self.finish()?;
        let prefix = first(prefix, depth);
        let Some(gone) = self.tree.get(prefix, depth).checked_sub(1) else {
            return Ok(None);
        };
        self.change(Change {
            prefix,
            depth,
            entry: 0,
            rules: self.tree.rules.load(Ordering::Relaxed) - 1,
        })?;
        Ok(Some(gone as u16))
    }

    /// Makes a change under its intent.
    fn change(&mut self, change: Change) -> Result<(), Lpm6Error> {
        let rule = u64::from(change.depth) << 32 | u64::from(change.entry);
        let words = [(change.prefix >> 64) as u64, change.prefix as u64, rule];
        for (word, value) in self.tree.intent.iter().zip(words) {
            word.store(value, Ordering::Relaxed);
        }
        self.tree.intent[3].store(ACTIVE | u64::from(change.rules), Ordering::Release);
        let made = self.make(change);
        // Also after an error, which comes before anything has changed.
        self.tree.intent[3].store(0, Ordering::Release);
        made
    }

    /// Finishes the change that a dead writer had begun.
    fn finish(&mut self) -> Result<(), Lpm6Error> {
        let state = self.tree.intent[3].load(Ordering::Acquire);
        if state & ACTIVE == 0 {
            return Ok(());
        }
        let word = |i: usize| self.tree.intent[i].load(Ordering::Relaxed);
        let prefix = u128::from(word(0)) << 64 | u128::from(word(1));
        let depth = ((word(2) >> 32) as u8).min(128);
        let change = Change {
            prefix: first(prefix.to_be_bytes(), depth),
            depth,
            entry: word(2) as u16,
            rules: state as u32,
        };
        self.make(change)?;
        self.tree.intent[3].store(0, Ordering::Release);
        Ok(())
    }

    /// Makes a change; made twice, or once more after half of it, it gives the same.
    fn make(&mut self, change: Change) -> Result<(), Lpm6Error> {
        let Change { prefix, depth, .. } = change;
        match depth {
            0 => {
                let entry = u32::from(change.entry);
                self.tree.shared.default.store(entry, Ordering::Release);
            }
            1..=SHORT => self.tree.set_short(prefix, depth, change.entry.into()),
            _ => self.set_long(&Rule::new(prefix, depth), change.entry)?,
        }
        self.tree.rules.store(change.rules, Ordering::Relaxed);
        Ok(())
    }

    fn set_long(&mut self, rule: &Rule, entry: u16) -> Result<(), Lpm6Error> {
        let way = self.tree.way(rule);
        let Some(step) = way.get(rule.level) else {
            return match entry {
                0 => Ok(()),
                _ => self.grow(rule, entry, &way),
            };
        };
        let mut node = Node::read(&self.tree.shared, step.entry);
        if node.rule(rule.number) != entry {
            node.set_rule(rule.number, entry);
            if node.is_empty() {
                return self.prune(rule, &way);
            }
            self.replace(step, &node, rule.level)?;
        }
        let covered = slots_of(rule.number, rule.level);
        let mut painted = None;
        for (slot, child) in &node.children {
            if covered.contains(&u32::from(*slot)) {
                let painted = painted.get_or_insert_with(|| node.painted(rule.level));
                self.tree.set_own(*child, painted.get(*slot));
            }
        }
        Ok(())
    }

    /// Makes the nodes that are missing on the way to a new rule, lowest first, and names the
    /// highest of them.
    fn grow(&mut self, rule: &Rule, entry: u16, way: &[Step]) -> Result<(), Lpm6Error> {
        let above = way.last();
        let parent = above.map(|step| Node::read(&self.tree.shared, step.entry));
        let mut node = Node::default();
        node.set_rule(rule.number, entry);
        let mut made = Vec::new();
        for level in (way.len()..=rule.level).rev() {
            if level == way.len() {
                node.own = match &parent {
                    Some(parent) => parent.painted(level - 1).get(rule.slot(level - 1)),
                    None => self.tree.shared.tbl16[rule.top()].load(Ordering::Relaxed),
                };
            }
            let child = self.build(&node, level).inspect_err(|_| self.unmake(&made));
            made.push(child?);
            node = Node::default();
            if level > way.len() {
                node.set_child(rule.slot(level - 1), made[made.len() - 1]);
            }
        }
        let top = made[made.len() - 1];
        match (above, parent) {
            (Some(step), Some(mut parent)) => {
                parent.set_child(rule.slot(way.len() - 1), top);
                let replaced = self.replace(step, &parent, way.len() - 1);
                replaced.inspect_err(|_| self.unmake(&made))
            }
            _ => {
                self.tree.shared.tbl16[rule.top()].store(top, Ordering::Release);
                Ok(())
            }
        }
    }

    /// Takes the node of a rule away that was the node's last, and those above that held nothing
    /// but the way to it.
    fn prune(&mut self, rule: &Rule, way: &[Step]) -> Result<(), Lpm6Error> {
        for level in (0..rule.level).rev() {
            let mut parent = Node::read(&self.tree.shared, way[level].entry);
            parent.set_child(rule.slot(level), 0);
            if !parent.is_empty() {
                self.replace(&way[level], &parent, level)?;
                way[level + 1..]
                    .iter()
                    .for_each(|step| self.retire(step.entry));
                return Ok(());
            }
        }
        let own = self.tree.own(way[0].entry).load(Ordering::Relaxed);
        way[0].named_by.store(own, Ordering::Release);
        way.iter().for_each(|step| self.retire(step.entry));
        Ok(())
    }

    /// Puts a new node in the place of an old one.
    fn replace(&mut self, old: &Step, node: &Node, level: usize) -> Result<(), Lpm6Error> {
        let entry = self.build(node, level)?;
        old.named_by.store(entry, Ordering::Release);
        self.retire(old.entry);
        Ok(())
    }

    /// Writes a node that nothing names yet; its entry.
    fn build(&mut self, node: &Node, level: usize) -> Result<u32, Lpm6Error> {
        let words = node.words(level);
        let wanted = words.len().div_ceil(LINE_WORDS) as u32;
        let first = self.lines.take(wanted).or_else(|| {
            let qsbr = self.qsbr?;
            self.lines.reclaim(&qsbr, |_| false);
            self.lines.take(wanted)
        });
        let first = first.ok_or_else(|| self.full(wanted))?;
        node::store(self.tree.lines(first, wanted), &words);
        Ok(NODE | first)
    }

    /// Gives back nodes that were never named.
    fn unmake(&mut self, made: &[u32]) {
        for entry in made {
            let count = self.lines_of(*entry);
            self.lines.add(entry & !NODE, count);
        }
    }

    fn retire(&mut self, entry: u32) {
        let token = self.qsbr.map_or(0, |qsbr| qsbr.start());
        let count = self.lines_of(entry);
        self.lines.rest(token, entry & !NODE, count);
    }

    fn lines_of(&self, entry: u32) -> u32 {
        Node::words_of(&self.tree.shared, entry).div_ceil(LINE_WORDS) as u32
    }

    /// Finds the lines that no node lies in.
    fn mark(&mut self) {
        let mut used = Vec::with_capacity(self.len());
        self.tree.each_node(|entry, _, _| {
            let words = Node::words_of(&self.tree.shared, entry);
            used.push((entry & !NODE, words.div_ceil(LINE_WORDS) as u32));
        });
        used.sort_unstable();
        let mut at = 0;
        for (first, count) in used.into_iter().chain([(self.tree.shared.lines(), 0)]) {
            if first > at {
                self.lines.rest(0, at, first - at);
            }
            at = at.max(first + count);
        }
    }

    fn full(&self, wanted: u32) -> Lpm6Error {
        Lpm6Error::Full {
            wanted,
            lines: self.tree.shared.lines(),
            free: self.lines.free(),
            resting: self.lines.resting(),
        }
    }
}

impl core::fmt::Debug for Tree {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Tree({} rules)", self.rules.load(Ordering::Relaxed))
    }
}

fn check_depth(depth: u8) -> Result<(), Lpm6Error> {
    if depth <= 128 {
        return Ok(());
    }
    Err(Lpm6Error::Depth { depth })
}

fn first(prefix: [u8; 16], depth: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(depth)).unwrap_or(0);
    u128::from_be_bytes(prefix) & mask
}
