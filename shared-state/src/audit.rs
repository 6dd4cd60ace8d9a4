//! The sum over all mbufs: who has each, which nobody has, which two have.
//!
//! [`Audit`] walks the windows of the pool and of whatever else the caller names (rings of ports,
//! steering rings), writes nothing, and gives an [`Accounting`] in which
//! `accounted + unaccounted = total` always holds. It is exact while nobody moves; taken under
//! traffic it may find a burst in nobody's window, or one twice.
//!
//! A window shows the head of a packet. Its segments are counted with it, for the same holder; a buffer held by
//! references alone is counted once, as "shared", and a loan of external memory for its lender. Each count of
//! references is compared with the lines that refer.
//!
//! [`settle`] is the second half, after a death: buffers in nobody's window are given back or
//! handed to the caller by what their `place` says.

mod settle;

use std::collections::BTreeMap;

pub use settle::{Settled, settle};

use crate::mbuf::{refs, walk};
use crate::mempool::Pool;
use crate::place::{Holder, HolderKind, Place};

/// An audit in progress.
#[derive(Debug)]
pub struct Audit {
    pool: Pool,
    seen: Vec<bool>,
    by_holder: BTreeMap<Holder, u64>,
    doubled: Vec<u32>,
    strange: Vec<u32>,
    broken: Vec<u32>,
    references: BTreeMap<u32, u32>,
}

/// A buffer whose count of references is another than that of the lines that refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miscounted {
    /// The buffer.
    pub m: u32,
    /// What its line says.
    pub counted: u32,
    /// What was found.
    pub found: u32,
}

/// The result of an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounting {
    /// Mbufs of the pool.
    pub total: u64,
    /// Those in the common ring or a cache.
    pub free: u64,
    /// Those found in some window, each counted once.
    pub accounted: u64,
    /// Those found in none, with where they say they are.
    pub unaccounted: Vec<(u32, Place)>,
    /// Those found again, once for each time.
    pub doubled: Vec<u32>,
    /// Numbers in a window that name no mbuf of the pool.
    pub strange: Vec<u32>,
    /// Heads in a window whose segments do not hang together.
    pub broken: Vec<u32>,
    /// Buffers whose count of references is wrong.
    pub miscounted: Vec<Miscounted>,
    /// How many each holder has, in the holder's words (`rx 1/0`).
    pub by_holder: Vec<(String, u64)>,
}

impl Audit {
    /// Begins with what the pool itself holds.
    pub fn new(pool: Pool) -> Audit {
        let mut audit = Audit {
            pool,
            seen: vec![false; pool.count() as usize],
            by_holder: BTreeMap::new(),
            doubled: Vec::new(),
            strange: Vec::new(),
            broken: Vec::new(),
            references: BTreeMap::new(),
        };
        pool.windows(&mut |holder, m| audit.found(holder, m));
        for m in 0..pool.count() {
            let lender = pool.place(m).holder;
            if lender.kind() == HolderKind::External && pool.line(m).is_shared() {
                audit.found(lender, m);
            }
        }
        audit
    }

    /// A whole audit: the pool, and the windows that `visit_all` shows.
    pub fn of(pool: Pool, visit_all: impl FnOnce(&mut dyn FnMut(Holder, u32))) -> Accounting {
        let mut audit = Audit::new(pool);
        visit_all(&mut |holder, m| audit.found(holder, m));
        audit.finish()
    }

    /// One mbuf in one window: a packet's head, with what belongs to it.
    pub fn found(&mut self, holder: Holder, m: u32) {
        let whole = self.found_one(holder, m) && !is_free(holder) && !self.pool.line(m).is_plain();
        if !whole {
            return;
        }
        let pool = self.pool;
        let hangs_together = walk(pool, m, |segment| {
            if segment == m || self.found_one(holder, segment) {
                self.refers(segment);
            }
        });
        if hangs_together.is_err() {
            self.broken.push(m);
        }
    }

    /// Whether it is a mbuf, found for the first time.
    fn found_one(&mut self, holder: Holder, m: u32) -> bool {
        match self.seen.get_mut(m as usize) {
            None => self.strange.push(m),
            Some(true) => self.doubled.push(m),
            Some(seen) => {
                *seen = true;
                *self.by_holder.entry(holder).or_default() += 1;
                return true;
            }
        }
        false
    }

    /// Counts what a segment that somebody holds refers to.
    fn refers(&mut self, m: u32) {
        if let Some(base) = self.count_reference(m)
            && !self.seen[base as usize]
            && self.pool.place(base).holder.kind() == HolderKind::Shared
        {
            self.found_one(Holder::SHARED, base);
        }
    }

    /// Counts the reference that a mbuf is; gives the base it is attached to.
    fn count_reference(&mut self, m: u32) -> Option<u32> {
        let line = self.pool.line(m);
        if line.is_shared() {
            *self.references.entry(m).or_default() += 1;
        }
        let base = line.base().filter(|base| *base < self.pool.count())?;
        if !self.pool.line(base).is_shared() {
            return None;
        }
        *self.references.entry(base).or_default() += 1;
        Some(base)
    }

    /// Counts up to `most` mbufs that say they are with `holder` and that no window shows: the
    /// kernel holds frames it has taken from a ring and not put into the next one.
    pub fn in_kernel(&mut self, holder: Holder, most: u32) -> u32 {
        let mut counted = 0;
        for m in 0..self.pool.count() {
            let missing = !self.seen[m as usize] && self.pool.place(m).holder == holder;
            if missing && counted < most {
                self.found(holder, m);
                counted += 1;
            }
        }
        counted
    }

    /// The references of all lines, those in nobody's window too, beside what is counted.
    fn miscounted(&mut self) -> Vec<Miscounted> {
        for m in 0..self.pool.count() {
            let held = self.pool.place(m).holder.kind() != HolderKind::Shared;
            if !self.seen[m as usize] && held {
                self.count_reference(m);
            }
        }
        let counted = |m: u32| refs::count(self.pool, m);
        let found = self.references.iter().map(|(m, n)| (*m, *n));
        let wrong = found.filter(|(m, n)| counted(*m) != *n);
        wrong
            .map(|(m, found)| {
                let counted = counted(m);
                Miscounted { m, counted, found }
            })
            .collect()
    }

    /// Draws the sum.
    pub fn finish(mut self) -> Accounting {
        let miscounted = self.miscounted();
        let missing = (0u32..).zip(&self.seen).filter(|(_, seen)| !**seen);
        let unaccounted: Vec<(u32, Place)> =
            missing.map(|(m, _)| (m, self.pool.place(m))).collect();
        let total = u64::from(self.pool.count());
        let by_holder = self.by_holder.iter();
        Accounting {
            total,
            free: by_holder
                .clone()
                .filter(|(h, _)| is_free(**h))
                .map(|(_, n)| n)
                .sum(),
            accounted: total - unaccounted.len() as u64,
            unaccounted,
            doubled: self.doubled,
            strange: self.strange,
            broken: self.broken,
            miscounted,
            by_holder: by_holder.map(|(h, n)| (h.to_string(), *n)).collect(),
        }
    }
}

/// Whether what it has is free.
fn is_free(holder: Holder) -> bool {
    matches!(holder.kind(), HolderKind::Pool | HolderKind::Cache)
}

impl Accounting {
    /// Whether every mbuf is in exactly one place, packets hang together and references are counted right.
    pub fn is_exact(&self) -> bool {
        let wrong = [&self.doubled, &self.strange, &self.broken];
        let none = wrong.iter().all(|list| list.is_empty());
        none && self.unaccounted.is_empty() && self.miscounted.is_empty()
    }

    /// How many unaccounted mbufs say they are with each holder.
    pub fn unaccounted_by_holder(&self) -> Vec<(String, u64)> {
        let mut sum: BTreeMap<Holder, u64> = BTreeMap::new();
        for (_, place) in &self.unaccounted {
            *sum.entry(place.holder).or_default() += 1;
        }
        sum.iter().map(|(h, n)| (h.to_string(), *n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Region;
    use crate::ring::SpscRing;

    fn pool(count: u32) -> Pool {
        let meta = Region::private(Pool::meta_bytes(count));
        let data = Region::private(Pool::data_bytes(count, 2048));
        Pool::create(meta, data, 2048).unwrap()
    }

    #[test]
    fn each_holder_is_named_with_what_it_has() {
        let pool = pool(600);
        let ring = SpscRing::create(Region::private(SpscRing::bytes_for(64)), 64).unwrap();
        let mut mbufs = [0; 10];
        pool.cache(1).alloc_burst(&mut mbufs);
        for m in &mbufs[7..9] {
            pool.set_place(*m, Place::new(Holder::app(1), 0));
        }
        ring.enqueue_burst(&mbufs[..7]);
        let accounting = Audit::of(pool, |visit| {
            ring.window(&mut |m| visit(Holder::steer(1, 0), m));
        });
        let holders: Vec<(&str, u64)> = accounting
            .by_holder
            .iter()
            .map(|(holder, n)| (holder.as_str(), *n))
            .collect();
        assert_eq!(holders, [("pool", 344), ("cache 1", 246), ("steer 1/0", 7)]);
        assert_eq!((accounting.accounted, accounting.free), (597, 590));
        assert_eq!(
            accounting.unaccounted_by_holder(),
            [("cache 1".to_owned(), 1), ("app 1".to_owned(), 2)]
        );
        assert!(!accounting.is_exact());
    }

    #[test]
    fn a_doubled_and_a_strange_index_are_listed() {
        let pool = pool(64);
        let accounting = Audit::of(pool, |visit| {
            visit(Holder::rx(0, 0), 5);
            visit(Holder::rx(0, 0), 64);
        });
        assert_eq!(
            (accounting.doubled, accounting.strange),
            (vec![5], vec![64])
        );
        assert_eq!(accounting.accounted, 64);
    }

    #[test]
    fn frames_the_kernel_holds_are_counted_up_to_what_it_holds() {
        let pool = pool(64);
        let mut mbufs = [0; 4];
        pool.cache(0).alloc_burst(&mut mbufs);
        let tx = Holder::tx(0, 0);
        mbufs
            .iter()
            .for_each(|m| pool.set_place(*m, Place::new(tx, 0)));
        let mut audit = Audit::new(pool);
        assert_eq!(audit.in_kernel(Holder::tx(0, 1), 9), 0);
        assert_eq!(audit.in_kernel(tx, 3), 3);
        let left = audit.finish().unaccounted;
        assert_eq!(left.len(), 1);
        assert!(mbufs.contains(&left[0].0) && left[0].1 == Place::new(tx, 0));
    }

    /// What a kill leaves at each step of alloc, free, refill and spill, made by hand.
    #[test]
    fn what_a_dead_shard_had_between_two_windows_is_settled() {
        let pool = pool(64);
        let mut out = [0; 6];
        pool.cache(1).alloc_burst(&mut out);
        let [in_hand, freeing, refilled, claimed, live_app, live_moving] = out;
        let set = |m, holder| pool.set_place(m, Place::new(holder, 0));
        set(live_app, Holder::app(1));
        set(in_hand, Holder::app(0));
        set(freeing, Holder::cache(0));
        set(refilled, Holder::cache(0));
        set(claimed, Holder::POOL);
        set(live_moving, Holder::POOL);
        pool.name_moving(0, &[claimed]);
        let accounting = Audit::new(pool).finish();
        assert_eq!(accounting.unaccounted.len(), 6);
        let settled = settle(pool, 0, &accounting);
        assert_eq!(settled.freed, sorted(&[freeing, refilled, claimed]));
        assert_eq!(settled.in_hand, [in_hand]);
        let after = Audit::new(pool).finish();
        let left: Vec<u32> = after.unaccounted.iter().map(|(m, _)| *m).collect();
        assert_eq!(left, sorted(&[in_hand, live_app, live_moving]));
        let again = settle(pool, 0, &after);
        assert_eq!((again.freed, again.in_hand), (vec![], vec![in_hand]));
    }

    fn sorted(mbufs: &[u32]) -> Vec<u32> {
        let mut mbufs = mbufs.to_vec();
        mbufs.sort_unstable();
        mbufs
    }
}
