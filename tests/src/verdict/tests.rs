//! What the line says, and who is named for a loss.

use super::*;
use crate::netns::Losses;

fn snapshot(edit: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut snapshot = Snapshot::default();
    edit(&mut snapshot);
    snapshot
}

fn report(lost: u64) -> Report {
    let mut report = Report::default();
    report.up.sent = 10;
    report.up.arrived.received = 10 - lost;
    report.up.arrived.lost = lost;
    report
}

#[test]
fn the_line_has_the_agreed_form() {
    let receipt = serde_json::json!({"shards": [
        {"shard": 0, "gap_ns": 12_000}, {"shard": 1, "gap_ns": 14_500}, {"shard": 2, "gap_ns": 9_000},
        {"shard": 63, "gap_ns": 900_000}, {"shard": 3, "gap_ns": null}
    ]});
    let empty = Snapshot::default();
    let verdict = Verdict::judge(&empty, &empty, &report(0)).with_receipts([&receipt]);
    assert!(verdict.is_clean());
    assert_eq!(
        verdict.to_string(),
        "verdict: sent=10 received=10 lost=0 duplicated=0 reordered=0 lost_before=0 lost_port=0 lost_gateway=0 \
         lost_after=0 sessions_before=0 sessions_after=0 tcp_resets=0 tcp_retransmits=0 gap_us_median=12 gap_us_max=15"
    );
}

#[test]
fn every_missing_packet_is_attributed() {
    let before = snapshot(|s| s.interfaces.client.tx = 5);
    let after = snapshot(|s| {
        s.interfaces.client = Losses { rx: 2, tx: 8 };
        s.interfaces.gateway[1].tx = 4;
        s.numbers.devices.insert("inside/0/rx_ring_full".into(), 7);
        s.numbers
            .devices
            .insert("inside/0/rx_csum_partial".into(), 1_000);
        s.numbers.drops.insert("nat_no_session".into(), 6);
        s.numbers.leaked = 1;
    });
    let verdict = Verdict::judge(&before, &after, &report(3));
    assert_eq!((verdict.lost_before, verdict.lost_port), (3, 7));
    assert_eq!((verdict.lost_gateway, verdict.lost_after), (7, 6));
    assert!(!verdict.is_clean());
    let place = verdict.place().expect("places");
    assert!(
        place.contains("drop nat_no_session 6") && place.contains("inside/0/rx_ring_full 7"),
        "{place}"
    );
    assert!(!place.contains("csum"), "{place}");
}

#[test]
fn a_loss_that_no_counter_explains_is_said() {
    let empty = Snapshot::default();
    let verdict = Verdict::judge(&empty, &empty, &report(2));
    assert_eq!(
        verdict.place().as_deref(),
        Some("2 packets, by no counter we know")
    );
    assert_eq!(Verdict::judge(&empty, &empty, &report(0)).place(), None);
}

#[test]
fn quantiles_of_gaps() {
    let verdict = Verdict {
        gaps_ns: (1..=200).collect(),
        ..Verdict::default()
    };
    assert_eq!(
        (
            verdict.gap_ns(0.5),
            verdict.gap_ns(0.99),
            verdict.gap_ns(1.0)
        ),
        (Some(100), Some(198), Some(200))
    );
    assert_eq!(Verdict::default().gap_ns(0.5), None);
}
