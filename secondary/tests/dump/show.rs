//! `show`: one row a live session, joined, filtered, of any version.

use baton_schema::Value;
use baton_secondary::instance::Instance;
use baton_secondary::scan::Scan;
use baton_shared_state::arena::{Access, Arena, Memory};
use baton_shared_state::table::FRESH;
use serde_json::Value as Json;
use zerocopy::FromZeros;

use crate::fixture::{Fixture, SESSIONS, SessionV2, dump, image, packets, stderr, stdout};

fn instance(fixture: &Fixture) -> Instance {
    let arena = Arena::attach(fixture.arena.read_only_fds().unwrap(), Access::ReadOnly).unwrap();
    Instance::of(arena, true).unwrap()
}

fn column(scan: &Scan<'_>, name: &str) -> usize {
    scan.columns()
        .iter()
        .position(|column| column.name == name)
        .unwrap_or_else(|| panic!("no column {name}"))
}

fn json(arguments: &[&str]) -> Json {
    serde_json::from_str(&stdout(&dump(arguments))).unwrap()
}

#[test]
fn each_live_session_is_one_row_of_key_record_and_counters() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let fixture = image(dir.path());
    drop(fixture);
    let whole = json(&[
        "edge1",
        "--image",
        path,
        "--format",
        "json",
        "show",
        "nat.session",
    ]);
    assert_eq!(whole["schema"], "baton.rows/1");
    assert_eq!(whole["record"]["version"], 1);
    assert_eq!(whole["live"], SESSIONS);
    let rows = whole["rows"].as_array().unwrap();
    assert_eq!(rows.len(), SESSIONS as usize);
    assert_eq!(rows[3]["inside_addr"], "10.0.7.3");
    assert_eq!(rows[3]["inside_port"], 40_003);
    assert_eq!(rows[3]["protocol"], "tcp");
    assert_eq!(rows[3]["state"], "established");
    assert_eq!(rows[3]["binding"], 3);
    assert_eq!(rows[3]["packets"], 13);
    assert_eq!(
        rows[3]["hot.flags"], FRESH,
        "the record's own `flags` keeps its name"
    );
}

#[test]
fn where_and_limit_choose_rows_and_the_rest_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    image(dir.path());
    let filter = "dst_port==443 && packets>10 && idle<1h";
    let output = dump(&[
        "edge1",
        "--image",
        path,
        "show",
        "nat.session",
        "--where",
        filter,
        "--limit",
        "2",
    ]);
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.contains("10.0.7.2:40002") && text.contains("10.0.7.4:40004"),
        "{text}"
    );
    assert!(
        stderr(&output).contains("2 of 9 shown"),
        "{}",
        stderr(&output)
    );
    let lines = stdout(&dump(&[
        "edge1",
        "--image",
        path,
        "--format",
        "jsonl",
        "show",
        "nat.session",
        "--where",
        filter,
    ]));
    assert_eq!(lines.lines().count(), 4);
    for line in lines.lines() {
        assert_eq!(
            serde_json::from_str::<Json>(line).unwrap()["remote_port"],
            443
        );
    }
}

#[test]
fn a_mistake_in_the_expression_or_the_name_ends_with_2_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    image(dir.path());
    let output = dump(&[
        "edge1",
        "--image",
        path,
        "show",
        "nat.session",
        "--where",
        "remote_prt==443",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("no field \"remote_prt\" here; there are id, inside_addr"),
        "{}",
        stderr(&output)
    );
    let output = dump(&["edge1", "--image", path, "show", "nat.sesion"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("no zone \"nat.sesion\". There are: nat.session, nat.session.hot"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_ended_session_is_not_shown_and_a_new_one_is() {
    let fixture = Fixture::new("live", Memory::Memfd);
    let instance = instance(&fixture);
    fixture.remove_session(4);
    let id = fixture.add_session(50);
    let scan = Scan::open(&instance, "nat.session", None).unwrap();
    let rows = scan.collect().unwrap();
    let ids: Vec<String> = rows.iter().map(|row| row[0].to_string()).collect();
    assert!(
        !ids.contains(&"4".to_owned()) && ids.contains(&id.to_string()),
        "{ids:?}"
    );
}

#[test]
fn the_generation_in_use_is_shown_and_counters_of_both_are_added() {
    let fixture = Fixture::new("carry", Memory::Memfd);
    let instance = instance(&fixture);
    let (records, hot) = fixture.upgrade();
    let before = Scan::open(&instance, "nat.session", None).unwrap();
    assert_eq!(
        before.records().schema.version,
        1,
        "nobody owns a shard as generation 2 yet"
    );
    fixture.own(2);
    hot.count(0, 5, 500, 100);
    hot.start(1, 100);
    hot.count(1, 7, 700, 100);
    records.write(
        1,
        &SessionV2 {
            created: 99,
            ..FromZeros::new_zeroed()
        },
    );
    let scan = Scan::open(&instance, "nat.session", None).unwrap();
    assert_eq!(scan.records().schema.version, 2);
    let rows = scan.collect().unwrap();
    let at = column(&scan, "packets");
    assert_eq!(rows[0][at], Value::Unsigned(packets(&fixture.hot, 0) + 5));
    assert_eq!(
        rows[1][at],
        Value::Unsigned(7),
        "a row made after the swap has no older counts"
    );
    assert_eq!(rows[2][at], Value::Unsigned(packets(&fixture.hot, 2)));
    assert_eq!(rows[1][column(&scan, "created")], Value::TimeSec(99));
    let older = Scan::open(&instance, "nat.session", Some(1)).unwrap();
    assert_eq!(older.records().schema.version, 1, "--generation 1");
}

#[test]
fn bytes_of_a_zone_that_was_retired_meanwhile_are_never_shown() {
    let fixture = Fixture::new("retired", Memory::Memfd);
    let instance = instance(&fixture);
    fixture.upgrade();
    let scan = Scan::open(&instance, "nat.session", Some(1)).unwrap();
    fixture.directory.retire_generation(1).unwrap();
    let error = scan.collect().unwrap_err();
    assert!(
        error.to_string().contains("was retired while it was read"),
        "{error}"
    );
    assert_eq!(error.exit().code(), 1);
}
