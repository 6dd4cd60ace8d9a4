//! Every interleaving of two or three threads at a small ring, under `--cfg loom`.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p baton-shared-state --lib ring`

use loom::model::Builder;
use loom::thread;

use super::mpmc::pack;
use super::multi::{Parts, Start};
use super::slots::Slots;
use super::{Element, Mode, MpmcRing, NONE, Ring, RingOf, SpscRing, SpscRingOf, Words};
use crate::sync::{AtomicU32, AtomicU64};

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn spsc(capacity: u32) -> SpscRing {
    let slots: Vec<AtomicU32> = (0..capacity).map(|_| AtomicU32::new(0)).collect();
    spsc_of(slots)
}

fn spsc_of<E: Element>(slots: Vec<E::Slot>) -> SpscRingOf<E> {
    SpscRingOf {
        prod: leak(AtomicU32::new(0)),
        cons: leak(AtomicU32::new(0)),
        slots: Slots(slots.leak()),
    }
}

fn mpmc(capacity: u32) -> MpmcRing {
    let empty = |position| AtomicU64::new(pack(position, NONE));
    let slots: Vec<AtomicU64> = (0..capacity).map(empty).collect();
    MpmcRing {
        tail: leak(AtomicU32::new(0)),
        head: leak(AtomicU32::new(0)),
        slots: slots.leak(),
    }
}

const MODES: [Mode; 3] = [Mode::Mt, Mode::Rts, Mode::Hts];
const PARTIES: usize = 3;

fn multi(capacity: u32, mode: Mode) -> Ring {
    let slots: Vec<AtomicU32> = (0..capacity).map(|_| AtomicU32::new(0)).collect();
    multi_of(slots, mode)
}

/// Slots of two words.
fn pairs(capacity: u32) -> Vec<Words<2>> {
    let pair = |_| [AtomicU32::new(0), AtomicU32::new(0)];
    (0..capacity).map(pair).collect()
}

fn multi_of<E: Element>(slots: Vec<E::Slot>, mode: Mode) -> RingOf<E> {
    let zeros = |_| core::array::from_fn(|_| AtomicU64::new(0));
    RingOf {
        capacity: slots.len() as u32,
        modes: [mode; 2],
        start: Start(leak(Parts {
            words: core::array::from_fn(|_| AtomicU64::new(0)),
            lines: (0..PARTIES).map(zeros).collect(),
            slots,
        })),
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn spsc_hands_over_in_order_and_gives_slots_back() {
    check(|| {
        let ring = spsc(2);
        let producer = thread::spawn(move || {
            let all = [1, 2, 3];
            let put = ring.enqueue_burst(&all);
            put + ring.enqueue_burst(&all[put..])
        });
        let mut taken = Vec::new();
        let mut take = || {
            let mut to = [0; 2];
            let n = ring.dequeue_burst(&mut to);
            taken.extend_from_slice(&to[..n]);
        };
        take();
        take();
        let put = producer.join().unwrap();
        take();
        take();
        let expected: Vec<u32> = (1..=put as u32).collect();
        assert_eq!(taken, expected);
    });
}

#[test]
fn mpmc_takes_each_element_of_two_producers_once() {
    check(|| {
        let ring = mpmc(2);
        let producer = thread::spawn(move || ring.enqueue_burst(&[1]));
        let consumer = thread::spawn(move || {
            let mut to = [0; 2];
            let n = ring.dequeue_burst(&mut to);
            to[..n].to_vec()
        });
        let put = ring.enqueue_burst(&[2]) + producer.join().unwrap();
        assert_eq!(put, 2, "there is room for both");
        let mut taken = consumer.join().unwrap();
        let mut to = [0; 2];
        let n = ring.dequeue_burst(&mut to);
        taken.extend_from_slice(&to[..n]);
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
    });
}

#[test]
fn mpmc_gives_two_consumers_different_elements() {
    check(|| {
        let ring = mpmc(2);
        assert_eq!(ring.enqueue_burst(&[1, 2, 3]), 2);
        let other = thread::spawn(move || {
            let mut to = [0; 1];
            let n = ring.dequeue_burst(&mut to);
            to[..n].to_vec()
        });
        let mut to = [0; 1];
        assert_eq!(ring.dequeue_burst(&mut to), 1);
        let mut taken = other.join().unwrap();
        taken.push(to[0]);
        taken.sort_unstable();
        assert_eq!(taken, [1, 2]);
        assert_eq!(ring.enqueue_burst(&[3, 4]), 2, "both slots came back");
    });
}

fn take(ring: Ring, party: usize) -> Vec<u32> {
    let mut to = [0; 2];
    let n = ring.party(party).dequeue_burst(&mut to);
    to[..n].to_vec()
}

#[test]
fn a_ring_of_many_takes_each_element_of_two_producers_once() {
    for mode in MODES {
        check(move || {
            let ring = multi(2, mode);
            let producer = thread::spawn(move || ring.party(1).enqueue_bulk(&[1]));
            let consumer = thread::spawn(move || take(ring, 2));
            assert!(ring.party(0).enqueue_bulk(&[2]), "there is room for both");
            assert!(producer.join().unwrap(), "there is room for both");
            let mut taken = consumer.join().unwrap();
            taken.extend(take(ring, 0));
            taken.sort_unstable();
            assert_eq!(taken, [1, 2]);
        });
    }
}

#[test]
fn a_ring_of_many_gives_two_consumers_different_elements() {
    for mode in MODES {
        check(move || {
            let ring = multi(2, mode);
            assert_eq!(ring.party(0).enqueue_burst(&[1, 2, 3]), 2);
            let other = thread::spawn(move || {
                let mut to = [0];
                assert!(ring.party(1).dequeue_bulk(&mut to));
                to[0]
            });
            let mut to = [0];
            assert!(ring.party(0).dequeue_bulk(&mut to));
            let mut taken = [to[0], other.join().unwrap()];
            taken.sort_unstable();
            assert_eq!(taken, [1, 2]);
            assert!(ring.party(2).enqueue_bulk(&[3, 4]), "both slots came back");
        });
    }
}

/// A party that stops after its reservation, a live one beside it, and the repair.
#[test]
fn a_dead_producer_is_repaired_while_another_goes_on() {
    for mode in MODES {
        check(move || {
            let ring = multi(4, mode);
            ring.party(1).reserve_and_stop(1);
            let live = thread::spawn(move || ring.party(0).enqueue_bulk(&[2]));
            while !ring.repair(1, |_| unreachable!()) {
                thread::yield_now();
            }
            assert!(live.join().unwrap());
            assert_eq!(take(ring, 2), [2]);
            let mut left = Vec::new();
            ring.window(&mut |element| left.push(element));
            assert!(left.is_empty(), "{left:?}");
        });
    }
}

/// The same where both raced for the reservation, so that the notes decide who has it.
#[test]
fn whose_reservation_it_is_is_known_after_a_race() {
    for mode in MODES {
        check(move || {
            let ring = multi(4, mode);
            let dead = thread::spawn(move || ring.party(1).reserve_and_stop(2));
            let mut waits = 0;
            let live = ring.party(0).enqueue_unless(&[7], || {
                waits += 1;
                waits > 1
            });
            dead.join().unwrap();
            let all = |_: ()| {
                ring.repair(1, |_| unreachable!()) & (live.is_ok() || ring.repair(0, |_| ()))
            };
            while !all(()) {}
            let mut left = Vec::new();
            ring.window(&mut |element| left.push(element));
            let expected: &[u32] = if live.is_ok() { &[7] } else { &[] };
            assert_eq!(left, expected);
            assert_eq!(take(ring, 2), expected);
        });
    }
}

#[test]
fn an_element_of_two_words_is_whole() {
    check(|| {
        let ring: SpscRingOf<[u32; 2]> = spsc_of(pairs(1));
        let producer = thread::spawn(move || {
            [[1, 1], [2, 2]].map(|one| {
                let [part, _] = ring.reserve(1);
                part.iter().for_each(|slot| one.store(slot));
                ring.commit(part.len());
            })
        });
        for _ in 0..2 {
            let [part, _] = ring.peek(1);
            let seen: Vec<_> = part.iter().map(<[u32; 2]>::load).collect();
            assert!(seen.iter().all(|[a, b]| a == b), "{seen:?}");
            ring.consume(seen.len());
        }
        producer.join().unwrap();
    });
    for mode in MODES {
        check(move || {
            let ring: RingOf<[u32; 2]> = multi_of(pairs(2), mode);
            let producer = thread::spawn(move || ring.party(1).enqueue_bulk(&[[1, 1]]));
            assert!(ring.party(0).enqueue_bulk(&[[2, 2]]), "there is room");
            let mut taken = Vec::new();
            while taken.len() < 2 {
                let mut to = [[0; 2]; 2];
                let n = ring.party(2).dequeue_burst(&mut to);
                taken.extend_from_slice(&to[..n]);
                if n == 0 {
                    thread::yield_now();
                }
            }
            assert!(producer.join().unwrap(), "there is room");
            taken.sort_unstable();
            assert_eq!(taken, [[1, 1], [2, 2]]);
        });
    }
}
