//! Steps, withdrawal and takeover over real ledger words; the lcores are played by the test.

use baton_shared_state::arena::{Arena, ArenaSpec};
use baton_shared_state::ledger::TenantName;
use baton_shared_state::lifeline::Lifeline;

use super::*;

const LAYOUT: Layout = Layout {
    shards: 3,
    lcores: 2,
};

fn ledger() -> (Arena, Ledger, Owner, Owner) {
    let arena = Arena::create(&ArenaSpec {
        mbufs: 64,
        tables_bytes: 2 << 20,
        ..ArenaSpec::default()
    })
    .expect("an arena");
    let ledger = Ledger::create(&arena, usize::from(LAYOUT.shards)).expect("a ledger");
    let tenant = |generation| {
        let name = TenantName {
            pid: 1,
            start_time: 1,
            generation,
            binary_hash: [0; 32],
        };
        Owner {
            slot: ledger.claim_tenant(&name).expect("a slot"),
            generation,
        }
    };
    let (older, newer) = (tenant(1), tenant(2));
    LAYOUT.claim(&ledger, older).expect("a fresh instance");
    (arena, ledger, older, newer)
}

fn lifelines(arena: &Arena) -> Lifelines {
    Lifelines::open(arena).expect("the arena has them")
}

/// The owner consents, as its lcore would.
fn consent(ledger: &Ledger, shard: usize) {
    let me = ledger.owner_word(shard).lcore.expect("owned");
    let accepted = ledger::accept(ledger.owner(shard), ledger.request(shard), me).expect("asked");
    ledger
        .swap(shard)
        .stopped_ns()
        .store(1_000, Ordering::Relaxed);
    ledger
        .hand_over(shard, accepted, me)
        .expect("still the owner");
    ledger.swap(shard).ring_used().store(9, Ordering::Relaxed);
    ledger
        .swap(shard)
        .ring_entries()
        .store(4096, Ordering::Relaxed);
    ledger
        .swap(shard)
        .first_poll_ns()
        .store(13_000, Ordering::Release);
}

#[test]
fn a_step_is_one_lcores_shards_and_the_control_shard_goes_with_lcore_0() {
    assert_eq!(LAYOUT.of_step(0).collect::<Vec<_>>(), [0, 2, CONTROL_SHARD]);
    assert_eq!(LAYOUT.of_step(1).collect::<Vec<_>>(), [1]);
    assert_eq!(
        Layout {
            shards: 1,
            lcores: 3
        }
        .of_step(2)
        .count(),
        0,
        "an lcore may have no shard"
    );
}

#[test]
fn a_step_arrives_only_when_all_its_shards_have() {
    let (_arena, ledger, older, newer) = ledger();
    let (mut handover, refused) = LAYOUT.ask(&ledger, 0, newer, "forward");
    assert!(refused.is_empty());
    consent(&ledger, 0);
    consent(&ledger, 2);
    assert!(handover.arrived(LAYOUT, &ledger).is_none());
    consent(&ledger, CONTROL_SHARD);
    let records = handover.arrived(LAYOUT, &ledger).expect("all there");
    assert_eq!(records.len(), 3);
    let (shard, ring) = &records[0];
    assert_eq!((shard.gap_ns, *ring), (Some(12_000), Some((9, 4096))));
    assert_eq!((shard.epoch_before, shard.epoch_after), (1, 2));
    assert_eq!(records[2].0.gap_ns, None, "the control shard has no queue");
    assert!(!LAYOUT.all_with(&ledger, newer.slot) && !LAYOUT.all_with(&ledger, older.slot));
}

#[test]
fn of_withdrawal_and_consent_one_wins() {
    let (_arena, ledger, older, newer) = ledger();
    LAYOUT.ask(&ledger, 0, newer, "forward");
    consent(&ledger, 0);
    assert_eq!(
        LAYOUT.withdraw(&ledger),
        2,
        "shard 0 was handed over before"
    );
    assert_eq!(ledger.request_word(2).state, RequestState::None);
    // The way back asks only for what really moved.
    let (mut back, refused) = LAYOUT.ask(&ledger, 0, older, "back");
    assert!(refused.is_empty());
    consent(&ledger, 0);
    let records = back
        .arrived(LAYOUT, &ledger)
        .expect("all with the older one");
    assert_eq!(records.len(), 1);
    assert!(LAYOUT.all_with(&ledger, older.slot));
}

#[test]
fn what_was_accepted_is_not_withdrawn() {
    let (_arena, ledger, _, newer) = ledger();
    LAYOUT.ask(&ledger, 1, newer, "forward");
    let me = ledger.owner_word(1).lcore.expect("owned");
    let accepted = ledger::accept(ledger.owner(1), ledger.request(1), me).expect("asked");
    assert_eq!(LAYOUT.withdraw(&ledger), 0);
    ledger
        .hand_over(1, accepted, me)
        .expect("the owner may complete it");
    assert!(is_with(&ledger, 1, newer.slot));
}

#[test]
fn a_shard_that_was_promised_before_the_withdrawal_is_asked_back_when_it_went() {
    let (_arena, ledger, older, newer) = ledger();
    LAYOUT.ask(&ledger, 1, newer, "forward");
    let me = ledger.owner_word(1).lcore.expect("owned");
    let accepted = ledger::accept(ledger.owner(1), ledger.request(1), me).expect("asked");
    LAYOUT.withdraw(&ledger);
    let (mut back, _) = LAYOUT.ask(&ledger, 1, older, "back");
    assert!(
        back.arrived(LAYOUT, &ledger).is_none(),
        "the owner is about to give it away"
    );
    assert!(!LAYOUT.all_with(&ledger, older.slot));
    ledger
        .hand_over(1, accepted, me)
        .expect("the owner completes");
    assert!(back.arrived(LAYOUT, &ledger).is_none());
    consent(&ledger, 1);
    assert_eq!(
        back.arrived(LAYOUT, &ledger).map(|records| records.len()),
        Some(1)
    );
    assert!(LAYOUT.all_with(&ledger, older.slot));
}

#[test]
fn another_number_of_lcores_does_not_fit() {
    let (_arena, ledger, _, _) = ledger();
    assert!(LAYOUT.fits(&ledger));
    assert!(
        !Layout {
            shards: 3,
            lcores: 1
        }
        .fits(&ledger)
    );
}

#[test]
fn an_empty_step_arrives_at_once() {
    let (_arena, ledger, _, newer) = ledger();
    let layout = Layout {
        shards: 1,
        lcores: 3,
    };
    let (mut handover, _) = layout.ask(&ledger, 2, newer, "forward");
    assert_eq!(
        handover
            .arrived(layout, &ledger)
            .map(|records| records.len()),
        Some(0)
    );
}

#[test]
fn a_shard_of_an_lcore_that_never_had_a_lifeline_is_not_taken() {
    let (arena, ledger, older, newer) = ledger();
    assert_eq!(LAYOUT.take_from_dead(&lifelines(&arena), &ledger, newer), 0);
    assert!(LAYOUT.all_with(&ledger, older.slot));
}

#[test]
fn what_a_dead_thread_owned_is_given_to_the_heir() {
    let (arena, ledger, _, newer) = ledger();
    let slot = ledger.owner_word(1).lcore.expect("owned");
    let held = arena.clone();
    std::thread::spawn(move || {
        let lifeline = Lifeline::hold(&held, slot).expect("held");
        // Dying with it is the point: it is not released.
        std::mem::forget(lifeline);
    })
    .join()
    .expect("the thread ends");
    assert_eq!(LAYOUT.take_from_dead(&lifelines(&arena), &ledger, newer), 1);
    let word = ledger.owner_word(1);
    assert_eq!(
        (word.lcore.map(tenant_of), word.generation, word.epoch),
        (Some(newer.slot), 2, 2)
    );
}
