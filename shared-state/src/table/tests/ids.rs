//! Ids: each shard its own, each at most once, and found again after a death.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;

use crate::region::Region;
use crate::table::{IdPlan, IdSpace, TableError};

fn space(capacity: u32, shards: u16) -> IdSpace {
    let plan = IdPlan::new(capacity, shards).unwrap();
    let region = Region::private(IdSpace::bytes_for(&plan));
    IdSpace::create(region, plan).unwrap();
    IdSpace::attach(region).unwrap()
}

#[test]
fn the_plan_gives_equal_parts_and_wastes_little() {
    for (capacity, shards) in [(1, 1), (100, 2), (100_000, 2), (1 << 20, 4), (999_999, 7)] {
        let plan = IdPlan::new(capacity, shards).unwrap();
        assert!(plan.total() >= capacity);
        assert!(plan.extent.is_power_of_two() && plan.extent >= 64 && plan.extent <= 65_536);
        assert_eq!(plan.extents % u32::from(shards), 0);
        assert_eq!(plan.per_shard() * u32::from(shards), plan.total());
        let waste = plan.total() - capacity;
        assert!(waste <= capacity / 8 + 64 * u32::from(shards), "{plan:?}");
    }
    assert!(IdPlan::new(0, 1).is_err());
    assert!(IdPlan::new(5, 65).is_err());
}

#[test]
fn shards_share_no_id_and_know_whose_it_is() {
    let space = space(1000, 3);
    let mut all = HashSet::new();
    for shard in 0..3 {
        let ids = space.shard(shard);
        let ranges: Vec<_> = space.ranges(shard).collect();
        assert_eq!(ids.available(), space.plan().per_shard());
        while let Some(id) = ids.alloc() {
            assert!(all.insert(id));
            assert_eq!(space.shard_of(id), shard);
            assert!(ranges.iter().any(|range| range.contains(&id)));
        }
    }
    assert_eq!(all.len() as u32, space.total());
}

#[test]
fn a_freed_id_rests_as_long_as_others_are_free() {
    let space = space(64, 1);
    let ids = space.shard(0);
    let first = ids.alloc().unwrap();
    ids.free(first);
    for _ in 1..space.total() {
        assert_ne!(ids.alloc(), Some(first));
    }
    assert_eq!((ids.alloc(), ids.alloc()), (Some(first), None));
}

#[test]
fn an_id_lost_by_a_death_is_found_from_the_rows() {
    let space = space(64, 1);
    let ids = space.shard(0);
    let live: Vec<u32> = (0..10).map(|_| ids.alloc().unwrap()).collect();
    let lost = ids.alloc().unwrap();
    assert_eq!(ids.rebuild(|id| !live.contains(&id)), 54);
    let free: HashSet<u32> = std::iter::from_fn(|| ids.alloc()).collect();
    assert!(free.contains(&lost) && live.iter().all(|id| !free.contains(id)));
}

#[test]
fn a_region_that_is_no_id_space_is_refused() {
    let region = Region::private(4096);
    assert!(matches!(
        IdSpace::attach(region),
        Err(TableError::Kind { found: 0, .. })
    ));
    let plan = IdPlan::new(64, 1).unwrap();
    IdSpace::create(region, plan).unwrap();
    region.u32(4).store(1 << 30, crate::sync::Ordering::Relaxed);
    let error = IdSpace::attach(region).unwrap_err().to_string();
    assert_eq!(
        error,
        "ids in an extent: 1073741824 found, possible is 64 to 65536"
    );
}

proptest! {
    #[test]
    fn the_free_list_behaves_like_a_deque(steps in prop::collection::vec(any::<bool>(), 0..400)) {
        let space = space(128, 2);
        let ids = space.shard(1);
        let mut free: VecDeque<u32> = space.ranges(1).flatten().collect();
        let mut used = Vec::new();
        for alloc in steps {
            if alloc {
                let id = ids.alloc();
                prop_assert_eq!(id, free.pop_front());
                used.extend(id);
            } else if let Some(id) = used.pop() {
                ids.free(id);
                free.push_back(id);
            }
            prop_assert_eq!(ids.available() as usize, free.len());
        }
    }
}
