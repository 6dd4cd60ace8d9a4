//! What an operator does while the gateway is busy: a second upgrade beside the first, a look into the sessions under
//! full traffic. Neither costs a packet.

use std::time::Duration;

use baton_tests::fixture::{Fixture, built, lab};
use baton_tests::instance::{Instance, PREFIX};
use baton_tests::lab::{LabError, PortKind, Shape};
use baton_tests::traffic::control::Load;
use baton_tests::trial::{self, Beside, NEWER, OLDER, Trial};

const LOAD: Load = Load {
    rate: 10_000,
    flows: 200,
    sessions: 200,
};
const SOAK: Duration = Duration::from_secs(60);

fn clean(script: impl FnOnce(&mut Trial<'_, '_>) -> Result<(), LabError>) {
    let Some(Fixture { lab, .. }) = &lab(Shape::of(PortKind::AfPacket)) else {
        return;
    };
    let mut instance = Instance::start(lab, &built(OLDER)).expect("it forwards");
    let run = trial::run(lab, &mut instance, &LOAD, Beside::Nothing, script);
    let (verdict, _) = run.expect("a run");
    assert!(verdict.is_clean(), "{verdict}\n{:?}", verdict.place());
    instance.stop().expect("it ends");
}

#[test]
fn a_second_upgrade_is_refused_with_the_number_of_the_running_one() {
    clean(|trial| {
        trial.at(Duration::from_millis(300))?;
        let soaking = trial.upgrade(NEWER, SOAK)?;
        let path = built(NEWER).display().to_string();
        let said = trial
            .instance
            .expect(5, &["upgrade", PREFIX, &path, "--yes"])?;
        let text = said.out + &said.err;
        for part in ["#1", "soak"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        trial.roll_back(soaking)
    });
}

#[test]
fn sessions_are_shown_under_traffic_and_nothing_is_lost_for_it() {
    clean(|trial| {
        trial.at(Duration::from_millis(500))?;
        let rows = trial.instance.json(&["dump", PREFIX, "list"])?;
        assert!(rows.to_string().contains("nat.session"), "{rows:#}");
        for _ in 0..10 {
            let words = ["dump", PREFIX, "show", "nat.session", "--limit", "5"];
            let said = trial.instance.expect(0, &words)?;
            assert!(said.out.contains("10."), "an inside address: {said:?}");
        }
        let check = trial.instance.say(&["dump", PREFIX, "check"])?;
        assert_eq!(check.code, 0, "{check:?}");
        Ok(())
    });
}

#[test]
fn a_stopped_instance_is_said_to_be_stopped() {
    let Some(Fixture { lab, .. }) = &lab(Shape::of(PortKind::AfPacket)) else {
        return;
    };
    let instance = Instance::start(lab, &built(OLDER)).expect("it forwards");
    instance.expect(0, &["stop", PREFIX]).expect("it ends");
    let said = instance.expect(3, &["dump", PREFIX, "list"]);
    let said = said.expect("nothing runs").err;
    assert!(said.contains("is stopped"), "{said}");
    let status = instance.expect(3, &["status", PREFIX]);
    let status = status.expect("nothing runs").err;
    assert!(status.contains("lab is not running"), "{status}");
}
