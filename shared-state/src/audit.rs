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
    /// Given back to the common ring.
    pub freed: Vec<u32>,
    /// Were in the dead lcore's hands: now the caller's, who goes on with them or frees them.
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
/// Only the pool's own steps are settled here: free or on the way (cache, pool) goes back to the
/// common ring, in hand goes to the caller. What says it is in a ring of a port is that port's to
/// repair, before. A mbuf that a *live* shard is moving at this moment is left alone: it says
/// "pool" and is not named past the end of the dead shard's cache.
pub fn settle(pool: Pool, dead: usize, accounting: &Accounting) -> Settled {
    let shard = dead as u16;
    let moving = pool.moving(dead);
    let mut settled = Settled::default();
    for (m, place) in &accounting.unaccounted {
        let (kind, whose) = (place.holder.kind(), place.holder.a());
        let freed = kind == HolderKind::Cache && whose == shard
            || kind == HolderKind::Pool && moving.contains(m);
        if freed {
            let app = Place::new(Holder::app(shard), 0);
            pool.set_place(*m, app);
            pool.free_one(*m);
            settled.freed.push(*m);
        } else if kind == HolderKind::App && whose == shard {
            settled.in_hand.push(*m);
        }
    }
    pool.settle_moving(dead);
    settled
}
