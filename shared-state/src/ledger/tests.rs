use super::*;
use crate::arena::{Access, ArenaSpec};
use crate::limits::{CONTROL_SHARD, LCORES_PER_TENANT, MAX_TENANTS};
use crate::sys::WaitOutcome;
use std::time::Duration;

fn arena() -> Arena {
    let spec = ArenaSpec {
        tables_bytes: 1,
        mbufs: 32,
        ..ArenaSpec::default()
    };
    Arena::create(&spec).unwrap()
}

fn name(pid: u32) -> TenantName {
    TenantName {
        pid,
        start_time: 12,
        generation: 3,
        binary_hash: [7; 32],
    }
}

#[test]
fn another_process_finds_the_same_words() {
    let arena = arena();
    let ledger = Ledger::create(&arena, 2).unwrap();
    let other = Arena::attach(arena.fds().unwrap(), Access::ReadWrite).unwrap();
    let other = Ledger::open(&other).unwrap();
    assert_eq!((other.shard_count(), other.live_generation()), (2, None));
    ledger.set_live_generation(0);
    ledger.claim_first(CONTROL_SHARD, 33, 4).unwrap();
    ledger.heartbeat(511).store(5, Ordering::Relaxed);
    ledger.tracking(1).store(tracking::DIRTY, Ordering::Relaxed);
    assert_eq!(other.live_generation(), Some(0));
    assert_eq!(other.owner_word(CONTROL_SHARD).lcore, Some(33));
    assert_eq!(other.owner_epoch(CONTROL_SHARD).load(Ordering::Relaxed), 1);
    assert_eq!(other.owner_word(0).lcore, None);
    assert_eq!(other.heartbeat(511).load(Ordering::Relaxed), 5);
    assert_eq!(other.tracking(1).load(Ordering::Relaxed), 1);
}

#[test]
fn wrong_magic_and_a_newer_layout_are_refused() {
    let arena = arena();
    let error = Ledger::open(&arena).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("no ledger here: magic 0x0000000000000000")
    );
    Ledger::create(&arena, 1).unwrap();
    let region = arena.segment("ledger").unwrap();
    region.u32(layout::VERSION).store(2, Ordering::Relaxed);
    let error = Ledger::open(&arena).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ledger layout v2 found, this build reads v1: use the newer baton"
    );
}

#[test]
fn a_sleeper_on_the_owner_word_wakes_at_the_hand_over() {
    let ledger = Ledger::create(&arena(), 1).unwrap();
    ledger.claim_first(0, 0, 1).unwrap();
    let epoch = ledger.owner_epoch(0).load(Ordering::Acquire);
    let sleeper = std::thread::spawn(move || {
        while ledger.owner_word(0).lcore != Some(32) {
            let outcome =
                crate::sys::futex_wait(ledger.owner_epoch(0), epoch, Duration::from_secs(20));
            assert_ne!(outcome.unwrap(), WaitOutcome::TimedOut);
        }
    });
    ask(ledger.owner(0), ledger.request(0), 32, 2).unwrap();
    let accepted = accept(ledger.owner(0), ledger.request(0), 0).unwrap();
    ledger.hand_over(0, accepted, 0).unwrap();
    sleeper.join().unwrap();
    assert_eq!(ledger.owner_word(0).generation, 2);
}

#[test]
fn tenants_have_names_and_slots_run_out_politely() {
    let ledger = Ledger::create(&arena(), 1).unwrap();
    for pid in 0..MAX_TENANTS as u32 {
        assert_eq!(u32::from(ledger.claim_tenant(&name(pid)).unwrap()), pid);
    }
    let error = ledger.claim_tenant(&name(99)).unwrap_err();
    assert!(error.to_string().starts_with("all 16 tenant slots"));
    assert_eq!(ledger.tenant(3).unwrap().name, name(3));
    ledger.release_tenant(3).unwrap();
    assert_eq!(ledger.tenant(3), None);
    assert_eq!(ledger.tenants().len(), MAX_TENANTS - 1);
    assert_eq!(ledger.claim_tenant(&name(99)).unwrap(), 3);
    assert_eq!(ledger.tenant(1000), None);
}

#[test]
fn a_slot_is_not_used_again_while_a_shard_names_it() {
    let ledger = Ledger::create(&arena(), 1).unwrap();
    let tenant = ledger.claim_tenant(&name(1)).unwrap();
    ledger.claim_first(0, lcore_slot(tenant, 5), 1).unwrap();
    let error = ledger.release_tenant(tenant).unwrap_err();
    assert_eq!(error.to_string(), "tenant slot 0 is still named by shard 0");
    let next = ledger.claim_tenant(&name(2)).unwrap();
    let asked = ask(ledger.owner(0), ledger.request(0), lcore_slot(next, 0), 2).unwrap();
    assert!(ledger.release_tenant(next).is_err(), "a request names it");
    assert!(withdraw(ledger.request(0), asked));
    ledger.release_tenant(next).unwrap();
}

#[test]
fn lcore_slots_name_their_tenant() {
    assert_eq!(lcore_slot(15, 31), 511);
    assert_eq!(tenant_of(lcore_slot(9, LCORES_PER_TENANT - 1)), 9);
}

#[test]
fn the_upgrade_block_is_read_whole_or_not_at_all() {
    let ledger = Ledger::create(&arena(), 1).unwrap();
    assert_eq!(ledger.upgrade(), Some(UpgradeBlock::default()));
    let writer = std::thread::spawn(move || {
        for id in 1..2000 {
            ledger.set_upgrade(&UpgradeBlock {
                id,
                started_ns: id,
                spare: [id; 5],
                ..UpgradeBlock::default()
            });
        }
    });
    while !writer.is_finished() {
        if let Some(block) = ledger.upgrade() {
            assert_eq!((block.started_ns, block.spare), (block.id, [block.id; 5]));
        }
    }
    writer.join().unwrap();
    let region = ledger.region;
    region.u32(layout::UPGRADE).fetch_or(1, Ordering::Relaxed);
    assert_eq!(ledger.upgrade(), None, "its writer died in the middle");
    ledger.set_upgrade(&UpgradeBlock::default());
    assert!(ledger.upgrade().is_some());
}

#[test]
fn a_swap_record_says_what_was_stored() {
    let ledger = Ledger::create(&arena(), 1).unwrap();
    let swap = ledger.swap(0);
    swap.stopped_ns().store(1, Ordering::Relaxed);
    swap.taken_ns().store(2, Ordering::Relaxed);
    swap.first_tx_ns().store(4, Ordering::Relaxed);
    swap.ring_used().store(5, Ordering::Relaxed);
    swap.ring_entries().store(6, Ordering::Relaxed);
    swap.delta_records().store(7, Ordering::Relaxed);
    swap.from_epoch().store(8, Ordering::Relaxed);
    swap.first_poll_ns().store(3, Ordering::Release);
    let record = ledger.swap(0).read();
    assert_eq!(
        (record.stopped_ns, record.taken_ns, record.first_poll_ns),
        (1, 2, 3)
    );
    assert_eq!(
        (record.first_tx_ns, record.ring_used, record.ring_entries),
        (4, 5, 6)
    );
    assert_eq!((record.delta_records, record.from_epoch), (7, 8));
    swap.clear();
    assert_eq!(swap.read(), SwapRecord::default());
    assert_eq!(
        ledger.owner_word(1).epoch,
        0,
        "no word of a neighbour changed"
    );
}

#[test]
#[should_panic(expected = "shard 64 of 64")]
fn there_is_no_shard_64() {
    let ledger = Ledger::create(&arena(), 1).unwrap();
    ledger.owner(64);
}
