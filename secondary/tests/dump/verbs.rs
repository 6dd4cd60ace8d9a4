//! `list`, `save`, `diff`, `check` of what is whole, and the formats.

use std::path::Path;

use baton_shared_state::arena::Memory;
use serde_json::Value as Json;

use crate::fixture::{Fixture, dump, image, stderr, stdout};

fn text(dir: &Path) -> &str {
    dir.to_str().unwrap()
}

#[test]
fn list_names_every_zone_with_its_version_and_policy() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let output = dump(&["edge1", "list", "--image", text(dir.path())]);
    let table = stdout(&output);
    let line = table
        .lines()
        .find(|line| line.starts_with("nat.session "))
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words[..6],
        ["nat.session", "nat.session", "1", "1", "ready", "migrate"],
        "{table}"
    );
    assert_eq!(words[6..8], ["512", "9"], "records and live ones: {table}");
    assert!(stderr(&output).contains("5 zones"), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("generation in use: 1"),
        "{}",
        stderr(&output)
    );
    let whole: Json = serde_json::from_str(&stdout(&dump(&[
        "edge1",
        "list",
        "--image",
        text(dir.path()),
        "--format",
        "json",
    ])))
    .unwrap();
    assert_eq!(whole["schema"], "baton.zones/1");
    assert_eq!(whole["rows"].as_array().unwrap().len(), 5);
}

#[test]
fn colors_only_where_they_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let run = |color: &str| {
        stdout(&dump(&[
            "edge1",
            "list",
            "--image",
            text(dir.path()),
            "--color",
            color,
        ]))
    };
    assert!(run("always").contains("\x1b["));
    assert!(!run("auto").contains("\x1b["), "stdout is a pipe here");
    assert!(!run("never").contains("\x1b["));
}

#[test]
fn a_whole_image_passes_every_check() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let output = dump(&["edge1", "check", "--image", text(dir.path())]);
    let table = stdout(&output);
    assert!(
        !table.contains("FAIL") && !table.contains("WARN"),
        "{table}"
    );
    assert!(
        table.contains("9 keys published, as many ids in use, each found by its index"),
        "{table}"
    );
    assert!(table.contains("2 of 2 shards owned"), "{table}");
}

#[test]
fn files_of_an_instance_whose_processes_are_dead_are_read() {
    let mount = tempfile::tempdir().unwrap();
    let fixture = Fixture::new("dead", Memory::Hugetlbfs(mount.path().to_owned()));
    drop(fixture);
    let files = text(mount.path());
    let table = stdout(&dump(&[
        "dead",
        "--hugetlbfs",
        files,
        "show",
        "nat.session",
        "--limit",
        "1",
    ]));
    assert!(table.contains("10.0.7.0:40000"), "{table}");
    stdout(&dump(&["dead", "--hugetlbfs", files, "check"]));
    let output = dump(&["nobody", "--hugetlbfs", files, "list"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn a_saved_copy_says_the_same_and_keeps_its_time() {
    let dirs = tempfile::tempdir().unwrap();
    let (first, second) = (dirs.path().join("first"), dirs.path().join("second"));
    image(&first);
    stdout(&dump(&[
        "edge1",
        "--image",
        text(&first),
        "save",
        text(&second),
    ]));
    let show = |dir: &Path| {
        stdout(&dump(&[
            "edge1",
            "--image",
            text(dir),
            "--format",
            "json",
            "show",
            "nat.session",
        ]))
    };
    assert_eq!(show(&second), show(&second), "ages in an image stand still");
    let differences = stdout(&dump(&["edge1", "diff", text(&first), text(&second)]));
    assert_eq!(
        differences.lines().count(),
        1,
        "the header alone: {differences}"
    );
    let output = dump(&["edge1", "--image", text(&first), "save", text(&second)]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "a folder in use is not written over: {}",
        stderr(&output)
    );
}

#[test]
fn diff_names_rows_that_came_went_and_changed_over_versions() {
    let dirs = tempfile::tempdir().unwrap();
    let (before, after) = (dirs.path().join("before"), dirs.path().join("after"));
    let fixture = image(&before);
    let (records, _) = fixture.upgrade();
    fixture.own(2);
    fixture.remove_session(1);
    let id = fixture.add_session(77);
    let mut changed = records.read(2);
    changed.state = 1;
    records.write(2, &changed);
    records.write(id, &changed);
    fixture.arena.save(&after).unwrap();
    let output = dump(&[
        "edge1",
        "diff",
        text(&before),
        text(&after),
        "--zone",
        "nat.session",
    ]);
    let table = stdout(&output);
    assert!(table.contains("v1") && table.contains("v2"), "{table}");
    let line = |word: &str, key: &str| {
        table
            .lines()
            .any(|line| line.starts_with(word) && line.contains(key))
    };
    assert!(line("removed", "10.0.7.1 40001"), "{table}");
    assert!(line("added", "10.0.7.77 40077"), "{table}");
    assert!(line("changed", "10.0.7.2 40002"), "{table}");
    assert!(
        table.contains("established") && table.contains("syn_sent"),
        "{table}"
    );
    assert!(
        stderr(&output).contains("4 differences in 1 zones"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let command = format!(
        "{} edge1 --image {} list | head -1",
        env!("CARGO_BIN_EXE_baton-dump"),
        text(dir.path())
    );
    let output = std::process::Command::new("bash")
        .args(["-o", "pipefail", "-c", &command])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn nobody_listening_to_the_errors_changes_no_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    image(dir.path());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = std::process::Command::new(env!("CARGO_BIN_EXE_baton-dump"))
        .args(["edge1", "--image", text(dir.path()), "show", "no.zone"])
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(ended.code(), Some(2));
}
