//! The one writer of a route table: announces and withdraws, and repairs what a dead one began.

use std::collections::VecDeque;

use super::paint::IN_GROUP;
use super::paint::{Over, Paint, set_depth};
use super::rib::Rib;
use super::{Lpm, LpmError, MAX_NEXT_HOP};
use crate::rcu::Qsbr;
use crate::region::Region;
use crate::sync::Ordering;

const ACTIVE: u64 = 1 << 63;
const GROUP_SHIFT: u32 = 32;
const GROUP_MASK: u64 = 0xffff;

/// The writer of a route table. One at a time; readers use [`LpmWriter::reader`].
///
/// All it keeps in private memory is which groups are free; a successor finds that out.
#[derive(Debug)]
pub struct LpmWriter {
    rib: Rib,
    qsbr: Option<Qsbr>,
    free: Vec<u32>,
    /// (token, group): no entry names it, and some reader may still be in it.
    resting: VecDeque<(u64, u32)>,
}

/// A change of one rule, as the intent holds it. An `entry` of 0 withdraws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    prefix: u32,
    depth: u8,
    entry: u32,
    /// The group it takes if its block has none yet.
    group: Option<u32>,
    /// Rules in the table afterwards.
    rules: u32,
}

impl LpmWriter {
    /// For a table that is still empty.
    pub(super) fn first(region: Region) -> Result<LpmWriter, LpmError> {
        let rib = Rib::over(region, Lpm::attach(region)?);
        rib.rules.store(0, Ordering::Relaxed);
        rib.intent[1].store(0, Ordering::Release);
        Ok(LpmWriter {
            rib,
            qsbr: None,
            free: (0..rib.shared.groups()).rev().collect(),
            resting: VecDeque::new(),
        })
    }

    /// Takes a table over from a writer that has let go or died, and finishes what that one had
    /// begun. The caller owns the table from now on.
    ///
    /// Groups that no block names rest until [`LpmWriter::recycle_by`] and a grace period, or
    /// [`LpmWriter::quiesced`].
    pub fn resume(region: Region) -> Result<LpmWriter, LpmError> {
        let rib = Rib::over(region, Lpm::attach(region)?);
        let mut writer = LpmWriter {
            rib,
            qsbr: None,
            free: Vec::new(),
            resting: VecDeque::new(),
        };
        if let Some(change) = writer.intended() {
            writer.make(change);
            writer.end_change();
        }
        let unnamed = (0..rib.shared.groups()).filter(|group| !rib.is_named(*group));
        writer.resting = unnamed.map(|group| (0, group)).collect();
        Ok(writer)
    }

    /// Lets groups be used again after grace periods of `qsbr`, in which every reader of this
    /// table takes part.
    pub fn recycle_by(&mut self, qsbr: Qsbr) {
        let token = qsbr.start();
        self.resting.iter_mut().for_each(|(of, _)| *of = token);
        self.qsbr = Some(qsbr);
    }

    /// Makes groups free whose grace period is over; `is_dead` as in [`Qsbr::check`].
    pub fn reclaim(&mut self, mut is_dead: impl FnMut(u16) -> bool) {
        let Some(qsbr) = self.qsbr else { return };
        while let Some((token, group)) = self.resting.front().copied()
            && qsbr.check(token, &mut is_dead)
        {
            self.free.push(group);
            self.resting.pop_front();
        }
    }

    /// Says that every reader has finished the lookups it was in: groups that rest may be used
    /// again. True after each reader has been seen between two bursts.
    pub fn quiesced(&mut self) {
        self.free
            .extend(self.resting.drain(..).map(|(_, group)| group));
    }

    /// The view for readers.
    pub fn reader(&self) -> Lpm {
        self.rib.shared
    }

    /// Rules in the table.
    pub fn len(&self) -> usize {
        self.rib.rules.load(Ordering::Relaxed) as usize
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next hop of exactly this prefix.
    pub fn get(&self, prefix: u32, depth: u8) -> Option<u16> {
        check_depth(depth).ok()?;
        let entry = self.rib.get(first(prefix, depth), depth);
        entry.checked_sub(1).map(|hop| hop as u16)
    }

    /// Every rule: first address, depth, next hop. Goes through the whole RIB (50 MiB).
    pub fn rules(&self) -> impl Iterator<Item = (u32, u8, u16)> + '_ {
        self.rib.all().into_iter()
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
        let mut group = None;
        if depth > 24 && self.rib.group_of(prefix as usize >> 8).is_none() {
            if self.free.is_empty() {
                self.reclaim(|_| false);
            }
            group = Some(self.free.pop().ok_or_else(|| self.full())?);
        }
        let new = u32::from(self.rib.get(prefix, depth) == 0);
        self.change(Change {
            prefix,
            depth,
            entry: u32::from(next_hop) + 1,
            group,
            rules: self.rib.rules.load(Ordering::Relaxed) + new,
        });
        Ok(())
    }

    /// Removes a rule; its next hop, if it was there.
    pub fn delete(&mut self, prefix: u32, depth: u8) -> Result<Option<u16>, LpmError> {
        check_depth(depth)?;
        let prefix = first(prefix, depth);
        let Some(gone) = self.rib.get(prefix, depth).checked_sub(1) else {
            return Ok(None);
        };
        self.change(Change {
            prefix,
            depth,
            entry: 0,
            group: None,
            rules: self.rib.rules.load(Ordering::Relaxed) - 1,
        });
        Ok(Some(gone as u16))
    }

    /// Groups that no entry names any more, and some reader may still be in.
    pub fn resting(&self) -> u32 {
        self.resting.len() as u32
    }

    #[cfg(test)]
    pub(super) fn is_named(&self, group: u32) -> bool {
        self.rib.is_named(group)
    }

    /// Makes a change under its intent.
    fn change(&mut self, change: Change) {
        let words = change.to_words();
        self.rib.intent[0].store(words[0], Ordering::Relaxed);
        self.rib.intent[1].store(words[1], Ordering::Release);
        self.make(change);
        self.end_change();
    }

    /// Says that a change is made; first to readers, so that a death in between has it counted again.
    fn end_change(&self) {
        self.rib.shared.count_change();
        self.rib.intent[1].store(0, Ordering::Release);
    }

    /// The change that a dead writer had begun.
    fn intended(&self) -> Option<Change> {
        let state = self.rib.intent[1].load(Ordering::Acquire);
        let what = self.rib.intent[0].load(Ordering::Relaxed);
        (state & ACTIVE != 0).then(|| Change::from_words([what, state], self.rib.shared.groups()))
    }

    /// Makes a change; made twice, or once more after half of it, it gives the same.
    fn make(&mut self, change: Change) {
        let Change { prefix, depth, .. } = change;
        if depth == 0 {
            self.rib
                .shared
                .default
                .store(change.entry, Ordering::Release);
        } else if change.entry == 0 {
            self.withdraw(prefix, depth);
        } else {
            self.announce(change);
        }
        self.rib.rules.store(change.rules, Ordering::Relaxed);
    }

    fn announce(&mut self, change: Change) {
        let Change {
            prefix,
            depth,
            entry,
            ..
        } = change;
        let paint = Paint {
            over: Over::UpTo(depth),
            entry,
            depth,
        };
        let block = prefix as usize >> 8;
        if depth > 24 {
            if let Some(group) = self.rib.group_of(block) {
                // Named by a writer that died before it stored the depth.
                set_depth(self.rib.depth24, block, IN_GROUP);
                self.rib.set_in_group(group, prefix, depth, entry);
                self.rib.paint_in_group(group, prefix, depth, paint);
            } else if let Some(group) = change.group {
                self.rib.fill_group(group, block);
                self.rib.set_in_group(group, prefix, depth, entry);
                self.rib.paint_in_group(group, prefix, depth, paint);
                self.rib.name_group(group, block);
            }
            return;
        }
        self.rib.set(prefix, depth, entry);
        self.rib.paint(prefix, depth, paint);
    }

    fn withdraw(&mut self, prefix: u32, depth: u8) {
        self.rib.set(prefix, depth, 0);
        let (entry, cover) = self.rib.cover(prefix, depth);
        let paint = Paint {
            over: Over::Exactly(depth),
            entry,
            depth: cover,
        };
        self.rib.paint(prefix, depth, paint);
        if depth > 24
            && let Some(group) = self.rib.group_of(prefix as usize >> 8)
            && self.rib.fold_group(group, prefix)
        {
            let token = self.qsbr.map_or(0, |qsbr| qsbr.start());
            self.resting.push_back((token, group));
        }
    }

    fn full(&self) -> LpmError {
        let (groups, resting) = (self.rib.shared.groups(), self.resting());
        LpmError::Full {
            groups,
            used: groups - resting,
            resting,
        }
    }
}

impl Change {
    fn to_words(self) -> [u64; 2] {
        let rule = u64::from(self.prefix) << 32 | u64::from(self.depth) << 16;
        let group = self.group.map_or(0, |group| u64::from(group) + 1);
        let state = ACTIVE | group << GROUP_SHIFT | u64::from(self.rules);
        [rule | u64::from(self.entry), state]
    }

    /// Reads an intent; whatever the bytes are, it is a change that can be made.
    fn from_words([rule, state]: [u64; 2], groups: u32) -> Change {
        let depth = ((rule >> 16) as u8).min(32);
        let group = (state >> GROUP_SHIFT & GROUP_MASK) as u32;
        Change {
            prefix: first((rule >> 32) as u32, depth),
            depth,
            entry: rule as u32 & 0x7fff,
            group: group.checked_sub(1).filter(|group| *group < groups),
            rules: state as u32,
        }
    }
}

impl core::fmt::Debug for Rib {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let rules = self.rules.load(Ordering::Relaxed);
        write!(f, "Rib({rules} rules)")
    }
}

fn check_depth(depth: u8) -> Result<(), LpmError> {
    if depth <= 32 {
        return Ok(());
    }
    Err(LpmError::Depth { depth })
}

fn first(prefix: u32, depth: u8) -> u32 {
    prefix & u32::MAX.checked_shl(32 - u32::from(depth)).unwrap_or(0)
}
