//! Promise: death has one answer for each party.

mod world;

use std::process::Command;

use jiff::Timestamp;
use world::World;

fn kill(pid: i64) {
    signal(pid, "-9");
}

fn signal(pid: i64, signal: &str) {
    assert!(
        Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .expect("kill runs")
            .success()
    );
}

#[test]
fn a_supervisor_that_ends_leaves_forwarding_and_the_next_one_takes_it_up() {
    let mut world = World::running();
    let (_, old) = world.owner();
    assert_eq!(world.end_supervisor("-TERM"), 0, "{}", world.log());
    let status = world.baton(&["status", "t"]);
    assert_eq!(status.code, 3);
    assert!(
        status
            .err
            .contains(&format!("t is headless: pid {old} forwards")),
        "{status:?}"
    );
    world.run();
    assert_eq!(world.owner(), ("1.0".to_owned(), old), "{}", world.log());
    let next = world.binary("1.1", 2, &[1, 2], "");
    let ran = world.upgrade(&next);
    assert_eq!(ran.code, 0, "{ran:?}\n{}", world.log());
    assert_eq!(world.owner().0, "1.1");
}

#[test]
fn a_killed_supervisor_is_followed_by_the_next_one_too() {
    let mut world = World::running();
    let (_, old) = world.owner();
    world.end_supervisor("-KILL");
    world.run();
    assert_eq!(world.owner(), ("1.0".to_owned(), old), "{}", world.log());
}

#[test]
fn when_supervisor_and_tenant_are_both_killed_the_next_supervisor_begins_anew() {
    let mut world = World::running();
    let (_, old) = world.owner();
    world.end_supervisor("-KILL");
    kill(old);
    world.run();
    world.wait_for("forwarding");
    let (version, new) = world.owner();
    assert_eq!(version, "1.0", "{}", world.log());
    assert_ne!(new, old);
}

#[test]
fn a_tenant_that_dies_while_the_next_supervisor_waits_for_it_is_not_waited_for() {
    let mut world = World::running();
    let (_, old) = world.owner();
    signal(old, "-STOP"); // it lives, and cannot come back
    world.end_supervisor("-KILL");
    world.run();
    std::thread::sleep(std::time::Duration::from_millis(500));
    kill(old);
    let status = world.wait_for("forwarding");
    assert_eq!(status["owner"]["version"], "1.0", "{}", world.log());
    assert_ne!(world.owner().1, old);
}

#[test]
fn a_headless_instance_is_ended_by_stop() {
    let mut world = World::running();
    let (_, old) = world.owner();
    world.end_supervisor("-INT");
    let stop = world.baton(&["stop", "t"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    assert!(stop.out.contains(&format!("ended pid {old}")), "{stop:?}");
    assert!(!std::path::Path::new(&format!("/proc/{old}")).exists() || zombie(old));
    assert_eq!(world.baton(&["stop", "t"]).code, 3);
}

/// A process whose parent has not asked for its end is still listed.
fn zombie(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn stop_ends_tenants_and_supervisor() {
    let mut world = World::running();
    let (_, old) = world.owner();
    let stop = world.baton(&["stop", "t"]);
    assert_eq!(stop.code, 0, "{stop:?}");
    assert_eq!(world.supervisor_ended(), 0);
    assert!(!std::path::Path::new(&format!("/proc/{old}")).exists());
    assert_eq!(world.baton(&["status", "t"]).code, 3);
}

#[test]
fn when_the_only_owner_dies_the_last_good_binary_takes_its_shards() {
    let world = World::running();
    let (_, old) = world.owner();
    kill(old);
    let deadline = std::time::Instant::now() + world::PATIENCE;
    while !world
        .folder
        .path()
        .join("state/t/history/000001.json")
        .exists()
    {
        assert!(std::time::Instant::now() < deadline, "{}", world.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let (version, new) = world.owner();
    assert_eq!(version, "1.0");
    assert_ne!(new, old);
    let receipt = world.receipt(1);
    assert_eq!(
        (&receipt["kind"], &receipt["verdict"]),
        (&"takeover".into(), &"took_over".into())
    );
    assert_eq!(receipt["asked_by"], serde_json::Value::Null);
    // It is an instance like any other.
    let next = world.binary("1.1", 2, &[1, 2], "");
    assert_eq!(world.upgrade(&next).code, 0, "{}", world.log());
}

#[test]
fn the_older_ones_death_in_soak_leaves_the_newer_one_for_good() {
    let world = World::running();
    let (_, old) = world.owner();
    let next = world.binary("1.1", 2, &[1, 2], "");
    let upgrade = world.start(&["upgrade", "t", &next.display().to_string(), "--soak", "20s"]);
    world.wait_for("soak");
    kill(old);
    let ran = world::finish(upgrade);
    assert_eq!(ran.code, 0, "{ran:?}\n{}", world.log());
    assert_eq!(world.owner().0, "1.1");
    let receipt = world.receipt(1);
    assert_eq!(receipt["verdict"], "committed");
    assert!(
        receipt["reason"]
            .as_str()
            .is_some_and(|why| why.starts_with("in soak: the older tenant died")),
        "{receipt}"
    );
}

#[test]
fn the_older_ones_death_before_the_swap_ends_the_upgrade_and_restarts_it() {
    let world = World::running();
    let (_, old) = world.owner();
    let next = world.binary("1.1", 2, &[1, 2], "hang migrate");
    let upgrade = world.start(&["upgrade", "t", &next.display().to_string()]);
    world.wait_for("migrate");
    kill(old);
    let ran = world::finish(upgrade);
    assert_eq!(
        ran.code,
        6,
        "the last good binary took over, and is not what was asked for: {ran:?}\n{}",
        world.log()
    );
    assert!(ran.err.contains("the previous version forwards"), "{ran:?}");
    assert_eq!(world.receipt(1)["verdict"], "took_over");
    let (version, pid) = world.owner();
    assert_eq!(version, "1.0");
    assert_ne!(pid, old);
}

#[test]
fn a_supervisor_asked_to_end_in_soak_rolls_back_first() {
    let mut world = World::running();
    let (_, old) = world.owner();
    let next = world.binary("1.1", 2, &[1, 2], "");
    let upgrade = world.start(&["upgrade", "t", &next.display().to_string(), "--soak", "20s"]);
    world.wait_for("soak");
    assert_eq!(world.end_supervisor("-TERM"), 0);
    assert_eq!(world::finish(upgrade).code, 6);
    world.run();
    assert_eq!(world.owner(), ("1.0".to_owned(), old), "{}", world.log());
    let why = "operator: its supervisor was asked to end";
    assert_eq!(world.receipt(1)["reason"], why);
}

#[test]
fn an_upgrade_cut_off_with_its_supervisor_has_a_receipt() {
    let mut world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "");
    let upgrade = world.start(&["upgrade", "t", &next.display().to_string(), "--soak", "20s"]);
    world.wait_for("soak");
    let cut_off = Timestamp::now();
    world.end_supervisor("-KILL");
    world::finish(upgrade);
    world.run();
    assert_eq!(world.owner().0, "1.1", "{}", world.log());
    let receipt = world.receipt(1);
    assert_eq!(receipt["verdict"], "committed", "{receipt}");
    assert_eq!(receipt["to"]["version"], "1.1", "{receipt}");
    let began = receipt["started"].as_str().and_then(|at| at.parse().ok());
    assert!(
        began.is_some_and(|began: Timestamp| began < cut_off),
        "it began before it was cut off at {cut_off}: {receipt}"
    );
    assert!(
        receipt["reason"]
            .as_str()
            .is_some_and(|why| why.contains("in soak: its supervisor ended")),
        "{receipt}"
    );
    let back = world.baton(&["rollback", "t"]);
    assert_eq!(
        back.code,
        0,
        "the way back is known: {back:?}\n{}",
        world.log()
    );
    assert_eq!(world.owner().0, "1.0");
}

#[test]
fn an_upgrade_that_is_stopped_says_that_nothing_forwards() {
    let world = World::running();
    let next = world.binary("1.1", 2, &[1, 2], "");
    let upgrade = world.start(&["upgrade", "t", &next.display().to_string(), "--soak", "20s"]);
    world.wait_for("soak");
    assert_eq!(world.baton(&["stop", "t"]).code, 0);
    let ran = world::finish(upgrade);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains("nothing forwards"), "{ran:?}");
}

#[test]
fn a_tenant_that_is_stopped_is_named_and_holds_nobody_up() {
    let world = World::running();
    let (_, pid) = world.owner();
    signal(pid, "-STOP");
    let asked: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| world.baton(&["status", "t"])))
            .collect();
        asking
            .into_iter()
            .map(|asking| asking.join().expect("status ends"))
            .collect()
    });
    for ran in &asked {
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.out.contains("the tenant does not answer"), "{ran:?}");
    }
    signal(pid, "-CONT");
    let warned = || world.status()["warnings"].to_string();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while warned().contains("does not answer") {
        assert!(std::time::Instant::now() < until, "{}", world.log());
    }
}
