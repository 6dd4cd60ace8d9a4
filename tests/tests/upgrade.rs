//! The main promise: a gateway is replaced under traffic, its sessions change their layout, it is taken back, and
//! every packet arrives once and in order.

use std::time::Duration;

use baton_tests::fixture::{Fixture, built, lab, ports};
use baton_tests::instance::Instance;
use baton_tests::lab::{Offloads, PortKind, Shape};
use baton_tests::traffic::control::Load;
use baton_tests::trial::{self, Beside, NEWER, OLDER};
use baton_tests::verdict::Verdict;

const LOAD: Load = Load {
    rate: 10_000,
    flows: 400,
    sessions: 2_000,
};
const SOAK: Duration = Duration::from_secs(60);

fn there_and_back(shape: Shape) -> Option<Verdict> {
    let Fixture { lab, .. } = &lab(shape)?;
    let mut instance = Instance::start(lab, &built(OLDER)).expect("it forwards");
    let run = trial::run(lab, &mut instance, &LOAD, Beside::Nothing, |trial| {
        let before = trial.echo.connect(lab, "opened before the first upgrade")?;
        trial.at(Duration::from_millis(300))?;
        let soaking = trial.upgrade(NEWER, SOAK)?;
        let under = trial.echo.connect(lab, "opened under the newer binary")?;
        under.prove_alive()?;
        trial.roll_back(soaking)?;
        under.prove_alive()?;
        let soaking = trial.upgrade(NEWER, Duration::from_millis(300))?;
        trial.commit(soaking)?;
        before.prove_alive()?;
        before.finish()?;
        under.finish()?;
        Ok(())
    });
    let (verdict, receipts) = run.expect("a run");
    let verdicts: Vec<_> = receipts
        .iter()
        .map(|receipt| receipt["verdict"].as_str().unwrap_or("?"))
        .collect();
    assert_eq!(verdicts, ["rolled_back", "committed"]);
    let migrated = receipts[1]["zones"].as_array().into_iter().flatten();
    let sessions: Vec<_> = migrated
        .filter(|zone| zone["name"] == "nat.session")
        .collect();
    assert_eq!(sessions.len(), 1, "{receipts:#?}");
    assert_eq!(
        (&sessions[0]["from_version"], &sessions[0]["to_version"]),
        (&1.into(), &2.into())
    );
    instance.stop().expect("it ends");
    Some(verdict)
}

fn assert_whole(port: PortKind, what: &str, verdict: Option<Verdict>) {
    let Some(verdict) = verdict else { return };
    println!("{port}, {what}: {verdict}");
    assert!(
        verdict.is_clean(),
        "{port}, {what}: {verdict}\n{:?}",
        verdict.place()
    );
    assert!(
        verdict.sessions_after >= u64::from(LOAD.flows + LOAD.sessions),
        "{verdict}"
    );
}

#[test]
fn nothing_is_lost_there_and_back_on_any_port() {
    for port in ports() {
        assert_whole(port, "veth defaults", there_and_back(Shape::of(port)));
    }
}

#[test]
fn nothing_is_lost_when_the_peers_finish_their_checksums() {
    for port in ports() {
        let shape = Shape {
            offloads: Offloads::Off,
            ..Shape::of(port)
        };
        assert_whole(port, "offloads off", there_and_back(shape));
    }
}

#[test]
fn nothing_is_lost_with_two_shards() {
    for port in ports() {
        let shape = Shape {
            shards: 2,
            ..Shape::of(port)
        };
        assert_whole(port, "two shards", there_and_back(shape));
    }
}
