//! Parties that die at each of their stores, alone and two at a time, and repairs that do.

use super::*;
use crate::sync::crash::die_at;

const CAPACITY: usize = 16;
/// In the ring before anybody dies.
const BASE: [u32; 6] = [1, 2, 3, 4, 5, 6];
const DEAD: usize = 1;
const SECOND: usize = 2;
const LIVE: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Put,
    Take,
    TakeByClaim,
}
const ACTS: [Act; 3] = [Act::Put, Act::Take, Act::TakeByClaim];

fn setup(mode: Mode) -> (Region, Ring) {
    let region = Region::private(Ring::bytes_for(CAPACITY));
    let ring = Ring::create(region, CAPACITY, mode, mode).unwrap();
    // Not at zero, and so that bursts go around the end.
    let first = ring.party(0);
    assert!(first.enqueue_bulk(&[9; 9]) && first.dequeue_bulk(&mut [0; 9]));
    assert!(first.enqueue_bulk(&BASE));
    // Everybody has finished something before.
    for party in [DEAD, SECOND] {
        let party = ring.party(party);
        let mut one = [0];
        assert!(party.dequeue_bulk(&mut one) && party.enqueue_bulk(&one));
    }
    (region, ring)
}

fn sorted(mut elements: Vec<u32>) -> Vec<u32> {
    elements.sort_unstable();
    elements
}

/// What a party that came to its end had taken then.
fn act(party: Party, act: Act, first: u32) -> Vec<u32> {
    let mut to = [0; 2];
    match act {
        Act::Put => {
            let from: Vec<u32> = (first..first + 3).collect();
            let put = party.enqueue_unless(&from, || true);
            assert!(put == Ok(3) || put == Err(Stalled));
            Vec::new()
        }
        Act::Take => match party.dequeue_unless(&mut to, || true) {
            Ok(n) => to[..n].to_vec(),
            Err(Stalled) => Vec::new(),
        },
        Act::TakeByClaim => {
            // Never stalls its caller: only where nobody is in front.
            let n = party.dequeue_with(2, |i, element| to[i] = element);
            to[..n].to_vec()
        }
    }
}

/// Repairs until nothing is left; what was given in the last repair of each.
fn repair(ring: Ring, dead: &[usize]) -> Vec<u32> {
    let mut given = Vec::new();
    for _ in 0..3 {
        let mut all = true;
        for party in dead {
            all &= ring.repair(*party, |element| given.push(element));
        }
        if all {
            return given;
        }
    }
    panic!("{dead:?} are not repaired");
}

/// The ring holds these elements and works as a new one, for the dead ones' heirs, too.
fn is_whole(ring: Ring, elements: &[u32], why: &str) {
    assert_eq!(held(ring), elements, "{why}");
    let mut to = [0; CAPACITY];
    let n = ring.party(LIVE).dequeue_burst(&mut to);
    assert_eq!(to[..n], *elements, "{why}");
    assert_eq!(ring.party(LIVE).dequeue_burst(&mut to), 0, "{why}");
    for party in [DEAD, SECOND, LIVE] {
        let all: Vec<u32> = (100..).take(CAPACITY).collect();
        assert!(ring.party(party).enqueue_bulk(&all), "{why}");
        assert!(ring.party(party).dequeue_bulk(&mut to), "{why}");
        assert_eq!(to[..], all, "{why}");
    }
}

#[test]
fn a_party_that_dies_at_any_store_is_repaired_though_the_repair_dies_too() {
    let mut points = 0;
    for mode in MODES {
        for what in ACTS {
            for point in 1.. {
                let (region, ring) = setup(mode);
                let before = held(ring);
                let died = die_at(point, || {
                    act(ring.party(DEAD), what, 10);
                });
                let shown = held(ring);
                let none = shown == before;
                let all = match what {
                    Act::Put => shown == [&before[..], &[10, 11, 12]].concat(),
                    Act::Take | Act::TakeByClaim => shown == before[2..],
                };
                assert!(none || all, "{mode:?} {what:?} {point}: {shown:?}");
                let left = region.to_vec(0, region.len());
                for second in 1.. {
                    let why = format!("{mode:?} {what:?} dead at {point}, repair at {second}");
                    region.copy_in(0, &left);
                    let again = die_at(second, || {
                        ring.repair(DEAD, |_| {});
                    });
                    // The elements are in the window until the repair has given them away.
                    let still = held(ring);
                    let given = repair(ring, &[DEAD]);
                    assert_eq!([given, held(ring)].concat(), still, "{why}");
                    assert!(still == shown || what != Act::Put, "{why}");
                    let left = held(ring);
                    is_whole(ring, &left, &why);
                    points += 1;
                    if !again {
                        break;
                    }
                }
                if !died {
                    break;
                }
            }
        }
    }
    assert!(points > 100, "{points}");
}

#[test]
fn two_parties_that_die_at_any_stores_are_repaired_in_either_order() {
    for mode in MODES {
        for (first, second) in [
            (Act::Put, Act::Put),
            (Act::Put, Act::Take),
            (Act::Take, Act::Put),
            (Act::Take, Act::Take),
        ] {
            both_die(mode, first, second);
        }
    }
}

fn both_die(mode: Mode, first: Act, second: Act) {
    let mut ends = [true; 2];
    for point in 1.. {
        for then in 1.. {
            for order in [[DEAD, SECOND], [SECOND, DEAD]] {
                let why = format!("{mode:?} {first:?} {second:?} at {point}, {then}, {order:?}");
                let (_, ring) = setup(mode);
                let before = held(ring);
                let mut taken = Vec::new();
                ends[0] = !die_at(point, || {
                    taken.extend(act(ring.party(DEAD), first, 10));
                });
                ends[1] = !die_at(then, || {
                    taken.extend(act(ring.party(SECOND), second, 20));
                });
                let shown = held(ring);
                let given = repair(ring, &order);
                let left = held(ring);
                assert_eq!(
                    sorted([given, left.clone()].concat()),
                    sorted(shown.clone()),
                    "{why}"
                );
                let mut once = sorted([shown, taken].concat());
                let count = once.len();
                once.dedup();
                assert_eq!(once.len(), count, "{why}");
                if first == Act::Put && second == Act::Put {
                    assert!(before.iter().all(|element| once.contains(element)), "{why}");
                }
                let puts = [(first, 10..13), (second, 20..23)].map(|(what, range)| {
                    let there = range.filter(|element| once.contains(element)).count();
                    assert!(there == 0 || there == 3 && what == Act::Put, "{why}");
                    there
                });
                // Whoever came to its end without a dead one in front has done what it should.
                if ends[0] {
                    assert_eq!(puts[0] == 3, first == Act::Put, "{why}");
                }
                is_whole(ring, &left, &why);
            }
            if ends[1] {
                break;
            }
        }
        if ends[0] {
            return;
        }
    }
}

/// `DEAD` has reserved two positions on each side, and moves no more.
fn setup_with_dead(mode: Mode) -> Ring {
    let (_, ring) = setup(mode);
    let dead = ring.party(DEAD);
    for hand in [dead.producer(), dead.consumer()] {
        let held = hand.reserve(2, |_, n| n.min(2), &mut || true).unwrap();
        assert!(held.is_some());
    }
    ring
}

#[test]
fn who_waits_for_a_dead_one_may_repair_it_and_goes_on() {
    for mode in [Mode::Mt, Mode::Hts] {
        let ring = setup_with_dead(mode);
        let before = held(ring);
        let (mut given, mut to, mut asked) = (Vec::new(), [0; 2], 0);
        let live = ring.party(LIVE);
        let n = live.dequeue_unless(&mut to, || {
            asked += 1;
            assert!(ring.repair(DEAD, |element| given.push(element)));
            false
        });
        assert_eq!((n, asked), (Ok(2), 1));
        assert_eq!([given, to.to_vec(), held(ring)].concat(), before);
        assert_eq!(live.enqueue_unless(&[7, 8], || true), Ok(2));
    }
}

#[test]
fn who_waits_no_more_is_repaired_as_a_dead_one() {
    for mode in [Mode::Mt, Mode::Hts] {
        let ring = setup_with_dead(mode);
        let before = held(ring);
        let live = ring.party(LIVE);
        assert_eq!(live.enqueue_unless(&[7, 8], || true), Err(Stalled));
        assert_eq!(live.dequeue_unless(&mut [0; 2], || true), Err(Stalled));
        assert_eq!(held(ring), before);
        assert_eq!(
            ring.repair(LIVE, |_| {}),
            mode == Mode::Hts,
            "first the one in front"
        );
        let given = repair(ring, &[DEAD, LIVE]);
        let left = held(ring);
        assert_eq!([given, left.clone()].concat(), before);
        is_whole(ring, &left, "after it");
    }
}

#[test]
fn in_rts_mode_others_go_on_beside_a_dead_one() {
    let (_, ring) = setup(Mode::Rts);
    let dead = ring.party(DEAD).producer();
    dead.reserve(2, |_, n| n.min(2), &mut || true).unwrap();
    let live = ring.party(LIVE);
    assert!(live.enqueue_bulk(&[7, 8]), "nobody waits");
    let mut to = [0; 8];
    assert_eq!(
        live.dequeue_burst(&mut to),
        BASE.len(),
        "but 7 and 8 are not to be had yet"
    );
    assert_eq!(held(ring), [7, 8]);
    assert!(ring.repair(DEAD, |_| unreachable!()));
    assert_eq!(live.dequeue_burst(&mut to), 2);
    assert_eq!(to[..2], [7, 8]);
}

#[test]
fn the_hands_of_a_dead_consumer_are_emptied_in_order() {
    for mode in MODES {
        let (_, ring) = setup(mode);
        let before = held(ring);
        let dead = ring.party(DEAD).consumer();
        dead.reserve(3, |_, n| n.min(3), &mut || true).unwrap();
        assert_eq!(held(ring), before, "{mode:?}");
        let mut given = Vec::new();
        assert!(ring.repair(DEAD, |element| given.push(element)));
        let expected = if mode == Mode::Hts { &[] } else { &before[..3] };
        assert_eq!(given, expected, "{mode:?}");
        assert_eq!(held(ring), before[expected.len()..], "{mode:?}");
        assert!(ring.repair(DEAD, |_| unreachable!("{mode:?}: given twice")));
    }
}
