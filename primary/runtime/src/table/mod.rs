//! A table whose rows outlive the process: key -> stable id -> record and hot words.
//!
//! ```text
//!   NAME        records V by id       as the field says (migrate, adopt, ...)
//!   NAME.key    keys, then states     adopt      a changed key has no path
//!   NAME.hot    counters, last seen   carry      NAME.index  hash index        adopt
//!   NAME.ids    free ids, a shard     adopt      NAME.dirty  changed ids       adopt
//! ```
//! Invariants: T1 ids are the same in every generation; keys, index and ids are used by both.
//! T2 while [`Transition::writes_through`], a record is stored in the older generation too, before
//! what publishes it. T3 a changed id is marked after its record's store, while somebody copies.
//!
//! Order of a new row: record (both generations), hot words, key and state, index entry, mark. Of a
//! removed one: index entry, state, id. Failure: see the parts; [`crate::zone::Live::gain`] after a death makes
//! index and free list of the shard anew from the states.

mod live;
mod lookup;
mod second;
mod zones;

pub use second::{Leads, SecondIndex};
pub use zones::places;

use crate::transition::{Fold, Transition};
use crate::zone::Previous;
use baton_schema::Record;
use baton_shared_state::sync::{AtomicU32, Ordering, fence};
use baton_shared_state::table::{
    Dirty, Full, Hot, Hot64, HotWords, IdShard, IdSpace, IndexShard, Keys, NO_ID, Records,
};
use core::ops::Range;
use std::sync::Arc;

/// A shard's view of a table; `K` is the key, `V` what the program stores, `H` what baton counts.
pub struct Table<K, V, H = Hot64> {
    ids: IdShard,
    space: IdSpace,
    ranges: Vec<Range<u32>>,
    gains: u32,
    ended: u32,
    keys: Keys<K>,
    records: Records<V>,
    hot: Hot<H>,
    index: IndexShard,
    dirty: Dirty,
    tracking: &'static AtomicU32,
    /// The older generation of the records, while an upgrade is under way.
    older: Option<Previous>,
    /// The older generation of the hot words, likewise.
    older_hot: Option<Previous>,
    transition: Arc<Transition>,
    now_s: u32,
    fold_at: u32,
    fold_way: Fold,
    copied: bool,
    /// Counted rows are marked too: their counters are being folded back.
    note_counted: bool,
}

impl<K, V, H> core::fmt::Debug for Table<K, V, H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Table")
            .field("rows", &self.index.len())
            .finish_non_exhaustive()
    }
}

/// So many inserts ahead the row of an id is fetched.
const IDS_AHEAD: u32 = 4;

/// Bytes of the largest record that is written through.
const MOST_BYTES: usize = 512;

impl<K: Record, V: Record, H: HotWords> Table<K, V, H> {
    /// The hash of a key in this table.
    #[inline]
    pub fn hash(&self, key: &K) -> u64 {
        self.index.hash(key.as_bytes())
    }

    /// The record of a key, made by `first` if there is none.
    ///
    /// # Errors
    /// [`Full`] when neither an id nor an index entry is free.
    pub fn find_or_insert(&mut self, key: K, first: impl FnOnce() -> V) -> Result<V, Full> {
        if let Some((_, value)) = self.find(&key) {
            return Ok(value);
        }
        let value = first();
        self.insert(key, value)?;
        Ok(value)
    }

    /// Makes a row for a key that has none; gives its id.
    ///
    /// # Errors
    /// [`Full`] when neither an id nor an index entry is free.
    pub fn insert(&mut self, key: K, value: V) -> Result<u32, Full> {
        let id = self.ids.alloc().ok_or(Full {
            entries: self.index.len(),
        })?;
        self.keys.prefetch_slot(self.ids.upcoming(IDS_AHEAD));
        self.store(id, &value);
        self.hot.start(id, self.now_s);
        if let (true, Some(older)) = (self.transition.writes_through(), &self.older_hot) {
            write_down(older, id, self.hot.read(id).as_bytes());
        }
        self.keys.publish(id, &key);
        if let Err(full) = self.index.insert(self.hash(&key), id) {
            self.keys.unpublish(id);
            self.ids.free(id);
            return Err(full);
        }
        self.mark(id);
        if self.note_counted {
            self.dirty.mark(id);
        }
        Ok(id)
    }

    /// Key and record of a live row.
    #[inline]
    pub fn get(&self, id: u32) -> Option<(K, V)> {
        Some((self.keys.read(id)?, self.records.read(id)))
    }

    /// The record of a row known to be live.
    #[inline]
    pub fn value(&self, id: u32) -> V {
        self.records.read(id)
    }

    /// The first eight bytes of the record of a row known to be live: one load, where that says enough.
    #[inline]
    pub fn first_word(&self, id: u32) -> u64 {
        self.records.first_word(id)
    }

    /// Brings key, record and hot words of a row into the processor's cache; [`NO_ID`] is no row.
    #[inline]
    pub fn prefetch(&self, id: u32) {
        self.keys.prefetch_slot(id);
        self.records.prefetch(id);
        self.hot.prefetch(id);
    }

    /// Changes the record of a live row.
    #[inline]
    pub fn rewrite(&mut self, id: u32, value: &V) {
        self.store(id, value);
        self.mark(id);
    }

    /// Ends a row; whether it was live.
    pub fn remove(&mut self, id: u32) -> bool {
        let Some(key) = self.keys.read(id) else {
            return false;
        };
        self.index.remove(self.hash(&key), id);
        self.keys.unpublish(id);
        self.ended = self.ended.wrapping_add(1);
        self.mark(id);
        self.ids.free(id);
        true
    }

    /// Counts packets of a row.
    #[inline]
    pub fn count(&self, id: u32, packets: u64, bytes: u64, now_s: u32) {
        self.hot.count(id, packets, bytes, now_s);
        if self.note_counted {
            self.dirty.mark(id);
        }
    }

    /// The second in which a row last had a packet, in this generation or the one before.
    #[inline]
    pub fn last_seen(&self, id: u32) -> u32 {
        match &self.older_hot {
            Some(older) => self.sum(id, older).last_seen(),
            None => self.hot.last_seen(id),
        }
    }

    /// Packets and bytes of a row.
    pub fn counts(&self, id: u32) -> (u64, u64) {
        match &self.older_hot {
            Some(older) => self.sum(id, older).counts(),
            None => self.hot.read(id).counts(),
        }
    }

    /// Live rows of this shard.
    #[inline]
    pub fn len(&self) -> u32 {
        self.index.len() as u32
    }

    /// Whether the shard has no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ids of this shard.
    pub fn capacity(&self) -> u32 {
        self.ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum()
    }

    /// Visits up to `n` ids from a cursor on and gives the next cursor: a round of the whole shard
    /// in small steps. `visit` may not change the table; it collects.
    pub fn scan(&self, cursor: u32, n: u32, mut visit: impl FnMut(u32, K, V)) -> u32 {
        let capacity = self.capacity();
        let mut at = if cursor < capacity { cursor } else { 0 };
        for _ in 0..n.min(capacity) {
            let id = self.id_at(at);
            if let Some(key) = self.keys.read(id) {
                visit(id, key, self.records.read(id));
            }
            at = if at + 1 < capacity { at + 1 } else { 0 };
        }
        at
    }

    /// The time that new rows begin with, and packets found in bulk are counted at.
    pub fn set_time(&mut self, now_s: u32) {
        self.now_s = now_s;
    }

    /// How often this process has got the shard: when it changes, others have changed rows meanwhile.
    #[inline]
    pub fn gains(&self) -> u32 {
        self.gains
    }

    /// The `at`-th id of this shard, of [`Table::capacity`]; [`NO_ID`] where there is none.
    #[inline]
    pub fn id_at(&self, mut at: u32) -> u32 {
        for range in &self.ranges {
            let len = range.end - range.start;
            if at < len {
                return range.start + at;
            }
            at -= len;
        }
        NO_ID
    }

    /// The number of an id among those of this shard: [`Table::id_at`] backwards. [`NO_ID`] for another shard's.
    #[inline]
    pub fn place_of(&self, id: u32) -> u32 {
        let mut before = 0;
        for range in &self.ranges {
            if range.contains(&id) {
                return before + (id - range.start);
            }
            before += range.end - range.start;
        }
        NO_ID
    }

    fn sum(&self, id: u32, older: &Previous) -> H {
        self.hot
            .sum(id, &zones::raw_hot(older, self.space.total()), &older.path)
    }

    /// Stores a record, then its older form while that must stay current (T2).
    #[inline]
    fn store(&mut self, id: u32, value: &V) {
        self.records.write(id, value);
        if let (true, Some(older)) = (self.transition.writes_through(), &self.older) {
            fence(Ordering::SeqCst);
            write_down(older, id, value.as_bytes());
        }
    }

    /// Marks an id, if somebody copies (T3).
    #[inline]
    fn mark(&self, id: u32) {
        if self.tracking.load(Ordering::Relaxed) != 0 {
            self.dirty.mark(id);
        }
    }
}

/// Stores a record in an older generation, as that knows it.
fn write_down(older: &Previous, id: u32, record: &[u8]) {
    let mut bytes = [0; MOST_BYTES];
    older
        .path
        .down(record, &mut bytes[..older.path.from_size()]);
    older.region.copy_in(
        id as usize * older.stride as usize,
        &bytes[..older.path.from_size()],
    );
}

#[cfg(test)]
mod tests;
