//! A packet of one or more segments: a head, and the mbufs that hang on it one behind the other.
//!
//! Layout
//! ```text
//!   head               segment              segment
//!   nb_segs 3          place: segment, head place: segment, previous
//!   next ------------> next --------------> (next is not looked at)
//! ```
//!
//! Invariants
//! - I1 A mbuf is part of a packet if and only if its `place` says (segment, the one before it). It has one
//!   place, so it is in one packet at one position, whatever `next` says; there are no circles.
//! - I2 A head says at least as many segments as hang on it (but in the middle of a linearize). So the one
//!   load that tells a plain mbuf tells that nothing hangs on it.
//! - I3 The length of a packet is nowhere stored: who takes a packet over walks it in any case.
//!
//! Order: a segment is linked by `next` of the last, `nb_segs` of the head (I2), then its `place`,
//! which makes it part of the packet (Release). It is unlinked by its `place` first, then `nb_segs`. A second
//! chain is put behind a first one, or split off, by the one `place` of its head. [`walk`] believes a `next`
//! only where the `place` over there agrees (Acquire by what published the head).
//!
//! Failure: a death between two of these leaves a head that says more segments than it has: [`walk`] says
//! where they end, [`crate::audit::settle`] corrects the heads that were in the dead one's hand. A segment
//! whose head is in the dead one's hand is there as well.

use super::error::ChainError;
use super::line::DIRECT;
use super::{Line, Packet};
use crate::mempool::{Cache, Pool};
use crate::place::{Holder, HolderKind, Place};

/// Most segments of a packet. 64 of the smallest chunk hold 64 KiB behind any headroom.
pub const MAX_SEGMENTS: usize = 64;

/// An owned packet of one or more segments, each of them direct, attached to another's data, or external.
///
/// [`Chain::free`] gives it back through a cache; dropping it does so past the cache, where a death in
/// the middle may leave a mbuf that only an audit finds.
pub struct Chain {
    pub(super) pool: Pool,
    pub(super) head: u32,
    pub(super) last: u32,
    pub(super) segs: u16,
    pub(super) len: u32,
}

impl Chain {
    /// A chain of one segment.
    pub fn of(packet: Packet) -> Chain {
        let (pool, len) = (packet.pool(), packet.len() as u32);
        let m = packet.into_raw();
        Chain::single(pool, m, len)
    }

    pub(super) fn single(pool: Pool, m: u32, len: u32) -> Chain {
        Chain {
            pool,
            head: m,
            last: m,
            segs: 1,
            len,
        }
    }

    /// Takes over a packet whose head's index came out of a ring, and puts it into the hand of the cache's
    /// shard. The caller gives up the index.
    ///
    /// # Errors
    /// When the lines are not those of a whole packet; nothing was stored, the index is still the caller's,
    /// and [`Cache::free_packets`] frees what can be reached from it; not a [`ChainError::NoMbuf`] or a
    /// [`ChainError::NotHead`], which is nobody's or another packet's.
    pub fn from_raw(m: u32, cache: &Cache) -> Result<Chain, ChainError> {
        let pool = cache.pool();
        let (mut last, mut len) = (m, 0);
        let segs = walk(pool, m, |segment| {
            last = segment;
            len += u32::from(pool.extent(segment).1);
        })?;
        let (shard, holder) = (cache.shard(), pool.place(m).holder);
        if holder != Holder::app(shard) && holder != Holder::cache(shard) {
            pool.line(m).move_to(Place::new(Holder::app(shard), 0));
        }
        let head = m;
        Ok(Chain {
            pool,
            head,
            last,
            segs,
            len,
        })
    }

    /// Gives the packet out of hand without freeing it, as the index of its head.
    pub fn into_raw(self) -> u32 {
        let m = self.head;
        core::mem::forget(self);
        m
    }

    /// The packet as a [`Packet`], if it is a single segment in a chunk that nobody else refers to.
    ///
    /// # Errors
    /// The chain, when it is more than that; [`Chain::linearize`] and [`Chain::make_writable`] may help.
    pub fn into_packet(self) -> Result<Packet, Chain> {
        if self.segs > 1 || !self.pool.is_writable(self.head) {
            return Err(self);
        }
        let line = self.pool.line(self.head);
        super::refs::forget(self.pool, self.head);
        line.set_base(None);
        line.reshape(1, DIRECT);
        let pool = self.pool;
        Ok(Packet::from_raw(self.into_raw(), pool))
    }

    /// Hangs a packet behind the last segment.
    ///
    /// # Errors
    /// The packet, when the chain has [`MAX_SEGMENTS`].
    ///
    /// # Panics
    /// When it is of another pool.
    pub fn push(&mut self, packet: Packet) -> Result<(), Packet> {
        if usize::from(self.segs) == MAX_SEGMENTS {
            return Err(packet);
        }
        let joined = self.chain(Chain::of(packet));
        assert!(joined.is_ok(), "there is room for one");
        Ok(())
    }

    /// Hangs a second chain behind the last segment, as `rte_pktmbuf_chain`. What the second head
    /// says of its packet (port, hash, flags) is no longer said.
    ///
    /// # Errors
    /// The second chain, when both together have more than [`MAX_SEGMENTS`].
    ///
    /// # Panics
    /// When it is of another pool.
    pub fn chain(&mut self, second: Chain) -> Result<(), Chain> {
        assert!(self.pool.is(second.pool), "mbufs of two pools");
        let segs = self.segs + second.segs;
        if usize::from(segs) > MAX_SEGMENTS {
            return Err(second);
        }
        let (last, len) = (second.last, second.len);
        let m = second.into_raw();
        let line = self.pool.line(m);
        self.line_of(self.last).link_next(m);
        self.line().reshape(segs, self.line().kind());
        // From here on it is part of this packet, with all that hangs on it.
        line.move_to(Place::new(Holder::SEGMENT, self.last));
        line.reshape(1, line.kind());
        (self.last, self.segs) = (last, segs);
        self.len += len;
        Ok(())
    }

    /// Bytes of all segments.
    #[expect(clippy::len_without_is_empty, reason = "an empty packet is none")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// How many segments it has.
    pub fn segments(&self) -> usize {
        usize::from(self.segs)
    }

    /// Whether all its bytes are in one piece.
    pub fn is_linear(&self) -> bool {
        self.segs == 1
    }

    /// The index of its head.
    pub fn index(&self) -> u32 {
        self.head
    }

    /// The pool it belongs to.
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// The metadata of the packet: those of its head.
    pub fn line(&self) -> &'static Line {
        self.pool.line(self.head)
    }

    /// The mbufs of its segments, from the head on.
    pub fn indexes(&self) -> impl Iterator<Item = u32> + use<> {
        let (pool, mut at, segs) = (self.pool, self.head, self.segs);
        (0..segs).map_while(move |i| {
            if i > 0 {
                at = pool.line(at).next();
            }
            (at < pool.count()).then_some(at)
        })
    }

    /// Frees it through a cache, as `rte_pktmbuf_free`.
    pub fn free(self, cache: &mut Cache) {
        cache.free_packets(&[self.into_raw()]);
    }

    pub(super) fn line_of(&self, m: u32) -> &'static Line {
        self.pool.line(m)
    }
}

impl Drop for Chain {
    #[cold]
    fn drop(&mut self) {
        self.pool.free_packet(self.head);
    }
}

impl core::fmt::Debug for Chain {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (head, segs, len) = (self.head, self.segs, self.len);
        write!(f, "Chain(mbuf {head}, {segs} segments, {len} bytes)")
    }
}

/// Shows the mbufs of the packet whose head is `m`, the head first, and says how many there are. Any bytes
/// in the lines end in at most [`MAX_SEGMENTS`] steps.
///
/// # Errors
/// When they are not those of a whole packet; what was shown until then is its front part.
pub(crate) fn walk(pool: Pool, m: u32, mut visit: impl FnMut(u32)) -> Result<u16, ChainError> {
    let count = pool.count();
    if m >= count {
        return Err(ChainError::NoMbuf { m, count });
    }
    let place = pool.place(m);
    if place.holder.kind() == HolderKind::Segment {
        return Err(ChainError::NotHead { m, on: place.index });
    }
    visit(m);
    let found = pool.line(m).segments().0.max(1);
    if usize::from(found) > MAX_SEGMENTS {
        let most = MAX_SEGMENTS as u16;
        return Err(ChainError::Segments { m, found, most });
    }
    let mut at = m;
    for _ in 1..found {
        let next = pool.line(at).next();
        if next >= count {
            return Err(ChainError::Range { at, next, count });
        }
        if pool.place(next) != Place::new(Holder::SEGMENT, at) {
            return Err(ChainError::Link { at, next });
        }
        visit(next);
        at = next;
    }
    Ok(found)
}

/// The mbuf that the holder of a segment holds: its head, as far as places say; itself if it is no segment.
/// And how far it is from there. `None` when the places run in a circle or out of the pool.
pub(crate) fn kept(pool: Pool, m: u32) -> Option<(u32, usize)> {
    let mut at = m;
    for depth in 0..=MAX_SEGMENTS {
        let place = pool.place(at);
        if place.holder.kind() != HolderKind::Segment {
            return Some((at, depth));
        }
        if place.index >= pool.count() {
            return None;
        }
        at = place.index;
    }
    None
}

#[cfg(test)]
mod tests;
