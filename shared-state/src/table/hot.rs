//! Hot words by id: packets, bytes, last seen. What every packet touches, apart from the record.
//!
//! Layout: [`Hot32`] (16 bytes) or [`Hot64`] (32 bytes) at `id * size`; each field is one word.
//!
//! Order: one writer, the shard's owner, with plain loads and stores (no locked instruction);
//! a reader sees each word whole, and two words of different moments.
//!
//! Carry: when the layout changes, the new generation counts from zero on the frozen old one, and is
//! folded at commit or rollback (`fold`). A row made after the swap is [`FRESH`]: what the old array
//! holds under its id belongs to a row that is gone.
//!
//! Failure: a count or a start cut short by a death leaves some words of one row as they were before.
//! A fold cut short is done again.

use core::marker::PhantomData;

use baton_schema::{Loss, Migrate, Record};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{RawRecords, TableError, words};
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// In `flags`: the row has no counts in an older generation, or they are folded already.
pub const FRESH: u32 = 1;

/// Counters of 32 bits, which wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "baton.hot", version = 1)]
#[repr(C)]
pub struct Hot32 {
    /// Packets of the row, modulo 2^32.
    pub packets: u32,
    /// Bytes of the row, modulo 2^32.
    pub bytes: u32,
    /// CLOCK_BOOTTIME in seconds of the last packet.
    #[field(kind = "time_sec")]
    pub last_seen: u32,
    /// 1 = the row has no counts in an older generation.
    pub flags: u32,
}

/// Counters of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "baton.hot", version = 2, follows = Hot32)]
#[repr(C)]
pub struct Hot64 {
    /// Packets of the row.
    pub packets: u64,
    /// Bytes of the row.
    pub bytes: u64,
    /// CLOCK_BOOTTIME in seconds of the last packet.
    #[field(kind = "time_sec")]
    pub last_seen: u32,
    /// 1 = the row has no counts in an older generation.
    pub flags: u32,
    /// Fills half a cache line, so that no row lies in two.
    pub _fill: u64,
}

const _: () = assert!(size_of::<Hot32>() == 16 && core::mem::offset_of!(Hot32, flags) == 12);
const _: () = assert!(size_of::<Hot64>() == 32 && core::mem::offset_of!(Hot64, flags) == 20);

impl Migrate<Hot32> for Hot64 {
    const LOSES: &'static [Loss] = &[Loss("packets above 32 bits"), Loss("bytes above 32 bits")];

    fn up(old: Hot32) -> Hot64 {
        Hot64 {
            packets: old.packets.into(),
            bytes: old.bytes.into(),
            last_seen: old.last_seen,
            flags: old.flags,
            _fill: 0,
        }
    }

    fn down(new: Hot64) -> Hot32 {
        Hot32 {
            packets: new.packets as u32,
            bytes: new.bytes as u32,
            last_seen: new.last_seen,
            flags: new.flags,
        }
    }
}

/// Bits of a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// One 32-bit word, which wraps.
    W32,
    /// One 64-bit word.
    W64,
}

/// A record of hot words: where in it the words are, and how two of them add up.
pub trait HotWords: Record {
    /// Width of the counters.
    const WIDTH: Width;
    /// Offset of the packet counter.
    const PACKETS: usize;
    /// Offset of the byte counter.
    const BYTES: usize;
    /// Offset of the second of the last packet.
    const LAST_SEEN: usize;
    /// Offset of the flags.
    const FLAGS: usize;

    /// Packets and bytes.
    fn counts(&self) -> (u64, u64);
    /// Second of the last packet.
    fn last_seen(&self) -> u32;
    /// Adds what `later` counted since, from zero.
    fn merge(&mut self, later: &Self);
}

impl HotWords for Hot32 {
    const WIDTH: Width = Width::W32;
    const PACKETS: usize = core::mem::offset_of!(Hot32, packets);
    const BYTES: usize = core::mem::offset_of!(Hot32, bytes);
    const LAST_SEEN: usize = core::mem::offset_of!(Hot32, last_seen);
    const FLAGS: usize = core::mem::offset_of!(Hot32, flags);

    fn counts(&self) -> (u64, u64) {
        (self.packets.into(), self.bytes.into())
    }

    fn last_seen(&self) -> u32 {
        self.last_seen
    }

    fn merge(&mut self, later: &Self) {
        self.packets = self.packets.wrapping_add(later.packets);
        self.bytes = self.bytes.wrapping_add(later.bytes);
        self.last_seen = self.last_seen.max(later.last_seen);
        self.flags |= later.flags;
    }
}

impl HotWords for Hot64 {
    const WIDTH: Width = Width::W64;
    const PACKETS: usize = core::mem::offset_of!(Hot64, packets);
    const BYTES: usize = core::mem::offset_of!(Hot64, bytes);
    const LAST_SEEN: usize = core::mem::offset_of!(Hot64, last_seen);
    const FLAGS: usize = core::mem::offset_of!(Hot64, flags);

    fn counts(&self) -> (u64, u64) {
        (self.packets, self.bytes)
    }

    fn last_seen(&self) -> u32 {
        self.last_seen
    }

    fn merge(&mut self, later: &Self) {
        self.packets = self.packets.wrapping_add(later.packets);
        self.bytes = self.bytes.wrapping_add(later.bytes);
        self.last_seen = self.last_seen.max(later.last_seen);
        self.flags |= later.flags;
    }
}

/// The hot words of a table.
pub struct Hot<H> {
    region: Region,
    words: &'static [AtomicU32],
    wide: &'static [AtomicU64],
    of: PhantomData<fn() -> H>,
}

impl<H> core::fmt::Debug for Hot<H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let size = size_of::<H>();
        write!(f, "Hot({} x {size} bytes)", self.region.len() / size.max(1))
    }
}

impl<H> Clone for Hot<H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H> Copy for Hot<H> {}

impl<H: HotWords> Hot<H> {
    /// Words of 64 bits that a row has.
    const WIDE: usize = size_of::<H>() / size_of::<u64>();

    /// Bytes that `count` rows take.
    pub const fn bytes_for(count: u32) -> usize {
        size_of::<H>() * count as usize
    }

    /// A view of `count` rows; zeroed memory is rows that counted nothing.
    pub fn new(region: Region, count: u32) -> Result<Hot<H>, TableError> {
        let region = region.slice(0, Self::bytes_for(count))?;
        Ok(Hot {
            region,
            words: region.u32s(0, region.len() / size_of::<u32>()),
            wide: region.u64s(0, region.len() / size_of::<u64>()),
            of: PhantomData,
        })
    }

    /// Rows in the array.
    pub fn count_rows(&self) -> u32 {
        (self.region.len() / size_of::<H>()) as u32
    }

    /// Counts packets of a row at second `now`.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn count(&self, id: u32, packets: u64, bytes: u64, now: u32) {
        // Two looks at the bounds for all of the words: this is done for each packet.
        let from = id as usize * Self::WIDE;
        let wide = self.wide.get(from..from + Self::WIDE);
        let words = self.words.get(2 * from..2 * from + 2 * Self::WIDE);
        let (Some(wide), Some(words)) = (wide, words) else {
            words::no_row(id, self.count_rows() as usize);
        };
        for (at, n) in [(H::PACKETS, packets), (H::BYTES, bytes)] {
            match H::WIDTH {
                Width::W32 => add32(&words[at / size_of::<u32>()], n),
                Width::W64 => add64(&wide[at / size_of::<u64>()], n),
            }
        }
        let seen = &words[H::LAST_SEEN / size_of::<u32>()];
        if seen.load(Relaxed) != now {
            seen.store(now, Relaxed);
        }
    }

    /// Begins a new row at second `now`: counters zero, and [`FRESH`].
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn start(&self, id: u32, now: u32) {
        let at = self.at(id);
        self.set(at + H::PACKETS, 0);
        self.set(at + H::BYTES, 0);
        self.word(at + H::LAST_SEEN).store(now, Relaxed);
        self.word(at + H::FLAGS).store(FRESH, Relaxed);
    }

    /// Second of the last packet of a row.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline]
    pub fn last_seen(&self, id: u32) -> u32 {
        self.word(self.at(id) + H::LAST_SEEN).load(Relaxed)
    }

    /// A copy of a row's words.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn read(&self, id: u32) -> H {
        self.region.read(self.at(id))
    }

    /// Stores a row's words.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn write(&self, id: u32, words: &H) {
        self.region.write(self.at(id), words);
    }

    /// The rows as bytes.
    pub fn raw(&self) -> RawRecords {
        RawRecords::new(self.region, size_of::<H>(), self.count_rows())
            .expect("the region was measured when the view was made")
    }

    /// Brings a row into the processor's cache.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        let at = id as usize * size_of::<H>();
        crate::simd::prefetch(self.region.as_ptr().wrapping_add(at));
    }

    /// The flags of a row.
    #[inline]
    pub fn flags(&self, id: u32) -> u32 {
        self.word(self.at(id) + H::FLAGS).load(Relaxed)
    }

    #[inline]
    pub(super) fn add(&self, at: usize, n: u64) {
        match H::WIDTH {
            Width::W32 => add32(self.word(at), n),
            Width::W64 => add64(self.wide(at), n),
        }
    }

    /// The counter at `at`.
    #[inline]
    pub(super) fn get(&self, at: usize) -> u64 {
        match H::WIDTH {
            Width::W32 => self.word(at).load(Relaxed).into(),
            Width::W64 => self.wide(at).load(Relaxed),
        }
    }

    #[inline]
    pub(super) fn set(&self, at: usize, n: u64) {
        match H::WIDTH {
            Width::W32 => self.word(at).store(n as u32, Relaxed),
            Width::W64 => self.wide(at).store(n, Relaxed),
        }
    }

    #[inline]
    pub(super) fn word(&self, at: usize) -> &'static AtomicU32 {
        &self.words[at / size_of::<u32>()]
    }

    #[inline]
    fn wide(&self, at: usize) -> &'static AtomicU64 {
        &self.wide[at / size_of::<u64>()]
    }

    #[inline]
    pub(super) fn at(&self, id: u32) -> usize {
        let rows = self.count_rows();
        assert!(id < rows, "row {id} of {rows}");
        id as usize * size_of::<H>()
    }
}

/// Adds to a word that has one writer: a load and a store, no locked instruction.
#[inline(always)]
fn add32(word: &AtomicU32, n: u64) {
    word.store(word.load(Relaxed).wrapping_add(n as u32), Relaxed);
}

/// The same for a wide one.
#[inline(always)]
fn add64(word: &AtomicU64, n: u64) {
    word.store(word.load(Relaxed).wrapping_add(n), Relaxed);
}
