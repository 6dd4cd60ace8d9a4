//! The owning handle of one packet: what a datapath works with.
//!
//! It stands on the invariants I1 and I2 of [`crate::mbuf`].

use super::{Line, PartialCsum};
use crate::mempool::Pool;

/// An owned packet: who has it may read and change its bytes, and dropping it frees it.
///
/// It keeps its first byte, offset and length at hand and writes every change of these two to the line as
/// well, so that [`Packet::into_raw`] costs nothing.
pub struct Packet {
    pool: Pool,
    /// `off` bytes into the chunk of `m`.
    start: *mut u8,
    m: u32,
    off: u16,
    len: u16,
}

const _: () = assert!(size_of::<Packet>() == 24);

// SAFETY: the bytes it points to are of the process's life, and by I1 whoever has the packet, in whichever
// thread, is the only one who uses them.
unsafe impl Send for Packet {}
// SAFETY: what is shared gives its bytes for reading only.
unsafe impl Sync for Packet {}

impl Packet {
    /// Takes over a mbuf whose index came out of a ring, cache or pool.
    ///
    /// The caller gives up the index: from here the packet is its one holder (I1). An offset and
    /// length that leave the chunk (I2) make an empty packet.
    ///
    /// # Panics
    /// When the pool has no such mbuf.
    #[inline]
    pub fn from_raw(m: u32, pool: Pool) -> Packet {
        let (line, chunk) = pool.buffer(m);
        Packet::at(pool, chunk, m, line.data_in(pool.chunk()))
    }

    /// Makes a packet of `len` bytes behind the headroom of a mbuf that the caller holds, and says so
    /// in its line; what the bytes hold is left over from earlier.
    ///
    /// # Panics
    /// When the pool has no such mbuf, or the chunk no such room.
    #[inline]
    pub fn filling(m: u32, pool: Pool, len: u16) -> Packet {
        let off = pool.headroom();
        pool.set_packet(m, off, len);
        Packet::at(pool, pool.chunk_ptr(m), m, (off, len))
    }

    /// Makes an empty packet of a mbuf just allocated: headroom in front, no flags.
    #[inline]
    pub fn fresh(m: u32, pool: Pool) -> Packet {
        let at = (pool.headroom(), 0);
        let (line, chunk) = pool.buffer(m);
        line.start(at, (0, 0), 0);
        Packet::at(pool, chunk, m, at)
    }

    /// The packet of a mbuf that the pool has, with that chunk, and whose line says this offset and length.
    #[inline(always)]
    pub(super) fn at(pool: Pool, chunk: *mut u8, m: u32, (off, len): (u16, u16)) -> Packet {
        let start = chunk.wrapping_add(off.into());
        Packet {
            pool,
            start,
            m,
            off,
            len,
        }
    }

    /// Gives the mbuf out of hand without freeing it; offset and length are in its line.
    #[inline]
    pub fn into_raw(self) -> u32 {
        let m = self.m;
        core::mem::forget(self);
        m
    }

    /// The mbuf's index.
    #[inline]
    pub fn index(&self) -> u32 {
        self.m
    }

    /// The pool it belongs to.
    #[inline]
    pub fn pool(&self) -> Pool {
        self.pool
    }

    /// The metadata.
    #[inline]
    pub fn line(&self) -> &'static Line {
        // SAFETY: the pool has this buffer, as whoever called `at` has seen, and goes on having it.
        unsafe { self.pool.lines().get_unchecked(self.m as usize) }
    }

    /// The packet's bytes.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: `off + len <= chunk` (I2, kept by every method here), so the bytes lie in the
        // chunk of `m`, mapped for the process's life; nobody else writes them (I1).
        unsafe { core::slice::from_raw_parts(self.start, self.len()) }
    }

    /// The packet's bytes, to be changed.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`; nobody else reads them either (I1), and `&mut self` is unique.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.len()) }
    }

    /// The first `N` bytes from the packet's first on, also where it has fewer: what follows its end is left
    /// over from earlier. `None` for an empty packet, and where the chunk ends sooner.
    #[inline]
    pub fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        if self.len == 0 || usize::from(self.off) + N > self.pool.chunk() as usize {
            return None;
        }
        // SAFETY: as in `data`, whose bytes are the first of these: the others were just seen to lie in the
        // chunk, which is this packet's alone, since one of a buffer that is not plain is empty.
        Some(unsafe { &*self.start.cast::<[u8; N]>() })
    }

    /// The same, to be changed.
    #[inline]
    pub fn head_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.head::<N>()?;
        // SAFETY: as in `head`, which has just looked, and `&mut self` is unique.
        Some(unsafe { &mut *self.start.cast::<[u8; N]>() })
    }

    /// Its length.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "an empty packet is none")]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Bytes free in front of it.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.off)
    }

    /// Bytes free behind it. None in a buffer that is not plain: others may read what is there.
    #[inline]
    pub fn tailroom(&self) -> usize {
        if !self.line().is_plain() {
            return 0;
        }
        self.pool.chunk() as usize - self.headroom() - self.len()
    }

    /// Sets the length, if the chunk has room for it.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> bool {
        let fits = len <= self.len() + self.tailroom();
        if fits {
            self.set(self.off, len as u16);
        }
        fits
    }

    /// Cuts `n` bytes off its end, if it has them.
    #[inline]
    pub fn trim(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        if fits {
            self.set(self.off, self.len - n as u16);
        }
        fits
    }

    /// Cuts `n` bytes off its front, if it has them.
    #[inline]
    pub fn adj(&mut self, n: usize) -> bool {
        let fits = n <= self.len();
        if fits {
            self.set(self.off + n as u16, self.len - n as u16);
        }
        fits
    }

    /// Puts `n` bytes in front of it, if there is headroom; what they hold is left over from
    /// earlier.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.headroom() {
            return None;
        }
        self.set(self.off - n as u16, self.len + n as u16);
        Some(&mut self.data_mut()[..n])
    }

    /// Puts `n` bytes behind it, if there is tailroom; what they hold is left over from earlier.
    #[inline]
    pub fn append(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let old = self.len();
        self.set(self.off, self.len + n as u16);
        Some(&mut self.data_mut()[old..])
    }

    #[inline]
    fn set(&mut self, off: u16, len: u16) {
        let chunk = self.start.wrapping_sub(self.off.into());
        self.start = chunk.wrapping_add(off.into());
        (self.off, self.len) = (off, len);
        self.line().set_data(off, len);
    }

    /// The port it arrived on.
    #[inline]
    pub fn port(&self) -> u16 {
        self.line().port()
    }

    /// Its flags.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.line().flags()
    }

    /// Replaces its flags.
    #[inline]
    pub fn set_flags(&mut self, flags: u32) {
        self.line().set_flags(flags);
    }

    /// What is unfinished about its TCP/UDP checksum, if a port said so.
    #[inline]
    pub fn csum_partial(&self) -> Option<PartialCsum> {
        self.line().csum_partial()
    }

    /// Says that the checksum is unfinished, or finished.
    #[inline]
    pub fn set_csum_partial(&mut self, csum: Option<PartialCsum>) {
        self.line().set_csum_partial(csum);
    }

    /// The flow hash kept in its line.
    #[inline]
    pub fn hash(&self) -> u32 {
        self.line().hash()
    }

    /// Keeps a flow hash in its line.
    #[inline]
    pub fn set_hash(&mut self, hash: u32) {
        self.line().set_hash(hash);
    }
}

impl Drop for Packet {
    /// Back to the common ring: slower than a cache, but nothing that forgets a packet leaks it.
    #[cold]
    fn drop(&mut self) {
        self.pool.free_packet(self.m);
    }
}

impl core::fmt::Debug for Packet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Packet(mbuf {}, {} bytes)", self.m, self.len)
    }
}
