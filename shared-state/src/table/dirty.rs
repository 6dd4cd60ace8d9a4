//! Which ids have changed since somebody looked: a bit for each id, and a bit for each word.
//!
//! Layout: `magic u32, zero u32, ids u64, zero to 64; summary: a bit for each word; a bit for each id`.
//!
//! Order: the writer stores the record, then sets the id's bit, then (if the word was 0) the
//! word's bit in the summary. The taker swaps the summary with 0, then each word it names with
//! 0, *then* copies the records. Setting and taking are locked instructions on one word each, so
//! a record stored before its bit is seen by whoever takes the bit; a change that comes later
//! sets the bit again. Order of takers cannot matter and overflow does not exist.
//!
//! Failure: a writer that dies between record and bit has changed a record silently: a dead
//! party's marks are not trusted, its side is made anew. A taker that dies has taken bits it did
//! not copy: the next one copies everything.

use core::ops::Range;

use super::{TableError, check_number};
use crate::region::Region;
use crate::sync::{AtomicU64, Ordering};

const MAGIC: u32 = u32::from_le_bytes(*b"drt1");
const HEADER: usize = 64;
const IDS_AT: usize = 8;
const BITS: usize = 64;

/// The dirty ids of one table.
#[derive(Clone, Copy)]
pub struct Dirty {
    ids: u32,
    summary: &'static [AtomicU64],
    words: &'static [AtomicU64],
}

impl Dirty {
    /// Bytes for `ids` ids.
    pub const fn bytes_for(ids: u32) -> usize {
        HEADER + 8 * (words_for(ids).div_ceil(BITS) + words_for(ids))
    }

    /// Makes the bitmap with nothing marked, in a zeroed region nobody else uses yet.
    pub fn create(region: Region, ids: u32) -> Result<Dirty, TableError> {
        region.slice(0, Self::bytes_for(ids))?;
        region.u64(IDS_AT).store(ids.into(), Ordering::Relaxed);
        region.u32(0).store(MAGIC, Ordering::Release);
        Self::attach(region)
    }

    /// Opens the bitmap that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<Dirty, TableError> {
        region.slice(0, HEADER)?;
        let found = region.u32(0).load(Ordering::Acquire);
        if found != MAGIC {
            let wanted = MAGIC;
            return Err(TableError::Kind { found, wanted });
        }
        let ids = region.u64(IDS_AT).load(Ordering::Relaxed);
        let ids = check_number("ids of a bitmap", ids, 0, u32::MAX.into())? as u32;
        let region = region.slice(0, Self::bytes_for(ids))?;
        let summary = words_for(ids).div_ceil(BITS);
        Ok(Dirty {
            ids,
            summary: region.u64s(HEADER, summary),
            words: region.u64s(HEADER + 8 * summary, words_for(ids)),
        })
    }

    /// Ids it covers.
    pub fn ids(&self) -> u32 {
        self.ids
    }

    /// Marks an id, after the store of its record.
    ///
    /// # Panics
    /// When there is no such id.
    #[inline]
    pub fn mark(&self, id: u32) {
        let (word, bit) = (id as usize / BITS, id as usize % BITS);
        let before = self.words[word].fetch_or(1 << bit, Ordering::AcqRel);
        if before == 0 {
            self.summary[word / BITS].fetch_or(1 << (word % BITS), Ordering::AcqRel);
        }
    }

    /// Takes all marks of one word of 64 ids.
    ///
    /// # Panics
    /// When there is no such word.
    pub fn take(&self, word: usize) -> u64 {
        self.words[word].swap(0, Ordering::AcqRel)
    }

    /// Takes all marks; `visit` copies what it is told. Returns how many there were.
    pub fn drain(&self, visit: impl FnMut(u32)) -> u64 {
        self.drain_range(0..self.ids, visit)
    }

    /// Takes the marks of a range of ids that begins and ends at a multiple of 64 (or at the last
    /// id): an extent of one shard.
    ///
    /// # Panics
    /// When the range leaves the ids, or begins inside a word.
    pub fn drain_range(&self, range: Range<u32>, mut visit: impl FnMut(u32)) -> u64 {
        assert!(range.end <= self.ids, "ids {range:?} of {}", self.ids);
        assert!(range.start.is_multiple_of(64), "ids {range:?}");
        let first = range.start as usize / BITS;
        let last = (range.end as usize).div_ceil(BITS);
        let mut drained = 0;
        let mut at = first;
        while at < last {
            let next = ((at / BITS + 1) * BITS).min(last);
            let named = self.take_summary(at, next);
            for bit in bits(named) {
                let word = at / BITS * BITS + bit;
                for id in bits(self.take(word)) {
                    visit((word * BITS + id) as u32);
                    drained += 1;
                }
            }
            at = next;
        }
        drained
    }

    /// Marked ids; a snapshot.
    pub fn len(&self) -> u64 {
        let words = self.words.iter();
        words
            .map(|word| u64::from(word.load(Ordering::Relaxed).count_ones()))
            .sum()
    }

    /// Whether nothing is marked.
    pub fn is_empty(&self) -> bool {
        self.summary
            .iter()
            .all(|word| word.load(Ordering::Relaxed) == 0)
    }

    /// Forgets all marks, at the beginning of a copy of everything. It looks at every word, so a
    /// death between a word and its summary does no harm after this.
    pub fn clear(&self) {
        for word in self.summary.iter().chain(self.words) {
            word.swap(0, Ordering::AcqRel);
        }
    }

    /// Takes the summary bits of the words `from..to`, which share one summary word.
    fn take_summary(&self, from: usize, to: usize) -> u64 {
        let summary = &self.summary[from / BITS];
        if summary.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        let below = |n: usize| if n == BITS { u64::MAX } else { (1 << n) - 1 };
        let mask = below(to - from / BITS * BITS) & !below(from % BITS);
        summary.fetch_and(!mask, Ordering::AcqRel) & mask
    }
}

impl core::fmt::Debug for Dirty {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Dirty({} of {} ids)", self.len(), self.ids)
    }
}

const fn words_for(ids: u32) -> usize {
    (ids as usize).div_ceil(BITS)
}

/// The positions of the bits that are set.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(bit)
    })
}
