//! The session table (hash index, keys by id, free ids) on DPDK's pattern (`b_hash` of the peers'
//! `hash.c`): the same keys in the same order, 78 % of the slots used.
//!
//! `cargo run --release -p baton-shared-state --example bench_hash`
//!
//! "Slots" are the ids that the table has, as `rte_hash` says of its keys; the index is as large as the gateway's
//! for so many. A lookup ends with the id and its key compared; an insert looks for the key, takes
//! an id, publishes the key and then the entry. Memory: index, keys and free ids. Private memory
//! on huge pages, the keys too, as there.

mod peer;

use std::hint::black_box;
use std::time::Instant;

use baton_shared_state::table::{IdPlan, IdShard, IdSpace, Index, IndexShard, Keys, NO_ID};
use peer::{calib, emit, emit_value, measure, memory, placed, reps, sm64, zipf1};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const QUERIES: usize = 1 << 21;
/// A repetition takes the next slice of the queries, so that a large table stays cold.
const SLICE: usize = 1 << 17;
const BURST: usize = 32;
const AHEAD: u32 = 4;

/// A key that the peers' generator can make.
trait Key: FromBytes + IntoBytes + Immutable + Copy + 'static {
    fn draw(seed: &mut u64) -> Self;
}

/// Both addresses, both ports and the protocol of IPv4, padded with zeros.
impl Key for [u64; 2] {
    fn draw(seed: &mut u64) -> Self {
        let (a, b) = (sm64(seed), sm64(seed));
        [a, b & 0xffff_ffff | protocol(b) << 32]
    }
}

/// The same of IPv6.
impl Key for [u64; 5] {
    fn draw(seed: &mut u64) -> Self {
        let [a, b, c, d, e] = core::array::from_fn(|_| sm64(seed));
        [a, b, c, d, e & 0xffff_ffff | protocol(e) << 32]
    }
}

fn protocol(random: u64) -> u64 {
    if random & 1 << 40 != 0 { 6 } else { 17 }
}

fn keys<K: Key>(n: usize, mut seed: u64) -> Vec<K> {
    (0..n).map(|_| K::draw(&mut seed)).collect()
}

/// A table of one shard.
struct Table<K> {
    index: IndexShard,
    keys: Keys<K>,
    ids: IdShard,
    bytes: usize,
}

impl<K: Key> Table<K> {
    fn new(slots: u32) -> Table<K> {
        let lines = Index::lines_for(slots);
        let plan = IdPlan::new(slots, 1).expect("a plan");
        let bytes = [
            Index::bytes_for(1, lines),
            Keys::<K>::bytes_for(plan.total()),
            IdSpace::bytes_for(&plan),
        ];
        let index = Index::create(memory(bytes[0]), 1, lines, 9).expect("an index");
        Table {
            index: index.shard(0),
            keys: Keys::new(memory(bytes[1]), plan.total()).expect("keys"),
            ids: IdSpace::create(memory(bytes[2]), plan)
                .expect("ids")
                .shard(0),
            bytes: bytes.iter().sum(),
        }
    }

    #[inline(always)]
    fn hash(&self, key: &K) -> u64 {
        self.index.hash(key.as_bytes())
    }

    #[inline(always)]
    fn find(&self, key: &K) -> Option<u32> {
        self.index
            .find(self.hash(key), |id| self.keys.holds(id, key))
    }

    /// The ids of a burst of keys, [`NO_ID`] for none; returns how many there are.
    #[inline(always)]
    fn find_burst(&self, keys: &[K], out: &mut [u32; BURST]) -> usize {
        self.index.find_keys(&self.keys, keys, out)
    }

    #[inline]
    fn insert(&self, key: &K) -> bool {
        let hash = self.hash(key);
        if self
            .index
            .find(hash, |id| self.keys.holds(id, key))
            .is_some()
        {
            return true;
        }
        let Some(id) = self.ids.alloc() else {
            return false;
        };
        self.keys.prefetch_slot(self.ids.upcoming(AHEAD));
        self.keys.publish(id, key);
        self.index.insert(hash, id).is_ok()
    }

    #[inline]
    fn remove(&self, key: &K) -> bool {
        let hash = self.hash(key);
        let Some(id) = self.index.find(hash, |id| self.keys.holds(id, key)) else {
            return false;
        };
        self.index.remove(hash, id);
        self.keys.unpublish(id);
        self.ids.free(id);
        true
    }

    fn clear(&self) {
        self.index.clear();
        for id in 0..self.keys.count() {
            self.keys.unpublish(id);
        }
        self.ids.rebuild(|_| true);
    }
}

fn main() {
    calib();
    one::<[u64; 2]>(1 << 20);
    one::<[u64; 2]>(1 << 23);
    one::<[u64; 5]>(1 << 20);
    one::<[u64; 5]>(1 << 23);
    one::<[u64; 2]>(8192);
}

fn one<K: Key>(slots: u32) {
    let n = (u64::from(slots) * 78 / 100) as usize;
    let tag = format!("rte_hash key={}B slots={slots} used={n}", size_of::<K>());
    let table = Table::<K>::new(slots);
    emit_value(
        "hash.memory",
        "bytes/entry",
        &tag,
        table.bytes as f64 / n as f64,
    );
    let all = placed(&keys::<K>(n, 1234));
    fill(&table, all, slots, &tag);
    churn(&table, all, &tag);
    for (kind, name) in ["hit uniform", "hit zipf(1)", "miss"].iter().enumerate() {
        lookups(
            &table,
            placed(&queries(all, kind)),
            &format!("{tag} {{}}, {name}"),
            kind < 2,
        );
    }
    rebuild(&table, all, &tag);
}

/// From empty to full.
fn fill<K: Key>(table: &Table<K>, all: &[K], slots: u32, tag: &str) {
    let most = if slots > 1 << 21 { 3 } else { 7 };
    let mut failed = 0;
    let times = (0..reps().min(most)).map(|_| {
        table.clear();
        let start = Instant::now();
        failed = all.iter().filter(|key| !table.insert(key)).count();
        start.elapsed().as_nanos() as f64 / all.len() as f64
    });
    let times = times.collect();
    let params = format!("{tag} from empty to full, failed={failed}");
    emit("hash.insert", &params, times);
}

/// Deletes and inserts again random keys, timed apart.
fn churn<K: Key>(table: &Table<K>, all: &[K], tag: &str) {
    const K: usize = 20_000;
    let n = all.len() as u64;
    let (mut deletes, mut inserts) = (Vec::new(), Vec::new());
    for rep in 0..reps() as u64 {
        let mut seed = 5 + rep;
        let start = Instant::now();
        for _ in 0..K {
            table.remove(&all[(sm64(&mut seed) % n) as usize]);
        }
        let middle = Instant::now();
        seed = 5 + rep;
        for _ in 0..K {
            table.insert(&all[(sm64(&mut seed) % n) as usize]);
        }
        let end = Instant::now();
        deletes.push((middle - start).as_nanos() as f64 / K as f64);
        inserts.push((end - middle).as_nanos() as f64 / K as f64);
    }
    let params = format!("{tag} at load, random key");
    emit("hash.delete", &params, deletes);
    emit("hash.insert", &params, inserts);
}

fn queries<K: Key>(all: &[K], kind: usize) -> Vec<K> {
    let (n, mut seed) = (all.len() as u64, 77 + kind as u64);
    match kind {
        0 => (0..QUERIES)
            .map(|_| all[(sm64(&mut seed) % n) as usize])
            .collect(),
        1 => (0..QUERIES)
            .map(|_| all[(zipf1(&mut seed, n) * 2_654_435_761 % n) as usize])
            .collect(),
        _ => keys(QUERIES, 987_654_321),
    }
}

fn lookups<K: Key>(table: &Table<K>, queries: &[K], params: &str, hit: bool) {
    let mut slices = queries.chunks_exact(SLICE).cycle();
    let (mut found, mut sum) = (0, 0u64);
    measure(
        "hash.lookup",
        &params.replace("{}", "single"),
        SLICE,
        || {
            found = 0;
            for key in slices.next().expect("a slice") {
                if let Some(id) = table.find(key) {
                    found += 1;
                    sum += u64::from(id);
                }
            }
        },
    );
    check(found, hit);
    let mut ids = [NO_ID; BURST];
    measure(
        "hash.lookup",
        &params.replace("{}", "bulk 32"),
        SLICE,
        || {
            found = 0;
            for keys in slices.next().expect("a slice").chunks_exact(BURST) {
                found += table.find_burst(keys, &mut ids);
                sum += u64::from(ids[0]);
            }
        },
    );
    check(found, hit);
    black_box(sum);
}

fn check(found: usize, hit: bool) {
    assert!(
        if hit { found == SLICE } else { found <= 10 },
        "{found} of {SLICE} found"
    );
}

/// The index anew from the rows, as after a change of layout: no counterpart there.
fn rebuild<K: Key>(table: &Table<K>, all: &[K], tag: &str) {
    let live = |id| table.keys.read(id).map(|key| (table.hash(&key), id));
    let times = (0..reps().min(5)).map(|_| {
        let start = Instant::now();
        let rows = (0..table.keys.count()).filter_map(live);
        let rows = table.index.rebuild(rows).expect("room");
        assert_eq!(rows as usize, all.len());
        start.elapsed().as_nanos() as f64 / all.len() as f64
    });
    let times = times.collect();
    emit("hash.rebuild", &format!("{tag}, a row"), times);
}
