//! What a dead shard had between two windows is given back, or handed to its next owner.

use super::Accounting;
use crate::mbuf::{kept, refs, walk};
use crate::mempool::{Cache, Pool};
use crate::place::{Holder, Place};

/// What [`settle`] did with the buffers a dead shard left in no window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Free again: in the common ring, or in the shard's cache.
    pub freed: Vec<u32>,
    /// Were in the dead lcore's hands, as what it received or gets back unsent: now the caller's, who goes
    /// on with them or frees them. What it had allocated and put nowhere is free. Each is the head of a
    /// packet, with its segments.
    pub in_hand: Vec<u32>,
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
/// A segment is where its head is: freed with it, from the last one on, or in hand with it. A segment that its head in
/// hand does not reach is freed, and the head corrected. A reference that the dead one was taking or
/// giving up is finished first, so that each count is right again; what is freed gives up its own.
///
/// Order: a mbuf is in a window before the note of it ends, so a death in here leaves it to the next call.
pub fn settle(pool: Pool, dead: usize, accounting: &Accounting) -> Settled {
    let shard = dead as u16;
    let mut settled = Settled::default();
    settle_moving(pool, dead, accounting, &mut settled);
    let mut cache = pool.cache(dead);
    let lost = in_hands_of(pool, shard, accounting);
    let unreferred = refs::finish(pool, shard);
    for part in &lost {
        if part.freed || part.depth > 0 && !reaches(pool, part.root, part.m) {
            free(&mut cache, part.m);
            settled.freed.push(part.m);
        } else if part.depth == 0 {
            mend(pool, part.m);
            settled.in_hand.push(part.m);
        }
    }
    if let Some(base) = unreferred
        && !lost.iter().any(|part| part.m == base)
    {
        free(&mut cache, base);
        settled.freed.push(base);
    }
    settled.freed.sort_unstable();
    settled
}

/// What was on its way between the cache and the common ring.
fn settle_moving(pool: Pool, dead: usize, accounting: &Accounting, settled: &mut Settled) {
    let moving = pool.moving(dead);
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
}

/// A buffer in a dead one's hands.
struct Part {
    m: u32,
    /// The head of its packet, and how far it hangs behind it.
    root: u32,
    depth: usize,
    /// The packet was allocated and put nowhere.
    freed: bool,
}

/// All of them, those that hang farthest from their heads first.
fn in_hands_of(pool: Pool, shard: u16, accounting: &Accounting) -> Vec<Part> {
    let unaccounted: std::collections::BTreeMap<u32, Place> =
        accounting.unaccounted.iter().copied().collect();
    let part = |m: &u32| {
        let (root, depth) = kept(pool, *m)?;
        let holder = unaccounted.get(&root)?.holder;
        let freed = holder == Holder::cache(shard);
        (freed || holder == Holder::app(shard)).then_some(Part {
            m: *m,
            root,
            depth,
            freed,
        })
    };
    let mut parts: Vec<Part> = unaccounted.keys().filter_map(part).collect();
    parts.sort_by_key(|part| (core::cmp::Reverse(part.depth), part.m));
    parts
}

/// Whether a head's packet has this segment.
fn reaches(pool: Pool, root: u32, m: u32) -> bool {
    let mut found = false;
    // As far as it hangs together: the rest is cut off by `mend`.
    let _ = walk(pool, root, |segment| found |= segment == m);
    found
}

/// A head says the segments it has: its last owner may have died before it did.
fn mend(pool: Pool, m: u32) {
    let mut segments = 0;
    let line = pool.line(m);
    if walk(pool, m, |_| segments += 1).is_err() {
        line.reshape(segments, line.kind());
    }
}

/// One that says it is in the cache only has to be shown; another, a segment for instance, is freed as ever.
fn free(cache: &mut Cache, m: u32) {
    let line = cache.pool().line(m);
    if line.is_plain() && !line.is_elsewhere(cache.place()) {
        cache.put_back(m);
    } else {
        cache.free_segment(m);
    }
}
