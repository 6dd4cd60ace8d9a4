//! What a grace period promises, with readers that move, sleep and die.

use std::cell::Cell;
use std::thread;

use super::*;
use crate::sync::{AtomicBool, AtomicU32};

fn qsbr() -> Qsbr {
    Qsbr::create(Region::private(Qsbr::bytes())).unwrap()
}

fn all_live(_: u16) -> bool {
    false
}

#[test]
fn a_token_is_done_when_each_online_reader_has_been_quiescent_since() {
    let q = qsbr();
    let (a, b) = (q.reader(3).unwrap(), q.reader(500).unwrap());
    let before = q.start();
    assert!(q.check(before, all_live), "nobody is online");
    a.online();
    b.online();
    let token = q.start();
    assert!(!q.check(token, all_live));
    a.quiescent();
    assert!(!q.check(token, all_live), "one of two");
    b.offline();
    assert!(q.check(token, all_live));
    let next = q.start();
    assert!(!q.check(next, all_live), "an older answer does not count");
    drop(a);
    assert!(q.check(next, all_live), "a reader that is gone is offline");
    assert!(q.check(token, all_live));
}

#[test]
fn a_reader_that_comes_later_does_not_hold_back_an_older_token() {
    let q = qsbr();
    let reader = q.reader(0).unwrap();
    let token = q.start();
    reader.online();
    assert!(q.check(token, all_live));
    assert!(!q.check(q.start(), all_live));
}

#[test]
fn a_dead_reader_is_taken_offline_by_whoever_notices() {
    let q = qsbr();
    let (dead, live) = (q.reader(7).unwrap(), q.reader(8).unwrap());
    dead.online();
    live.online();
    std::mem::forget(dead);
    let token = q.start();
    let asked = Cell::new(0);
    let is_dead = |slot| {
        asked.set(asked.get() + 1);
        slot == 7
    };
    assert!(!q.check(token, is_dead), "the living one is behind");
    assert!(!q.is_online(7) && q.is_online(8));
    live.quiescent();
    assert!(q.check(token, |_| panic!("nobody is behind any more")));
    assert_eq!(asked.get(), 2);
}

#[test]
fn a_thread_that_takes_a_dead_readers_slot_is_not_taken_offline_for_it() {
    let q = qsbr();
    let dead = q.reader(7).unwrap();
    dead.online();
    std::mem::forget(dead);
    let token = q.start();
    // The heir comes between the look at the lifeline and the swap.
    let mut heir = None;
    let done = q.check(token, |slot| {
        let reader = q.reader(slot).unwrap();
        reader.online();
        heir = Some(reader);
        true
    });
    assert!(done, "the heir came after the token");
    assert!(q.is_online(7));
    assert!(!q.check(q.start(), all_live), "and is waited for");
}

#[test]
fn another_process_goes_on_reclaiming_what_a_dead_writer_deferred() {
    let (words, region) = (
        Region::private(Qsbr::bytes()),
        Region::private(DeferQueue::bytes_for(4)),
    );
    let q = Qsbr::create(words).unwrap();
    let reader = q.reader(1).unwrap();
    reader.online();
    let queue = DeferQueue::create(region, 4).unwrap();
    for round in 0..3 {
        (0..4).for_each(|value| queue.defer_free(&q, round * 4 + value).unwrap());
        assert_eq!(
            queue.defer_free(&q, 99),
            Err(RcuError::Full { capacity: 4 })
        );
        let (q, queue) = (
            Qsbr::attach(words).unwrap(),
            DeferQueue::attach(region).unwrap(),
        );
        let mut freed = Vec::new();
        assert_eq!(queue.reclaim(&q, all_live, |value| freed.push(value)), 0);
        assert_eq!(queue.values().count(), 4);
        reader.quiescent();
        assert_eq!(queue.reclaim(&q, all_live, |value| freed.push(value)), 4);
        assert_eq!(freed, (round * 4..round * 4 + 4).collect::<Vec<_>>());
        assert_eq!(queue.waiting(), 0);
    }
}

#[test]
fn a_death_inside_free_gives_the_value_again_and_loses_none() {
    let q = qsbr();
    let region = Region::private(DeferQueue::bytes_for(8));
    let queue = DeferQueue::create(region, 8).unwrap();
    (0..3).for_each(|value| queue.defer_free(&q, value).unwrap());
    let died = std::panic::catch_unwind(|| {
        queue.reclaim(&q, all_live, |value| assert_ne!(value, 1, "dies here"));
    });
    assert!(died.is_err());
    let mut freed = Vec::new();
    DeferQueue::attach(region)
        .unwrap()
        .reclaim(&q, all_live, |value| freed.push(value));
    assert_eq!(freed, [1, 2]);
}

#[test]
fn foreign_bytes_are_an_error() {
    let region = Region::private(Qsbr::bytes());
    assert!(matches!(Qsbr::attach(region), Err(RcuError::Kind { .. })));
    assert!(matches!(
        DeferQueue::attach(region),
        Err(RcuError::Kind { .. })
    ));
    assert!(Qsbr::create(Region::private(64)).is_err());
    let q = Qsbr::create(region).unwrap();
    assert!(matches!(q.reader(512), Err(RcuError::Number { .. })));
    let region = Region::private(DeferQueue::bytes_for(2));
    DeferQueue::create(region, 2).unwrap();
    region.u64(TOKEN_AT).store(77, Ordering::Relaxed); // the queue's head
    assert!(DeferQueue::attach(region).is_err());
}

/// A writer swaps a block and spoils the old one after its grace period; readers that follow the
/// rules never see a spoilt block.
#[test]
fn no_reader_sees_a_block_after_its_grace_period() {
    const SPOILT: u32 = u32::MAX;
    const BLOCKS: u32 = 8;
    static DONE: AtomicBool = AtomicBool::new(false);
    let q = qsbr();
    let words = Region::private(4 * (1 + BLOCKS as usize));
    let named = words.u32(0);
    let block = move |i: u32| -> &'static AtomicU32 { words.u32(4 + i as usize * 4) };
    let queue = DeferQueue::create(Region::private(DeferQueue::bytes_for(BLOCKS)), BLOCKS).unwrap();
    let threads: Vec<_> = (0..2)
        .map(|slot| {
            let reader = q.reader(slot).unwrap();
            thread::spawn(move || {
                reader.online();
                let mut looks = 0u64;
                while !DONE.load(Ordering::Relaxed) {
                    for _ in 0..8 {
                        let at = named.load(Ordering::Acquire);
                        std::hint::spin_loop();
                        assert_ne!(block(at).load(Ordering::Acquire), SPOILT);
                    }
                    looks += 1;
                    if looks % 64 == u64::from(slot) {
                        reader.offline();
                        thread::yield_now();
                        reader.online();
                    } else {
                        reader.quiescent();
                    }
                }
            })
        })
        .collect();
    let mut free: Vec<u32> = (1..BLOCKS).collect();
    let mut swaps = 0;
    while swaps < 20_000 {
        if let Some(next) = free.pop() {
            block(next).store(swaps, Ordering::Relaxed);
            let old = named.swap(next, Ordering::AcqRel);
            queue.defer_free(&q, old).unwrap();
            swaps += 1;
        } else {
            thread::yield_now();
        }
        queue.reclaim(&q, all_live, |old| {
            block(old).store(SPOILT, Ordering::Relaxed);
            free.push(old);
        });
    }
    DONE.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|t| t.join().unwrap());
    queue.reclaim(&q, all_live, |old| free.push(old));
    assert_eq!(free.len(), BLOCKS as usize - 1, "none lost, none doubled");
}
