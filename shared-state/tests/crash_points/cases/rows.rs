//! A table's rows: ids, keys, records and index together.

use std::collections::HashMap;

use baton_shared_state::Region;
use baton_shared_state::table::{IdPlan, IdSpace, Index, Keys, NO_ID, Records, hash_bytes};

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    vec![row_insert(), row_remove()]
}

/// A table's parts one behind the other: ids, keys, records, index.
struct Rows {
    ids: IdSpace,
    keys: Keys<[u64; 2]>,
    records: Records<[u64; 3]>,
    index: Index,
}

const ROWS: u32 = 64;
const SEED: u64 = 7;

impl Rows {
    fn plan() -> IdPlan {
        IdPlan::new(ROWS, 1).expect("a plan")
    }

    fn sizes() -> [usize; 4] {
        let plan = Rows::plan();
        let total = plan.total();
        [
            IdSpace::bytes_for(&plan),
            Keys::<[u64; 2]>::bytes_for(total),
            Records::<[u64; 3]>::bytes_for(total),
            Index::bytes_for(1, Index::lines_for(plan.per_shard())),
        ]
        .map(|bytes| bytes.next_multiple_of(64))
    }

    fn parts(region: Region) -> [Region; 4] {
        let mut at = 0;
        Rows::sizes().map(|bytes| {
            at += bytes;
            region.slice(at - bytes, bytes).expect("room")
        })
    }

    fn create(region: Region) {
        let [ids, _, _, index] = Rows::parts(region);
        IdSpace::create(ids, Rows::plan()).expect("ids");
        let lines = Index::lines_for(Rows::plan().per_shard());
        Index::create(index, 1, lines, SEED).expect("an index");
        let rows = Rows::open(region);
        for key in 1..=5 {
            rows.insert(key);
        }
    }

    fn open(region: Region) -> Rows {
        let [ids, keys, records, index] = Rows::parts(region);
        let total = Rows::plan().total();
        Rows {
            ids: IdSpace::attach(ids).expect("ids"),
            keys: Keys::new(keys, total).expect("keys"),
            records: Records::new(records, total).expect("records"),
            index: Index::attach(index).expect("an index"),
        }
    }

    fn key(n: u64) -> [u64; 2] {
        [n, !n]
    }

    fn record(n: u64) -> [u64; 3] {
        [n, n * n, n + 1]
    }

    fn hash(key: &[u64; 2]) -> u64 {
        hash_bytes(SEED, zerocopy::IntoBytes::as_bytes(key))
    }

    fn insert(&self, n: u64) {
        let id = self.ids.shard(0).alloc().expect("a free id");
        self.records.write(id, &Rows::record(n));
        self.keys.publish(id, &Rows::key(n));
        let hash = Rows::hash(&Rows::key(n));
        self.index
            .shard(0)
            .insert(hash, id)
            .expect("room in the index");
    }

    fn find(&self, n: u64) -> Option<u32> {
        let key = Rows::key(n);
        let found = |id| self.keys.is(id, &key);
        self.index.shard(0).find(Rows::hash(&key), found)
    }

    fn remove(&self, n: u64) {
        let id = self.find(n).expect("it is there");
        self.index.shard(0).remove(Rows::hash(&Rows::key(n)), id);
        self.keys.unpublish(id);
        self.ids.shard(0).free(id);
    }

    /// Index and free ids from the states of the rows, which are the truth.
    fn repair(region: Region) {
        let rows = Rows::open(region);
        let ids = || rows.ids.ranges(0).flatten();
        let live: Vec<(u64, u32)> = ids()
            .filter_map(|id| Some((Rows::hash(&rows.keys.read(id)?), id)))
            .collect();
        rows.index
            .shard(0)
            .rebuild(live)
            .expect("what was there fits");
        rows.ids.shard(0).rebuild(|id| !rows.keys.is_live(id));
    }

    fn check(region: Region, certain: &[u64], possible: u64) -> Result<(), String> {
        let rows = Rows::open(region);
        let mut live: HashMap<u64, u32> = HashMap::new();
        for id in rows.ids.ranges(0).flatten() {
            let Some(key) = rows.keys.read(id) else {
                continue;
            };
            let n = key[0];
            expect(key == Rows::key(n), || format!("a torn key {key:?}"))?;
            let record = rows.records.read(id);
            expect(record == Rows::record(n), || {
                format!("a torn record {record:?}")
            })?;
            expect(live.insert(n, id).is_none(), || {
                format!("{n} is there twice")
            })?;
            expect(rows.find(n) == Some(id), || format!("{n} is not found"))?;
        }
        let missing = certain.iter().find(|n| !live.contains_key(n));
        expect(missing.is_none(), || format!("{missing:?} is gone"))?;
        let strange = live
            .keys()
            .find(|n| !certain.contains(n) && **n != possible);
        expect(strange.is_none(), || format!("{strange:?} was never there"))?;
        let shard = rows.ids.shard(0);
        let mut free = Vec::new();
        while let Some(id) = shard.alloc() {
            free.push(id);
        }
        free.extend(live.values());
        free.sort_unstable();
        free.dedup();
        expect(
            free.len() == Rows::plan().per_shard() as usize && !free.contains(&NO_ID),
            || format!("{} ids of {}", free.len(), Rows::plan().per_shard()),
        )
    }
}

fn row_insert() -> Case {
    Case {
        name: "table, a row made",
        bytes: Rows::sizes().iter().sum(),
        setup: Rows::create,
        operation: |region| Rows::open(region).insert(6),
        repair: Rows::repair,
        check: |region| Rows::check(region, &[1, 2, 3, 4, 5], 6),
    }
}

fn row_remove() -> Case {
    Case {
        name: "table, a row removed and another in its place",
        bytes: Rows::sizes().iter().sum(),
        setup: |region| {
            Rows::create(region);
            let rows = Rows::open(region);
            // The free list leads back to the row that goes.
            while rows.ids.shard(0).available() > 0 {
                rows.ids.shard(0).alloc();
            }
        },
        operation: |region| {
            let rows = Rows::open(region);
            rows.remove(3);
            rows.insert(3);
        },
        repair: Rows::repair,
        check: |region| Rows::check(region, &[1, 2, 4, 5], 3),
    }
}
