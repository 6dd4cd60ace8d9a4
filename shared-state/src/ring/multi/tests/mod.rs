//! The ring of many in each mode: against `VecDeque`, with threads, from two addresses, among holes.

mod crash;
mod notes;
mod threads;

use std::collections::VecDeque;

use proptest::prelude::*;

use super::words::Word;
use super::*;
use crate::region::Region;
use crate::ring::RingError;
use crate::ring::samples::{How, Sample, fill, how, look};

pub(super) const MODES: [Mode; 3] = [Mode::Mt, Mode::Rts, Mode::Hts];
const WORDS_AT: [usize; 4] = [128, 256, 384, 512];

pub(super) fn ring<E: Element>(capacity: usize, producers: Mode, consumers: Mode) -> RingOf<E> {
    let region = Region::private(RingOf::<E>::bytes_for(capacity));
    RingOf::<E>::create(region, capacity, producers, consumers).unwrap();
    RingOf::attach(region).unwrap()
}

pub(super) fn held<E: Element>(ring: RingOf<E>) -> Vec<E> {
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
    for line in ring.producers().lines {
        line[2].store(position, Ordering::Relaxed);
        line[3].store(position, Ordering::Relaxed);
    }
    ring
}

#[derive(Debug, Clone)]
enum Op {
    Enqueue { n: usize, how: How, by: usize },
    Dequeue { n: usize, how: How, by: usize },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let one = (0..40usize, how(), 0..3usize);
    let op = (one, any::<bool>()).prop_map(|((n, how, by), put)| {
        if put {
            Op::Enqueue { n, how, by }
        } else {
            Op::Dequeue { n, how, by }
        }
    });
    prop::collection::vec(op, 1..200)
}

/// In place where the mode has that, in a burst elsewhere.
fn put<E: Element>(party: Party<E>, from: &[E], how: How) -> usize {
    let hts = party.ring().producer_mode() == Mode::Hts;
    match how {
        How::Bulk => usize::from(party.enqueue_bulk(from)) * from.len(),
        How::InPlace if hts => {
            let hold = party.start_enqueue(from.len(), || true).unwrap();
            hold.map_or(0, |hold| {
                let n = fill(hold.slots(), from);
                hold.finish(n);
                n
            })
        }
        _ => party.enqueue_burst(from),
    }
}

/// As [`put`].
fn take<E: Element>(party: Party<E>, to: &mut [E], how: How) -> usize {
    let hts = party.ring().consumer_mode() == Mode::Hts;
    match how {
        How::Bulk => usize::from(party.dequeue_bulk(to)) * to.len(),
        How::InPlace if hts => {
            let hold = party.start_dequeue(to.len(), || true).unwrap();
            hold.map_or(0, |hold| {
                let n = look(hold.slots(), to);
                hold.finish(n);
                n
            })
        }
        _ => party.dequeue_burst(to),
    }
}

fn behaves_like_a_deque<E: Sample>(ring: RingOf<E>, ops: &[Op]) {
    let capacity = ring.capacity();
    let mut model = VecDeque::new();
    let mut next = 0u32;
    for op in ops {
        match *op {
            Op::Enqueue { n, how, by } => {
                let from: Vec<E> = (next..).take(n).map(E::of).collect();
                let n = put(ring.party(by), &from, how);
                assert_eq!(n, how.moves(from.len(), capacity - model.len()));
                model.extend(&from[..n]);
                next += n as u32;
            }
            Op::Dequeue { n, how, by } => {
                let mut to = vec![E::of(0); n];
                let n = take(ring.party(by), &mut to, how);
                assert_eq!(n, how.moves(to.len(), model.len()));
                let expected: Vec<E> = model.drain(..n).collect();
                assert_eq!(to[..n], expected);
            }
        }
        let shown: Vec<E> = model.iter().copied().collect();
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
        let (producers, consumers) = (MODES[producers], MODES[consumers]);
        behaves_like_a_deque::<u32>(ring(1 << bits, producers, consumers), &ops);
        behaves_like_a_deque::<u64>(ring(1 << bits, producers, consumers), &ops);
        behaves_like_a_deque::<[u32; 3]>(ring(1 << bits, producers, consumers), &ops);
        behaves_like_a_deque::<[u32; 16]>(ring(1 << bits, producers, consumers), &ops);
    }

    #[test]
    fn positions_wrap_without_a_seam(ops in ops(), before in 0u64..60, mode in 0usize..3) {
        for end in [1u64 << 32, 1 << 36, 1 << 44] {
            behaves_like_a_deque(ring_at(end - before, 32, MODES[mode]), &ops);
        }
    }
}

/// Nothing hangs, panics or leaves the region, whatever the words are; party 0 is repaired, too.
fn ends_with_any_words(mode: Mode, words: &[(usize, u64)]) {
    let region = Region::private(Ring::bytes_for(8));
    let ring = Ring::create(region, 8, mode, mode).unwrap();
    for (at, word) in words {
        region.u64(at * 8).store(*word, Ordering::Relaxed);
    }
    held(ring);
    let party = ring.party(0);
    for _ in 0..3 {
        let _ = party.enqueue_unless(&[1; 12], || true);
        let _ = party.dequeue_unless(&mut [0; 12], || true);
        ring.repair(0, |_| ());
        if mode == Mode::Hts {
            let _ = party.start_enqueue(9, || true);
            let _ = party.start_dequeue(9, || true);
        }
    }
    let _ = (ring.len(), ring.free(), held(ring));
}

proptest! {
    #[test]
    fn no_words_hold_a_party_up(
        // Heads, tails and the end of the holes; some lines of parties.
        words in prop::collection::vec((prop_oneof![
            Just(2usize), Just(16), Just(32), Just(48), Just(64), 80..100usize,
        ], any::<u64>(), 0u32..64), 1..9),
        mode in 0usize..3,
    ) {
        let words: Vec<_> = words.iter().map(|(at, word, less)| (*at, word >> less)).collect();
        ends_with_any_words(MODES[mode], &words);
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
    assert_eq!(found, RingError::Modes { modes: 0x104 });
    assert!(matches!(
        Ring::create(region, 128, Mode::Mt, Mode::Mt),
        Err(RingError::Region(_))
    ));
    assert!(crate::ring::MpmcRing::attach(region).is_err());
}

#[test]
#[should_panic(expected = "party 64 of 64")]
fn a_party_beyond_the_shards_is_refused() {
    ring::<u32>(8, Mode::Mt, Mode::Mt).party(64);
}

/// A hole is what a repair leaves of a dead producer; here with elements before and after it.
fn with_a_hole<E: Sample>(mode: Mode, hole: usize) -> RingOf<E> {
    let ring = ring(16, mode, Mode::Mt);
    assert!(ring.party(0).enqueue_bulk(&[1, 2].map(E::of)));
    let dead = ring.party(1);
    let plan = |_, room: usize| hole.min(room);
    let reserved = dead.producer().reserve(hole, plan, &mut || true).unwrap();
    assert_eq!(reserved.unwrap().n, hole);
    assert!(ring.repair(1, |_| unreachable!()));
    assert!(ring.party(0).enqueue_bulk(&[3, 4, 5].map(E::of)));
    ring
}

#[test]
fn consumers_pass_over_holes() {
    for mode in [Mode::Mt, Mode::Rts] {
        they_pass_over_holes::<u32>(mode);
        they_pass_over_holes::<u64>(mode);
        they_pass_over_holes::<[u32; 4]>(mode);
    }
}

fn they_pass_over_holes<E: Sample>(mode: Mode) {
    let party = with_a_hole::<E>(mode, 4).party(2);
    let mut to = [E::NONE; 3];
    assert!(party.dequeue_bulk(&mut to));
    assert_eq!(to, [1, 2, 3].map(E::of));
    assert!(!party.dequeue_bulk(&mut [E::NONE; 3]));
    assert_eq!(party.dequeue_burst(&mut to), 2);
    assert_eq!(to[..2], [4, 5].map(E::of));
    assert_eq!(party.dequeue_burst(&mut to), 0);
    assert_eq!(party.ring().free(), 16, "the hole is room again");

    let mut claims = Vec::new();
    let party = with_a_hole::<E>(mode, 11).party(2);
    let mut claim = |i, element| claims.push((i, element));
    assert_eq!(party.dequeue_with(4, &mut claim), 2, "it stops at the hole");
    assert_eq!(party.dequeue_with(2, &mut claim), 1, "and passes over it");
    assert_eq!(claims, [(0, E::of(1)), (1, E::of(2)), (0, E::of(3))]);
    assert_eq!(party.dequeue_burst(&mut [E::NONE; 16]), 2);
}

#[test]
fn a_hole_alone_is_nothing_to_take() {
    let ring: Ring = ring(8, Mode::Mt, Mode::Mt);
    let dead = ring.party(1);
    dead.producer().reserve(8, |_, n| n, &mut || true).unwrap();
    assert!(ring.repair(1, |_| unreachable!()));
    let party = ring.party(2);
    assert!(!party.dequeue_bulk(&mut [0; 1]));
    assert_eq!(party.dequeue_burst(&mut [0; 4]), 0);
    assert!(party.enqueue_bulk(&[1; 8]), "the hole is room again");
}

#[test]
fn what_is_held_in_place_counts_when_it_is_finished() {
    let ring: Ring = ring(8, Mode::Hts, Mode::Hts);
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

#[test]
fn a_ring_of_other_elements_is_refused_by_their_size() {
    let region = Region::private(RingOf::<[u32; 4]>::bytes_for(8));
    let wide = RingOf::<[u32; 4]>::create(region, 8, Mode::Mt, Mode::Mt).unwrap();
    assert!(wide.party(0).enqueue_bulk(&[[1, 2, 3, 4]]));
    let why = Ring::attach(region).unwrap_err().to_string();
    assert_eq!(
        why,
        "ring of elements of 4 bytes expected, of 16 bytes found: attach it with an element type of 16 bytes, \
         or retire it and make one of 4"
    );
    let (found, wanted) = (16, 8);
    assert_eq!(
        RingOf::<u64>::attach(region).unwrap_err(),
        RingError::Element { found, wanted }
    );
    Ring::create(region, 8, Mode::Mt, Mode::Mt).unwrap();
    assert_eq!(region.u32(12).load(Ordering::Relaxed), 0, "as before");
    let (found, wanted) = (4, 8);
    assert_eq!(
        RingOf::<u64>::attach(region).unwrap_err(),
        RingError::Element { found, wanted }
    );
}
