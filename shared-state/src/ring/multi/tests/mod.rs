//! The ring of many in each mode: against `VecDeque`, with threads, from two addresses, among holes.

mod crash;
mod threads;

use std::collections::VecDeque;

use proptest::prelude::*;

use super::words::Word;
use super::*;
use crate::region::Region;

pub(super) const MODES: [Mode; 3] = [Mode::Mt, Mode::Rts, Mode::Hts];
const WORDS_AT: [usize; 4] = [128, 256, 384, 512];

pub(super) fn ring(capacity: usize, producers: Mode, consumers: Mode) -> Ring {
    let region = Region::private(Ring::bytes_for(capacity));
    Ring::create(region, capacity, producers, consumers).unwrap();
    Ring::attach(region).unwrap()
}

pub(super) fn held(ring: Ring) -> Vec<u32> {
    let mut shown = Vec::new();
    ring.window(&mut |element| shown.push(element));
    shown
}

/// A ring whose positions stand somewhere else.
fn ring_at(position: u64, capacity: usize, mode: Mode) -> Ring {
    let region = Region::private(Ring::bytes_for(capacity));
    let ring = Ring::create(region, capacity, mode, mode).unwrap();
    for at in WORDS_AT {
        region
            .u64(at)
            .store(Word::new(position, 0).0, Ordering::Relaxed);
    }
    // What a party has seen of the other side is there at least.
    for line in ring.producers.lines.chunks(LINE_WORDS) {
        line[2].store(position, Ordering::Relaxed);
        line[3].store(position, Ordering::Relaxed);
    }
    ring
}

#[derive(Debug, Clone)]
enum Op {
    Enqueue { n: usize, bulk: bool, by: usize },
    Dequeue { n: usize, bulk: bool, by: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one = (0..40usize, any::<bool>(), 0..3usize);
    let op = (one, any::<bool>()).prop_map(|((n, bulk, by), put)| {
        if put {
            Op::Enqueue { n, bulk, by }
        } else {
            Op::Dequeue { n, bulk, by }
        }
    });
    prop::collection::vec(op, 1..200)
}

fn behaves_like_a_deque(ring: Ring, ops: &[Op]) {
    let capacity = ring.capacity();
    let mut model = VecDeque::new();
    let mut next = 0u32;
    for op in ops {
        match *op {
            Op::Enqueue { n, bulk, by } => {
                let from: Vec<u32> = (next..).take(n).collect();
                let room = capacity - model.len();
                let put = if bulk {
                    let all = ring.party(by).enqueue_bulk(&from);
                    assert_eq!(all, n <= room);
                    if all { n } else { 0 }
                } else {
                    ring.party(by).enqueue_burst(&from)
                };
                assert!(bulk || put == n.min(room));
                model.extend(&from[..put]);
                next += put as u32;
            }
            Op::Dequeue { n, bulk, by } => {
                let mut to = vec![0; n];
                let taken = if bulk {
                    let all = ring.party(by).dequeue_bulk(&mut to);
                    assert_eq!(all, n <= model.len());
                    if all { n } else { 0 }
                } else {
                    ring.party(by).dequeue_burst(&mut to)
                };
                assert!(bulk || taken == n.min(model.len()));
                let expected: Vec<u32> = model.drain(..taken).collect();
                assert_eq!(to[..taken], expected);
            }
        }
        let shown: Vec<u32> = model.iter().copied().collect();
        assert_eq!(held(ring), shown);
        assert_eq!(
            (ring.len(), ring.free()),
            (model.len(), capacity - model.len())
        );
    }
}

proptest! {
    #[test]
    fn every_mode_behaves_like_a_deque(
        ops in ops(),
        bits in 0u32..7,
        producers in 0usize..3,
        consumers in 0usize..3,
    ) {
        behaves_like_a_deque(ring(1 << bits, MODES[producers], MODES[consumers]), &ops);
    }

    #[test]
    fn positions_wrap_without_a_seam(ops in ops(), before in 0u64..60, mode in 0usize..3) {
        for end in [1u64 << 32, 1 << 36, 1 << 44] {
            behaves_like_a_deque(ring_at(end - before, 32, MODES[mode]), &ops);
        }
    }
}

#[test]
fn modes_and_capacity_are_what_the_ring_was_made_with() {
    let region = Region::private(Ring::bytes_for(64));
    Ring::create(region, 64, Mode::Rts, Mode::Hts).unwrap();
    let ring = Ring::attach(region).unwrap();
    assert_eq!(
        (ring.producer_mode(), ring.consumer_mode(), ring.capacity()),
        (Mode::Rts, Mode::Hts, 64)
    );
    region.u32(8).store(0x104, Ordering::Relaxed);
    let found = Ring::attach(region).unwrap_err();
    assert_eq!(found, crate::ring::RingError::Modes { modes: 0x104 });
    assert!(matches!(
        Ring::create(region, 128, Mode::Mt, Mode::Mt),
        Err(crate::ring::RingError::Region(_))
    ));
    assert!(crate::ring::MpmcRing::attach(region).is_err());
}

#[test]
#[should_panic(expected = "party 64 of 64")]
fn a_party_beyond_the_shards_is_refused() {
    ring(8, Mode::Mt, Mode::Mt).party(64);
}

/// A hole is what a repair leaves of a dead producer; here with elements before and after it.
fn with_a_hole(mode: Mode, hole: usize) -> Ring {
    let ring = ring(16, mode, Mode::Mt);
    assert!(ring.party(0).enqueue_bulk(&[1, 2]));
    let dead = ring.party(1);
    let plan = |_, room: usize| hole.min(room);
    let reserved = dead.producer.reserve(hole, plan, &mut || true).unwrap();
    assert_eq!(reserved.unwrap().n, hole);
    assert!(ring.repair(1, |_| unreachable!()));
    assert!(ring.party(0).enqueue_bulk(&[3, 4, 5]));
    ring
}

#[test]
fn consumers_pass_over_holes() {
    for mode in [Mode::Mt, Mode::Rts] {
        let party = with_a_hole(mode, 4).party(2);
        let mut to = [0; 3];
        assert!(party.dequeue_bulk(&mut to));
        assert_eq!(to, [1, 2, 3]);
        assert!(!party.dequeue_bulk(&mut [0; 3]));
        assert_eq!(party.dequeue_burst(&mut to), 2);
        assert_eq!(to[..2], [4, 5]);
        assert_eq!(party.dequeue_burst(&mut to), 0);
        assert_eq!(party.ring().free(), 16, "the hole is room again");

        let mut claims = Vec::new();
        let party = with_a_hole(mode, 11).party(2);
        let mut claim = |i, element| claims.push((i, element));
        assert_eq!(party.dequeue_with(4, &mut claim), 2, "it stops at the hole");
        assert_eq!(party.dequeue_with(2, &mut claim), 1, "and passes over it");
        assert_eq!(claims, [(0, 1), (1, 2), (0, 3)]);
        assert_eq!(party.dequeue_burst(&mut [0; 16]), 2);
    }
}

#[test]
fn a_hole_alone_is_nothing_to_take() {
    let ring = ring(8, Mode::Mt, Mode::Mt);
    let dead = ring.party(1);
    dead.producer.reserve(8, |_, n| n, &mut || true).unwrap();
    assert!(ring.repair(1, |_| unreachable!()));
    let party = ring.party(2);
    assert!(!party.dequeue_bulk(&mut [0; 1]));
    assert_eq!(party.dequeue_burst(&mut [0; 4]), 0);
    assert!(party.enqueue_bulk(&[1; 8]), "the hole is room again");
}

#[test]
fn what_is_held_in_place_counts_when_it_is_finished() {
    let ring = ring(8, Mode::Hts, Mode::Hts);
    let party = ring.party(1);
    assert!(party.enqueue_bulk(&[1; 6]) && party.dequeue_bulk(&mut [0; 6]));
    let hold = party.start_enqueue(5, || false).unwrap().unwrap();
    let [first, second] = hold.slots();
    assert_eq!((first.len(), second.len(), hold.len()), (2, 3, 5));
    for (slot, element) in first.iter().chain(second).zip(5..) {
        slot.store(element, Ordering::Relaxed);
    }
    let other = ring.party(2);
    assert_eq!(other.enqueue_unless(&[9], || true), Err(Stalled));
    assert!(ring.is_empty(), "not before it is finished");
    hold.finish(4);
    assert_eq!(held(ring), [5, 6, 7, 8]);
    assert_eq!(other.enqueue_unless(&[9], || true), Ok(1));

    let hold = party.start_dequeue(3, || false).unwrap().unwrap();
    let seen: Vec<u32> = hold
        .slots()
        .into_iter()
        .flatten()
        .map(|slot| slot.load(Ordering::Relaxed))
        .collect();
    assert_eq!(seen, [5, 6, 7]);
    assert_eq!(held(ring), [5, 6, 7, 8, 9]);
    hold.finish(2);
    assert_eq!(held(ring), [7, 8, 9]);
    drop(party.start_dequeue(3, || false).unwrap());
    assert_eq!(held(ring), [7, 8, 9], "dropped is not taken");
    assert!(party.dequeue_bulk(&mut [0; 3]));
    assert!(party.start_dequeue(3, || false).unwrap().is_none());
}
