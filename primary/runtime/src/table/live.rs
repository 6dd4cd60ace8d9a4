//! A table through an upgrade: copied beside its owner, caught up at the swap, folded at the end.

use super::{MOST_BYTES, Table, zones};
use crate::transition::Fold;
use crate::zone::{Copied, Gain, Live, Previous, ZoneError};
use baton_schema::Record;
use baton_shared_state::sync::{Ordering, fence};
use baton_shared_state::table::HotWords;
use std::collections::HashMap;

/// A round of folding is spread over no more ticks than this.
const FOLD_TICKS: u32 = 64;

impl<K: Record, V: Record, H: HotWords> Table<K, V, H> {
    /// Copies one record up from the older generation; whether it comes back as it went.
    fn copy_up(&self, id: u32, older: &Previous) -> bool {
        let (from, to) = (older.path.from_size(), older.path.to_size());
        let at = id as usize * older.stride as usize;
        let (mut old, mut new, mut back) = ([0; MOST_BYTES], [0; MOST_BYTES], [0; MOST_BYTES]);
        older.region.copy_out(at, &mut old[..from]);
        older.path.up(&old[..from], &mut new[..to]);
        older.path.down(&new[..to], &mut back[..from]);
        self.records.raw().write(id, &new[..to]);
        old[..from] == back[..from]
    }

    /// Copies one record down while its owner may change it. The owner stores the record first and its
    /// older form second; so a copy made of an old record shows when the record is read again.
    fn copy_one_down(&self, id: u32, older: &Previous) {
        let (from, to) = (older.path.from_size(), older.path.to_size());
        let raw = self.records.raw();
        let (mut new, mut again, mut old) = ([0; MOST_BYTES], [0; MOST_BYTES], [0; MOST_BYTES]);
        raw.read(id, &mut new[..to]);
        loop {
            older.path.down(&new[..to], &mut old[..from]);
            older
                .region
                .copy_in(id as usize * older.stride as usize, &old[..from]);
            fence(Ordering::SeqCst);
            raw.read(id, &mut again[..to]);
            if again[..to] == new[..to] {
                return;
            }
            new = again;
        }
    }

    /// Copies everything that is live, or only what was marked since; gives count and differences.
    fn copy(&self, older: &Previous, everything: bool) -> Copied {
        let mut copied = Copied::default();
        let mut one = |id: u32| {
            if self.keys.is_live(id) {
                copied.records += 1;
                copied.differences += u64::from(!self.copy_up(id, older));
            }
        };
        for range in self.ranges.clone() {
            if everything {
                range.clone().for_each(&mut one);
            } else {
                self.dirty.drain_range(range, &mut one);
            }
        }
        copied.bytes = copied.records * older.path.to_size() as u64;
        copied
    }

    /// Folds the carried counters of the next rows; `true` when all have had their turn.
    fn fold_some(&mut self, limit: u32, way: Fold) -> bool {
        let Some(older) = &self.older_hot else {
            return true;
        };
        let old = zones::raw_hot(older, self.space.total());
        let capacity = self.capacity();
        for _ in 0..limit.max(capacity / FOLD_TICKS) {
            if self.fold_at >= capacity {
                return true;
            }
            let id = self.id_at(self.fold_at);
            if self.keys.is_live(id) {
                match way {
                    Fold::Back => self.hot.fold_down(id, &old, &older.path),
                    Fold::Up | Fold::No => self.hot.fold_up(id, &old, &older.path),
                }
            }
            self.fold_at += 1;
        }
        false
    }

    /// Folds back what has been counted since the row's turn: only that is left to do while nobody polls.
    fn fold_back_touched(&mut self) {
        let Some(older) = &self.older_hot else {
            return;
        };
        let old = zones::raw_hot(older, self.space.total());
        for range in self.ranges.clone() {
            self.dirty.drain_range(range, |id| {
                if self.keys.is_live(id) {
                    self.hot.fold_down(id, &old, &older.path);
                }
            });
        }
    }

    /// Makes index and free ids anew from the states of the rows.
    fn rebuild(&mut self) {
        let rows: Vec<(u64, u32)> = self
            .ranges
            .iter()
            .cloned()
            .flatten()
            .filter_map(|id| self.keys.read(id).map(|key| (self.hash(&key), id)))
            .collect();
        // As many entries as ids: what was indexed before fits again.
        let _ = self.index.rebuild(rows);
        self.ids.rebuild(|id| !self.keys.is_live(id));
    }
}

impl<K: Record, V: Record, H: HotWords> Live for Table<K, V, H> {
    fn track(&self, on: bool) {
        if on && self.older.is_some() {
            self.dirty.clear();
            self.tracking.store(1, Ordering::Release);
        } else if !on {
            self.tracking.store(0, Ordering::Release);
        }
    }

    fn precopy(&mut self) -> Option<(&'static str, Copied)> {
        let older = self.older.clone()?;
        let everything = !core::mem::replace(&mut self.copied, true);
        Some((V::NAME, self.copy(&older, everything)))
    }

    fn export(&mut self, older: &HashMap<String, Previous>) {
        let hot = format!("{}.hot", V::NAME);
        self.older = older.get(V::NAME).cloned();
        self.older_hot = older.get(&hot).cloned();
        self.fold_at = 0;
        self.note_counted = false;
        if self.older.is_some() {
            // The successor marks what it changes, for the way back.
            self.tracking.store(1, Ordering::Release);
        }
    }

    fn copy_down(&mut self) -> u64 {
        let Some(older) = self.older.clone() else {
            return 0;
        };
        let mut copied = 0;
        for id in self.ranges.iter().cloned().flatten() {
            if self.keys.is_live(id) {
                self.copy_one_down(id, &older);
                copied += 1;
            }
        }
        copied
    }

    fn expect_gain(&self) {
        if self.older.is_some() {
            core::hint::black_box(self.dirty.is_empty());
        }
    }

    fn gain(&mut self, how: Gain) -> u64 {
        self.gains = self.gains.wrapping_add(1);
        if how == Gain::FromDead {
            self.rebuild();
        }
        let Some(older) = self.older.take() else {
            return 0;
        };
        // What a dead owner changed without a mark is found only by copying all of it.
        let delta = self.copy(&older, how == Gain::FromDead).records;
        self.older = Some(older);
        delta
    }

    fn expect_release(&mut self) {
        if self.transition.fold() == Fold::Back {
            self.fold_back_touched();
        }
    }

    fn release(&mut self) {
        self.expect_release();
    }

    fn fold(&mut self, limit: u32) -> bool {
        if self.older.is_some() && self.transition.soaking() {
            // Every shard has moved: nobody copies any more.
            self.tracking.store(0, Ordering::Relaxed);
        }
        let way = self.transition.fold();
        if way != self.fold_way {
            (self.fold_way, self.fold_at) = (way, 0);
        }
        match way {
            Fold::No => true,
            Fold::Up => {
                self.older = None;
                let done = self.fold_some(limit, Fold::Up);
                if done {
                    self.older_hot = None;
                }
                done
            }
            Fold::Back => {
                self.note_counted = self.older_hot.is_some();
                let done = self.fold_some(limit, Fold::Back);
                if done {
                    // A little each tick, so that what is left for the gap is a tick's worth.
                    self.fold_back_touched();
                }
                done
            }
        }
    }

    fn records(&self) -> u64 {
        u64::from(self.len())
    }

    fn set_time(&mut self, now_s: u32) {
        self.now_s = now_s;
    }

    fn verify(&self) -> Result<(), ZoneError> {
        let name = V::NAME;
        for id in self.ranges.iter().cloned().flatten() {
            let Some(key) = self.keys.read(id) else {
                continue;
            };
            if self.find_id(&key) != Some(id) {
                return Err(ZoneError::Corrupt {
                    name: name.into(),
                    why: format!("the row with id {id} is live, and its key does not lead to it"),
                });
            }
        }
        Ok(())
    }
}
