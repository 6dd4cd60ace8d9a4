//! The bytes of a packet of several segments: where each lies, reading and writing across them.
//!
//! Bytes in chunks are given as slices: a chunk that others refer to is written by nobody (I1 of
//! [`super::refs`]), any other by its holder alone. External bytes lie in memory that knows no mbufs: they are
//! copied by words and never referred to.
//!
//! Failure: an extent or a base that is no possible one gives no bytes.

use super::chain::Chain;
use super::line::{ATTACHED, EXTERNAL, SHARED};
use crate::mempool::Pool;
use crate::region::Region;

/// Where the bytes of a segment lie.
pub(super) enum Source {
    /// In the chunk of this mbuf.
    Chunk(u32),
    /// Outside of the pool; all that is lent there.
    Outside(Region),
    /// This process does not reach them.
    Nowhere,
}

impl Pool {
    /// Where the bytes of a mbuf lie, and how many there can be.
    fn source(self, m: u32) -> (Source, u32) {
        let line = self.line(m);
        if line.kind() & ATTACHED == 0 {
            return (Source::Chunk(m), self.chunk());
        }
        let base = line
            .base()
            .filter(|base| *base < self.count() && *base != m);
        let Some(base) = base.filter(|base| self.line(*base).is_shared()) else {
            return (Source::Nowhere, 0);
        };
        let line = self.line(base);
        if line.kind() & EXTERNAL == 0 {
            return (Source::Chunk(base), self.chunk());
        }
        let len = line.mark();
        let lent = self.outside(line.timestamp(), u64::from(len));
        (lent.map_or(Source::Nowhere, Source::Outside), len)
    }

    /// Offset and length of what a segment shows; (0, 0) if what is stored is impossible.
    pub(crate) fn extent(self, m: u32) -> (u16, u16) {
        let (off, len) = self.line(m).extent();
        let inside = u32::from(off) + u32::from(len) <= self.source(m).1;
        if inside { (off, len) } else { (0, 0) }
    }

    /// Whether the holder of a mbuf may change its bytes: they are in its own chunk and nobody else's.
    pub(crate) fn is_writable(self, m: u32) -> bool {
        match self.line(m).kind() & (ATTACHED | SHARED | EXTERNAL) {
            0 => true,
            SHARED => super::refs::count(self, m) <= 1,
            _ => false,
        }
    }

    /// The bytes of a segment, if they lie in a chunk.
    pub(super) fn segment<'a>(self, m: u32) -> Option<&'a [u8]> {
        let (off, len) = self.extent(m);
        let Source::Chunk(chunk) = self.source(m).0 else {
            return None;
        };
        // SAFETY: `off <= chunk` (`extent`), so the pointer stays in, or one past, the chunk.
        let start = unsafe { self.chunk_ptr(chunk).add(usize::from(off)) };
        // SAFETY: `off + len` lies in the chunk (`extent`), which is mapped for the process's life; who calls
        // holds the segment: the chunk is its own, or one that nobody writes (head of this file).
        Some(unsafe { core::slice::from_raw_parts(start, usize::from(len)) })
    }

    /// The bytes of a segment to be changed, if they are its holder's alone.
    pub(super) fn segment_mut<'a>(self, m: u32) -> Option<&'a mut [u8]> {
        if !self.is_writable(m) {
            return None;
        }
        let (off, len) = self.extent(m);
        // SAFETY: as in `segment`.
        let start = unsafe { self.chunk_ptr(m).add(usize::from(off)) };
        // SAFETY: as in `segment`; its holder calls, by `&mut` of the packet, and no other mbuf shows this chunk.
        Some(unsafe { core::slice::from_raw_parts_mut(start, usize::from(len)) })
    }

    /// Copies bytes out of a segment, which has so many; whether this process reaches them.
    pub(super) fn copy_segment(self, m: u32, off: usize, to: &mut [u8]) -> bool {
        if let Some(bytes) = self.segment(m) {
            let part = bytes.get(off..off + to.len());
            return part.is_some_and(|part| {
                to.copy_from_slice(part);
                true
            });
        }
        let (Source::Outside(lent), _) = self.source(m) else {
            return false;
        };
        let (start, len) = self.extent(m);
        let part = lent.slice(usize::from(start), usize::from(len));
        let part = part.and_then(|segment| segment.slice(off, to.len()));
        part.is_ok_and(|part| {
            part.copy_out(0, to);
            true
        })
    }
}

impl Chain {
    /// The segments' bytes, from the head on; `None` for one that lies outside of the pool, which
    /// [`Chain::read`] copies.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let pool = self.pool;
        self.indexes().map(move |m| pool.segment(m))
    }

    /// `len` bytes from `off`, as `rte_pktmbuf_read`: where they lie if they are in one piece, else a copy in
    /// `buffer`. `None` when the packet has not so many, the buffer no room, or this process does not reach
    /// them.
    pub fn read<'a>(&'a self, off: usize, len: usize, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let end = off.checked_add(len).filter(|end| *end <= self.len())?;
        for (start, m) in self.starts() {
            let size = usize::from(self.pool.extent(m).1);
            if off >= start && end <= start + size {
                if let Some(bytes) = self.pool.segment(m) {
                    return bytes.get(off - start..end - start);
                }
                break;
            }
        }
        let to = buffer.get_mut(..len)?;
        self.copy_out(off, to).then_some(&*to)
    }

    /// Copies the bytes from `off` on, over segments; false, and `to` undefined, when the packet has not so
    /// many or this process does not reach them.
    pub fn copy_out(&self, off: usize, to: &mut [u8]) -> bool {
        let pool = self.pool;
        self.pieces(off, to.len(), |m, at, from, n| {
            pool.copy_segment(m, at, &mut to[from..from + n])
        })
    }

    /// Copies bytes into the packet from `off` on, over segments. False, with nothing changed, when
    /// the packet has not so many there, or others refer to one of them.
    pub fn write(&mut self, off: usize, from: &[u8]) -> bool {
        let pool = self.pool;
        if !self.pieces(off, from.len(), |m, _, _, _| pool.is_writable(m)) {
            return false;
        }
        self.pieces(off, from.len(), |m, at, start, n| {
            let bytes = pool.segment_mut(m);
            let part = bytes.and_then(|bytes| bytes.get_mut(at..at + n));
            part.is_some_and(|part| {
                part.copy_from_slice(&from[start..start + n]);
                true
            })
        })
    }

    /// Whether no byte of it is anybody else's.
    pub fn is_writable(&self) -> bool {
        self.indexes().all(|m| self.pool.is_writable(m))
    }

    /// Each segment, with where it starts in the packet.
    pub(super) fn starts(&self) -> impl Iterator<Item = (usize, u32)> + use<> {
        let (pool, mut start) = (self.pool, 0);
        self.indexes().map(move |m| {
            let at = start;
            start += usize::from(pool.extent(m).1);
            (at, m)
        })
    }

    /// Calls `each` with the pieces that a range of bytes has in segments: the segment, the place in it, the
    /// place in the range, the length. False when the packet has no such range, or at the first false.
    fn pieces(
        &self,
        off: usize,
        len: usize,
        mut each: impl FnMut(u32, usize, usize, usize) -> bool,
    ) -> bool {
        let Some(end) = off.checked_add(len).filter(|end| *end <= self.len()) else {
            return false;
        };
        let mut done = off;
        for (start, m) in self.starts() {
            let to = end.min(start + usize::from(self.pool.extent(m).1));
            if done < to && done >= start {
                if !each(m, done - start, done - off, to - done) {
                    return false;
                }
                done = to;
            }
        }
        done == end
    }
}
