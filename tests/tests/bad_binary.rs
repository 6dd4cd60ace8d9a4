//! A bad binary costs nothing: the older one goes on forwarding, nothing is lost, and the receipt says in which phase
//! and why.

use std::time::Duration;

use baton_tests::fixture::{Fixture, built, lab};
use baton_tests::instance::{Instance, PREFIX};
use baton_tests::lab::{LabError, PortKind, Shape};
use baton_tests::traffic::control::Load;
use baton_tests::trial::{self, Beside, OLDER, Trial};
use serde_json::Value;

const LOAD: Load = Load {
    rate: 10_000,
    flows: 200,
    sessions: 200,
};

/// Runs `script` beside traffic; whatever it does, no packet may be missing and the older binary must forward.
fn unharmed(script: impl FnOnce(&mut Trial<'_, '_>) -> Result<(), LabError>) {
    let shape = Shape {
        deadline: Duration::from_secs(5),
        ..Shape::of(PortKind::AfPacket)
    };
    let Some(Fixture { lab, .. }) = &lab(shape) else {
        return;
    };
    let mut instance = Instance::start(lab, &built(OLDER)).expect("it forwards");
    let owner = instance.counts().expect("a status").owner;
    let run = trial::run(lab, &mut instance, &LOAD, Beside::Nothing, |trial| {
        script(trial)?;
        trial.at(trial.elapsed() + Duration::from_millis(500))
    });
    let (verdict, _) = run.expect("a run");
    assert!(verdict.is_clean(), "{verdict}\n{:?}", verdict.place());
    let numbers = instance.counts().expect("a status");
    assert_eq!(numbers.owner, owner, "the older binary forwards");
    assert_eq!(numbers.phase, None, "no upgrade is left open");
    assert_eq!(numbers.leaked, 0);
    instance.stop().expect("it ends");
}

/// An upgrade to `binary` ends with `code`; returns its receipt.
fn refused(trial: &mut Trial<'_, '_>, binary: &str, code: i32) -> Result<Value, LabError> {
    let path = built(binary).display().to_string();
    let words = ["upgrade", PREFIX, &path, "--soak", "5s", "--yes"];
    let said = trial.instance.say(&words)?;
    if said.code != code {
        return Err(trial.instance.unexpected(&words, code, &said));
    }
    assert!(
        said.err.contains("baton"),
        "a sentence with a way out: {said:?}"
    );
    trial.instance.receipt(None)
}

fn assert_reason(receipt: &Value, phases: &[&str]) {
    let reason = receipt["reason"].as_str().unwrap_or_default();
    assert!(
        phases.iter().any(|phase| reason.contains(phase)),
        "{phases:?} in {receipt:#}"
    );
    assert_ne!(receipt["verdict"], "committed");
}

#[test]
fn one_that_exits_at_start() {
    unharmed(|trial| {
        assert_reason(&refused(trial, "bad-exits-at-start", 1)?, &["spawn"]);
        Ok(())
    });
}

#[test]
fn one_that_hangs_in_attach() {
    unharmed(|trial| {
        assert_reason(&refused(trial, "bad-hangs-in-attach", 1)?, &["attach"]);
        Ok(())
    });
}

#[test]
fn one_whose_own_check_fails() {
    unharmed(|trial| {
        let receipt = refused(trial, "bad-fails-check", 1)?;
        assert_reason(&receipt, &["warm", "migrate"]);
        let reason = receipt["reason"].as_str().unwrap_or_default();
        assert!(
            reason.contains("not in its bucket"),
            "the check's own words: {reason}"
        );
        Ok(())
    });
}

#[test]
fn one_that_panics_a_second_after_the_swap() {
    unharmed(|trial| {
        assert_reason(&refused(trial, "bad-panics-in-soak", 6)?, &["soak"]);
        Ok(())
    });
}

#[test]
fn one_without_a_migration_path_is_refused_before_anything_happens() {
    unharmed(|trial| {
        let path = built("bad-no-path").display().to_string();
        let before = trial.instance.counts()?.sessions;
        for words in [
            vec!["plan", PREFIX, &path],
            vec!["upgrade", PREFIX, &path, "--yes"],
        ] {
            let said = trial.instance.expect(4, &words)?;
            let text = said.out + &said.err;
            for part in ["nat.session", "v1", "v4", "nothing has been changed"] {
                assert!(text.contains(part), "{part:?} in {text}");
            }
        }
        assert!(trial.instance.counts()?.sessions >= before);
        Ok(())
    });
}

#[test]
fn one_that_cannot_read_the_config() {
    let Some(Fixture { lab, .. }) = &lab(Shape::of(PortKind::AfPacket)) else {
        return;
    };
    let instance = Instance::start_with(
        lab,
        &built("baton-gateway"),
        "[gateway.qos]\nclass = [{ dscp = 46, class = 1 }]\n",
    );
    let instance = instance.expect("the newer binary knows classes");
    let older = built(OLDER).display().to_string();
    let words = ["plan", PREFIX, &older];
    let said = instance.say(&words).expect("an answer");
    assert_eq!(said.code, 2, "{said:?}");
    assert!((said.out + &said.err).contains("qos"), "the key is named");
    assert!(instance.counts().expect("a status").owner.is_some());
    instance.stop().expect("it ends");
}
