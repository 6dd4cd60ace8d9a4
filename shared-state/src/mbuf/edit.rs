//! Growing, cutting, joining into one piece and splitting a packet of several segments.
//!
//! Bytes go in front of the head and behind the last segment, where these are writable and have room; a new
//! segment ([`Chain::push`]) makes more. What is cut may leave empty segments, which stay until the packet is
//! freed: no cut has to free anything.
//!
//! Order: see [`super::chain`]. Linearizing copies first, then makes the head plain with the whole length in one
//! store, then frees the others; a split moves everything behind it by one place.
//! Failure: after a linearize that died, segments may hang on a head that does not count them: they are freed
//! by [`crate::audit::settle`].

use super::chain::{Chain, MAX_SEGMENTS};
use super::line::DIRECT;
use super::refs::{forget, in_hand};
use super::{NONE, Packet};
use crate::mempool::Cache;
use crate::place::{Holder, Place};

impl Chain {
    /// Bytes free in front of it; 0 where others refer to the head's data.
    pub fn headroom(&self) -> usize {
        let writable = self.pool.is_writable(self.head);
        let off = usize::from(self.pool.extent(self.head).0);
        if writable { off } else { 0 }
    }

    /// Bytes free behind its last segment; 0 where others refer to that one's data.
    pub fn tailroom(&self) -> usize {
        self.tailroom_of(self.last)
    }

    fn tailroom_of(&self, m: u32) -> usize {
        let (off, len) = self.pool.extent(m);
        let end = usize::from(off) + usize::from(len);
        let writable = self.pool.is_writable(m);
        if writable {
            (self.pool.chunk() as usize).saturating_sub(end)
        } else {
            0
        }
    }

    /// Puts `n` bytes in front of it, if the head has the room; what they hold is left over from earlier.
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        let (off, len) = self.pool.extent(self.head);
        self.line().set_extent(off - n as u16, len + n as u16);
        self.len += n as u32;
        self.pool.segment_mut(self.head)?.get_mut(..n)
    }

    /// Puts `n` bytes behind it, if the last segment has the room; what they hold is left over from earlier.
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let (off, len) = self.pool.extent(self.last);
        self.line_of(self.last).set_extent(off, len + n as u16);
        self.len += n as u32;
        self.pool
            .segment_mut(self.last)?
            .get_mut(usize::from(len)..)
    }

    /// Cuts `n` bytes off its front, over segments, if it has them.
    pub fn adj(&mut self, n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        let mut left = n;
        for m in self.indexes() {
            let (off, len) = self.pool.extent(m);
            let cut = left.min(usize::from(len)) as u16;
            self.line_of(m).set_extent(off + cut, len - cut);
            left -= usize::from(cut);
            if left == 0 {
                break;
            }
        }
        self.len -= n as u32;
        true
    }

    /// Cuts `n` bytes off its end, over segments, if it has them.
    pub fn trim(&mut self, n: usize) -> bool {
        if n > self.len() {
            return false;
        }
        let keep = self.len() - n;
        for (start, m) in self.starts() {
            let (off, len) = self.pool.extent(m);
            let stays = keep.saturating_sub(start).min(usize::from(len)) as u16;
            if stays < len {
                self.line_of(m).set_extent(off, stays);
            }
        }
        self.len = keep as u32;
        true
    }

    /// Copies everything into the head and frees the other segments, as `rte_pktmbuf_linearize`. False, with
    /// nothing changed, when the head has not the room behind its bytes or others refer to them.
    pub fn linearize(&mut self, cache: &mut Cache) -> bool {
        if self.segs == 1 {
            return true;
        }
        let (pool, head) = (self.pool, self.head);
        let (off, len) = pool.extent(head);
        let rest = self.len() - usize::from(len);
        if rest > self.tailroom_of(head) {
            return false;
        }
        let whole = usize::from(off) + self.len();
        // SAFETY: `off + len + rest <= chunk` by the tail room; the chunk is this packet's alone, as it is
        // writable, and no other slice of it is alive, by `&mut self`.
        let chunk = unsafe { core::slice::from_raw_parts_mut(pool.chunk_ptr(head), whole) };
        if !self.copy_out(
            usize::from(len),
            &mut chunk[usize::from(off) + usize::from(len)..],
        ) {
            return false;
        }
        let (mut others, mut n) = ([NONE; MAX_SEGMENTS], 0);
        for m in self.indexes().skip(1) {
            others[n] = m;
            n += 1;
        }
        forget(pool, head);
        // From here on it is one segment, whole.
        self.line().flatten(off, self.len as u16);
        (self.last, self.segs) = (head, 1);
        for m in others[..n].iter().rev() {
            cache.free_segment(*m);
        }
        true
    }

    /// Splits it: keeps the first `at` bytes and gives the others. Where that is inside of a segment, the
    /// rest of that one is copied to a new mbuf. The second packet knows where the first arrived, and nothing
    /// else of it.
    ///
    /// `None`, with nothing changed, when `at` is not inside of the packet (both parts have a byte), there is no
    /// mbuf, or the rest is not to be copied: outside of this process's reach, or larger than a chunk.
    pub fn split_off(&mut self, at: usize, cache: &mut Cache) -> Option<Chain> {
        if at == 0 || at >= self.len() {
            return None;
        }
        let inside = |(start, m): &(usize, u32)| {
            *start <= at && at < start + usize::from(self.pool.extent(*m).1)
        };
        let segment = self.starts().enumerate().find(|(_, part)| inside(part));
        let (k, (start, m)) = segment?;
        let before = self.indexes().take(k).last();
        let mut split = match before {
            Some(before) if start == at => self.cut_before(k as u16, before, m, cache),
            _ => self.cut_inside(k as u16, m, at - start, cache)?,
        };
        split.len = self.len - at as u32;
        self.len = at as u32;
        Some(split)
    }

    /// Segment number `k`, which is `m`, becomes a head.
    fn cut_before(&mut self, k: u16, before: u32, m: u32, cache: &Cache) -> Chain {
        let (line, second) = (self.line_of(m), self.segs - k);
        line.reshape(second, line.kind());
        line.copy_arrival(self.line());
        // From here on it is another packet, with all that hangs on it.
        line.move_to(in_hand(Some(cache.shard())));
        self.line().reshape(k, self.line().kind());
        let last = core::mem::replace(&mut self.last, before);
        self.segs = k;
        self.part(m, last, second)
    }

    /// What segment number `k`, which is `m`, has from `keep` on goes to a new mbuf, which becomes a head.
    fn cut_inside(&mut self, k: u16, m: u32, keep: usize, cache: &mut Cache) -> Option<Chain> {
        let (pool, kept, second) = (self.pool, k + 1, self.segs - k);
        let (off, len) = pool.extent(m);
        let rest = usize::from(len) - keep;
        let next = self.line_of(m).next();
        if second > 1 && next >= pool.count() {
            return None; // Damaged since the chain was taken over.
        }
        let mut fresh = cache.alloc()?;
        let room = fresh.headroom() + fresh.tailroom();
        if rest > room {
            cache.free(fresh);
            return None;
        }
        let at = usize::from(pool.headroom()).min(room - rest);
        pool.set_packet(fresh.index(), at as u16, rest as u16);
        fresh = Packet::from_raw(fresh.into_raw(), pool);
        if !pool.copy_segment(m, keep, fresh.data_mut()) {
            cache.free(fresh);
            return None;
        }
        let head = fresh.into_raw();
        let line = pool.line(head);
        line.copy_arrival(self.line());
        let last = if second > 1 {
            line.link_next(next);
            line.reshape(second, DIRECT);
            // From here on all that was behind `m` is behind the new head.
            pool.line(next).move_to(Place::new(Holder::SEGMENT, head));
            self.last
        } else {
            head
        };
        self.line().reshape(kept, self.line().kind());
        self.line_of(m).set_extent(off, keep as u16);
        (self.last, self.segs) = (m, kept);
        Some(self.part(head, last, second))
    }

    fn part(&self, head: u32, last: u32, segs: u16) -> Chain {
        Chain {
            pool: self.pool,
            head,
            last,
            segs,
            len: 0,
        }
    }
}
