//! The structures and the operations on them; rings have a file of their own.

use std::collections::HashMap;
use std::sync::OnceLock;

use baton_shared_state::Region;
use baton_shared_state::audit::{Audit, settle};
use baton_shared_state::mempool::Pool;
use baton_shared_state::ownership::{self, OwnerWord};
use baton_shared_state::sync::Ordering;
use baton_shared_state::table::{Dirty, IdPlan, IdSpace, Index, Keys, NO_ID, Records, hash_bytes};

use crate::Case;

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    let mut all = crate::rings::all();
    all.extend([
        pool_alloc_and_free(),
        pool_flush(),
        row_insert(),
        row_remove(),
        dirty(),
        owner_hand_over(),
    ]);
    all
}

pub(crate) fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

const MBUFS: u32 = 320;
const CHUNK: u32 = 2048;
const DEAD: usize = 1;

/// The metadata are what may break; the packets' bytes are each process's own here.
fn split(meta: Region) -> (Region, Region) {
    static DATA: OnceLock<Region> = OnceLock::new();
    let data = DATA.get_or_init(|| Region::private(Pool::data_bytes(MBUFS, CHUNK)));
    (meta, *data)
}

fn pool(region: Region) -> Pool {
    let (meta, data) = split(region);
    Pool::attach(meta, data).expect("a pool")
}

/// What the dead one had in hand is found by its place, and given back.
fn settle_pool(region: Region) {
    let pool = pool(region);
    let settled = settle(pool, DEAD, &Audit::new(pool).finish());
    pool.cache(DEAD).free_burst(&settled.in_hand);
}

fn pool_is_whole(region: Region) -> Result<(), String> {
    let pool = pool(region);
    let accounting = Audit::new(pool).finish();
    expect(
        accounting.is_exact() && accounting.free == u64::from(MBUFS),
        || format!("{accounting:?}"),
    )?;
    let mut cache = pool.cache(DEAD);
    let mut all = vec![0; MBUFS as usize + 1];
    let n = cache.alloc_burst(&mut all);
    let mut once: Vec<u32> = all[..n].to_vec();
    once.sort_unstable();
    once.dedup();
    expect(n == MBUFS as usize && once.len() == n, || {
        format!("{n} mbufs given out, {} different ones", once.len())
    })
}

fn pool_alloc_and_free() -> Case {
    Case {
        name: "mempool, alloc and free by a cache",
        bytes: Pool::meta_bytes(MBUFS),
        setup: |region| {
            let (meta, data) = split(region);
            Pool::create(meta, data, CHUNK).expect("a pool");
        },
        operation: |region| {
            let mut cache = pool(region).cache(DEAD);
            let mut mbufs = [0; 40];
            let n = cache.alloc_burst(&mut mbufs);
            cache.free_burst(&mbufs[..n]);
        },
        repair: settle_pool,
        check: pool_is_whole,
    }
}

fn pool_flush() -> Case {
    Case {
        name: "mempool, a cache given up",
        bytes: Pool::meta_bytes(MBUFS),
        setup: |region| {
            let (meta, data) = split(region);
            let pool = Pool::create(meta, data, CHUNK).expect("a pool");
            let mut mbufs = [0; 40];
            pool.cache(DEAD).alloc_burst(&mut mbufs);
            pool.cache(DEAD).free_burst(&mbufs);
        },
        operation: |region| pool(region).cache(DEAD).flush(),
        repair: settle_pool,
        check: pool_is_whole,
    }
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
        let total = plan.total() as usize;
        [
            IdSpace::bytes_for(&plan),
            total * Keys::<[u64; 2]>::STRIDE,
            total * Records::<[u64; 3]>::STRIDE,
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

fn dirty() -> Case {
    fn bitmap(region: Region) -> Dirty {
        Dirty::attach(region).expect("a bitmap")
    }
    Case {
        name: "bitmap of changed ids",
        bytes: Dirty::bytes_for(4096),
        setup: |region| {
            Dirty::create(region, 4096).expect("a bitmap");
            bitmap(region).mark(70);
        },
        operation: |region| {
            for id in [3, 71, 900, 4095] {
                bitmap(region).mark(id);
            }
            bitmap(region).drain_range(0..128, |_| {});
        },
        // A dead party's marks are not trusted: everything is copied, and the marks begin anew.
        repair: |region| bitmap(region).clear(),
        check: |region| {
            let bitmap = bitmap(region);
            expect(bitmap.is_empty(), || format!("{bitmap:?}"))?;
            [5, 70, 4000].iter().for_each(|id| bitmap.mark(*id));
            let mut found = Vec::new();
            bitmap.drain(|id| found.push(id));
            expect(found == [5, 70, 4000], || format!("{found:?}"))
        },
    }
}

fn owner_hand_over() -> Case {
    const OLD: u16 = 3;
    const NEW: u16 = 35;
    const HEIR: u16 = 67;
    Case {
        name: "owner word, a hand-over",
        bytes: 64,
        setup: |region| {
            region
                .u64(0)
                .store(OwnerWord::unowned().pack(), Ordering::Relaxed);
            ownership::claim_first(region.u64(0), OLD, 1).expect("nobody had it");
        },
        operation: |region| {
            let (owner, request) = (region.u64(0), region.u64(8));
            ownership::ask(owner, request, NEW, 2).expect("asked");
            let accepted = ownership::accept(owner, request, OLD).expect("accepted");
            ownership::hand_over(owner, accepted, OLD).expect("handed over");
        },
        // Everybody who could own it is dead: another lcore takes it.
        repair: |region| {
            let seen = OwnerWord::unpack(region.u64(0).load(Ordering::Acquire));
            if seen.lcore != Some(HEIR) {
                ownership::take_from_dead(region.u64(0), seen, HEIR, 3);
            }
        },
        check: |region| {
            let now = OwnerWord::unpack(region.u64(0).load(Ordering::Acquire));
            expect(now.lcore == Some(HEIR) && now.repair, || format!("{now:?}"))?;
            let (owner, request) = (region.u64(0), region.u64(8));
            ownership::ask(owner, request, NEW, 4).map_err(|why| why.to_string())?;
            let accepted = ownership::accept(owner, request, HEIR);
            expect(accepted.is_some(), || {
                "a void request stands in the way".into()
            })
        },
    }
}
