//! Freeing whole packets: chains with all their segments, references with what they refer to.
//!
//! Order: from the last segment to the head. Each is first in the hand of the shard (`place` = its cache),
//! or given up to those that refer to it, then made plain, then free. So whichever store a death follows, what
//! is left hangs together as before, and what does not is in the dead shard's hand.
//!
//! Failure: [`crate::audit::settle`] goes on with what was in hand, in the same order.

use super::{Cache, Pool};
use crate::mbuf::{MAX_SEGMENTS, NONE, refs, walk};
use crate::place::{HolderKind, Place};
use crate::region::Region;

impl Cache {
    /// Frees packets that the caller holds, whatever they are made of, as `rte_pktmbuf_free_bulk`: one load for
    /// each that is plain, and then as [`Cache::free_burst`].
    ///
    /// # Panics
    /// In debug builds, when one of them is free already.
    #[inline]
    pub fn free_packets(&mut self, heads: &[u32]) {
        let pool = self.pool();
        if heads.iter().all(|m| pool.line(*m).is_plain()) {
            self.free_burst(heads);
        } else {
            self.free_mixed(heads);
        }
    }

    #[cold]
    #[inline(never)]
    fn free_mixed(&mut self, heads: &[u32]) {
        for m in heads {
            each_from_the_last(self.pool(), *m, |segment| self.free_segment(segment));
        }
    }

    /// Frees one mbuf on which nothing hangs, and what it is the last to refer to.
    pub(crate) fn free_segment(&mut self, m: u32) {
        let (pool, shard) = (self.pool(), Some(self.shard()));
        release(pool, shard, m, &mut |m| self.free_burst(&[m]));
    }

    /// Ends what an attached mbuf refers to.
    pub(crate) fn detach(&mut self, m: u32) {
        if let Some(base) = refs::detach(self.pool(), Some(self.shard()), m) {
            self.pool().line(base).make_plain();
            self.free_burst(&[base]);
        }
    }
}

impl Pool {
    /// Frees a packet to the common ring, whatever it is made of; for who has no cache.
    #[cold]
    pub fn free_packet(self, m: u32) {
        each_from_the_last(self, m, |segment| {
            release(self, None, segment, &mut |m| self.put(m));
        });
    }

    fn put(self, m: u32) {
        let put = self.ring().enqueue_burst(&[m]);
        assert!(put == 1, "the common ring has room for every mbuf");
    }

    /// Says where memory lies that may be lent to packets: parts of the arena, each with the arena offset of its
    /// first byte. Once; false when somebody of this process has said so before.
    pub fn lend_from(self, parts: Vec<(u64, Region)>) -> bool {
        self.0.outside.set(parts).is_ok()
    }

    /// The bytes at an arena offset, if this process has said where they are.
    pub(crate) fn outside(self, offset: u64, len: u64) -> Option<Region> {
        let parts = self.0.outside.get()?;
        parts.iter().find_map(|(start, part)| {
            let at = usize::try_from(offset.checked_sub(*start)?).ok()?;
            part.slice(at, usize::try_from(len).ok()?).ok()
        })
    }

    /// Whether both name the same buffers.
    pub(crate) fn is(self, other: Pool) -> bool {
        core::ptr::eq(self.0.lines, other.0.lines)
    }

    /// The note of a shard's change of references.
    pub(crate) fn note(self, shard: u16) -> &'static refs::Note {
        &self.0.caches[usize::from(shard)].note
    }
}

/// Calls `free` for the segments that can be reached from a head, the last one first.
fn each_from_the_last(pool: Pool, m: u32, mut free: impl FnMut(u32)) {
    let (mut segments, mut n) = ([NONE; MAX_SEGMENTS], 0);
    // What does not hang together is not freed; an audit shows it.
    let _ = walk(pool, m, |segment| {
        segments[n] = segment;
        n += 1;
    });
    segments[..n].iter().rev().for_each(|m| free(*m));
}

/// Makes a mbuf on which nothing hangs a free one, and the base it is the last to refer to; `put` puts them there.
fn release(pool: Pool, shard: Option<u16>, m: u32, put: &mut dyn FnMut(u32)) {
    let line = pool.line(m);
    if line.is_shared() && !refs::leave(pool, shard, m) {
        return;
    }
    debug_check_held(pool, m);
    let in_hand = refs::in_hand(shard);
    if pool.place(m) != in_hand {
        line.move_to(in_hand);
    }
    if let Some(base) = refs::detach(pool, shard, m) {
        pool.line(base).make_plain();
        put(base);
    }
    refs::forget(pool, m);
    line.make_plain();
    put(m);
}

/// A mbuf that stands in the pool is nobody's to free.
fn debug_check_held(pool: Pool, m: u32) {
    if cfg!(debug_assertions) {
        let Place { holder, .. } = pool.place(m);
        let free = holder.kind() == HolderKind::Cache && pool.is_cached(m, usize::from(holder.a()));
        assert!(!free, "mbuf {m} freed twice: it is in the {holder}");
    }
}
