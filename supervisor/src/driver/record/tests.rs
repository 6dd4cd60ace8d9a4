//! What a receipt will tell of an upgrade that is under way.

use super::*;

fn host() -> Host {
    Host {
        name: "h".into(),
        boot_id: "b".into(),
        kernel: "6.18".into(),
        supervisor: "0.1.0".into(),
    }
}

#[test]
fn phases_follow_one_another_and_carry_what_was_reported() {
    let mut record = Record::new(3, "upgrade");
    assert_eq!(record.phase(Some(Phase::Plan)), None);
    assert_eq!(
        record.phase(Some(Phase::Plan)),
        None,
        "the same phase goes on"
    );
    let ended = record.phase(Some(Phase::Migrate)).expect("plan ended");
    assert_eq!((ended.step.as_str(), ended.text.as_str()), ("plan", "ok"));
    let report = Report {
        counts: vec![("rounds".into(), 3)],
        ..Report::default()
    };
    record.report(&report, |_| None);
    assert_eq!(record.phase(None).expect("migrate ended").text, "rounds 3");
    let receipt = record.finish("edge1", host(), None);
    assert_eq!(receipt.phases.len(), 2);
    assert_eq!(receipt.phases[1].detail["rounds"], 3);
}

#[test]
fn the_first_cause_stands_and_the_last_verdict() {
    let mut record = Record::new(1, "upgrade");
    record.phase(Some(Phase::Soak));
    record.decide(Verdict::RolledBack, Cause::Died(Side::Newer, Phase::Soak));
    record.why = Some("signal: 6".into());
    record.decide(Verdict::TookOver, Cause::Died(Side::Older, Phase::Rollback));
    let receipt = record.finish("edge1", host(), None);
    assert_eq!(receipt.verdict, Verdict::TookOver);
    assert_eq!(
        receipt.reason.as_deref(),
        Some("in soak: the newer tenant died: signal: 6")
    );
    assert_eq!(receipt.phases[0].result, "died");
}

#[test]
fn a_commit_has_no_reason_and_claims_no_loss_it_did_not_measure() {
    let mut record = Record::new(1, "upgrade");
    record.decide(Verdict::Committed, Cause::None);
    let receipt = record.finish("edge1", host(), None);
    assert_eq!((receipt.reason, receipt.exit_code), (None, 0));
    assert_eq!(receipt.loss, Loss::default());
    assert!(
        receipt.started.ends_with('Z')
            && receipt.started.len() == "2026-11-22T12:04:06.102000000Z".len()
    );
}

#[test]
fn the_gate_keeps_the_oldest_heartbeat_and_a_breach() {
    let mut record = Record::new(1, "upgrade");
    let limit = Duration::from_millis(10);
    for age in [3, 7, 2] {
        record.heartbeat(Duration::from_millis(age), limit);
    }
    assert_eq!(
        (record.gate[0].observed, record.gate[0].result.as_str()),
        (Some(7_000_000), "ok")
    );
    record.heartbeat(Duration::from_millis(11), limit);
    record.heartbeat(Duration::from_millis(1), limit);
    assert_eq!(record.gate[0].result, "breached");
    assert_eq!(record.gate.len(), 1);
}

#[test]
fn a_queue_says_how_long_its_ring_bears_the_rate() {
    let mut record = Record::new(1, "upgrade");
    record.loads = vec![QueueLoad {
        port: "inside".into(),
        queue: 1,
        rate_pps: 1_000_000,
        ring_entries: 4096,
        posted: 4096,
    }];
    let shard = ShardRecord {
        shard: 1,
        direction: "forward".into(),
        canary: false,
        lcore: 0,
        gap_ns: Some(12_000),
        epoch_before: 1,
        epoch_after: 2,
        records_in_last_delta: Some(0),
        queues: vec![],
    };
    record.moved(shard, Some((9, 4096)));
    let queue = &record.shards[0].queues[0];
    assert_eq!(
        (queue.absorbs_ns, queue.ring_used_at_takeover),
        (Some(4_096_000), Some(9))
    );
}

#[test]
fn the_code_says_whether_what_was_asked_for_forwards() {
    let code = |verdict, forwards| {
        let mut record = Record::new(1, "upgrade");
        let program = |sha256: &str| Program {
            name: None,
            version: None,
            generation: None,
            pid: None,
            binary_sha256: sha256.into(),
        };
        (record.from, record.to) = (Some(program("old")), Some(program("new")));
        record.asked_by = Some(AskedBy {
            uid: 0,
            user: None,
            argv: Vec::new(),
        });
        record.decide(verdict, Cause::Died(Side::Older, Phase::Migrate));
        record.forwards = Some(forwards);
        record.finish("edge1", host(), None).exit_code
    };
    let binary = |sha256: &str| Forwards::Binary(sha256.into());
    assert_eq!(
        code(Verdict::TookOver, binary("old")),
        Exit::RolledBack.code()
    );
    assert_eq!(code(Verdict::TookOver, binary("new")), Exit::Done.code());
    assert_eq!(
        code(Verdict::RolledBack, binary("old")),
        Exit::RolledBack.code()
    );
    assert_eq!(
        code(Verdict::RolledBack, Forwards::Nobody),
        Exit::Failed.code()
    );
}
