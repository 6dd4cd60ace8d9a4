//! Promise: a newer binary takes every shard and commits, or the older one forwards and a receipt
//! says in which phase and why.

mod world;

use world::{World, finish};

#[test]
fn a_rollback_asked_for_twice_is_one_with_two_answers() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "hang rollback");
    let upgrade = world.start(&["upgrade", "t", &next.display().to_string(), "--soak", "20s"]);
    world.wait_for("soak");
    let first = world.start(&["rollback", "t"]);
    world.wait_for("rolling-back");
    let second = world.baton(&["rollback", "t"]);
    assert_eq!((second.code, finish(first).code), (0, 0), "{second:?}");
    assert_eq!(finish(upgrade).code, 6);
    assert_eq!(world.owner().0, "1.0", "{}", world.log());
    assert!(second.out.contains("receipt #1"), "{second:?}");
}

#[test]
fn an_upgrade_moves_every_shard_commits_and_writes_its_receipt() {
    let world = World::running();
    let (version, old) = world.owner();
    assert_eq!(version, "1.0");
    let next = world.binary("1.1", 2, &[1, 2], "");
    let ran = world.upgrade(&next);
    assert_eq!(ran.code, 0, "{ran:?}\n{}", world.log());
    assert!(
        ran.out
            .starts_with("receipt #1   COMMITTED   lost 0 packets, 0 sessions"),
        "{ran:?}"
    );
    let (version, new) = world.owner();
    assert_eq!(version, "1.1");
    assert_ne!(old, new);
    let receipt = world.receipt(1);
    assert_eq!(receipt["verdict"], "committed");
    assert_eq!(receipt["reason"], serde_json::Value::Null);
    assert_eq!(receipt["asked_by"]["argv"][1], "upgrade");
    assert_eq!(receipt["from"]["version"], "1.0");
    assert_eq!(
        (&receipt["to"]["version"], &receipt["to"]["generation"]),
        (&"1.1".into(), &2.into())
    );
}

#[test]
fn the_receipt_of_an_upgrade_tells_its_phases_its_shards_and_what_was_measured() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "");
    assert_eq!(world.upgrade(&next).code, 0, "{}", world.log());
    let receipt = world.receipt(1);
    let names: Vec<&str> = receipt["phases"]
        .as_array()
        .expect("phases")
        .iter()
        .filter_map(|phase| phase["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "plan", "spawn", "attach", "migrate", "warm", "swap", "soak", "commit", "retire"
        ]
    );
    let shards: Vec<u64> = receipt["shards"]
        .as_array()
        .expect("shards")
        .iter()
        .filter_map(|shard| shard["shard"].as_u64())
        .collect();
    assert_eq!(
        shards,
        [1, 0, 63],
        "last lcore first, the control shard with the last step"
    );
    assert!(
        receipt["shards"][0]["gap_ns"]
            .as_u64()
            .is_some_and(|gap| gap > 0),
        "{receipt}"
    );
    assert_eq!(receipt["shards"][2]["gap_ns"], serde_json::Value::Null);
    assert_eq!(receipt["zones"][0]["losses_back"][0], "qos_class");
    assert_eq!(receipt["loss"]["packets"], 0);
    assert_eq!(
        (&receipt["gate"][0]["name"], &receipt["gate"][0]["result"]),
        (&"heartbeat".into(), &"ok".into())
    );
    assert_eq!(receipt["loss"]["duplicated"], serde_json::Value::Null);
}

#[test]
fn a_rollback_in_soak_is_one_swap_back() {
    let world = World::running();
    let (_, old) = world.owner();
    let next = world.binary("1.1", 2, &[1, 2], "");
    let upgrade = world.start(&["upgrade", "t", &next.display().to_string(), "--soak", "20s"]);
    world.wait_for("soak");
    let back = world.baton(&["rollback", "t"]);
    assert_eq!(back.code, 0, "{back:?}\n{}", world.log());
    let upgrade = finish(upgrade);
    assert_eq!(upgrade.code, 6, "{upgrade:?}");
    assert!(upgrade.out.contains("ROLLED BACK"), "{upgrade:?}");
    assert_eq!(world.owner(), ("1.0".to_owned(), old));
    let receipt = world.receipt(1);
    assert_eq!(
        (&receipt["verdict"], &receipt["reason"]),
        (&"rolled_back".into(), &"operator".into())
    );
    let directions: Vec<&str> = receipt["shards"]
        .as_array()
        .expect("shards")
        .iter()
        .filter_map(|shard| shard["direction"].as_str())
        .collect();
    assert_eq!(
        directions,
        ["forward", "forward", "forward", "back", "back", "back"]
    );
    assert_eq!(
        receipt["shards"][3]["shard"], 0,
        "the control lcore comes back first"
    );
    // And once more, to the end.
    assert_eq!(world.upgrade(&next).code, 0);
    assert_eq!(world.owner().0, "1.1");
}

/// What is wrong with a binary; the code, the verdict, and how the reason begins.
const BAD: [(&str, i32, &str, &str); 9] = [
    ("start", 1, "failed", "in spawn: the newer tenant died: pid"),
    (
        "fail attach",
        1,
        "failed",
        "in attach: told to fail in attach",
    ),
    (
        "hang attach",
        1,
        "failed",
        "in attach: not done before the deadline",
    ),
    (
        "fail migrate",
        1,
        "failed",
        "in migrate: told to fail in migrate",
    ),
    (
        "die warm",
        1,
        "failed",
        "in warm: the newer tenant died: pid",
    ),
    (
        "die soak",
        6,
        "rolled_back",
        "in soak: the newer tenant died: pid",
    ),
    (
        "fail commit",
        6,
        "rolled_back",
        "in commit: told to fail in commit",
    ),
    (
        "die commit",
        6,
        "rolled_back",
        "in commit: the newer tenant died: pid",
    ),
    ("config", 2, "refused", "plan: config: "),
];

#[test]
fn each_bad_binary_leaves_the_older_one_forwarding_and_says_why() {
    let world = World::running();
    let (_, old) = world.owner();
    for (number, (fault, code, verdict, words)) in BAD.into_iter().enumerate() {
        let bad = world.binary("6.6", 2, &[1, 2], fault);
        let ran = world.upgrade(&bad);
        assert_eq!(ran.code, code, "{fault}: {ran:?}\n{}", world.log());
        assert_eq!(world.owner(), ("1.0".to_owned(), old), "{fault}");
        let receipt = world.receipt(number as u64 + 1);
        assert_eq!(receipt["verdict"], verdict, "{fault}");
        let reason = receipt["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with(words), "{fault}: {reason}");
        assert_eq!(receipt["exit_code"], code, "{fault}");
    }
    let list = world.baton(&["history", "t"]);
    assert_eq!(list.out.lines().count(), 10, "{list:?}");
    assert!(
        !list.err.contains("was changed"),
        "the chain holds: {list:?}"
    );
}

#[test]
fn an_owner_that_does_not_let_go_keeps_its_shards() {
    let mut world = World::with_fault("deaf");
    world.run();
    let (_, old) = world.owner();
    let next = world.binary("1.1", 2, &[1, 2], "");
    let ran = world.upgrade(&next);
    assert_eq!(ran.code, 6, "{ran:?}\n{}", world.log());
    assert_eq!(world.owner(), ("1.0".to_owned(), old));
    let reason = world.receipt(1)["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(reason, "in swap: not done before the deadline");
}

#[test]
fn a_binary_without_a_path_is_refused_and_nothing_changed() {
    let world = World::running();
    let (_, old) = world.owner();
    let next = world.binary("2.0", 4, &[2, 3, 4], "");
    let name = next.display().to_string();
    let plan = world.baton(&["plan", "t", &name]);
    assert_eq!(plan.code, 4, "{plan:?}");
    assert!(
        plan.out.contains("nat.session  REFUSE  v1 -> v4") && plan.out.contains("NO GO"),
        "{plan:?}"
    );
    let last = plan.err.lines().last().unwrap_or_default().to_owned();
    assert_eq!(
        last,
        "nothing has been changed.  Way out: upgrade first to a version that writes nat.session v2"
    );
    assert!(
        world
            .baton(&["history", "t", "--format", "json"])
            .out
            .contains("\"receipts\": []"),
        "a plan leaves no trace"
    );
    let upgrade = world.upgrade(&next);
    assert_eq!(upgrade.code, 4, "{upgrade:?}");
    assert_eq!(world.receipt(1)["verdict"], "refused");
    assert_eq!(world.owner(), ("1.0".to_owned(), old));
}

#[test]
fn a_good_plan_says_go_and_names_the_next_command() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "");
    let plan = world.baton(&["plan", "t", &next.display().to_string()]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(
        plan.out.contains("nat.session  migrate  v1 -> v2    1,000"),
        "{plan:?}"
    );
    assert!(
        plan.err.trim_end().starts_with("next: baton upgrade t"),
        "{plan:?}"
    );
}

#[test]
fn a_second_upgrade_is_refused_with_number_and_phase_of_the_first() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "");
    let name = next.display().to_string();
    let first = world.start(&["upgrade", "t", &name, "--soak", "3s"]);
    world.wait_for("soak");
    let second = world.upgrade(&next);
    assert_eq!(second.code, 5, "{second:?}");
    assert!(
        second.err.contains("upgrade #1 runs, in phase soak"),
        "{second:?}"
    );
    assert_eq!(finish(first).code, 0);
}

#[test]
fn a_later_rollback_is_an_upgrade_to_the_kept_binary() {
    let world = World::running();
    let next = world.binary("1.1", 1, &[1], "");
    let none = world.baton(&["rollback", "t"]);
    assert_eq!(none.code, 4, "{none:?}");
    assert_eq!(world.upgrade(&next).code, 0);
    let back = world.baton(&["rollback", "t"]);
    assert_eq!(back.code, 0, "{back:?}\n{}", world.log());
    assert_eq!(world.owner().0, "1.0");
    assert_eq!(world.receipt(2)["kind"], "rollback");
    let again = world.baton(&["rollback", "t", "1"]);
    assert_eq!(
        again.code, 0,
        "the version that receipt 1 brought: {again:?}"
    );
    assert_eq!(world.owner().0, "1.1");
}

#[test]
fn a_later_rollback_over_a_changed_layout_is_written_by_the_version_that_knows_it() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "");
    assert_eq!(world.upgrade(&next).code, 0);
    let back = world.baton(&["rollback", "t"]);
    assert_eq!(back.code, 0, "{back:?}\n{}", world.log());
    assert_eq!(world.owner().0, "1.0");
    // And forward again, as if nothing had been.
    assert_eq!(world.upgrade(&next).code, 0, "{}", world.log());
    assert_eq!(world.owner().0, "1.1");
}

#[test]
fn a_way_back_that_cannot_be_written_changes_nothing() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "fail export");
    assert_eq!(world.upgrade(&next).code, 0);
    let back = world.baton(&["rollback", "t"]);
    assert_eq!(back.code, 1, "{back:?}\n{}", world.log());
    assert_eq!(world.owner().0, "1.1");
    assert_eq!(
        world.receipt(2)["reason"],
        "in migrate: told to fail in export"
    );
}
