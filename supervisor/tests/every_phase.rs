//! Promise: whoever dies in whichever phase, all shards end with one living owner, and a receipt
//! tells of it. Each phase is held open by a candidate that hangs in it, or by a long soak.

mod world;

use std::process::Command;
use std::time::{Duration, Instant};

use world::World;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Older,
    Newer,
    Both,
    Supervisor,
}

/// A candidate that stays in `phase`, the arguments of its upgrade, and what the status says then.
const HELD: [(&str, &str); 4] = [
    ("attach", "hang attach"),
    ("migrate", "hang migrate"),
    ("warm", "hang warm"),
    ("soak", ""),
];

fn kill(pid: i64) {
    let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Waits until one tenant owns everything and no upgrade is open, and gives back its version.
fn settled(world: &World) -> String {
    let deadline = Instant::now() + world::PATIENCE;
    loop {
        let status = world.status();
        let slot = &status["owner"]["slot"];
        let shards = status["shards"].as_array().cloned().unwrap_or_default();
        let one_owner = !shards.is_empty() && shards.iter().all(|shard| shard["tenant"] == *slot);
        if status["state"] == "forwarding" && status["upgrade"].is_null() && one_owner {
            return status["owner"]["version"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
        }
        assert!(
            Instant::now() < deadline,
            "never settled: {status}\n{}",
            world.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn run(victim: Victim) {
    for (phase, fault) in HELD {
        let mut world = World::running();
        let next = world.binary("1.1", 2, &[1, 2], fault);
        let upgrade = world.start(&["upgrade", "t", &next.display().to_string(), "--soak", "20s"]);
        let status = world.wait_for(phase);
        // In soak the newer one is the owner that the status names.
        let (serving, other) = (
            status["owner"]["pid"].as_i64(),
            status["next"]["pid"].as_i64(),
        );
        let (older, newer) = if phase == "soak" {
            (other, serving)
        } else {
            (serving, other)
        };
        let (older, newer) = (older.expect("alive"), newer.expect("alive"));
        match victim {
            Victim::Older => kill(older),
            Victim::Newer => kill(newer),
            Victim::Both => {
                kill(newer);
                kill(older);
            }
            Victim::Supervisor => {
                world.end_supervisor("-KILL");
                world.run();
            }
        }
        let version = settled(&world);
        // Two that die at once are seen one after the other, in the order the kernel ends them: who
        // sees the older one's end first has gone on with the newer one, and starts that again.
        let forward_only = world.log().contains("forward-only");
        let wanted = match (victim, phase) {
            (Victim::Older | Victim::Supervisor, "soak") => "1.1",
            (Victim::Both, "soak") if forward_only => "1.1",
            _ => "1.0",
        };
        assert_eq!(version, wanted, "{victim:?} in {phase}\n{}", world.log());
        let ended = world::finish(upgrade);
        if victim == Victim::Supervisor {
            assert_eq!(ended.code, 1, "{ended:?}");
            if phase == "soak" {
                // What it forwards with is what the next upgrade starts from.
                let later = world.binary("1.2", 2, &[2], "");
                let ran = world.upgrade(&later);
                assert_eq!(ran.code, 0, "{ran:?}\n{}", world.log());
            }
            continue;
        }
        assert_eq!(world.receipt(1)["number"], 1);
        assert_eq!(
            ended.code as u64,
            world.receipt(1)["exit_code"].as_u64().unwrap_or(99),
            "{victim:?} in {phase}"
        );
        assert!(
            world.receipt(1)["reason"]
                .as_str()
                .is_some_and(|why| why.contains("died")),
            "{victim:?} in {phase}"
        );
    }
}

#[test]
fn the_newer_tenant_dies() {
    run(Victim::Newer);
}

#[test]
fn the_older_tenant_dies() {
    run(Victim::Older);
}

#[test]
fn both_tenants_die_at_once() {
    run(Victim::Both);
}

#[test]
fn the_supervisor_is_killed_and_the_next_one_settles_it() {
    run(Victim::Supervisor);
}
