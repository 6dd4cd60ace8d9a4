//! One packet buffer: a 64-byte metadata line and a chunk of data, named by a `u32` index.
//!
//! [`Line`] is the metadata in shared memory, every field an atomic word. [`Packet`] is the
//! owning handle a datapath works with: 16 bytes, data at hand, given back to the pool on drop.
//!
//! Layout of a line
//! ```text
//!  0 place u64: holder (high half) | index       32 next u32 (chain, NONE = last)
//!  8 data_off u16 | data_len u16                  36 nb_segs u16 | refcnt u16
//! 12 port u16 | queue u16                         40 mark u32, 44 zero
//! 16 flags u32                                    48 timestamp u64
//! 20 csum_start u16 | csum_offset u16             56 user u64
//! 24 hash u32, 28 zero
//! ```
//!
//! Invariants
//! - I1 A mbuf has one holder. Who took its index out of a ring, cache or pool, and only he, reads
//!   and writes its chunk and the fields of its line, until he publishes the index again. This is
//!   the protocol of the whole pool: the compiler checks it inside a [`Packet`], not across
//!   [`Packet::into_raw`] and [`Packet::from_raw`].
//! - I2 `data_off + data_len <= chunk`, checked where the two are set and where they are read
//!   from shared memory.
//!
//! Order: `place` is stored before the index that publishes the buffer to its next holder.
//!
//! Failure: what published windows contain is the truth; `place` settles a buffer found in none.

use crate::mempool::Pool;
use crate::place::Place;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// End of a chain in [`Line::next`].
pub const NONE: u32 = u32::MAX;

/// TCP/UDP checksum unfinished: the field holds the pseudo-header's sum only; start and offset
/// of the field are stored in the line.
pub const CSUM_PARTIAL: u32 = 1;
/// The kernel has checked the TCP/UDP checksum, or made the packet on this machine.
pub const CSUM_VALID: u32 = 1 << 1;
/// It came with a vnet header, so that [`CSUM_PARTIAL`] unset means the checksum is finished.
pub const VNET: u32 = 1 << 2;
/// It was handed over by another shard.
pub const STEERED: u32 = 1 << 3;

/// Where the checksum of a packet with [`CSUM_PARTIAL`] is summed from and stored, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialCsum {
    /// First byte that is summed: the TCP or UDP header.
    pub start: u16,
    /// Place of the checksum field, counted from `start`.
    pub offset: u16,
}

/// The metadata of one mbuf; see the module for the layout.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Line {
    place: AtomicU64,
    data: AtomicU32,
    arrival: AtomicU32,
    flags: AtomicU32,
    csum: AtomicU32,
    hash: AtomicU32,
    zero: AtomicU32,
    next: AtomicU32,
    segs: AtomicU32,
    mark: AtomicU32,
    zero2: AtomicU32,
    timestamp: AtomicU64,
    user: AtomicU64,
}

const _: () = assert!(size_of::<Line>() == 64 && align_of::<Line>() == 64);
const _: () = assert!(core::mem::offset_of!(Line, data) == 8);
const _: () = assert!(core::mem::offset_of!(Line, arrival) == 12);
const _: () = assert!(core::mem::offset_of!(Line, flags) == 16);
const _: () = assert!(core::mem::offset_of!(Line, csum) == 20);
const _: () = assert!(core::mem::offset_of!(Line, hash) == 24);
const _: () = assert!(core::mem::offset_of!(Line, next) == 32);
const _: () = assert!(core::mem::offset_of!(Line, segs) == 36);
const _: () = assert!(core::mem::offset_of!(Line, mark) == 40);
const _: () = assert!(core::mem::offset_of!(Line, timestamp) == 48);
const _: () = assert!(core::mem::offset_of!(Line, user) == 56);

const fn pair(low: u16, high: u16) -> u32 {
    low as u32 | (high as u32) << 16
}

const fn low(pair: u32) -> u16 {
    pair as u16
}

const fn high(pair: u32) -> u16 {
    (pair >> 16) as u16
}

impl Line {
    /// Where the buffer says it is.
    #[inline]
    pub fn place(&self) -> Place {
        Place::from_bits(self.place.load(Relaxed))
    }

    /// Says where the buffer will be, before the store that publishes it there.
    #[inline]
    pub fn set_place(&self, place: Place) {
        self.place.store(place.bits(), Relaxed);
    }

    /// Offset of the packet in its chunk.
    #[inline]
    pub fn data_off(&self) -> u16 {
        low(self.data.load(Relaxed))
    }

    /// Length of the packet.
    #[inline]
    pub fn data_len(&self) -> u16 {
        high(self.data.load(Relaxed))
    }

    /// Offset and length in one store. [`Pool::set_packet`] checks them first.
    #[inline]
    pub(crate) fn set_data(&self, off: u16, len: u16) {
        self.data.store(pair(off, len), Relaxed);
    }

    /// The port it arrived on.
    #[inline]
    pub fn port(&self) -> u16 {
        low(self.arrival.load(Relaxed))
    }

    /// The queue it arrived on, which is the shard that received it.
    #[inline]
    pub fn queue(&self) -> u16 {
        high(self.arrival.load(Relaxed))
    }

    /// Says where the packet arrived.
    #[inline]
    pub fn set_arrival(&self, port: u16, queue: u16) {
        self.arrival.store(pair(port, queue), Relaxed);
    }

    /// [`CSUM_PARTIAL`] and its like.
    #[inline]
    pub fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// Replaces all flags.
    #[inline]
    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Relaxed);
    }

    /// What is unfinished about the checksum, if [`CSUM_PARTIAL`] is set.
    #[inline]
    pub fn csum_partial(&self) -> Option<PartialCsum> {
        let csum = self.csum.load(Relaxed);
        (self.flags() & CSUM_PARTIAL != 0).then_some(PartialCsum {
            start: low(csum),
            offset: high(csum),
        })
    }

    /// Sets [`CSUM_PARTIAL`] and what goes with it, or clears it.
    #[inline]
    pub fn set_csum_partial(&self, csum: Option<PartialCsum>) {
        match csum {
            Some(csum) => {
                self.csum.store(pair(csum.start, csum.offset), Relaxed);
                self.set_flags(self.flags() | CSUM_PARTIAL);
            }
            None => self.set_flags(self.flags() & !CSUM_PARTIAL),
        }
    }

    /// The flow hash somebody has computed; 0 when nobody has.
    #[inline]
    pub fn hash(&self) -> u32 {
        self.hash.load(Relaxed)
    }

    /// Keeps a flow hash for later stages.
    #[inline]
    pub fn set_hash(&self, hash: u32) {
        self.hash.store(hash, Relaxed);
    }

    /// The next segment of the packet, or [`NONE`].
    #[inline]
    pub fn next(&self) -> u32 {
        self.next.load(Relaxed)
    }

    /// Chains a segment behind this one.
    #[inline]
    pub fn set_next(&self, next: u32) {
        self.next.store(next, Relaxed);
    }

    /// Segments of the packet (in the head) and references to this buffer.
    #[inline]
    pub fn segments(&self) -> (u16, u16) {
        let segs = self.segs.load(Relaxed);
        (low(segs), high(segs))
    }

    /// Stores the number of segments and of references.
    #[inline]
    pub fn set_segments(&self, nb_segs: u16, refcnt: u16) {
        self.segs.store(pair(nb_segs, refcnt), Relaxed);
    }

    /// A word for the stages of a datapath.
    #[inline]
    pub fn mark(&self) -> u32 {
        self.mark.load(Relaxed)
    }

    /// Stores the word for the stages of a datapath.
    #[inline]
    pub fn set_mark(&self, mark: u32) {
        self.mark.store(mark, Relaxed);
    }

    /// Nanoseconds at arrival, from a port that knows; else 0.
    #[inline]
    pub fn timestamp(&self) -> u64 {
        self.timestamp.load(Relaxed)
    }

    /// Stores the time of arrival.
    #[inline]
    pub fn set_timestamp(&self, ns: u64) {
        self.timestamp.store(ns, Relaxed);
    }

    /// A word for the owner of the packet.
    #[inline]
    pub fn user(&self) -> u64 {
        self.user.load(Relaxed)
    }

    /// Stores the word for the owner of the packet.
    #[inline]
    pub fn set_user(&self, user: u64) {
        self.user.store(user, Relaxed);
    }

    /// All that a driver says of a packet it received, as a single segment.
    #[inline]
    pub fn receive(&self, port: u16, queue: u16, flags: u32) {
        self.set_arrival(port, queue);
        self.set_flags(flags);
        self.hash.store(0, Relaxed);
        self.set_next(NONE);
        self.set_segments(1, 1);
    }
}

/// An owned packet: who has it may read and change its bytes, and dropping it frees it.
///
/// It keeps offset and length at hand and writes every change of them to the line as well, so
/// that [`Packet::into_raw`] costs nothing.
pub struct Packet {
    pool: Pool,
    m: u32,
    off: u16,
    len: u16,
}

const _: () = assert!(size_of::<Packet>() == 16);

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
        let line = pool.line(m);
        let (mut off, mut len) = (line.data_off(), line.data_len());
        if u32::from(off) + u32::from(len) > pool.chunk() {
            (off, len) = (0, 0);
        }
        Packet { pool, m, off, len }
    }

    /// Makes an empty packet of a mbuf just allocated: headroom in front, no flags.
    #[inline]
    pub fn fresh(m: u32, pool: Pool) -> Packet {
        pool.line(m).receive(0, 0, 0);
        pool.set_packet(m, pool.headroom(), 0);
        Packet::from_raw(m, pool)
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
        self.pool.line(self.m)
    }

    /// The packet's bytes.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: `off + len <= chunk` (I2, kept by every method here), so the bytes lie in the
        // chunk of `m`, mapped for the process's life; nobody else writes them (I1).
        unsafe { core::slice::from_raw_parts(self.start(), self.len()) }
    }

    /// The packet's bytes, to be changed.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`; nobody else reads them either (I1), and `&mut self` is unique.
        unsafe { core::slice::from_raw_parts_mut(self.start(), self.len()) }
    }

    #[inline]
    fn start(&self) -> *mut u8 {
        // SAFETY: `off <= chunk` (I2), so the pointer stays in, or one past, the chunk.
        unsafe { self.pool.chunk_ptr(self.m).add(usize::from(self.off)) }
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

    /// Bytes free behind it.
    #[inline]
    pub fn tailroom(&self) -> usize {
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
        self.pool.free_one(self.m);
    }
}

impl core::fmt::Debug for Packet {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Packet(mbuf {}, {} bytes)", self.m, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Audit;
    use crate::mempool::Pool;
    use crate::place::{Holder, Place};
    use crate::region::Region;

    fn pool() -> Pool {
        let meta = Region::private(Pool::meta_bytes(64));
        let data = Region::private(Pool::data_bytes(64, 2048));
        Pool::create(meta, data, 2048).unwrap()
    }

    #[test]
    fn a_packet_grows_and_shrinks_at_both_ends() {
        let mut packet = pool().cache(0).alloc().unwrap();
        assert_eq!((packet.len(), packet.headroom()), (0, 256));
        packet.append(4).unwrap().copy_from_slice(b"data");
        packet.prepend(2).unwrap().copy_from_slice(b"h:");
        assert_eq!(packet.data(), b"h:data");
        assert!(packet.adj(1) && packet.trim(2));
        assert_eq!(packet.data(), b":da");
        packet.data_mut()[0] = b'=';
        assert!(packet.set_len(5));
        assert_eq!(packet.data(), b"=data");
        assert_eq!(packet.tailroom() + packet.len() + packet.headroom(), 2048);
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut packet = pool().cache(0).alloc().unwrap();
        packet.append(10).unwrap();
        let room = packet.tailroom();
        assert!(packet.prepend(257).is_none());
        assert!(packet.append(room + 1).is_none());
        assert!(!packet.trim(11) && !packet.adj(11) && !packet.set_len(10 + room + 1));
        assert_eq!((packet.len(), packet.headroom()), (10, 256));
        assert!(packet.append(room).is_some() && packet.prepend(256).is_some());
        assert_eq!(packet.len(), 2048);
    }

    #[test]
    fn the_next_holder_finds_the_packet_as_it_was_left() {
        let pool = pool();
        let mut packet = pool.cache(0).alloc().unwrap();
        packet.append(6).unwrap().copy_from_slice(b"abcdef");
        packet.adj(2);
        packet.set_hash(0xfeed);
        let csum = PartialCsum {
            start: 34,
            offset: 16,
        };
        packet.set_flags(STEERED);
        packet.set_csum_partial(Some(csum));
        packet.line().set_arrival(3, 1);
        let m = packet.into_raw();
        let mut packet = Packet::from_raw(m, pool);
        assert_eq!((packet.data(), packet.hash()), (&b"cdef"[..], 0xfeed));
        assert_eq!((packet.port(), packet.line().queue()), (3, 1));
        assert_eq!(packet.csum_partial(), Some(csum));
        packet.set_csum_partial(None);
        assert_eq!((packet.csum_partial(), packet.flags()), (None, STEERED));
        assert_eq!(pool.bytes(m).1, 4);
    }

    #[test]
    fn a_dropped_packet_is_free_again() {
        let pool = pool();
        let mut cache = pool.cache(0);
        let packet = cache.alloc().unwrap();
        let m = packet.index();
        assert_eq!(Audit::new(pool).finish().unaccounted.len(), 1);
        drop(packet);
        assert_eq!(pool.place(m).holder, Holder::POOL);
        assert!(Audit::new(pool).finish().is_exact());
        let packet = cache.alloc().unwrap();
        cache.free(packet);
        assert!(Audit::new(pool).finish().is_exact());
    }

    #[test]
    fn a_length_that_leaves_the_chunk_is_not_believed() {
        let pool = pool();
        let m = pool.cache(0).alloc().unwrap().into_raw();
        pool.line(m).set_data(2000, 100);
        assert_eq!(pool.packet(m), (0, 0));
        assert_eq!(Packet::from_raw(m, pool).data(), b"");
    }

    #[test]
    #[should_panic(expected = "packet of 1 bytes at 2048 in a chunk of 2048")]
    fn a_driver_that_sets_such_a_length_is_stopped() {
        pool().set_packet(0, 2048, 1);
    }

    #[test]
    fn every_field_of_a_line_keeps_to_itself() {
        let line = pool().line(9);
        line.set_place(Place::new(Holder::tx(1, 2), 77));
        line.set_data(11, 22);
        line.receive(33, 44, VNET);
        line.set_hash(55);
        line.set_next(66);
        line.set_segments(7, 8);
        line.set_mark(99);
        line.set_timestamp(u64::MAX - 1);
        line.set_user(123);
        assert_eq!(line.place(), Place::new(Holder::tx(1, 2), 77));
        assert_eq!((line.data_off(), line.data_len()), (11, 22));
        assert_eq!((line.port(), line.queue(), line.flags()), (33, 44, VNET));
        assert_eq!((line.hash(), line.next()), (55, 66));
        assert_eq!((line.segments(), line.mark()), ((7, 8), 99));
        assert_eq!((line.timestamp(), line.user()), (u64::MAX - 1, 123));
    }
}
