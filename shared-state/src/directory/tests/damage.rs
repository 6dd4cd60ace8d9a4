//! Whatever the bytes of the directory are, what is wrong is said, and the rest is read.

use proptest::prelude::*;

use super::*;
use crate::ledger::layout::{DIRECTORY, ENTRY_STRIDE, SCHEMAS};

#[test]
fn a_damaged_header_is_refused_by_what_is_wrong() {
    let arena = arena();
    let error = Directory::open(&arena).unwrap_err();
    assert!(
        matches!(error, DirectoryError::Magic { found: 0, .. }),
        "{error}"
    );
    Directory::create(&arena).unwrap();
    let ledger = arena.segment("ledger").unwrap();
    ledger.u32(8).store(2, Ordering::Relaxed);
    let error = Directory::open(&arena).unwrap_err();
    assert_eq!(
        error.to_string(),
        "arena: layout v2 found, this build reads v1..=v1: use the newer baton"
    );
    ledger.u32(8).store(1, Ordering::Relaxed);
    Directory::open(&arena).unwrap();
    ledger.u32(40).fetch_xor(1, Ordering::Relaxed);
    let error = Directory::open(&arena).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("header of the arena is corrupt"),
        "{error}"
    );
}

#[test]
fn a_damaged_entry_or_schema_is_found_by_name_and_the_rest_is_read() {
    let arena = arena();
    let writer = Directory::create(&arena).unwrap();
    let (v1, v2) = (schema(1), schema(2));
    for (name, schema) in [("a", &v1), ("b", &v2), ("c", &v1)] {
        let zone = writer.create_zone(&spec(name, schema, 1, 8)).unwrap();
        writer.publish(zone.id).unwrap();
    }
    let ledger = arena.segment("ledger").unwrap();
    ledger
        .u32(DIRECTORY + ENTRY_STRIDE + 128)
        .fetch_xor(1, Ordering::Relaxed);
    let error = Directory::open(&arena).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("zone entry 1 is corrupt: checksum"),
        "{error}"
    );
    let tool = Directory::inspect(&arena).unwrap();
    let names: Vec<String> = tool.list().into_iter().map(|zone| zone.name).collect();
    assert_eq!(
        (names, tool.check().len()),
        (vec!["a".to_owned(), "c".to_owned()], 1)
    );
    ledger.u32(SCHEMAS + 40).fetch_xor(1, Ordering::Relaxed);
    let error = tool.check().into_iter().next().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("schema of zone \"a\" is corrupt"),
        "{error}"
    );
}

#[test]
fn a_writer_that_died_inside_an_entry_leaves_it_empty() {
    let arena = arena();
    let writer = Directory::create(&arena).unwrap();
    let v1 = schema(1);
    writer.create_zone(&spec("half", &v1, 1, 8)).unwrap();
    let ledger = arena.segment("ledger").unwrap();
    ledger.u32(DIRECTORY + 196).fetch_or(1, Ordering::Relaxed);
    let next = Directory::take_over(&arena).unwrap();
    assert!(next.list().is_empty());
    next.create_zone(&spec("half", &v1, 1, 8)).unwrap();
    assert_eq!(next.list().len(), 1);
}

/// Reads everything there is to read; any bytes must give values or errors (D4).
fn read_all(arena: &Arena) {
    let Ok(directory) = Directory::inspect(arena) else {
        return;
    };
    let _ = (directory.check(), directory.free_bytes());
    for zone in directory.list() {
        let _ = (directory.schema_of(&zone), directory.is_current(&zone));
        let _ = (directory.zone_region(&zone), directory.find(&zone.name, 9));
    }
    if let Ok(writer) = Directory::take_over(arena) {
        let v1 = schema(1);
        let _ = writer.create_zone(&spec("new", &v1, 1, 8));
    }
}

/// Makes the checksum of an entry right, so that what lies behind it is reached.
fn reseal(ledger: Region, slot: usize) {
    let at = DIRECTORY + slot * ENTRY_STRIDE;
    let sum = checksum(&ledger.to_vec(at, 184));
    ledger.write(at + 184, &sum);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 4096),
        state in 0u32..5,
        sealed: bool,
    ) {
        let arena = shared_arena();
        let ledger = arena.segment("ledger").unwrap();
        let directory = Directory::create(&arena).unwrap();
        let zone = directory.create_zone(&spec("z", &schema(1), 1, 8));
        if let Ok(zone) = zone {
            directory.publish(zone.id).unwrap();
        }
        ledger.copy_in(DIRECTORY + ENTRY_STRIDE, &bytes);
        ledger.copy_in(SCHEMAS + 512, &bytes);
        ledger.copy_in(1024, &bytes[..64]);
        for slot in 1..8 {
            let at = DIRECTORY + slot * ENTRY_STRIDE;
            ledger.u32(at + 192).store(state, Ordering::Relaxed);
            ledger.u32(at + 196).store(2, Ordering::Relaxed);
            if sealed {
                ledger.write(at, b"name\0");
                ledger.write(at + 64, b"schema\0");
                ledger.write(at + 176, &2u32);
                reseal(ledger, slot);
            }
        }
        read_all(&arena);
        ledger.slice(DIRECTORY, 1 << 18).unwrap().zero();
    }

    #[test]
    fn one_changed_byte_is_noticed_or_harmless(at in 0usize..0x30400, flip in 1u8..) {
        let arena = shared_arena();
        let ledger = arena.segment("ledger").unwrap();
        let directory = Directory::create(&arena).unwrap();
        directory.create_zone(&spec("z", &schema(1), 1, 8)).unwrap();
        let byte = ledger.to_vec(at, 1)[0];
        ledger.copy_in(at, &[byte ^ flip]);
        read_all(&arena);
        ledger.slice(DIRECTORY, 1 << 18).unwrap().zero();
    }
}

/// One arena for all cases of a thread: mappings are never undone.
fn shared_arena() -> Arena {
    thread_local!(static ARENA: Arena = arena());
    ARENA.with(Clone::clone)
}
