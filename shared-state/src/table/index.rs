//! The hash index: hash -> id, a sub-table for each shard.
//!
//! Layout
//! ```text
//!  0 magic, shards, lines of a shard, zero, seed u64
//! per shard: live u64, zero to 64; lines x 64 bytes, as `line` says
//! ```
//! The home line of a hash follows from its high half, the tag is its low 16 bits (made odd). From the home
//! line a path leads over a few lines at a distance that the low half gives, then over all the rest.
//! A line's `passed` counts the entries that found it full and lie further on in their path, one
//! counter for each value of two bits of the hash: a search ends at the first line that
//! nobody of its kind passed. So there are no tombstones, a removal leaves no trace, and no entry
//! ever moves. A counter that reaches 255 stays there until the index is rebuilt.
//!
//! Order: one writer for each shard. insert: `passed` of the full lines, then the entry (Release).
//! remove: the entry, then `passed`. A reader checks the key behind an id anyway.
//!
//! Failure: between those stores `passed` is too high, which costs a longer search and nothing
//! else, until [`IndexShard::rebuild`].

use thiserror::Error;

use super::hash::hash_bytes;
use super::line::{ENTRIES, Line, WORDS, tag};
use super::{NO_ID, TableError, check_number};
use crate::limits::MAX_SHARDS;
use crate::region::Region;
use crate::simd::{Path, prefetch};
use crate::sync::{AtomicU64, Ordering};

const MAGIC: u32 = u32::from_le_bytes(*b"idx2");
const HEADER: usize = 64;
const SHARDS_AT: usize = 4;
const LINES_AT: usize = 8;
const SEED_AT: usize = 16;
pub(super) const LINE_BYTES: usize = 64;
/// The fill that [`Index::lines_for`] plans for when all ids are used: all but one entry in 35 are then in their home
/// line, as entries fall into lines (Poisson). At 80 one in 19 would not be, at the cost of a missed line and of a
/// branch foretold wrongly.
const FILL_PERCENT: u64 = 70;
const MAX_LINES: u64 = 1 << 30;
/// Steps of a path that jump, so that full lines do not grow together; the next ones walk.
const JUMPS: usize = 8;
/// 2^32 over the golden ratio: spreads the tag over the distance of a jump.
const GOLDEN: u32 = 0x9e37_79b9;

/// No entry is free in the shard's sub-table.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("index full: all {entries} entries of the shard are used")]
pub struct Full {
    /// Entries of the shard's sub-table.
    pub entries: u64,
}

/// The index of one table.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    region: Region,
    shards: u32,
    lines: u32,
    seed: u64,
}

impl Index {
    /// Lines that `ids` rows of one shard need.
    pub fn lines_for(ids: u32) -> u32 {
        let per_100_lines = ENTRIES as u64 * FILL_PERCENT;
        (u64::from(ids) * 100 / per_100_lines) as u32 + 1
    }

    /// Bytes that an index takes.
    pub fn bytes_for(shards: u16, lines: u32) -> usize {
        HEADER + usize::from(shards) * shard_bytes(lines)
    }

    /// Makes an empty index in a zeroed region nobody else uses yet. `seed` keys the hash.
    pub fn create(region: Region, shards: u16, lines: u32, seed: u64) -> Result<Index, TableError> {
        check_number("shards", shards.into(), 1, MAX_SHARDS as u64)?;
        check_number("lines of a shard", lines.into(), 1, MAX_LINES)?;
        region.slice(0, Self::bytes_for(shards, lines))?;
        region
            .u32(SHARDS_AT)
            .store(shards.into(), Ordering::Relaxed);
        region.u32(LINES_AT).store(lines, Ordering::Relaxed);
        region.u64(SEED_AT).store(seed, Ordering::Relaxed);
        region.u32(0).store(MAGIC, Ordering::Release);
        Self::attach(region)
    }

    /// Opens the index that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<Index, TableError> {
        region.slice(0, HEADER)?;
        let found = region.u32(0).load(Ordering::Acquire);
        if found != MAGIC {
            let wanted = MAGIC;
            return Err(TableError::Kind { found, wanted });
        }
        let number = |at: usize| u64::from(region.u32(at).load(Ordering::Relaxed));
        let shards = check_number("shards", number(SHARDS_AT), 1, MAX_SHARDS as u64)? as u32;
        let lines = check_number("lines of a shard", number(LINES_AT), 1, MAX_LINES)? as u32;
        Ok(Index {
            region: region.slice(0, Self::bytes_for(shards as u16, lines))?,
            shards,
            lines,
            seed: region.u64(SEED_AT).load(Ordering::Relaxed),
        })
    }

    /// The key of the hash function.
    #[inline]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Sub-tables in it.
    pub fn shards(&self) -> u16 {
        self.shards as u16
    }

    /// Lines of each sub-table.
    pub fn lines(&self) -> u32 {
        self.lines
    }

    /// The sub-table of a shard. Only the shard's owner may insert and remove.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn shard(&self, shard: u16) -> IndexShard {
        assert!(u32::from(shard) < self.shards, "shard {shard}");
        let at = HEADER + usize::from(shard) * shard_bytes(self.lines);
        let words = self
            .region
            .u32s(at + LINE_BYTES, self.lines as usize * WORDS);
        IndexShard {
            lines: Line::all(words),
            live: self.region.u64(at),
            seed: self.seed,
            path: Path::best(),
        }
    }
}

const fn shard_bytes(lines: u32) -> usize {
    LINE_BYTES + lines as usize * LINE_BYTES
}

/// The sub-table of one shard.
#[derive(Clone, Copy)]
pub struct IndexShard {
    lines: &'static [Line],
    live: &'static AtomicU64,
    seed: u64,
    path: Path,
}

impl IndexShard {
    /// The hash of a key.
    #[inline(always)]
    pub fn hash(&self, key: &[u8]) -> u64 {
        hash_bytes(self.seed, key)
    }

    /// The id under `hash` for which `same` holds, if there is one.
    #[inline]
    pub fn find(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let home = self.home_line(hash);
        match home.find(hash, &mut same) {
            None if home.is_passed(hash) => self.find_further(hash, same),
            found => found,
        }
    }

    /// Looks in the lines behind the home line, which is full.
    #[cold]
    fn find_further(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        for at in self.path_of(hash).skip(1) {
            let line = &self.lines[at];
            let found = line.find(hash, &mut same);
            if found.is_some() || !line.is_passed(hash) {
                return found;
            }
        }
        None
    }

    /// The id that a hash most likely leads to, its key not compared, or [`NO_ID`].
    #[inline]
    pub fn candidate(&self, hash: u64) -> u32 {
        let home = self.home_line(hash);
        match home.candidates(tag(hash)) {
            0 => self.further(home, hash),
            some => home.first_of(some),
        }
    }

    /// The same of a hash whose home line has none.
    #[inline(always)]
    pub(super) fn further(&self, home: &Line, hash: u64) -> u32 {
        if home.is_passed(hash) {
            return self.candidate_further(hash);
        }
        NO_ID
    }

    /// One in another line.
    #[cold]
    fn candidate_further(&self, hash: u64) -> u32 {
        self.find(hash, |_| true).unwrap_or(NO_ID)
    }

    /// Brings the home line of a hash into the processor's cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&raw const *self.home_line(hash));
    }

    /// Publishes an id under `hash`; its key must be published already. The caller has looked
    /// that it is not there.
    #[inline]
    pub fn insert(&self, hash: u64, id: u32) -> Result<(), Full> {
        debug_assert_ne!(id, NO_ID, "NO_ID is not an id");
        let home = self.home_line(hash);
        match home.empty() {
            Some(at) => home.put(at, hash, id),
            None => self.insert_further(hash, id)?,
        }
        let live = self.live.load(Ordering::Relaxed);
        self.live.store(live + 1, Ordering::Relaxed);
        Ok(())
    }

    /// The same, where the home line is full.
    #[cold]
    #[inline(never)]
    fn insert_further(&self, hash: u64, id: u32) -> Result<(), Full> {
        let Some((steps, line, at)) = self.find_empty(hash) else {
            let entries = (self.lines.len() * ENTRIES) as u64;
            return Err(Full { entries });
        };
        self.pass(hash, steps, 1);
        line.put(at, hash, id);
        Ok(())
    }

    /// Takes an id out; whether it was there.
    #[inline]
    pub fn remove(&self, hash: u64, id: u32) -> bool {
        let home = self.home_line(hash);
        match home.position(hash, id) {
            Some(at) => home.take(at),
            None if !self.remove_further(hash, id) => return false,
            None => {}
        }
        let live = self.live.load(Ordering::Relaxed);
        self.live.store(live.saturating_sub(1), Ordering::Relaxed);
        true
    }

    /// The same, where it is not in the home line.
    #[cold]
    #[inline(never)]
    fn remove_further(&self, hash: u64, id: u32) -> bool {
        let Some((steps, line, at)) = self.find_entry(hash, id) else {
            return false;
        };
        line.take(at);
        self.pass(hash, steps, -1);
        true
    }

    /// Its lines, of which there is at least one.
    #[inline(always)]
    pub(super) fn lines(&self) -> &'static [Line] {
        self.lines
    }

    /// The key of the hash function.
    #[inline]
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// How bursts are looked up.
    #[inline]
    pub(super) fn path(&self) -> Path {
        self.path
    }

    /// The same sub-table by another path; `None` where this machine does not have it.
    pub fn with_path(self, path: Path) -> Option<IndexShard> {
        path.is_available().then_some(IndexShard { path, ..self })
    }

    /// Entries in it.
    pub fn len(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Empties it.
    pub fn clear(&self) {
        self.lines.iter().for_each(Line::clear);
        self.live.store(0, Ordering::Relaxed);
    }

    /// Lines that a search for `hash` looks at when it finds nothing: 1 is the best.
    pub fn probe_length(&self, hash: u64) -> usize {
        let mut path = self.path_of(hash);
        let end = path.position(|at| !self.lines[at].is_passed(hash));
        end.map_or(JUMPS + self.lines.len(), |steps| steps + 1)
    }

    /// The first empty place in the path of a hash, and the steps to its line.
    #[inline]
    fn find_empty(&self, hash: u64) -> Option<(usize, &Line, usize)> {
        let mut path = self.path_of(hash).map(|at| &self.lines[at]).enumerate();
        path.find_map(|(steps, line)| Some((steps, line, line.empty()?)))
    }

    /// The place of the entry of an id, and the steps to its line.
    #[inline]
    fn find_entry(&self, hash: u64, id: u32) -> Option<(usize, &Line, usize)> {
        for (steps, at) in self.path_of(hash).enumerate() {
            let line = &self.lines[at];
            if let Some(place) = line.position(hash, id) {
                return Some((steps, line, place));
            }
            if !line.is_passed(hash) {
                return None;
            }
        }
        None
    }

    /// Counts an entry, that lies so many steps down its path, in (or out of) the lines it passed.
    #[inline]
    fn pass(&self, hash: u64, steps: usize, by: i8) {
        for at in self.path_of(hash).take(steps) {
            self.lines[at].pass(hash, by);
        }
    }

    /// The lines where a hash may lie, the likeliest first; every line is among them.
    #[inline]
    fn path_of(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let lines = self.lines.len();
        let jump = scale((hash as u32).wrapping_mul(GOLDEN), lines);
        let mut next = self.home(hash);
        (0..JUMPS + lines).map(move |step| {
            let at = next;
            next += if step < JUMPS { jump } else { 1 };
            next -= if next >= lines { lines } else { 0 };
            at
        })
    }

    #[inline(always)]
    pub(super) fn home_line(&self, hash: u64) -> &'static Line {
        self.line(self.home(hash))
    }

    #[inline(always)]
    fn line(&self, home: usize) -> &'static Line {
        debug_assert!(home < self.lines.len());
        // SAFETY: `scale` gives a number below that of the lines, of which there is at least one (`Index::attach`).
        unsafe { self.lines.get_unchecked(home) }
    }

    /// The home line follows from the high half of the hash.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        scale((hash >> 32) as u32, self.lines.len())
    }
}

impl core::fmt::Debug for IndexShard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let entries = self.lines.len() * ENTRIES;
        write!(f, "IndexShard({} of {entries})", self.len())
    }
}

/// A number below `n`, as even as `bits` is.
#[inline]
fn scale(bits: u32, n: usize) -> usize {
    ((u64::from(bits) * n as u64) >> 32) as usize
}
