//! Carried counters: those of the frozen older generation and those since, put together once.
//!
//! [`Hot::fold_up`] adds the old counts to a row at commit, [`Hot::fold_down`] stores what both have counted in the old
//! array at rollback, [`Hot::sum`] shows both together in between.
//!
//! States of a row, in its flags
//! ```text
//! (none) --> ADDING | two bits --> FRESH                          up
//! (none) --> ADDING | two bits --> TOTAL --> DRAINING --> (none)  down; a FRESH row begins at DRAINING
//! ```
//! - F1 Adding `n` to a word turns the bit of `n` that is lowest of those set. `ADDING` comes with what that bit was
//!   before, of packets and of bytes: so each is added once, however often the fold is begun.
//! - F2 `TOTAL`: the row has all counts, the old array is stored from it. `DRAINING`: the old array has them, the row goes
//!   to zero.
//!
//! Order: one writer, the shard's owner; each store follows the one before it (Release).
//!
//! Failure: whoever folds again goes on from the row's state; nothing is added twice or lost. That holds for a
//! row that is folded again before its owner counts on it.

use baton_schema::Path;

use super::RawRecords;
use super::hot::{FRESH, Hot, HotWords};
use crate::sync::Ordering::{Relaxed, Release};

const ADDING: u32 = 1 << 8;
const PACKETS_BIT: u32 = 1 << 9;
const BYTES_BIT: u32 = 1 << 10;
const TOTAL: u32 = 1 << 11;
const DRAINING: u32 = 1 << 12;
const STATES: u32 = ADDING | PACKETS_BIT | BYTES_BIT | TOTAL | DRAINING;

/// Most bytes of hot words in any version.
const MOST_BYTES: usize = 64;

impl<H: HotWords> Hot<H> {
    /// What a row has counted in all: on the frozen older generation and since.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn sum(&self, id: u32, old: &RawRecords, path: &Path) -> H {
        let since = self.read(id);
        if self.flags(id) & (FRESH | TOTAL) != 0 {
            return since;
        }
        let mut total = read_up::<H>(id, old, path);
        total.merge(&since);
        total
    }

    /// At commit: adds the frozen older generation's counts to a row, once.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn fold_up(&self, id: u32, old: &RawRecords, path: &Path) {
        if self.flags(id) & FRESH == 0 {
            let before = read_up::<H>(id, old, path);
            self.add_once(id, &before);
            let flags = (self.flags(id) | flags_of(&before)) & !STATES;
            self.set_flags(id, flags | FRESH);
        }
    }

    /// At rollback: stores all that a row has counted in the older generation, and begins again at zero.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn fold_down(&self, id: u32, old: &RawRecords, path: &Path) {
        if self.flags(id) & DRAINING == 0 {
            let mut flags = FRESH;
            if self.flags(id) & FRESH == 0 {
                let before = read_up::<H>(id, old, path);
                flags = flags_of(&before);
                if self.flags(id) & TOTAL == 0 {
                    self.add_once(id, &before);
                    self.set_flags(id, self.flags(id) & !STATES | TOTAL);
                }
            }
            flags |= self.flags(id) & !(FRESH | STATES);
            let mut total = [0; MOST_BYTES];
            let total = &mut total[..path.to_size()];
            total.copy_from_slice(self.read(id).as_bytes());
            total[H::FLAGS..H::FLAGS + 4].copy_from_slice(&flags.to_le_bytes());
            let mut bytes = [0; MOST_BYTES];
            let bytes = &mut bytes[..path.from_size()];
            path.down(total, bytes);
            old.write(id, bytes);
            self.set_flags(id, self.flags(id) | DRAINING);
        }
        let at = self.at(id);
        self.set(at + H::PACKETS, 0);
        self.set(at + H::BYTES, 0);
        self.set_flags(id, 0);
    }

    /// Adds the counts of `before` to a row whose fold may have been begun already (F1).
    fn add_once(&self, id: u32, before: &H) {
        let at = self.at(id);
        let words = [at + H::PACKETS, at + H::BYTES];
        let counts = [before.counts().0, before.counts().1];
        let bits = [PACKETS_BIT, BYTES_BIT];
        let turned = |i: usize| self.get(words[i]) >> counts[i].trailing_zeros() & 1;
        let counted = |i: &usize| counts[*i] != 0;
        if self.flags(id) & ADDING == 0 {
            let marks = (0..2).filter(counted).filter(|i| turned(*i) != 0);
            let marks = marks.fold(ADDING, |marks, i| marks | bits[i]);
            self.set_flags(id, self.flags(id) & !STATES | marks);
        }
        let flags = self.flags(id);
        for i in (0..2).filter(counted) {
            if (turned(i) != 0) == (flags & bits[i] != 0) {
                self.add(words[i], counts[i]);
            }
        }
        let seen = self.word(at + H::LAST_SEEN);
        let latest = seen.load(Relaxed).max(before.last_seen());
        seen.store(latest, Release);
    }

    fn set_flags(&self, id: u32, flags: u32) {
        self.word(self.at(id) + H::FLAGS).store(flags, Release);
    }
}

fn flags_of<H: HotWords>(words: &H) -> u32 {
    let bytes = &words.as_bytes()[H::FLAGS..H::FLAGS + 4];
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

fn read_up<H: HotWords>(id: u32, old: &RawRecords, path: &Path) -> H {
    let mut stored = [0; MOST_BYTES];
    let stored = &mut stored[..path.from_size()];
    old.read(id, stored);
    let mut bytes = [0; MOST_BYTES];
    let bytes = &mut bytes[..path.to_size()];
    path.up(stored, bytes);
    H::read_from_bytes(bytes).expect("a path ends at the record it was asked for")
}
