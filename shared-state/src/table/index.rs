//! The hash index: hash -> id, a sub-table for each shard.
//!
//! Layout
//! ```text
//!  0 magic, shards, lines of a shard, zero, seed u64
//! per shard: live u64, zero to 64; lines x 64 bytes:
//!            passed u64 | 7 x ( tag 32 (high half) | id + 1 (low half), 0 = empty )
//! ```
//! The home line of a hash follows from its high half, the tag is its low half. A line's `passed`
//! counts the entries that wanted this line or an earlier one, found it full, and lie further on:
//! a search ends at the first line that nobody passed. So there are no tombstones, removals
//! leave no trace, and no entry ever moves.
//!
//! Order: one writer for each shard. insert: `passed` of the full lines, then the entry (Release).
//! remove: the entry, then `passed`. A reader checks the key behind an id anyway.
//!
//! Failure: between those stores `passed` is too high, which costs a longer search and nothing
//! else, until [`IndexShard::rebuild`].

use thiserror::Error;

use super::{NO_ID, TableError, check_number, prefetch};
use crate::limits::MAX_SHARDS;
use crate::region::Region;
use crate::sync::{AtomicU64, Ordering};

const MAGIC: u32 = u32::from_le_bytes(*b"idx1");
const HEADER: usize = 64;
const SHARDS_AT: usize = 4;
const LINES_AT: usize = 8;
const SEED_AT: usize = 16;
const WORDS: usize = 8;
const ENTRIES: usize = WORDS - 1;
const LINE_BYTES: usize = 64;
/// The fill that [`Index::lines_for`] plans for.
const FILL_PERCENT: u64 = 80;
const MAX_LINES: u64 = 1 << 30;
/// Rows whose lines are fetched ahead in a rebuild.
const AHEAD: usize = 32;

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
            .u64s(at + LINE_BYTES, self.lines as usize * WORDS);
        IndexShard {
            lines: words.as_chunks().0,
            live: self.region.u64(at),
        }
    }
}

const fn shard_bytes(lines: u32) -> usize {
    LINE_BYTES + lines as usize * LINE_BYTES
}

type Line = [AtomicU64; WORDS];

/// The sub-table of one shard.
#[derive(Debug, Clone, Copy)]
pub struct IndexShard {
    lines: &'static [Line],
    live: &'static AtomicU64,
}

impl IndexShard {
    /// The id under `hash` for which `same` holds, if there is one.
    #[inline]
    pub fn find(&self, hash: u64, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        for _ in 0..self.lines.len() {
            let line = &self.lines[at];
            for entry in &line[1..] {
                let entry = entry.load(Ordering::Acquire);
                if let Some(id) = id_if(entry, hash)
                    && same(id)
                {
                    return Some(id);
                }
            }
            if passed(line) == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Looks up a burst: `touch` is told each candidate early, to prefetch what `same(i, id)`
    /// will compare. `out[i]` is the id found for `hashes[i]`, or [`NO_ID`]. Returns how many
    /// were found.
    #[inline]
    pub fn find_burst(
        &self,
        hashes: &[u64],
        touch: impl Fn(u32),
        mut same: impl FnMut(usize, u32) -> bool,
        out: &mut [u32],
    ) -> usize {
        for hash in hashes {
            self.prefetch(*hash);
        }
        for (hash, out) in hashes.iter().zip(&mut *out) {
            *out = self.find(*hash, |_| true).unwrap_or(NO_ID);
            touch(*out);
        }
        let mut found = 0;
        for (i, (hash, out)) in hashes.iter().zip(out).enumerate() {
            if *out != NO_ID && !same(i, *out) {
                *out = self.find(*hash, |id| same(i, id)).unwrap_or(NO_ID);
            }
            found += usize::from(*out != NO_ID);
        }
        found
    }

    /// Brings the home line of a hash into the processor's cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&raw const self.lines[self.home(hash)]);
    }

    /// Publishes an id under `hash`; its key must be published already. The caller has looked
    /// that it is not there.
    #[inline]
    pub fn insert(&self, hash: u64, id: u32) -> Result<(), Full> {
        debug_assert_ne!(id, NO_ID, "NO_ID is not an id");
        let home = self.home(hash);
        let Some((at, slot)) = self.find_empty(home) else {
            let entries = (self.lines.len() * ENTRIES) as u64;
            return Err(Full { entries });
        };
        self.pass(home, at, 1);
        self.lines[at][slot].store(entry(hash, id), Ordering::Release);
        let live = self.live.load(Ordering::Relaxed);
        self.live.store(live + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes an id out; whether it was there.
    #[inline]
    pub fn remove(&self, hash: u64, id: u32) -> bool {
        let home = self.home(hash);
        let Some((at, slot)) = self.find_entry(home, entry(hash, id)) else {
            return false;
        };
        self.lines[at][slot].store(0, Ordering::Release);
        self.pass(home, at, -1);
        let live = self.live.load(Ordering::Relaxed);
        self.live.store(live.saturating_sub(1), Ordering::Relaxed);
        true
    }

    /// Entries in it.
    pub fn len(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes it anew from all live rows of the shard; returns how many there were.
    pub fn rebuild(&self, rows: impl IntoIterator<Item = (u64, u32)>) -> Result<u64, Full> {
        self.clear();
        let mut rows = rows.into_iter();
        let mut ahead = [(0, 0); AHEAD];
        loop {
            let mut n = 0;
            for (to, row) in ahead.iter_mut().zip(&mut rows) {
                *to = row;
                self.prefetch(row.0);
                n += 1;
            }
            for (hash, id) in &ahead[..n] {
                self.insert(*hash, *id)?;
            }
            if n < AHEAD {
                return Ok(self.len());
            }
        }
    }

    /// Empties it.
    pub fn clear(&self) {
        for word in self.lines.iter().flatten() {
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Release);
            }
        }
        self.live.store(0, Ordering::Relaxed);
    }

    /// Lines from the home line to the one where a search for `hash` ends: 1 is the best.
    pub fn probe_length(&self, hash: u64) -> usize {
        let mut at = self.home(hash);
        for n in 1..self.lines.len() {
            if passed(&self.lines[at]) == 0 {
                return n;
            }
            at = self.after(at);
        }
        self.lines.len()
    }

    /// The first empty entry from `home` on.
    #[inline]
    fn find_empty(&self, home: usize) -> Option<(usize, usize)> {
        let mut at = home;
        for _ in 0..self.lines.len() {
            if let Some(slot) = position(&self.lines[at], 0) {
                return Some((at, slot));
            }
            at = self.after(at);
        }
        None
    }

    #[inline]
    fn find_entry(&self, home: usize, wanted: u64) -> Option<(usize, usize)> {
        let mut at = home;
        for _ in 0..self.lines.len() {
            let line = &self.lines[at];
            if let Some(slot) = position(line, wanted) {
                return Some((at, slot));
            }
            if passed(line) == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// Counts an entry that lies at `to` in (or out of) the lines it passed.
    #[inline]
    fn pass(&self, home: usize, to: usize, by: i64) {
        let mut at = home;
        while at != to {
            let word = &self.lines[at][0];
            let n = word.load(Ordering::Relaxed).saturating_add_signed(by);
            word.store(n, Ordering::Release);
            at = self.after(at);
        }
    }

    /// The home line: the high half of the hash, scaled to the number of lines.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((hash >> 32) * self.lines.len() as u64 >> 32) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.lines.len() {
            0
        } else {
            at + 1
        }
    }
}

#[inline]
fn entry(hash: u64, id: u32) -> u64 {
    hash << 32 | u64::from(id + 1)
}

#[inline]
fn id_if(entry: u64, hash: u64) -> Option<u32> {
    let id = entry as u32;
    (entry >> 32 == hash & u64::from(u32::MAX) && id != 0).then(|| id - 1)
}

#[inline]
fn passed(line: &Line) -> u64 {
    line[0].load(Ordering::Acquire)
}

/// The entry of a line that holds `wanted`, counted from the line's first word.
#[inline]
fn position(line: &Line, wanted: u64) -> Option<usize> {
    let entries = line[1..].iter();
    let mut entries = entries.map(|entry| entry.load(Ordering::Relaxed));
    entries.position(|entry| entry == wanted).map(|i| i + 1)
}
