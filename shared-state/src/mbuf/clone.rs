//! Clones: a second packet that shows the data of the first, without a copy (indirect mbufs).
//!
//! A clone has a mbuf of its own for each segment, attached to the mbuf whose chunk holds the bytes. From then on
//! nobody writes these: neither packet gives them as `&mut`, and as a [`super::Packet`] both are empty. Each may be
//! cut, hung behind others and freed by itself; the last one frees the data.
//!
//! Order and Failure: [`super::refs`].

use super::chain::Chain;
use super::line::{ATTACHED, DIRECT, EXTERNAL, SHARED};
use super::{Packet, refs};
use crate::mempool::Cache;

impl Chain {
    /// A second packet of the same bytes, as `rte_pktmbuf_clone`: one mbuf for each segment, no copy of data.
    /// It knows of the packet what the first one knows.
    ///
    /// `None` when there are no mbufs, or [`super::MAX_REFERENCES`] to one of them.
    ///
    /// # Panics
    /// When the cache is of another pool.
    pub fn clone(&mut self, cache: &mut Cache) -> Option<Chain> {
        assert!(self.pool.is(cache.pool()), "mbufs of two pools");
        let mut whole: Option<Chain> = None;
        for m in self.indexes() {
            let Some(part) = self.attached(m, cache) else {
                whole.into_iter().for_each(|part| part.free(cache));
                return None;
            };
            match &mut whole {
                None => whole = Some(part),
                // As many segments as we have.
                Some(chain) => chain.chain(part).expect("they fit, as they do here"),
            }
        }
        let whole = whole?;
        whole.line().copy_facts(self.line());
        Some(whole)
    }

    /// A packet of one segment that shows what `m` shows.
    fn attached(&self, m: u32, cache: &mut Cache) -> Option<Chain> {
        let (pool, line) = (self.pool, self.line_of(m));
        let (off, len) = pool.extent(m);
        if !line.is_attached() && !line.is_shared() {
            refs::first(pool, m);
            line.reshape(line.segments().0, line.kind() | SHARED);
        }
        let shared = |base: &u32| *base < pool.count() && pool.line(*base).is_shared();
        let base = if line.is_attached() {
            line.base().filter(shared)?
        } else {
            m
        };
        attach_fresh(base, (off, len), cache)
    }

    /// A second packet with a copy of the bytes, as `rte_pktmbuf_copy`: in as few segments as hold them.
    /// It knows of the packet what the first one knows.
    ///
    /// `None` when there are no mbufs, or this process does not reach the bytes.
    ///
    /// # Panics
    /// When the cache is of another pool.
    pub fn copy(&self, cache: &mut Cache) -> Option<Chain> {
        assert!(self.pool.is(cache.pool()), "mbufs of two pools");
        let mut whole: Option<Chain> = None;
        let mut done = 0;
        while done < self.len() || whole.is_none() {
            let copied = cache.alloc().and_then(|mut packet| {
                let n = packet.tailroom().min(self.len() - done);
                let copied = self.copy_out(done, packet.append(n)?);
                done += n;
                copied.then_some(packet)
            });
            let joined = match (&mut whole, copied) {
                (Some(chain), Some(packet)) => chain.push(packet).is_ok(),
                (None, Some(packet)) => {
                    whole = Some(Chain::of(packet));
                    true
                }
                (_, None) => false,
            };
            if !joined {
                whole.into_iter().for_each(|part| part.free(cache));
                return None;
            }
        }
        let whole = whole?;
        whole.line().copy_facts(self.line());
        Some(whole)
    }

    /// Makes all its bytes its own, so that they may be changed: what is attached is copied into its own chunk; if
    /// others are attached to a segment of ours, the packet becomes a copy. False when bytes could not be
    /// copied: outside of this process's reach, larger than a chunk, or no mbuf.
    pub fn make_writable(&mut self, cache: &mut Cache) -> bool {
        let attached = |m: &u32| self.line_of(*m).is_attached();
        for m in self.indexes().filter(attached) {
            if !self.unattach(m, cache) {
                return false;
            }
        }
        if self.is_writable() {
            return true;
        }
        let Some(copy) = self.copy(cache) else {
            return false;
        };
        core::mem::replace(self, copy).free(cache);
        true
    }

    /// The packet in one piece in a chunk of its own, which is what ports send: as it is, linearized, or copied.
    ///
    /// # Errors
    /// The chain, with the same bytes, when they do not fit a chunk behind its headroom, are outside of this
    /// process's reach, or there is no mbuf.
    pub fn into_one(mut self, cache: &mut Cache) -> Result<Packet, Chain> {
        let room = self.pool.chunk() as usize - usize::from(self.pool.headroom());
        let in_place = self.linearize(cache) && self.make_writable(cache);
        if !in_place && self.len() <= room {
            let Some(copy) = self.copy(cache) else {
                return Err(self);
            };
            core::mem::replace(&mut self, copy).free(cache);
        }
        self.into_packet()
    }

    /// Copies what an attached mbuf shows into its own chunk, at the same place where it fits.
    fn unattach(&self, m: u32, cache: &mut Cache) -> bool {
        let (pool, line) = (self.pool, self.line_of(m));
        let (off, len) = pool.extent(m);
        let Some(room) = (pool.chunk() as usize).checked_sub(usize::from(len)) else {
            return false;
        };
        let at = usize::from(off).min(room);
        // SAFETY: `at <= chunk`, so the pointer stays in, or one past, the chunk.
        let start = unsafe { pool.chunk_ptr(m).add(at) };
        // SAFETY: `at + len <= chunk`; the chunk of a mbuf that is attached is its holder's, and shown by nobody.
        let own = unsafe { core::slice::from_raw_parts_mut(start, usize::from(len)) };
        if !pool.copy_segment(m, 0, own) {
            return false;
        }
        cache.detach(m);
        let segs = line.segments().0;
        line.set_extent(at as u16, len);
        line.reshape(segs, DIRECT);
        true
    }
}

/// A packet of one segment that shows `extent` of a base to which the caller has a reference.
pub(super) fn attach_fresh(base: u32, extent: (u16, u16), cache: &mut Cache) -> Option<Chain> {
    let (pool, shard) = (cache.pool(), cache.shard());
    let fresh = Packet::into_raw(cache.alloc()?);
    let line = pool.line(fresh);
    line.set_base(None);
    line.reshape(1, DIRECT | ATTACHED);
    line.set_extent(extent.0, extent.1);
    if !refs::attach(pool, shard, base, fresh) {
        line.make_plain();
        cache.free_burst(&[fresh]);
        return None;
    }
    debug_assert!(pool.line(base).kind() & (SHARED | EXTERNAL) != 0);
    Some(Chain::single(pool, fresh, u32::from(extent.1)))
}

#[cfg(test)]
mod tests;
