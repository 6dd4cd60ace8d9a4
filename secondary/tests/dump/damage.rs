//! Copies of an image, damaged: exit code 8 (or the one that fits) and a sentence with a way out, never a panic.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use baton_schema::{Policy, Record};
use baton_shared_state::directory::{ZoneEntry, ZoneSpec};
use tempfile::TempDir;

use crate::fixture::{Fixture, Part, dump, image, stderr, stdout};

struct Damaged {
    dir: TempDir,
    fixture: Fixture,
}

impl Damaged {
    fn new() -> Damaged {
        let dir = tempfile::tempdir().unwrap();
        let fixture = image(dir.path());
        Damaged { dir, fixture }
    }

    fn segment(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.segment"))
    }

    fn open(&self, name: &str) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.segment(name))
            .unwrap()
    }

    /// Overwrites bytes of a zone.
    fn write_zone(&self, name: &str, at: u64, bytes: &[u8]) {
        let entry = self.zone(name);
        let tables = self
            .fixture
            .arena
            .list()
            .into_iter()
            .find(|segment| segment.name == "tables")
            .unwrap();
        self.open("tables")
            .write_all_at(bytes, entry.offset - tables.offset + at)
            .unwrap();
    }

    fn zone(&self, name: &str) -> ZoneEntry {
        self.fixture.directory.find_latest(name).unwrap()
    }

    fn run(&self, verb: &[&str]) -> Output {
        let path: &Path = self.dir.path();
        let arguments = ["edge1", "--image", path.to_str().unwrap()];
        dump(&[&arguments[..], verb].concat())
    }
}

fn assert_says(output: &Output, code: i32, sentence: &str) {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        stderr(output)
    );
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(sentence), "{sentence:?} expected in: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_truncated_segment_is_named_with_both_lengths() {
    let damaged = Damaged::new();
    damaged.open("ledger").set_len(8192).unwrap();
    assert_says(
        &damaged.run(&["list"]),
        8,
        "segment \"ledger\" is truncated or foreign: 8192 bytes",
    );
    let damaged = Damaged::new();
    damaged.open("tables").set_len(4096).unwrap();
    assert_says(
        &damaged.run(&["check"]),
        8,
        "segment \"tables\" is truncated or foreign: 4096 bytes",
    );
}

#[test]
fn a_segment_that_lacks_its_end_leaves_the_other_zones_readable() {
    let damaged = Damaged::new();
    let far = Part::schema();
    let spec = ZoneSpec {
        name: "test.far",
        schema: &far,
        generation: 1,
        len: 3 << 20,
        policy: Policy::Adopt,
        count: 1,
        stride: 0,
    };
    let entry = damaged.fixture.directory.create_zone(&spec).unwrap();
    damaged.fixture.directory.publish(entry.id).unwrap();
    damaged.fixture.arena.save(damaged.dir.path()).unwrap();
    damaged.open("tables").set_len(2 << 20).unwrap();
    stdout(&damaged.run(&["show", "nat.session"]));
    assert_says(
        &damaged.run(&["show", "test.far"]),
        8,
        "lie in no mapped segment",
    );
    assert_says(&damaged.run(&["check"]), 8, "lie in no mapped segment");
}

#[test]
fn foreign_bytes_are_not_an_arena() {
    let damaged = Damaged::new();
    damaged
        .open("ledger")
        .write_all_at(b"ELF, or what not", 0)
        .unwrap();
    for verb in [&["list"][..], &["check"], &["show", "nat.session"]] {
        assert_says(&damaged.run(verb), 8, "not an arena of baton");
    }
}

#[test]
fn an_arena_or_a_ledger_from_the_future_names_both_layouts_and_the_way_out() {
    const ARENA: u64 = 0;
    const LEDGER: u64 = 0x1000;
    const LAYOUT: u64 = 8;
    for (place, sentence) in [
        (ARENA, "arena: layout v99 found, this build reads v1..=v1"),
        (LEDGER, "ledger layout v99 found, this build reads v1"),
    ] {
        let damaged = Damaged::new();
        let number = 99u32.to_le_bytes();
        damaged
            .open("ledger")
            .write_all_at(&number, place + LAYOUT)
            .unwrap();
        for verb in [&["list"][..], &["check"], &["show", "nat.session"]] {
            assert_says(&damaged.run(verb), 8, sentence);
            assert_says(&damaged.run(verb), 8, "use the newer baton");
        }
    }
}

#[test]
fn a_missing_folder_or_segment_is_named() {
    let output = dump(&["edge1", "--image", "/nonexistent/image", "list"]);
    assert_says(&output, 3, "/nonexistent/image");
    let damaged = Damaged::new();
    std::fs::remove_file(damaged.segment("tables")).unwrap();
    assert_says(&damaged.run(&["list"]), 8, "no segment \"tables\"");
}

#[test]
fn a_flipped_bit_anywhere_in_the_directory_is_found_by_check() {
    let damaged = Damaged::new();
    let ledger = std::fs::read(damaged.segment("ledger")).unwrap();
    let used: Vec<u64> = (0..ledger.len() as u64)
        .filter(|at| ledger[*at as usize] != 0)
        .collect();
    let (mut found, mut tried) = (0, 0);
    for at in used.iter().step_by(used.len() / 40 + 1) {
        damaged
            .open("ledger")
            .write_all_at(&[ledger[*at as usize] ^ 0x10], *at)
            .unwrap();
        let output = damaged.run(&["check"]);
        let code = output.status.code();
        assert!(
            matches!(code, Some(0 | 8)),
            "byte {at}: {code:?} {}",
            stderr(&output)
        );
        let _ = damaged.run(&["list"]);
        tried += 1;
        found += u32::from(code == Some(8));
        damaged
            .open("ledger")
            .write_all_at(&[ledger[*at as usize]], *at)
            .unwrap();
    }
    assert!(
        found * 2 > tried,
        "{found} of {tried} found: most used bytes of the ledger are covered by a checksum"
    );
}

#[test]
fn a_key_that_vanished_is_told_by_the_ids() {
    let damaged = Damaged::new();
    let keys = damaged.zone("nat.session.key");
    let states = keys.count * u64::from(keys.stride);
    damaged.write_zone(&keys.name, states, &3u32.to_le_bytes());
    assert_says(
        &damaged.run(&["check"]),
        8,
        "8 keys are published, 9 ids are in use",
    );
    assert_says(&damaged.run(&["check"]), 8, "checks failed");
}

#[test]
fn a_changed_key_is_not_found_by_its_index() {
    let damaged = Damaged::new();
    damaged.write_zone("nat.session.key", 8, &[99]);
    assert_says(
        &damaged.run(&["check"]),
        8,
        "1 of 9 published keys are not found by the index",
    );
    stdout(&damaged.run(&["show", "nat.session"]));
}

#[test]
fn keys_that_lie_as_another_build_has_them_are_refused_and_not_passed_over() {
    let damaged = Damaged::new();
    let Fixture {
        directory, arena, ..
    } = &damaged.fixture;
    let keys = damaged.zone("nat.session.key");
    let schema = directory.schema_of(&keys).unwrap();
    let part = Part::schema();
    for (name, schema, stride) in [
        ("old.session.index", &part, 0),
        ("old.session.key", &schema, keys.stride + 8),
        ("old.session", &schema, keys.stride),
    ] {
        let spec = ZoneSpec {
            name,
            schema,
            generation: 1,
            len: 64 * u64::from(stride).max(8),
            policy: Policy::Adopt,
            count: 64,
            stride,
        };
        let entry = directory.create_zone(&spec).unwrap();
        directory.publish(entry.id).unwrap();
    }
    arena.save(damaged.dir.path()).unwrap();
    let (wanted, found) = (keys.stride, keys.stride + 8);
    let sentence = format!(
        "keys {wanted} bytes apart and their states behind them expected, {found} bytes found"
    );
    assert_says(&damaged.run(&["check"]), 8, &sentence);
    assert_says(&damaged.run(&["show", "old.session"]), 8, &sentence);
    stdout(&damaged.run(&["show", "nat.session"]));
}

#[test]
fn garbage_in_every_zone_is_an_error_or_rows_never_a_panic() {
    for name in [
        "nat.session",
        "nat.session.key",
        "nat.session.hot",
        "nat.session.ids",
        "nat.session.index",
    ] {
        let damaged = Damaged::new();
        let len = damaged.zone(name).len as usize;
        let garbage: Vec<u8> = (0..len)
            .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3])
            .collect();
        damaged.write_zone(name, 0, &garbage);
        for verb in [
            &["check"][..],
            &["show", name],
            &["show", "nat.session"],
            &["list"],
        ] {
            let output = damaged.run(verb);
            let code = output.status.code();
            assert!(
                matches!(code, Some(0 | 8)),
                "{name} {verb:?}: {code:?} {}",
                stderr(&output)
            );
        }
    }
}
