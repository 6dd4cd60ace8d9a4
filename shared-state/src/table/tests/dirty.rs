//! The bitmap against `BTreeSet`, and no change lost between a writer and a copier.

use std::collections::BTreeSet;
use std::thread;

use proptest::prelude::*;

use crate::region::Region;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::table::Dirty;

fn dirty(ids: u32) -> Dirty {
    let region = Region::private(Dirty::bytes_for(ids));
    Dirty::create(region, ids).unwrap();
    Dirty::attach(region).unwrap()
}

proptest! {
    #[test]
    fn behaves_like_a_set(
        ids in 1u32..20_000,
        rounds in prop::collection::vec(
            (prop::collection::vec(any::<u32>(), 0..60), any::<u32>(), any::<u32>()),
            1..8
        )
    ) {
        let dirty = dirty(ids);
        let mut model = BTreeSet::new();
        for (marks, a, b) in rounds {
            for mark in marks {
                dirty.mark(mark % ids);
                model.insert(mark % ids);
            }
            prop_assert_eq!(dirty.len(), model.len() as u64);
            let (a, b) = (a % (ids + 1), b % (ids + 1));
            let from = a.min(b) / 64 * 64;
            let to = (a.max(b) / 64 * 64).max(from);
            let mut drained = Vec::new();
            let n = dirty.drain_range(from..to, |id| drained.push(id));
            let expected: Vec<u32> = model.range(from..to).copied().collect();
            prop_assert_eq!(n as usize, expected.len());
            prop_assert_eq!(&drained, &expected);
            model.retain(|id| !expected.contains(id));
        }
        let mut rest = BTreeSet::new();
        dirty.drain(|id| { rest.insert(id); });
        prop_assert_eq!(rest, model);
        prop_assert!(dirty.is_empty());
    }
}

#[test]
fn the_last_id_can_be_marked_and_a_word_taken() {
    let dirty = dirty(65);
    dirty.mark(64);
    dirty.mark(3);
    dirty.mark(3);
    assert_eq!((dirty.ids(), dirty.len()), (65, 2));
    assert_eq!((dirty.take(1), dirty.take(0)), (1, 8));
    dirty.mark(64);
    assert_eq!(dirty.drain(|id| assert_eq!(id, 64)), 1);
}

#[test]
fn a_death_between_word_and_summary_does_no_harm_after_a_clear() {
    let region = Region::private(Dirty::bytes_for(100));
    let dirty = Dirty::create(region, 100).unwrap();
    dirty.mark(5);
    region.u64(64).store(0, Ordering::Relaxed);
    dirty.clear();
    dirty.mark(6);
    assert_eq!(dirty.drain(|id| assert_eq!(id, 6)), 1);
}

#[test]
fn a_region_that_is_no_bitmap_is_refused() {
    let region = Region::private(128);
    assert!(Dirty::attach(region).is_err());
    assert!(Dirty::create(region, 10_000).is_err());
}

/// The copier takes marks and copies; at the end its copy is the writer's array.
#[test]
fn whoever_copies_after_taking_misses_no_change() {
    const IDS: u32 = 3_000;
    const CHANGES: u64 = 300_000;
    static LIVE: [AtomicU64; IDS as usize] = [const { AtomicU64::new(0) }; IDS as usize];
    static DONE: AtomicBool = AtomicBool::new(false);
    let dirty = dirty(IDS);
    let writer = thread::spawn(move || {
        for change in 1..=CHANGES {
            let id = (change * 7919 % u64::from(IDS)) as u32;
            LIVE[id as usize].store(change, Ordering::Relaxed);
            dirty.mark(id);
        }
        DONE.store(true, Ordering::Release);
    });
    let mut copy = vec![0; IDS as usize];
    loop {
        let last = DONE.load(Ordering::Acquire);
        dirty.drain(|id| copy[id as usize] = LIVE[id as usize].load(Ordering::Relaxed));
        if last {
            break;
        }
    }
    writer.join().unwrap();
    for (id, copied) in copy.iter().enumerate() {
        assert_eq!(*copied, LIVE[id].load(Ordering::Relaxed), "id {id}");
    }
}
