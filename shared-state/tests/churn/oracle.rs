//! What a reader may see, without a lock: for each key the number of the last change that had begun and of the last that
//! was done.
//!
//! A change of a key adds one to its number; at odd numbers the key is there, with a value made of key and number.
//! The writer stores `begun`, changes the structure, stores `done`. A reader loads `done`, looks up, loads `begun`:
//! what it found must be the state after one of the changes `done..=begun`. So an entry that was taken back before
//! the lookup began is a failure, at once and not only after its grace period.

use core::ops::RangeInclusive;

use baton_shared_state::Region;
use baton_shared_state::sync::{AtomicU64, Ordering, fence};

/// The structures, and what of them has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Table,
    Routes,
    Routes6,
    Rules,
}

impl Kind {
    pub(crate) const ALL: [Kind; 4] = [Kind::Table, Kind::Routes, Kind::Routes6, Kind::Rules];
}

/// Keys of each structure.
pub(crate) const KEYS: usize = 64;
/// Routes that cover the keys, a quarter of them each.
pub(crate) const COVERS: usize = 4;
const NUMBERED: usize = KEYS + COVERS;
const WORDS: usize = 2;

/// The numbers of all keys.
#[derive(Clone, Copy)]
pub(crate) struct Oracle {
    words: Region,
}

impl Oracle {
    pub(crate) const BYTES: usize = Kind::ALL.len() * NUMBERED * WORDS * 8;

    pub(crate) fn new(words: Region) -> Oracle {
        Oracle { words }
    }

    /// Makes a change; `make` is told its number, and says whether there was room for it.
    pub(crate) fn change(&self, kind: Kind, key: usize, make: impl FnOnce(u64) -> bool) -> bool {
        let done = self.word(kind, key, 1).load(Ordering::SeqCst);
        self.word(kind, key, 0).store(done + 1, Ordering::SeqCst);
        let made = make(done + 1);
        let which = if made { 1 } else { 0 };
        let number = if made { done + 1 } else { done };
        self.word(kind, key, which).store(number, Ordering::SeqCst);
        made
    }

    /// Before the lookups: the last change that was done, of each key (and of each cover, behind them).
    pub(crate) fn before(&self, kind: Kind) -> [u64; NUMBERED] {
        let done = core::array::from_fn(|key| self.word(kind, key, 1).load(Ordering::SeqCst));
        fence(Ordering::SeqCst);
        done
    }

    /// After the lookups: the changes whose outcome may have been seen.
    pub(crate) fn after(
        &self,
        kind: Kind,
        before: &[u64; NUMBERED],
    ) -> [RangeInclusive<u64>; NUMBERED] {
        fence(Ordering::SeqCst);
        core::array::from_fn(|key| before[key]..=self.word(kind, key, 0).load(Ordering::SeqCst))
    }

    fn word(&self, kind: Kind, key: usize, which: usize) -> &'static AtomicU64 {
        assert!(key < NUMBERED);
        let at = (kind as usize * NUMBERED + key) * WORDS + which;
        self.words.u64(at * 8)
    }
}

/// Whether a key is there after change `number`.
pub(crate) fn is_there(number: u64) -> bool {
    number % 2 == 1
}

/// What a reader counts, where its parent sees it.
#[derive(Clone, Copy)]
pub(crate) struct Stats {
    words: Region,
}

impl Stats {
    pub(crate) const BYTES: usize = 256;
    const BESIDE: usize = 0;
    const CHANGES: usize = 32;
    const LOOKUPS: usize = 64;
    const MAPPED_AT: usize = 96;
    const LOOKS_IN_HOLD: usize = 104;

    pub(crate) fn new(words: Region) -> Stats {
        Stats { words }
    }

    /// Counts lookups, those of them beside a change, and those that found something new.
    pub(crate) fn count(&self, kind: Kind, [lookups, beside, changes]: [u64; 3]) {
        let parts = [Self::LOOKUPS, Self::BESIDE, Self::CHANGES];
        for (part, n) in parts.into_iter().zip([lookups, beside, changes]) {
            add(self.words.u64(part + 8 * kind as usize), n);
        }
    }

    pub(crate) fn changes(&self, kind: Kind) -> u64 {
        self.load(Self::CHANGES + 8 * kind as usize)
    }

    pub(crate) fn lookups(&self, kind: Kind) -> u64 {
        self.load(Self::LOOKUPS + 8 * kind as usize)
    }

    pub(crate) fn beside(&self, kind: Kind) -> u64 {
        self.load(Self::BESIDE + 8 * kind as usize)
    }

    /// Whether it has met enough: changes of each structure, and some while it looked.
    pub(crate) fn has_met(&self, changes: u64) -> bool {
        let beside: u64 = Kind::ALL.map(|kind| self.beside(kind)).iter().sum();
        self.least_changes() >= changes && beside > 0
    }

    /// Of the structure of which it has met the fewest.
    pub(crate) fn least_changes(&self) -> u64 {
        let changes = Kind::ALL.map(|kind| self.changes(kind));
        changes.into_iter().min().unwrap_or(0)
    }

    pub(crate) fn set_mapped_at(&self, address: u64) {
        self.words
            .u64(Self::MAPPED_AT)
            .store(address, Ordering::SeqCst);
    }

    pub(crate) fn mapped_at(&self) -> u64 {
        self.load(Self::MAPPED_AT)
    }

    /// It stays in its burst and looks at what it holds.
    pub(crate) fn count_look_in_hold(&self) {
        add(self.words.u64(Self::LOOKS_IN_HOLD), 1);
    }

    pub(crate) fn looks_in_hold(&self) -> u64 {
        self.load(Self::LOOKS_IN_HOLD)
    }

    fn load(&self, at: usize) -> u64 {
        self.words.u64(at).load(Ordering::SeqCst)
    }
}

/// One process counts, another looks.
fn add(word: &AtomicU64, n: u64) {
    word.store(word.load(Ordering::Relaxed) + n, Ordering::SeqCst);
}
