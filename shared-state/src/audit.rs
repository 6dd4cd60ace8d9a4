//! The sum over all mbufs: who has each, which nobody has, which two have.
//!
//! [`Audit`] walks the windows of the pool and of whatever else the caller names (rings of ports,
//! steering rings), writes nothing, and gives an [`Accounting`] in which
//! `accounted + unaccounted = total` always holds. It is exact while nobody moves; taken under
//! traffic it may find a burst in nobody's window, or one twice.
//!
//! [`settle`] is the second half, after a death: buffers in nobody's window are given back or
//! handed to the caller by what their `place` says.

use std::collections::BTreeMap;

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
    /// How many each holder has, in the holder's words (`rx 1/0`).
    pub by_holder: Vec<(String, u64)>,
}

/// What [`settle`] did with the buffers a dead shard left in no window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Free again: in the common ring, or in the shard's cache.
    pub freed: Vec<u32>,
    /// Were in the dead lcore's hands, as what it received or gets back unsent: now the caller's, who goes
    /// on with them or frees them. What it had allocated and put nowhere is free.
    pub in_hand: Vec<u32>,
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
        };
        pool.windows(&mut |holder, m| audit.found(holder, m));
        audit
    }

    /// A whole audit: the pool, and the windows that `visit_all` shows.
    pub fn of(pool: Pool, visit_all: impl FnOnce(&mut dyn FnMut(Holder, u32))) -> Accounting {
        let mut audit = Audit::new(pool);
        visit_all(&mut |holder, m| audit.found(holder, m));
        audit.finish()
    }

    /// One mbuf in one window.
    pub fn found(&mut self, holder: Holder, m: u32) {
        match self.seen.get_mut(m as usize) {
            None => self.strange.push(m),
            Some(true) => self.doubled.push(m),
            Some(seen) => {
                *seen = true;
                *self.by_holder.entry(holder).or_default() += 1;
            }
        }
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

    /// Draws the sum.
    pub fn finish(self) -> Accounting {
        let missing = (0u32..).zip(&self.seen).filter(|(_, seen)| !**seen);
        let unaccounted: Vec<(u32, Place)> =
            missing.map(|(m, _)| (m, self.pool.place(m))).collect();
        let free = |holder: &Holder| matches!(holder.kind(), HolderKind::Pool | HolderKind::Cache);
        let total = u64::from(self.pool.count());
        let by_holder = self.by_holder.iter();
        Accounting {
            total,
            free: by_holder
                .clone()
                .filter(|(h, _)| free(h))
                .map(|(_, n)| n)
                .sum(),
            accounted: total - unaccounted.len() as u64,
            unaccounted,
            doubled: self.doubled,
            strange: self.strange,
            by_holder: by_holder.map(|(h, n)| (h.to_string(), *n)).collect(),
        }
    }
}

impl Accounting {
    /// Whether every mbuf is in exactly one place.
    pub fn is_exact(&self) -> bool {
        self.unaccounted.is_empty() && self.doubled.is_empty() && self.strange.is_empty()
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

/// Settles what a dead shard had between two windows; the caller owns the shard now.
///
/// Only the pool's own steps are settled here: what the dead one was moving into the common ring, or had
/// taken out of it, goes there; what it was putting into its cache, or had allocated and put nowhere, goes
/// there; what it had received goes to the caller, who gives back what it does not want through that
/// shard's cache. What says it is in a ring of a port is
/// that port's to repair, before. A mbuf that a *live* shard is moving at this moment is left alone: it says
/// "pool", and that shard names it.
///
/// Order: a mbuf is in a window before the note of it ends, so a death in here leaves it to the next call.
pub fn settle(pool: Pool, dead: usize, accounting: &Accounting) -> Settled {
    let shard = dead as u16;
    let moving = pool.moving(dead);
    let mut settled = Settled::default();
    // In this order: who takes a mbuf out of the ring names it first, and who puts one in names it until then.
    let mut lost: Vec<u32> = accounting
        .unaccounted
        .iter()
        .map(|(m, _)| *m)
        .filter(|m| moving.contains(m) && pool.place(*m).holder == Holder::POOL)
        .filter(|m| !pool.is_moving_elsewhere(*m, dead))
        .collect();
    pool.ring()
        .window(&mut |m| lost.retain(|other| *other != m));
    let put = pool.ring().enqueue_burst(&lost);
    assert!(put == lost.len(), "the common ring has room for every mbuf");
    settled.freed = lost;
    pool.settle_moving(dead);
    let mut cache = pool.cache(dead);
    for (m, place) in &accounting.unaccounted {
        if place.holder == Holder::cache(shard) {
            cache.put_back(*m);
            settled.freed.push(*m);
        } else if place.holder == Holder::app(shard) {
            settled.in_hand.push(*m);
        }
    }
    settled.freed.sort_unstable();
    settled
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
