//! Records by id: what a program stores for each row.
//!
//! Layout: record `id` at `id * stride`, stride = size rounded up to 8.
//!
//! Order: the writer stores the record, then what announces it (the key's state for a new row,
//! the dirty bit for a changed one). A copy made meanwhile may have some words old and some new,
//! each word whole; whoever copies for keeps takes the dirty bit first and copies afterwards.
//!
//! Failure: a record half rewritten by a death stays so; its row is in the dead shard's extents,
//! and was in the hands of the burst that died.

use core::marker::PhantomData;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::words::{self, WORD};
use super::{TableError, check_number};
use crate::region::Region;
use crate::sync::{AtomicU64, Ordering};

/// Records of one size, whatever they mean: what a migration reads and writes.
#[derive(Debug, Clone, Copy)]
pub struct RawRecords {
    region: Region,
    size: usize,
    stride: usize,
    count: u32,
}

impl RawRecords {
    /// Distance of two records of `size` bytes.
    pub const fn stride_for(size: usize) -> usize {
        size.next_multiple_of(WORD)
    }

    /// Bytes that `count` records of `size` bytes take.
    pub const fn bytes_for(size: usize, count: u32) -> usize {
        Self::stride_for(size) * count as usize
    }

    /// A view of `count` records of `size` bytes.
    pub fn new(region: Region, size: usize, count: u32) -> Result<RawRecords, TableError> {
        check_number("bytes of a record", size as u64, 1, 1 << 20)?;
        let stride = Self::stride_for(size);
        let region = region.slice(0, Self::bytes_for(size, count))?;
        Ok(RawRecords {
            region,
            size,
            stride,
            count,
        })
    }

    /// Records in the array.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of a record.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Distance of two records.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The bytes of all records.
    pub fn region(&self) -> Region {
        self.region
    }

    /// Copies a record out; `to` has the record's size.
    ///
    /// # Panics
    /// When there is no such record, or `to` has another size.
    #[inline]
    pub fn read(&self, id: u32, to: &mut [u8]) {
        assert_eq!(to.len(), self.size, "bytes of a record");
        self.region.copy_out(self.at(id), to);
    }

    /// Stores a record.
    ///
    /// # Panics
    /// When there is no such record, or `from` has another size.
    #[inline]
    pub fn write(&self, id: u32, from: &[u8]) {
        assert_eq!(from.len(), self.size, "bytes of a record");
        self.region.copy_in(self.at(id), from);
    }

    #[inline]
    fn at(&self, id: u32) -> usize {
        assert!(id < self.count, "row {id} of {}", self.count);
        id as usize * self.stride
    }
}

/// Records of one type.
pub struct Records<V> {
    words: &'static [AtomicU64],
    raw: RawRecords,
    of: PhantomData<fn() -> V>,
}

impl<V> core::fmt::Debug for Records<V> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Records({} x {} bytes)", self.raw.count, self.raw.stride)
    }
}

impl<V> Clone for Records<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Records<V> {}

impl<V: FromBytes + IntoBytes + Immutable + Copy> Records<V> {
    /// Distance of two records.
    pub const STRIDE: usize = RawRecords::stride_for(size_of::<V>());
    const WORDS: usize = Self::STRIDE / WORD;

    /// Bytes that `count` records take.
    pub const fn bytes_for(count: u32) -> usize {
        RawRecords::bytes_for(size_of::<V>(), count)
    }

    /// A view of `count` records; any bytes are records, so making and opening are one.
    pub fn new(region: Region, count: u32) -> Result<Records<V>, TableError> {
        let raw = RawRecords::new(region, size_of::<V>(), count)?;
        let words = region.u64s(0, Self::WORDS * count as usize);
        let of = PhantomData;
        Ok(Records { words, raw, of })
    }

    /// A copy of a record.
    ///
    /// # Panics
    /// When there is no such record.
    #[inline]
    pub fn read(&self, id: u32) -> V {
        words::load(words::row(self.words, id, Self::WORDS))
    }

    /// The first eight bytes of a record (zeros behind a shorter one) as they lie there: one load.
    ///
    /// # Panics
    /// When there is no such record.
    #[inline]
    pub fn first_word(&self, id: u32) -> u64 {
        words::row(self.words, id, Self::WORDS)[0].load(Ordering::Relaxed)
    }

    /// Stores a record.
    ///
    /// # Panics
    /// When there is no such record.
    #[inline]
    pub fn write(&self, id: u32, value: &V) {
        words::store(words::row(self.words, id, Self::WORDS), value);
    }

    /// Brings a record into the processor's cache.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        words::prefetch_row(self.words, id, Self::WORDS);
    }

    /// Brings the first word of a record into the processor's cache; one that does not exist is let be.
    #[inline]
    pub fn prefetch_first(&self, id: u32) {
        let row = self.words.as_ptr().wrapping_add(id as usize * Self::WORDS);
        crate::simd::prefetch(row);
    }

    /// Records in the array.
    pub fn count(&self) -> u32 {
        self.raw.count
    }

    /// The same records as bytes.
    pub fn raw(&self) -> RawRecords {
        self.raw
    }
}
