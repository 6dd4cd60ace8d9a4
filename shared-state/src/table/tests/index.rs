//! The index against `HashMap`; full, emptied, filled again; and with a reader beside the writer.

use std::collections::HashMap;
use std::thread;

use proptest::prelude::*;

use crate::region::Region;
use crate::simd::Path;
use crate::sync::{AtomicBool, Ordering};
use crate::table::{Full, Index, IndexShard, Keys, NO_ID, hash_bytes};

/// Entries of a line.
const ENTRIES: u32 = 10;

fn index(lines: u32) -> IndexShard {
    let region = Region::private(Index::bytes_for(2, lines));
    Index::create(region, 2, lines, 42).unwrap();
    let index = Index::attach(region).unwrap();
    assert_eq!(
        (index.seed(), index.shards(), index.lines()),
        (42, 2, lines)
    );
    index.shard(1)
}

fn hash(key: u64) -> u64 {
    hash_bytes(42, &key.to_le_bytes())
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u64),
    Remove(u64),
    Find(u64),
    Rebuild,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        8 => (0..120u64).prop_map(Op::Insert),
        6 => (0..120u64).prop_map(Op::Remove),
        4 => (0..120u64).prop_map(Op::Find),
        1 => Just(Op::Rebuild),
    ];
    prop::collection::vec(op, 0..400)
}

proptest! {
    /// `bits` cuts hashes down, so that tags and home lines collide as much as one likes.
    #[test]
    fn behaves_like_a_hash_map(ops in ops(), bits in 0u32..64, lines in 1u32..24) {
        let index = index(lines);
        let hash = |key: u64| hash(key) & (u64::MAX >> bits);
        let mut model: HashMap<u64, u32> = HashMap::new();
        let mut keys: Vec<u64> = Vec::new();
        for op in ops {
            match op {
                Op::Insert(key) if !model.contains_key(&key) => {
                    let id = keys.len() as u32;
                    let full = model.len() as u32 == lines * ENTRIES;
                    let done = index.insert(hash(key), id);
                    prop_assert_eq!(done, if full { Err(Full { entries: u64::from(lines * ENTRIES) }) } else { Ok(()) });
                    if !full {
                        keys.push(key);
                        model.insert(key, id);
                    }
                }
                Op::Insert(_) => {}
                Op::Remove(key) => {
                    let id = model.remove(&key);
                    prop_assert_eq!(index.remove(hash(key), id.unwrap_or(7_777)), id.is_some());
                }
                Op::Find(key) => {
                    let found = index.find(hash(key), |id| keys[id as usize] == key);
                    prop_assert_eq!(found, model.get(&key).copied());
                }
                Op::Rebuild => {
                    let rows = model.iter().map(|(key, id)| (hash(*key), *id));
                    prop_assert_eq!(index.rebuild(rows), Ok(model.len() as u64));
                }
            }
            prop_assert_eq!(index.len(), model.len() as u64);
        }
        let hashes: Vec<u64> = (0..120).map(hash).collect();
        for index in Path::ALL.into_iter().filter_map(|path| index.with_path(path)) {
            let mut out = [NO_ID; 120];
            let same = |i: usize, id: u32| keys[id as usize] == i as u64;
            let found = index.find_burst(|i| hashes[i], |_| {}, same, &mut out);
            prop_assert_eq!(found, model.len());
            for (key, id) in out.iter().enumerate() {
                prop_assert_eq!(*id, model.get(&(key as u64)).copied().unwrap_or(NO_ID));
            }
            let (told, mut likely) = (std::cell::RefCell::new(vec![]), [7; 120]);
            index.candidates(&hashes, |id| told.borrow_mut().push(id), &mut likely[..117]);
            prop_assert_eq!(&told.into_inner(), &likely[..117]);
            prop_assert!(likely[..117].iter().zip(&hashes).all(|(id, hash)| *id == index.candidate(*hash)));
            prop_assert_eq!(&likely[117..], &[7; 3]);
        }
    }
}

#[test]
fn it_takes_every_planned_row_with_short_searches() {
    let n = 100_000;
    let index = index(Index::lines_for(n));
    for id in 0..n {
        index.insert(hash(id.into()), id).unwrap();
    }
    let probes: usize = (0..n).map(|id| index.probe_length(hash(id.into()))).sum();
    let mean = probes as f64 / f64::from(n);
    assert!(mean < 1.3, "{mean} lines a search at the planned fill");
    for id in (0..n).step_by(97) {
        assert_eq!(index.find(hash(id.into()), |found| found == id), Some(id));
    }
}

#[test]
fn churn_leaves_no_trace_in_the_length_of_searches() {
    let n = 5_000;
    let index = index(Index::lines_for(n));
    for id in 0..n {
        index.insert(hash(id.into()), id).unwrap();
    }
    for round in 1..=20u64 {
        for id in 0..n {
            let old = (round - 1) * u64::from(n) + u64::from(id);
            assert!(index.remove(hash(old), id));
            index.insert(hash(old + u64::from(n)), id).unwrap();
        }
    }
    let probes: usize = (0..n).map(|i| index.probe_length(hash(i.into()))).sum();
    assert!(probes < 8_000, "{probes} lines for {n} searches");
    for id in 0..n {
        assert!(index.remove(hash(20 * u64::from(n) + u64::from(id)), id));
    }
    assert!((0..n).all(|i| index.probe_length(hash(i.into())) == 1));
    assert!(index.is_empty());
}

#[test]
fn a_counter_that_lost_count_costs_time_and_no_entry() {
    let index = index(60);
    (0..400).for_each(|id| index.insert(9, id).unwrap());
    for id in 0..400 {
        assert_eq!(index.find(9, |found| found == id), Some(id));
    }
    (0..399).for_each(|id| assert!(index.remove(9, id)));
    assert_eq!(index.find(9, |found| found == 399), Some(399));
    assert!(index.probe_length(9) > 30);
    assert_eq!(index.rebuild([(9, 399)]), Ok(1));
    assert_eq!((index.probe_length(9), index.len()), (1, 1));
}

#[test]
fn shards_have_sub_tables_of_their_own() {
    let region = Region::private(Index::bytes_for(3, 10));
    let index = Index::create(region, 3, 10, 0).unwrap();
    index.shard(1).insert(7, 7).unwrap();
    assert_eq!(index.shard(0).find(7, |_| true), None);
    assert_eq!(index.shard(2).find(7, |_| true), None);
    assert_eq!(index.shard(1).find(7, |_| true), Some(7));
}

#[test]
fn a_region_that_is_no_index_is_refused() {
    let region = Region::private(4096);
    assert!(Index::attach(region).is_err());
    assert!(Index::create(region, 1, 64, 0).is_err(), "too small");
    assert!(Index::create(region, 0, 1, 0).is_err());
    Index::create(region, 1, 8, 0).unwrap();
    region.u32(8).store(1 << 20, Ordering::Relaxed);
    let error = Index::attach(region).unwrap_err().to_string();
    assert!(
        error.starts_with("region too small for the table"),
        "{error}"
    );
}

/// Rows come and go under two readers: a row that lives is found, and what is found is whole.
#[test]
fn readers_beside_the_writer_find_what_lives_and_only_whole_keys() {
    const ROWS: u32 = 500;
    const ROUNDS: u64 = 400;
    static DONE: AtomicBool = AtomicBool::new(false);
    let index = index(Index::lines_for(2 * ROWS));
    let region = Region::private(Keys::<[u64; 3]>::bytes_for(2 * ROWS));
    let keys = Keys::<[u64; 3]>::new(region, 2 * ROWS).unwrap();
    let put = move |id: u32, key: u64| {
        keys.publish(id, &[key, !key, key ^ 5]);
        index.insert(hash(key), id).unwrap();
    };
    // Even ids stay, odd ids change.
    (0..ROWS).for_each(|i| put(2 * i, u64::from(i)));
    (0..ROWS).for_each(|i| put(2 * i + 1, 1_000_000 + u64::from(i)));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(move || {
                let (mut found, mut last) = (0u64, false);
                while !last {
                    last = DONE.load(Ordering::Relaxed);
                    for key in 0..u64::from(ROWS) {
                        let wanted = [key, !key, key ^ 5];
                        let id = index.find(hash(key), |id| keys.is(id, &wanted));
                        assert_eq!(id, Some(2 * key as u32));
                        if let Some([a, b, c]) = keys.read(2 * key as u32 + 1) {
                            assert_eq!((b, c), (!a, a ^ 5));
                            found += 1;
                        }
                    }
                }
                found
            })
        })
        .collect();
    for round in 0..ROUNDS {
        for i in 0..ROWS {
            let id = 2 * i + 1;
            let old = 1_000_000 + round * u64::from(ROWS) + u64::from(i);
            assert!(index.remove(hash(old), id));
            keys.unpublish(id);
            put(id, old + u64::from(ROWS));
        }
    }
    DONE.store(true, Ordering::Relaxed);
    let found: u64 = readers.into_iter().map(|r| r.join().unwrap()).sum();
    assert!(found > 0);
}
