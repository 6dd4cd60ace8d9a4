//! Keys in bulk against keys one by one, on all paths and for keys of several sizes.

use proptest::prelude::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::region::Region;
use crate::simd::Path;
use crate::table::{Index, IndexShard, Keys, NO_ID, hash_bytes};

const SEED: u64 = 42;

/// An index and keys, on each path.
struct Rows<K> {
    index: IndexShard,
    keys: Keys<K>,
}

impl<K: FromBytes + IntoBytes + Immutable + Copy + PartialEq + core::fmt::Debug> Rows<K> {
    fn new(lines: u32, count: u32) -> Rows<K> {
        let region = Region::private(Index::bytes_for(1, lines));
        let index = Index::create(region, 1, lines, SEED).unwrap();
        let region = Region::private(Keys::<K>::bytes_for(count));
        Rows {
            index: index.shard(0),
            keys: Keys::new(region, count).unwrap(),
        }
    }

    fn hash(key: &K) -> u64 {
        hash_bytes(SEED, key.as_bytes())
    }

    fn insert(&self, id: u32, key: &K) {
        self.keys.publish(id, key);
        self.index.insert(Self::hash(key), id).unwrap();
    }

    /// What is found on every path, which is the same.
    fn find(&self, wanted: &[K], room: usize) -> Vec<u32> {
        let paths = Path::ALL.into_iter();
        let mut all = paths
            .filter_map(|path| self.index.with_path(path))
            .map(|index| {
                let mut ids = vec![7; room];
                let found = index.find_keys(&self.keys, wanted, &mut ids);
                let n = wanted.len().min(room);
                assert_eq!(found, ids[..n].iter().filter(|id| **id != NO_ID).count());
                assert!(
                    ids[n..].iter().all(|id| *id == 7),
                    "stored behind the last key"
                );
                ids
            });
        let first = all.next().unwrap();
        all.for_each(|ids| assert_eq!(ids, first));
        first
    }

    /// Makes rows of some of `keys`, and looks up all of them.
    fn check(keys: &[K], lines: u32, room: usize) {
        let rows = Rows::new(lines, keys.len() as u32 + 1);
        let is_row = |at: usize| at % 3 != 1 && !keys[..at].contains(&keys[at]);
        for at in (0..keys.len()).filter(|at| is_row(*at)) {
            rows.insert(at as u32, &keys[at]);
        }
        let ids = rows.find(keys, room);
        for (key, id) in keys.iter().zip(&ids) {
            let one = |id: u32| rows.keys.is(id, key);
            let found = rows.index.find(Self::hash(key), one);
            assert_eq!(*id, found.unwrap_or(NO_ID));
        }
    }
}

proptest! {
    #[test]
    fn keys_in_bulk_are_found_as_one_by_one(
        words in prop::collection::vec(prop_oneof![0u64..40, any::<u64>()], 0..600),
        lines in 10u32..60,
        room in 0usize..140,
    ) {
        fn keys<const N: usize>(words: &[u64]) -> Vec<[u64; N]> {
            words.as_chunks().0.iter().copied().take(140).collect()
        }
        Rows::<[u64; 1]>::check(&keys(&words), lines, room);
        Rows::<[u64; 2]>::check(&keys(&words), lines, room);
        Rows::<[u64; 5]>::check(&keys(&words), lines, room);
        let small: Vec<u32> = words.iter().map(|word| *word as u32).take(140).collect();
        Rows::<u32>::check(&small, lines, room);
        let odd: Vec<[u8; 13]> = keys::<2>(&words).iter().map(|key| *key.as_bytes().first_chunk().unwrap()).collect();
        Rows::<[u8; 13]>::check(&odd, lines, room);
    }
}

#[test]
fn a_row_is_found_behind_another_of_its_tag_and_ids_that_are_none_are_not_believed() {
    let keys: [[u64; 2]; 64] = core::array::from_fn(|at| [at as u64, 1]);
    let rows = Rows::<[u64; 2]>::new(64, 64);
    let hash = |at: usize| Rows::hash(&keys[at]);
    // What another key of the same tag and line leaves there, and what damage might.
    rows.index.insert(hash(5), 6).unwrap();
    rows.index.insert(hash(40), 64).unwrap();
    rows.index.insert(hash(41), NO_ID - 1).unwrap();
    for at in (0..64).filter(|at| *at != 41) {
        rows.insert(at as u32, &keys[at]);
    }
    let expected: Vec<u32> = (0..64)
        .map(|at| if at == 41 { NO_ID } else { at })
        .collect();
    assert_eq!(rows.find(&keys, 64), expected);
}

#[test]
fn keys_behind_full_lines_are_found_in_bulk_and_absent_ones_are_not() {
    for n in [80u64, 95, 100] {
        let keys: Vec<[u64; 2]> = (0..n).map(|at| [at, !at]).collect();
        let rows = Rows::<[u64; 2]>::new(10, 128);
        for (id, key) in (0u32..).zip(&keys) {
            rows.insert(id, key);
        }
        let mut lengths = keys
            .iter()
            .map(|key| rows.index.probe_length(Rows::hash(key)));
        assert!(
            n < 100 || lengths.any(|lines| lines > 1),
            "nothing was passed"
        );
        // Found and absent ones in turns, so that each part of 32 has both; and some alone.
        let turns = |at: u64| at.is_multiple_of(2).then_some(at / 2 % n);
        let all = |at: u64| Some(at % n);
        for wanted_at in [&turns as &dyn Fn(u64) -> Option<u64>, &all] {
            let wanted: Vec<[u64; 2]> = (0..4 * n)
                .map(|at| wanted_at(at).map_or([at, 7], |row| keys[row as usize]))
                .collect();
            let expected: Vec<u32> = (0..4 * n)
                .map(|at| wanted_at(at).map_or(NO_ID, |row| row as u32))
                .collect();
            assert_eq!(rows.find(&wanted, wanted.len()), expected, "{n} rows");
        }
    }
}
