//! The directory between its writer and its readers.

mod damage;

use super::*;
use crate::arena::{Access, ArenaSpec};
use baton_schema::{Kind, Policy, schema::Field};

const MIB: u64 = 1 << 20;

fn arena() -> Arena {
    let spec = ArenaSpec {
        prefix: "dir".to_owned(),
        tables_bytes: 4 * MIB,
        mbufs: 32,
        ..ArenaSpec::default()
    };
    Arena::create(&spec).unwrap()
}

fn schema(version: u32) -> Schema {
    Schema {
        name: "test.record".to_owned(),
        version,
        size: 8,
        align: 8,
        fields: vec![Field {
            name: "value".to_owned(),
            offset: 0,
            size: 8,
            kind: Kind::U64,
            names: Vec::new(),
            doc: String::new(),
        }],
        doc: "one number".to_owned(),
    }
}

fn spec<'a>(name: &'a str, schema: &'a Schema, generation: u16, len: u64) -> ZoneSpec<'a> {
    ZoneSpec {
        name,
        schema,
        generation,
        len,
        policy: Policy::Migrate,
        count: len / 8,
        stride: 8,
    }
}

#[test]
fn a_zone_is_found_by_others_once_it_is_published() {
    let arena = arena();
    let writer = Directory::create(&arena).unwrap();
    let other = Arena::attach(arena.read_only_fds().unwrap(), Access::ReadOnly).unwrap();
    let reader = Directory::open(&other).unwrap();
    let v1 = schema(1);
    let zone = writer
        .create_zone(&spec("nat.session", &v1, 3, 8192))
        .unwrap();
    writer.zone_region(&zone).unwrap().write(8, &77u64);
    assert_eq!(
        (zone.state, zone.count, zone.stride),
        (ZoneState::Building, 1024, 8)
    );
    assert_eq!(reader.find_latest("nat.session"), None, "D1");
    writer.publish(zone.id).unwrap();
    let found = reader.find_latest("nat.session").unwrap();
    assert_eq!(
        (found.id, found.generation, found.policy),
        (zone.id, 3, Policy::Migrate)
    );
    assert_eq!(reader.zone_region(&found).unwrap().read::<u64>(8), 77);
    assert_eq!(reader.schema_of(&found).unwrap(), v1);
    assert_eq!(found.fingerprint, v1.fingerprint());
    assert_eq!(reader.header().prefix, "dir");
    assert!(reader.is_of_this_boot() && reader.check().is_empty());
}

#[test]
fn only_the_writer_makes_zones() {
    let arena = arena();
    let v1 = schema(1);
    Directory::create(&arena).unwrap();
    let reader = Directory::open(&arena).unwrap();
    let error = reader.create_zone(&spec("a", &v1, 0, 8)).unwrap_err();
    assert!(matches!(error, DirectoryError::NotWriter), "{error}");
    assert!(reader.retire(1).is_err() && reader.publish(1).is_err());
    let next = Directory::take_over(&arena).unwrap();
    next.create_zone(&spec("a", &v1, 0, 8)).unwrap();
}

#[test]
fn a_generation_set_uses_the_newest_that_is_not_newer() {
    let directory = Directory::create(&arena()).unwrap();
    let v1 = schema(1);
    for generation in [2, 5] {
        let zone = directory
            .create_zone(&spec("z", &v1, generation, 64))
            .unwrap();
        directory.publish(zone.id).unwrap();
    }
    let of = |generation| directory.find("z", generation).map(|zone| zone.generation);
    assert_eq!(
        [of(1), of(2), of(4), of(5), of(9)],
        [None, Some(2), Some(2), Some(5), Some(5)]
    );
    assert_eq!(directory.retire_generation(5).unwrap(), 1);
    assert_eq!(of(9), Some(2));
    assert_eq!(directory.retire_generation(5).unwrap(), 0);
}

#[test]
fn the_same_zone_twice_is_refused_until_the_first_is_retired() {
    let directory = Directory::create(&arena()).unwrap();
    let v1 = schema(1);
    let zone = directory.create_zone(&spec("z", &v1, 1, 64)).unwrap();
    let error = directory.create_zone(&spec("z", &v1, 1, 64)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "zone \"z\" of generation 1 exists and is building"
    );
    directory.retire(zone.id).unwrap();
    directory.retire(zone.id).unwrap();
    directory.create_zone(&spec("z", &v1, 1, 64)).unwrap();
    let error = directory.publish(zone.id).unwrap_err();
    assert!(
        error.to_string().contains("is retired, wanted building"),
        "{error}"
    );
}

#[test]
fn retired_bytes_are_left_alone_for_a_second_and_come_back_as_zeros() {
    let directory = Directory::create(&arena()).unwrap();
    let v1 = schema(1);
    let first = directory.create_zone(&spec("a", &v1, 1, 4 * MIB)).unwrap();
    directory.zone_region(&first).unwrap().write(0, &[1u8; 64]);
    directory.retire(first.id).unwrap();
    let retired = directory.entry(first.id).unwrap();
    let soon = retired.retired_ns + QUARANTINE_NS - 1;
    let error = directory
        .create_zone_at(&spec("b", &v1, 1, 8), soon)
        .unwrap_err();
    assert!(
        matches!(
            error,
            DirectoryError::NoSpace {
                wanted: 4096,
                free: 0
            }
        ),
        "{error}"
    );
    assert!(directory.is_current(&retired), "D3");
    let later = retired.retired_ns + QUARANTINE_NS;
    let second = directory
        .create_zone_at(&spec("b", &v1, 1, 64), later)
        .unwrap();
    assert_eq!(second.offset, first.offset);
    assert_eq!(
        directory.zone_region(&second).unwrap().to_vec(0, 64),
        vec![0; 64]
    );
    assert!(!directory.is_current(&retired) && !directory.is_current(&first));
    assert!(matches!(
        directory.entry(first.id),
        Err(DirectoryError::NoSuchZone { .. })
    ));
}

#[test]
fn zones_never_overlap_and_first_fit_fills_holes() {
    let directory = Directory::create(&arena()).unwrap();
    let v1 = schema(1);
    let names: Vec<String> = (0..8).map(|i| format!("z{i}")).collect();
    let make = |name: &str, len, now| directory.create_zone_at(&spec(name, &v1, 1, len), now);
    let zones: Vec<ZoneEntry> = names.iter().map(|n| make(n, 100_000, 0).unwrap()).collect();
    for pair in zones.windows(2) {
        assert!(pair[0].offset + pair[0].len <= pair[1].offset, "D2");
        assert_eq!(pair[1].offset % 4096, 0);
    }
    directory.retire(zones[2].id).unwrap();
    directory.retire(zones[3].id).unwrap();
    let later = sys::clock_boottime_ns() + QUARANTINE_NS;
    assert_eq!(
        make("hole", 150_000, later).unwrap().offset,
        zones[2].offset
    );
    let (all, longest) = directory.free_bytes();
    assert!(longest <= all && all < 4 * MIB);
}

#[test]
fn tables_grow_when_there_is_no_room() {
    let arena = arena();
    let directory = Directory::create(&arena).unwrap();
    let v1 = schema(1);
    let error = directory
        .create_zone(&spec("big", &v1, 1, 6 * MIB))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the longest free range has 4194304"),
        "{error}"
    );
    let grow = |len| arena.add_segment(len).map(|_| ());
    let zone = directory
        .create_zone_or_grow(&spec("big", &v1, 1, 6 * MIB), grow)
        .unwrap();
    let region = directory.zone_region(&zone).unwrap();
    assert_eq!(region.as_ptr(), arena.segment("tables.1").unwrap().as_ptr());
    directory
        .create_zone_or_grow(&spec("small", &v1, 1, 8), |_| panic!("room"))
        .unwrap();
}

#[test]
fn each_schema_is_stored_once() {
    let directory = Directory::create(&arena()).unwrap();
    let (v1, v2) = (schema(1), schema(2));
    let a = directory.create_zone(&spec("a", &v1, 1, 8)).unwrap();
    let b = directory.create_zone(&spec("b", &v2, 1, 8)).unwrap();
    let c = directory.create_zone(&spec("c", &v1, 1, 8)).unwrap();
    assert_eq!(a.schema_at, c.schema_at);
    assert_ne!(a.schema_at, b.schema_at);
    assert_eq!(directory.schema_of(&b).unwrap().version, 2);
}

#[test]
fn entries_run_out_with_a_sentence() {
    let directory = Directory::create(&arena()).unwrap();
    let v1 = schema(1);
    for i in 0..ENTRIES {
        let name = format!("z{i}");
        directory.create_zone(&spec(&name, &v1, 1, 8)).unwrap();
    }
    let error = directory
        .create_zone(&spec("one more", &v1, 1, 8))
        .unwrap_err();
    assert!(error.to_string().starts_with("all 512 entries"), "{error}");
}

#[test]
fn what_an_entry_cannot_hold_is_refused() {
    let directory = Directory::create(&arena()).unwrap();
    let v1 = schema(1);
    let long = "x".repeat(64);
    for bad in [
        spec("", &v1, 1, 8),
        spec(&long, &v1, 1, 8),
        spec("nul\0", &v1, 1, 8),
        spec("empty", &v1, 1, 0),
        spec("absurd", &v1, 1, u64::MAX),
        ZoneSpec {
            count: 9,
            ..spec("records", &v1, 1, 64)
        },
    ] {
        let error = directory.create_zone(&bad).unwrap_err();
        assert!(matches!(error, DirectoryError::Spec { .. }), "{error}");
    }
}
