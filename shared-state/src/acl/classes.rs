//! Which values of a field no rule tells apart: one class for each distinct prefix, for each
//! piece between two ends of port ranges, for each set of protocols.
//!
//! A new prefix or end of a range splits a class in two that mean the same to every rule there is;
//! hence it does not matter when a reader notices. The other way round, a class is given up when no
//! rule needs it and no reader can hold a version in which one did.
//!
//! Failure: after any number of the stores of a split, cells name either class; the record of a
//! prefix is stored before the first cell, so the next writer finds it and goes on painting.
//! Pieces of ports are found from the cells alone, which are painted so that none falls in two.

use std::collections::BTreeMap;

use super::AclError;
use super::cells::{self, Cells};
use super::layout::{Layout, PROTOS};
use super::pool::Pool;
use super::rule::Prefix;
use super::trie::TrieWriter;
use crate::region::Region;
use crate::sync::Ordering;

/// Numbers for classes, and the row that a new one begins with.
#[derive(Debug)]
pub(super) struct Classes {
    pub(super) region: Region,
    pub(super) layout: Layout,
    pub(super) pool: Pool,
    /// One more than the largest number ever in use.
    pub(super) high: usize,
    /// Blocks that a reader may be in, or that rest.
    pub(super) live: Vec<u32>,
}

impl Classes {
    /// A class that means what class `like` means in every block a reader may be in.
    pub(super) fn take_like(&mut self, like: u32) -> Result<u32, AclError> {
        let class = self.pool.take()?;
        self.high = self.high.max(class as usize + 1);
        for block in &self.live {
            let index = self.index(*block);
            let row = index[like as usize].load(Ordering::Relaxed);
            cells::set_half(&index[class as usize], row);
        }
        Ok(class)
    }

    /// Takes back the classes that rested; their rows in the blocks become the empty one.
    pub(super) fn quiesced(&mut self) {
        for class in self.pool.quiesced() {
            for block in &self.live {
                cells::set_half(&self.index(*block)[class as usize], 0);
            }
        }
    }

    fn index(&self, block: u32) -> &'static [crate::sync::AtomicU16] {
        let at = self.layout.block(block) + self.layout.index();
        cells::halves(self.region, at, self.layout.sizes.classes as usize)
    }

    /// Stores what class `class` is: field and length last, which make the record valid.
    fn record(&self, class: u32, field: usize, prefix: &Prefix) {
        let at = self.layout.class(class);
        cells::put(self.region, at, &prefix.addr.to_be_bytes());
        let last = (field as u64 + 1) << 8 | u64::from(prefix.len);
        cells::put(self.region, at + 16, &last);
    }

    fn clear(&self, class: u32) {
        cells::put(self.region, self.layout.class(class) + 16, &0u64);
    }

    /// The field and prefix of a class, if it is one of an address field.
    pub(super) fn recorded(&self, class: u32) -> Option<(usize, Prefix)> {
        let at = self.layout.class(class);
        let last = self.region.u64(at + 16).load(Ordering::Acquire);
        let field = (last >> 8 & 0xff).checked_sub(1)? as usize;
        let addr = u128::from_be_bytes(self.region.read(at));
        let len = (last & 0xff) as u8;
        let fits = field < 2 && len <= self.layout.family.bits();
        fits.then(|| (field, Prefix::aligned(addr, len)))
    }
}

/// A class and how many rules need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    pub(super) class: u32,
    pub(super) rules: u32,
}

/// The prefixes of one address field.
#[derive(Debug)]
pub(super) struct Prefixes {
    field: usize,
    pub(super) trie: TrieWriter,
    /// In order of address, then length: what lies in a prefix follows it.
    pub(super) map: BTreeMap<Prefix, Used>,
    unused: Vec<Prefix>,
}

impl Prefixes {
    pub(super) fn new(field: usize, root: u32, trie: TrieWriter) -> Prefixes {
        let root = Used {
            class: root,
            rules: 1,
        };
        let map = BTreeMap::from([(Prefix::ANY, root)]);
        Prefixes {
            field,
            trie,
            map,
            unused: Vec::new(),
        }
    }

    /// Asks for what [`Prefixes::add`] may take; how many classes that is.
    pub(super) fn need(&self, prefix: &Prefix) -> Result<usize, AclError> {
        if self.map.contains_key(prefix) {
            return Ok(0);
        }
        self.trie.need(prefix)?;
        Ok(1)
    }

    /// One more rule needs `prefix`.
    pub(super) fn add(&mut self, prefix: &Prefix, classes: &mut Classes) -> Result<(), AclError> {
        if let Some(used) = self.map.get_mut(prefix) {
            used.rules += 1;
            return Ok(());
        }
        let above = self.above(prefix);
        let class = classes.take_like(above)?;
        classes.record(class, self.field, prefix);
        self.trie.paint(prefix, above, class)?;
        self.map.insert(*prefix, Used { class, rules: 1 });
        Ok(())
    }

    /// One rule less needs `prefix`.
    pub(super) fn drop(&mut self, prefix: &Prefix) {
        let used = self
            .map
            .get_mut(prefix)
            .expect("the prefix of a rule has a class");
        used.rules -= 1;
        if used.rules == 0 {
            self.unused.push(*prefix);
        }
    }

    /// Every class in `prefix`, that is, whose addresses a rule with `prefix` accepts.
    pub(super) fn inside(&self, prefix: &Prefix) -> impl Iterator<Item = u32> {
        let end = Prefix {
            addr: prefix.last(),
            len: u8::MAX,
        };
        self.map.range(*prefix..=end).map(|(_, used)| used.class)
    }

    /// No reader can tell an unused class from the one above it any more: gives them up.
    pub(super) fn quiesced(&mut self, classes: &mut Classes) -> Result<(), AclError> {
        self.trie.quiesced();
        for prefix in core::mem::take(&mut self.unused) {
            let Some(Used { class, rules: 0 }) = self.map.get(&prefix).copied() else {
                continue; // In use again, or listed twice.
            };
            let above = self.above(&prefix);
            self.trie.paint(&prefix, class, above)?;
            self.trie.fold(&prefix);
            classes.clear(class);
            classes.pool.retire(class);
            self.map.remove(&prefix);
        }
        Ok(())
    }

    /// A prefix that a dead writer recorded: no rule needs it yet.
    pub(super) fn adopt(&mut self, prefix: Prefix, class: u32) {
        self.map.entry(prefix).or_insert(Used { class, rules: 0 });
    }

    /// Counts a rule that the dead writer had published.
    pub(super) fn count(&mut self, prefix: &Prefix) -> Result<(), AclError> {
        let (what, number) = (
            "prefix of a rule without a class, its bits",
            prefix.len.into(),
        );
        self.map
            .get_mut(prefix)
            .ok_or(AclError::Damaged { what, number })?
            .rules += 1;
        Ok(())
    }

    /// Ends what a dead writer left half done: of the prefixes that no rule needs, those that
    /// some cell names are painted to the end and listed, the others are given up.
    pub(super) fn repair(
        &mut self,
        classes: &mut Classes,
        named: impl Fn(u32) -> bool,
    ) -> Result<(), AclError> {
        let unneeded = self.map.iter().filter(|(_, used)| used.rules == 0);
        let unneeded: Vec<(Prefix, u32)> = unneeded.map(|(p, u)| (*p, u.class)).collect();
        for (prefix, class) in unneeded.iter().filter(|(_, class)| !named(*class)) {
            // Nodes made for it come back first: once the record is cleared nobody knows of them.
            self.trie.fold(prefix);
            self.map.remove(prefix);
            classes.clear(*class);
            classes.pool.retire(*class);
        }
        for (prefix, class) in unneeded.into_iter().filter(|(_, class)| named(*class)) {
            let above = self.above(&prefix);
            self.trie.paint(&prefix, above, class)?;
            self.unused.push(prefix);
        }
        Ok(())
    }

    /// The class of the longest shorter prefix around this one.
    pub(super) fn above(&self, prefix: &Prefix) -> u32 {
        let shorter = (0..prefix.len).rev();
        let mut around = shorter.filter_map(|len| self.map.get(&Prefix::aligned(prefix.addr, len)));
        around.next().expect("the empty prefix is around all").class
    }
}

/// The sets of protocols that rules tell apart. There are 256 values, so no class is given up.
#[derive(Debug)]
pub(super) struct Protos {
    pub(super) cells: Cells,
}

impl Protos {
    /// Classes that [`Protos::add`] may take.
    pub(super) fn need(&self, proto: u8, mask: u8) -> usize {
        self.split(proto, mask).count()
    }

    /// A rule needs these protocols.
    pub(super) fn add(&self, proto: u8, mask: u8, classes: &mut Classes) -> Result<(), AclError> {
        let split: Vec<u32> = self.split(proto, mask).collect();
        for old in split {
            let class = classes.take_like(old)?;
            for value in values(proto, mask).filter(|value| self.cells.get(*value) == old) {
                self.cells.set(value, class);
            }
        }
        Ok(())
    }

    /// Every class whose protocols a rule accepts.
    pub(super) fn inside(&self, proto: u8, mask: u8) -> impl Iterator<Item = u32> {
        let mut inside: Vec<u32> = Vec::new();
        for value in values(proto, mask) {
            let class = self.cells.get(value);
            // Most are like the one before: only the others are sorted.
            if inside.last() != Some(&class) {
                inside.push(class);
            }
        }
        inside.sort_unstable();
        inside.dedup();
        inside.into_iter()
    }

    /// Classes with some values a rule accepts, and some it does not.
    fn split(&self, proto: u8, mask: u8) -> impl Iterator<Item = u32> {
        let outside = move |value: &usize| (*value as u8 ^ proto) & mask != 0;
        let is_outside = move |class: &u32| {
            let all = if mask == 0 { 0..0 } else { 0..PROTOS };
            let mut others = all.filter(outside);
            others.any(|value| self.cells.get(value) == *class)
        };
        self.inside(proto, mask).filter(is_outside)
    }
}

fn values(proto: u8, mask: u8) -> impl Iterator<Item = usize> {
    let one = usize::from(proto);
    let among = if mask == u8::MAX {
        one..one + 1
    } else {
        0..PROTOS
    };
    among.filter(move |value| (*value as u8 ^ proto) & mask == 0)
}
