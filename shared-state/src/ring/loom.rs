//! Every interleaving of two or three threads at a small ring, under `--cfg loom`.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p baton-shared-state --lib ring`

use loom::model::Builder;
use loom::thread;

use super::mpmc::pack;
use super::{MpmcRing, NONE, SpscRing};
use crate::sync::{AtomicU32, AtomicU64};

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn spsc(capacity: u32) -> SpscRing {
    let slots: Vec<AtomicU32> = (0..capacity).map(|_| AtomicU32::new(0)).collect();
    SpscRing {
        prod: leak(AtomicU32::new(0)),
        cons: leak(AtomicU32::new(0)),
        slots: slots.leak(),
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
