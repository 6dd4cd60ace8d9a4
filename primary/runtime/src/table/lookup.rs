//! Lookups by the rows' owner: one key, keys in bulk, and in stages that others' work goes between. The index
//! names live rows only while nobody else changes it, so keys are compared without their states.

use super::Table;
use crate::burst::{Burst, FoundBurst};
use baton_schema::Record;
use baton_shared_state::BURST;
use baton_shared_state::mbuf::Packet;
use baton_shared_state::table::{HotWords, NO_ID};

impl<K: Record, V: Record, H: HotWords> Table<K, V, H> {
    /// The row of a key.
    #[inline]
    pub fn find(&self, key: &K) -> Option<(u32, V)> {
        let id = self.find_id(key)?;
        Some((id, self.records.read(id)))
    }

    /// The id of a key.
    #[inline]
    pub fn find_id(&self, key: &K) -> Option<u32> {
        self.index
            .find(self.hash(key), |id| self.keys.holds(id, key))
    }

    /// Looks up keys in bulk, as many as the shorter slice has: `ids[i]` is the id of `keys[i]`, or [`NO_ID`]. Returns
    /// how many were found.
    #[inline]
    pub fn find_ids(&self, keys: &[K], ids: &mut [u32]) -> usize {
        self.index.find_keys(&self.keys, keys, ids)
    }

    /// Brings the line of the index where a hash leads to into the processor's cache.
    #[inline]
    pub fn prefetch_hash(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The row that a hash leads to, or [`NO_ID`], with its key not yet compared; that is on its
    /// way into the processor's cache. [`Table::confirm`] compares.
    #[inline]
    pub fn candidate(&self, hash: u64) -> u32 {
        let id = self.index.candidate(hash);
        self.keys.prefetch(id);
        id
    }

    /// The same for many hashes, as many as the shorter slice has.
    #[inline]
    pub fn candidates(&self, hashes: &[u64], ids: &mut [u32]) {
        self.index
            .candidates(hashes, |id| self.keys.prefetch(id), ids);
    }

    /// Brings what [`Table::first_word`] reads into the processor's cache; [`NO_ID`] is no row.
    #[inline]
    pub fn prefetch_first_word(&self, id: u32) {
        self.records.prefetch_first(id);
    }

    /// Brings what [`Table::count`] changes into the processor's cache; [`NO_ID`] is no row.
    #[inline]
    pub fn prefetch_count(&self, id: u32) {
        self.hot.prefetch(id);
    }

    /// How often this process has ended a row. While it stays, the rows of candidates are live.
    #[inline]
    pub fn ended(&self) -> u32 {
        self.ended
    }

    /// The row of a key, most likely `candidate`, which was named when [`Table::ended`] was `ended`.
    #[inline]
    pub fn confirm(&self, hash: u64, key: &K, candidate: u32, ended: u32) -> Option<u32> {
        let holds = self.keys.holds(candidate, key);
        if holds && (self.ended == ended || self.keys.is_live(candidate)) {
            return Some(candidate);
        }
        if candidate == NO_ID {
            return None;
        }
        self.confirm_another(hash, key)
    }

    /// The row of a key that another with the same tag came before.
    #[cold]
    #[inline(never)]
    fn confirm_another(&self, hash: u64, key: &K) -> Option<u32> {
        self.index.find(hash, |id| self.keys.holds(id, key))
    }

    /// Looks up a whole burst; `key_of` gives each packet's key.
    pub fn find_burst(&self, burst: Burst, key_of: fn(&Packet) -> Option<K>) -> FoundBurst<K, V> {
        let (len, mut n) = (burst.len(), 0);
        let mut keys: [Option<K>; BURST] = [const { None }; BURST];
        let (mut wanted, mut ids) = ([K::new_zeroed(); BURST], [NO_ID; BURST]);
        for (key, packet) in keys.iter_mut().zip(burst.iter()) {
            *key = key_of(packet);
            if let Some(key) = key {
                wanted[n] = *key;
                n += 1;
            }
        }
        self.find_ids(&wanted[..n], &mut ids);
        for id in &ids[..n] {
            self.records.prefetch(*id);
            self.hot.prefetch(*id);
        }
        let (mut found, mut ids) = ([const { None }; BURST], ids.iter());
        for (at, packet) in burst.into_iter().enumerate() {
            let key = keys[at].take();
            let id = key.as_ref().and_then(|_| ids.next());
            let value = id.filter(|id| **id != NO_ID).map(|id| {
                self.count(*id, 1, packet.len() as u64, self.now_s);
                self.records.read(*id)
            });
            found[at] = Some((packet, key, value));
        }
        FoundBurst::new(found, len)
    }
}
