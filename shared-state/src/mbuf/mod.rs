//! One packet buffer: a 64-byte metadata line and a chunk of data, named by a `u32` index.
//!
//! [`Line`] is the metadata in shared memory, every field an atomic word. [`Packet`] is the
//! owning handle a datapath works with: 24 bytes, data at hand, given back to the pool on drop.
//! [`Chain`] is the handle of what is more than that: several segments, segments attached to the
//! data of others (clones), [`External`] data.
//!
//! Layout of a line
//! ```text
//!  0 place u64: holder (high half) | index       32 next u32 (of a segment that is not the last)
//!  8 data_off u16 | data_len u16                  36 nb_segs u16 (of a head) | kind u16
//! 12 port u16 | queue u16                         40 mark u32
//! 16 flags u32                                    44 link u32: base + 1, or references
//! 20 csum_start u16 | csum_offset u16             48 timestamp u64
//! 24 hash u32                                     56 user u64
//! 28 view: off u16 | len u16
//! ```
//! A line is *plain* when `nb_segs` and `kind` are 0 or 1: one segment, its own chunk, nobody else's.
//! One load tells. A line that is not has its extent in `view` and an empty one at 8, so that who takes it
//! for plain finds an empty packet: neither half of a chain nor bytes that others read.
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
//! Chains, references and external data say theirs in their own files.

mod bulk;
mod bytes;
mod chain;
mod clone;
mod edit;
mod error;
mod external;
mod line;
mod packet;
pub(crate) mod refs;

pub use chain::{Chain, MAX_SEGMENTS};
pub use error::ChainError;
pub use external::{External, MAX_EXTERNAL};
pub use packet::Packet;
pub use refs::MAX_REFERENCES;

pub(crate) use chain::{kept, walk};

use crate::place::Place;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed, store_two};

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
    view: AtomicU32,
    next: AtomicU32,
    segs: AtomicU32,
    mark: AtomicU32,
    link: AtomicU32,
    timestamp: AtomicU64,
    user: AtomicU64,
}

const _: () = assert!(size_of::<Line>() == 64 && align_of::<Line>() == 64);
const _: () = assert!(core::mem::offset_of!(Line, data) == 8);
const _: () = assert!(core::mem::offset_of!(Line, arrival) == 12);
const _: () = assert!(core::mem::offset_of!(Line, flags) == 16);
const _: () = assert!(core::mem::offset_of!(Line, csum) == 20);
const _: () = assert!(core::mem::offset_of!(Line, hash) == 24);
const _: () = assert!(core::mem::offset_of!(Line, view) == 28);
const _: () = assert!(core::mem::offset_of!(Line, next) == 32);
const _: () = assert!(core::mem::offset_of!(Line, segs) == 36);
const _: () = assert!(core::mem::offset_of!(Line, mark) == 40);
const _: () = assert!(core::mem::offset_of!(Line, link) == 44);
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

    /// Whether it is not where `place` says.
    #[inline]
    pub(crate) fn is_elsewhere(&self, place: Place) -> bool {
        self.place.load(Relaxed) != place.bits()
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

    /// Both, or (0, 0) if they leave a chunk of that size.
    #[inline]
    pub(crate) fn data_in(&self, chunk: u32) -> (u16, u16) {
        let data = self.data.load(Relaxed);
        let inside = u32::from(low(data)) + u32::from(high(data)) <= chunk;
        let data = if inside { data } else { 0 };
        (low(data), high(data))
    }

    /// Offset and length in one store. [`crate::mempool::Pool::set_packet`] checks them first.
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

    /// Segments of the packet (in the head) and the kind of the buffer: 0 or 1 is plain.
    #[inline]
    pub fn segments(&self) -> (u16, u16) {
        let segs = self.segs.load(Relaxed);
        (low(segs), high(segs))
    }

    /// Stores the number of segments and the kind.
    #[cfg(test)]
    pub(crate) fn set_segments(&self, nb_segs: u16, kind: u16) {
        self.segs.store(pair(nb_segs, kind), Relaxed);
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

    /// All that a driver says of a packet it received, as a single segment whose place is set.
    #[inline]
    pub fn receive(&self, port: u16, queue: u16, flags: u32) {
        self.set_arrival(port, queue);
        store_two::<2, _>(self.words(), [word(flags, 0), word(0, 0)]);
        store_two::<3, _>(self.words(), WHOLE);
    }

    /// All that is said of a new packet, a single segment.
    /// [`crate::mempool::Pool::start_packet`] checks offset and length first.
    #[inline]
    pub(crate) fn start(&self, at: (u16, u16), arrival: (u16, u16), flags: u32) {
        self.set_facts(at, arrival, (flags, 0));
    }

    /// The same for a packet whose flags, and what is unfinished of its checksum, stay.
    #[inline]
    pub(crate) fn restart(&self, at: (u16, u16), arrival: (u16, u16)) {
        let flags = self.flags();
        let csum = match flags & CSUM_PARTIAL {
            0 => 0,
            _ => self.csum.load(Relaxed),
        };
        self.set_facts(at, arrival, (flags, csum));
    }

    /// Extent, arrival, flags and checksum, and that it is a whole packet with no hash: `data` to `segs`.
    #[inline(always)]
    fn set_facts(&self, at: (u16, u16), arrival: (u16, u16), (flags, csum): (u32, u32)) {
        let at = word(pair(at.0, at.1), pair(arrival.0, arrival.1));
        store_two::<1, _>(self.words(), [at, word(flags, csum)]);
        store_two::<3, _>(self.words(), WHOLE);
    }

    /// Its words of eight bytes. The fields from word 1 on are the holder's alone (I1); an audit may look at
    /// some meanwhile, by halves, and counts a buffer in motion wrongly anyway.
    #[inline(always)]
    fn words(&self) -> &[AtomicU64; size_of::<Line>() / 8] {
        // SAFETY: a line is eight such words of atomics, aligned to 64.
        unsafe { &*core::ptr::from_ref(self).cast() }
    }
}

/// The words 3 and 4 of a whole packet: no hash, no other segment, its own chunk.
const WHOLE: [u64; 2] = [word(0, 0), word(NONE, pair(1, 1))];

const fn word(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
