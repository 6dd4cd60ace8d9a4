//! Keys, records and hot words by id.

use baton_schema::migrate::check_round_trip;
use baton_schema::{Chain, Record};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use crate::region::Region;
use crate::table::{FRESH, Hot, Hot32, Hot64, HotWords, Keys, RawRecords, Records};

fn keys(count: u32) -> Keys<[u8; 13]> {
    let region = Region::private(Keys::<[u8; 13]>::bytes_for(count));
    Keys::new(region, count).unwrap()
}

fn hot<H: HotWords>(count: u32) -> Hot<H> {
    Hot::new(Region::private(Hot::<H>::bytes_for(count)), count).unwrap()
}

#[test]
fn a_row_is_live_from_publish_to_unpublish() {
    let keys = keys(4);
    let key = *b"thirteen byte";
    assert_eq!((keys.read(2), keys.state(2)), (None, 0));
    let state = keys.publish(2, &key);
    assert_eq!((keys.read(2), keys.state(2)), (Some(key), state));
    assert!(keys.is(2, &key) && keys.is_live(2) && !keys.is(2, b"another other"));
    assert!(keys.holds(2, &key) && !keys.holds(2, b"another other") && !keys.holds(1, &key));
    assert!(
        !keys.is(99, &key) && !keys.holds(99, &key),
        "an id out of range is no row"
    );
    keys.unpublish(2);
    keys.unpublish(2);
    assert!(keys.read(2).is_none() && !keys.is(2, &key));
    let next = keys.publish(2, &key);
    assert_ne!(next, state, "each life of a row has a state of its own");
    assert_eq!((keys.read(1), keys.read(3)), (None, None));
}

#[test]
fn states_wrap_past_never_used() {
    let region = Region::private(Keys::<u32>::bytes_for(1));
    let keys = Keys::<u32>::new(region, 1).unwrap();
    let odd = u32::MAX;
    let state = Keys::<u32>::STRIDE;
    region.u32(state).store(odd, crate::sync::Ordering::Relaxed);
    assert_eq!(keys.publish(0, &9), 2);
    assert_eq!(keys.read(0), Some(9));
}

#[test]
fn records_are_rounded_up_to_words_and_keep_to_themselves() {
    type R = [u8; 13];
    assert_eq!(Records::<R>::STRIDE, 16);
    let region = Region::private(Records::<R>::bytes_for(10));
    let records = Records::<R>::new(region, 10).unwrap();
    for id in 0..10 {
        records.write(id, &[id as u8 + 1; 13]);
    }
    for id in 0..10 {
        assert_eq!(records.read(id), [id as u8 + 1; 13]);
        assert_eq!(region.to_vec(id as usize * 16 + 13, 3), [0; 3]);
    }
    let raw = records.raw();
    assert_eq!((raw.size(), raw.stride(), raw.count()), (13, 16, 10));
    let mut bytes = [0; 13];
    raw.read(4, &mut bytes);
    raw.write(5, &bytes);
    assert_eq!(records.read(5), [5; 13]);
    assert!(Records::<R>::new(region, 11).is_err());
}

#[test]
#[should_panic(expected = "row 10 of 10")]
fn a_record_past_the_end_is_a_bug() {
    let region = Region::private(RawRecords::bytes_for(8, 10));
    Records::<u64>::new(region, 10).unwrap().read(10);
}

fn counts<H: HotWords>() {
    let hot = hot::<H>(3);
    hot.start(1, 100);
    hot.count(1, 1, 1500, 101);
    hot.count(1, 2, 120, 105);
    assert_eq!(hot.read(1).counts(), (3, 1620));
    assert_eq!((hot.last_seen(1), hot.flags(1)), (105, FRESH));
    assert_eq!(hot.read(0).counts(), (0, 0));
    assert_eq!(hot.read(2).counts(), (0, 0));
    assert_eq!((hot.last_seen(0), hot.flags(2)), (0, 0));
    hot.start(1, 200);
    assert_eq!((hot.read(1).counts(), hot.last_seen(1)), ((0, 0), 200));
}

#[test]
fn packets_bytes_and_last_seen_are_counted_in_both_layouts() {
    counts::<Hot32>();
    counts::<Hot64>();
}

#[test]
fn narrow_counters_wrap_and_wide_ones_do_not() {
    let (narrow, wide) = (hot::<Hot32>(1), hot::<Hot64>(1));
    for _ in 0..3 {
        narrow.count(0, 1, 1 << 31, 1);
        wide.count(0, 1, 1 << 31, 1);
    }
    assert_eq!(narrow.read(0).counts(), (3, 1 << 31));
    assert_eq!(wide.read(0).counts(), (3, 3 << 31));
}

#[test]
fn the_layouts_of_hot_words_are_chained() {
    let chain = Chain::of::<Hot64>();
    assert_eq!(chain.versions(), [1, 2]);
    assert_eq!(chain.losses_back(1).len(), 2);
    assert!(chain.path(Hot32::schema().fingerprint()).is_some());
}

/// Old counts 10 and 20 packets; row 0 goes on, row 1 was replaced by another after the swap.
fn carried() -> (Hot<Hot32>, Hot<Hot64>, baton_schema::Path) {
    let (old, new) = (hot::<Hot32>(2), hot::<Hot64>(2));
    old.count(0, 10, 1000, 50);
    old.count(1, 20, 2000, 60);
    new.count(0, 1, 100, 70);
    new.start(1, 71);
    new.count(1, 2, 200, 72);
    let path = Chain::of::<Hot64>()
        .path(Hot32::schema().fingerprint())
        .unwrap();
    (old, new, path)
}

#[test]
fn a_commit_adds_the_older_counts_once() {
    let (old, new, path) = carried();
    assert_eq!(new.sum(0, &old.raw(), &path).counts(), (11, 1100));
    assert_eq!(new.sum(1, &old.raw(), &path).counts(), (2, 200));
    for _ in 0..2 {
        new.fold_up(0, &old.raw(), &path);
        new.fold_up(1, &old.raw(), &path);
        assert_eq!((new.read(0).counts(), new.last_seen(0)), ((11, 1100), 70));
        assert_eq!((new.read(1).counts(), new.last_seen(1)), ((2, 200), 72));
    }
}

#[test]
fn an_idle_row_keeps_the_older_last_seen() {
    let (old, _, path) = carried();
    let new = hot::<Hot64>(2);
    assert_eq!(new.sum(0, &old.raw(), &path).last_seen(), 50);
}

#[test]
fn a_rollback_gives_the_older_array_everything_once() {
    let (old, new, path) = carried();
    for _ in 0..2 {
        new.fold_down(0, &old.raw(), &path);
        assert_eq!((old.read(0).counts(), old.last_seen(0)), ((11, 1100), 70));
    }
    new.fold_down(1, &old.raw(), &path);
    assert_eq!((old.read(1).counts(), old.last_seen(1)), ((2, 200), 72));
    new.fold_down(1, &old.raw(), &path);
    assert_eq!(old.read(1).counts(), (2, 200));
}

proptest! {
    #[test]
    fn hot_words_come_back_from_the_newer_layout(bytes in prop::array::uniform16(any::<u8>())) {
        check_round_trip::<Hot64, Hot32>(&bytes).unwrap();
    }

    #[test]
    fn merging_is_adding(a in any::<[u32; 3]>(), b in any::<[u32; 3]>()) {
        let words = |n: [u32; 3]| Hot64 {
            packets: n[0].into(), bytes: n[1].into(), last_seen: n[2], flags: 0, _fill: 0,
        };
        let (mut sum, later) = (words(a), words(b));
        sum.merge(&later);
        let expected = (u64::from(a[0]) + u64::from(b[0]), u64::from(a[1]) + u64::from(b[1]));
        prop_assert_eq!(sum.counts(), expected);
        prop_assert_eq!(sum.last_seen, a[2].max(b[2]));
        prop_assert_eq!(sum.as_bytes().len(), 32);
    }
}
