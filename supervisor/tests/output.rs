//! Promise: data goes to stdout, talk to stderr; every result is to be had as JSON; the last line
//! names the next command or the way out.

mod world;

use serde_json::Value;
use world::World;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn status_shows_shards_owners_ports_and_drops() {
    let world = World::running();
    let (_, pid) = world.owner();
    let ran = world.baton(&["status"]);
    assert_eq!(ran.code, 0, "the prefix may be left out: {ran:?}");
    let first = ran.out.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("t   forwarding   gateway 1.0 (generation 1) for "),
        "{first}"
    );
    for words in [
        format!("gen 1  pid {pid}"),
        "control".into(),
        "port inside".into(),
        "net_fake up".into(),
        "ttl_exceeded 3".into(),
        "64 free of 64".into(),
        "0 unaccounted".into(),
    ] {
        assert!(ran.out.contains(&words), "{words}: {}", ran.out);
    }
    let status = world.status();
    assert_eq!(status["schema"], "baton.status/1");
    assert_eq!(
        status["shards"].as_array().map(Vec::len),
        Some(3),
        "two shards and the control shard"
    );
    for shard in status["shards"].as_array().expect("shards") {
        assert_eq!(
            (&shard["epoch"], &shard["generation"]),
            (&1.into(), &1.into())
        );
    }
    assert!(
        status["stats_interval_ns"]
            .as_u64()
            .is_some_and(|ns| ns > 0),
        "{status}"
    );
    assert_eq!(status["upgrade"], Value::Null);
}

#[test]
fn an_upgrade_tells_its_phases_on_stderr_and_its_receipt_on_stdout() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "").display().to_string();
    let ran = world.baton(&["upgrade", "t", &next, "--soak", "100ms"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    let steps: Vec<&str> = ran
        .err
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    let wanted = [
        "plan", "spawn", "attach", "migrate", "warm", "swap", "swap", "swap", "soak", "commit",
        "retire",
    ];
    assert_eq!(steps[..wanted.len()], wanted, "{}", ran.err);
    let last = ran.err.lines().last().unwrap_or_default();
    assert_eq!(last, "next: baton status t   (back: baton rollback t)");
}

#[test]
fn quiet_leaves_the_data_and_jsonl_gives_each_step_as_a_line() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "").display().to_string();
    let ran = world.baton(&["upgrade", "t", &next, "--soak", "0s", "-q"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.starts_with("receipt #1   COMMITTED"), "{ran:?}");
    let ran = world.baton(&["rollback", "t", "--format", "jsonl", "-q"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Value> = ran.out.lines().map(json).collect();
    let (receipt, steps) = lines.split_last().expect("lines");
    assert_eq!(
        (&receipt["schema"], &receipt["kind"]),
        (&"baton.receipt/1".into(), &"rollback".into())
    );
    assert!(steps.iter().all(|step| step["number"] == 2), "{steps:?}");
    assert!(
        steps
            .iter()
            .any(|step| step["step"] == "swap 1" && step["duration_ns"].is_u64()),
        "{steps:?}"
    );
}

#[test]
fn the_history_is_a_table_a_receipt_and_json_also_when_nothing_runs() {
    let mut world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "");
    assert_eq!(world.upgrade(&next).code, 0);
    assert_eq!(world.baton(&["rollback", "t"]).code, 0);
    assert_eq!(world.baton(&["stop", "t"]).code, 0);
    world.supervisor_ended();
    let list = world.baton(&["history", "t"]);
    let rows: Vec<&str> = list.out.lines().collect();
    assert!(rows[0].trim_start().starts_with("#  when"), "{list:?}");
    assert!(
        rows[1].contains("1.1 -> 1.0") && rows[2].contains("1.0 -> 1.1"),
        "the newest first: {list:?}"
    );
    let one = world.baton(&["history", "t", "1"]);
    for words in [
        "receipt #1",
        "nat.session",
        "migrate v1 -> v2",
        "shard 1 forward",
        "ring 9 of 4096",
        "lost",
    ] {
        assert!(one.out.contains(words), "{words}: {}", one.out);
    }
    let all = json(&world.baton(&["history", "t", "--format", "json"]).out);
    assert_eq!(
        (&all["schema"], all["receipts"].as_array().map(Vec::len)),
        (&"baton.history/1".into(), Some(2))
    );
    let newest = json(&world.baton(&["history", "t", "2", "--format", "json"]).out);
    assert!(
        newest["previous_receipt_sha256"]
            .as_str()
            .is_some_and(|hash| hash.len() == 64),
        "{newest}"
    );
    let none = world.baton(&["history", "t", "9"]);
    assert_eq!(none.code, 2, "{none:?}");
    assert!(
        none.err.contains("no receipt #9: the newest is #2"),
        "{none:?}"
    );
}

#[test]
fn a_receipt_changed_by_hand_is_named() {
    let world = World::running();
    let next = world.binary("1.1", 1, &[1], "");
    assert_eq!(world.upgrade(&next).code, 0);
    assert_eq!(world.baton(&["rollback", "t"]).code, 0);
    let path = world.folder.path().join("state/t/history/000001.json");
    let text = std::fs::read_to_string(&path).expect("readable");
    std::fs::write(&path, text.replace("committed", "refused")).expect("writable");
    let list = world.baton(&["history", "t"]);
    assert_eq!(list.code, 0);
    assert!(
        list.err
            .contains("receipt #2 does not name the hash of the one before it"),
        "{list:?}"
    );
    std::fs::write(&path, "{").expect("writable");
    let list = world.baton(&["history", "t"]);
    assert_eq!(list.code, 8, "{list:?}");
    let aside = format!("mv {0} {0}.damaged", path.display());
    assert!(
        list.err.contains("not a receipt") && list.err.contains(&aside),
        "{list:?}"
    );
    assert!(
        list.out.contains("1.1 -> 1.0"),
        "the other is shown: {list:?}"
    );
}

#[test]
fn a_rollback_never_takes_an_older_commit_for_one_it_cannot_read() {
    let world = World::running();
    let first = world.binary("1.1", 1, &[1], "");
    assert_eq!(world.upgrade(&first).code, 0);
    let path = world.folder.path().join("state/t/history/000001.json");
    std::fs::write(&path, "{").expect("writable");
    let back = world.baton(&["rollback", "t"]);
    assert_eq!(back.code, 4, "{back:?}");
    assert!(
        back.err.contains("000001.json") && back.err.contains("baton rollback t NUMBER"),
        "{back:?}"
    );
    assert_eq!(world.owner().0, "1.1");
}

#[test]
fn a_plan_is_json_too_and_its_refusal_has_the_same_code() {
    let world = World::running();
    let good = world.binary("1.1", 2, &[1, 2], "").display().to_string();
    let bad = world.binary("2.0", 4, &[2, 3, 4], "").display().to_string();
    let ran = world.baton(&["plan", "t", &good, "--format", "json"]);
    let plan = json(&ran.out);
    assert_eq!(
        (ran.code, &plan["schema"], &plan["go"]),
        (0, &"baton.plan/1".into(), &true.into())
    );
    assert_eq!(plan["zones"][0]["policy"], "migrate");
    assert!(
        plan["swap"]["rate_pps"]
            .as_u64()
            .is_some_and(|rate| rate > 0),
        "{plan}"
    );
    let ran = world.baton(&["plan", "t", &bad, "--format", "json"]);
    let plan = json(&ran.out);
    assert_eq!((ran.code, &plan["go"]), (4, &false.into()));
    assert!(
        plan["refusals"][0]
            .as_str()
            .is_some_and(|why| why.contains("nat.session v1 -> v4")),
        "{plan}"
    );
    let other = world.baton(&["plan", "t", "/bin/true"]);
    assert_eq!(other.code, 4, "{other:?}");
    assert!(
        other
            .err
            .contains("/bin/true --manifest printed no manifest"),
        "{other:?}"
    );
}

#[test]
fn failures_are_json_where_json_is_asked_for() {
    let world = World::new();
    let ran = world.baton(&["status", "t", "--format", "json"]);
    assert_eq!(ran.code, 3);
    let failure = json(&ran.out);
    assert_eq!(
        (&failure["schema"], &failure["exit_code"]),
        (&"baton.failure/1".into(), &3.into())
    );
    assert_eq!(failure["way_out"], "baton run t");
}

#[test]
fn colours_come_only_when_they_are_asked_for() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "").display().to_string();
    let plain = world.baton(&["plan", "t", &next]);
    assert!(!plain.out.contains('\u{1b}'), "{plain:?}");
    let colored = world.baton(&["plan", "t", &next, "--color", "always"]);
    assert!(colored.out.contains("\u{1b}[32mGO"), "{colored:?}");
}
