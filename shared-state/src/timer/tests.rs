//! The wheel against a map from ids to deadlines.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

const ALL: u32 = u32::MAX;

/// What a test knows: the deadline of each live row, and which rows ended at which tick.
#[derive(Default)]
struct Oracle {
    deadlines: HashMap<u32, u64>,
    ended: Vec<u32>,
    now: u64,
}

impl Rows for Oracle {
    fn look(&mut self, id: u32) -> Next {
        match self.deadlines.get(&id) {
            None => Next::Expired,
            Some(deadline) if *deadline <= self.now => {
                self.deadlines.remove(&id);
                self.ended.push(id);
                Next::Expired
            }
            Some(deadline) => Next::At(*deadline),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u32, u64),
    Refresh(u32, u64),
    Rearm(u32, u64),
    Remove(u32),
    Forget(u32),
    Advance(u64, u32),
}

const IDS: u32 = 100;

fn ticks() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..300, 0u64..20_000, 0u64..5_000_000, 0u64..1 << 36]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0..IDS;
    let step = prop_oneof![
        4 => (id.clone(), ticks()).prop_map(|(id, t)| Step::Insert(id, t)),
        2 => (id.clone(), ticks()).prop_map(|(id, t)| Step::Refresh(id, t)),
        1 => (id.clone(), ticks()).prop_map(|(id, t)| Step::Rearm(id, t)),
        1 => id.clone().prop_map(Step::Remove),
        1 => id.prop_map(Step::Forget),
        3 => (0u64..600, prop_oneof![Just(ALL), 0u32..8]).prop_map(|(t, n)| Step::Advance(t, n)),
        1 => (0u64..1 << 22, Just(ALL)).prop_map(|(t, n)| Step::Advance(t, n)),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_row_ends_at_its_deadline_and_no_row_is_lost(start in ticks(), steps in steps()) {
        let mut wheel = Wheel::new(IDS, start);
        let mut rows = Oracle { now: start, ..Oracle::default() };
        for step in steps {
            let now = rows.now;
            match step {
                Step::Insert(id, ahead) => {
                    rows.deadlines.insert(id, now + ahead);
                    wheel.insert(id, now + ahead);
                }
                Step::Refresh(id, ahead) => {
                    // A packet: the deadline moves on and the wheel is not told.
                    if let Some(deadline) = rows.deadlines.get_mut(&id) {
                        *deadline += ahead;
                    }
                }
                Step::Rearm(id, ahead) => {
                    rows.deadlines.insert(id, now + ahead);
                    wheel.rearm(id, now + ahead);
                }
                Step::Remove(id) => {
                    rows.deadlines.remove(&id);
                    wheel.remove(id);
                    prop_assert!(!wheel.contains(id));
                }
                Step::Forget(id) => {
                    rows.deadlines.remove(&id);
                }
                Step::Advance(ticks, limit) => {
                    rows.now += ticks;
                    let done = wheel.advance(rows.now, limit, &mut rows);
                    prop_assert!(done.looked <= limit);
                    if limit == ALL {
                        prop_assert_eq!(wheel.at(), rows.now + 1);
                        let late = rows.deadlines.iter().find(|(_, due)| **due < rows.now);
                        prop_assert_eq!(late, None, "at {}", rows.now);
                    }
                }
            }
            for id in rows.deadlines.keys() {
                prop_assert!(wheel.contains(*id), "{id} is lost");
            }
        }
        // In the end everything ends, each row once.
        let left = rows.deadlines.len();
        rows.ended.clear();
        while !wheel.is_empty() {
            let due = rows.deadlines.values().min().copied();
            rows.now = due.unwrap_or(rows.now + (1 << 40)).max(rows.now + 1);
            wheel.advance(rows.now, ALL, &mut rows);
        }
        prop_assert_eq!(rows.ended.len(), left);
    }
}

/// Ends `(id, tick)` for rows that never change, one call of `advance` a tick.
fn ends(deadlines: &[u64], start: u64, to: u64) -> BTreeMap<u64, Vec<u32>> {
    let mut wheel = Wheel::new(deadlines.len() as u32, start);
    for (id, deadline) in (0..).zip(deadlines) {
        wheel.insert(id, *deadline);
    }
    let mut ends = BTreeMap::<u64, Vec<u32>>::new();
    for now in start..=to {
        wheel.advance(now, ALL, &mut |id: u32| {
            let deadline = deadlines[id as usize];
            if deadline > now {
                return Next::At(deadline);
            }
            ends.entry(now).or_default().push(id);
            Next::Expired
        });
    }
    ends
}

#[test]
fn rows_end_exactly_at_their_ticks_over_three_levels() {
    for start in [0, 1, 255, 256, 16_383, (1 << 32) - 5] {
        let deadlines: Vec<u64> = (0..400).map(|i| start + 1 + i * 97).collect();
        let ends = ends(&deadlines, start, start + 40_000);
        for (id, deadline) in (0..).zip(&deadlines) {
            assert_eq!(ends[deadline], [id], "from {start}");
        }
    }
}

#[test]
fn a_burst_is_spread_over_calls_and_nothing_is_left_out() {
    let mut wheel = Wheel::new(1000, 0);
    for id in 0..1000 {
        wheel.insert(id, 10);
    }
    let mut looks = vec![0; 1000];
    for _ in 0..10 {
        let done = wheel.advance(20, 100, &mut |id: u32| {
            looks[id as usize] += 1;
            Next::Expired
        });
        let expected = Advanced {
            looked: 100,
            expired: 100,
        };
        assert_eq!(done, expected);
    }
    assert!(looks.iter().all(|n| *n == 1) && wheel.is_empty());
    assert_eq!(wheel.advance(20, 0, &mut |_: u32| Next::Expired).looked, 0);
    assert_eq!(wheel.at(), 21);
}

#[test]
fn a_row_that_is_seen_again_and_again_is_looked_at_once_a_timeout() {
    const TIMEOUT: u64 = 1000;
    let mut wheel = Wheel::new(1, 0);
    let mut looks = 0;
    wheel.insert(0, TIMEOUT);
    for now in 0..100 * TIMEOUT {
        // It was seen at `now`: lazily armed again.
        wheel.advance(now, ALL, &mut |_: u32| {
            looks += 1;
            Next::At(now + TIMEOUT)
        });
    }
    // The start of a block of 256 ticks, at which a coarse slot is due, comes up to 255 early.
    assert!((100..=140).contains(&looks), "{looks} looks");
}

#[test]
fn an_earlier_deadline_moves_a_row_and_a_later_one_does_not() {
    let mut wheel = Wheel::new(2, 0);
    wheel.insert(0, 5_000);
    wheel.insert(0, 50);
    wheel.insert(0, 100_000);
    wheel.insert(1, 70);
    assert_eq!(wheel.len(), 2);
    let mut seen = vec![];
    wheel.advance(60, ALL, &mut |id: u32| {
        seen.push(id);
        Next::Expired
    });
    assert_eq!(seen, [0]);
}

#[test]
fn a_look_that_says_a_past_tick_is_repeated_at_the_next() {
    let mut wheel = Wheel::new(1, 0);
    wheel.insert(0, 3);
    for now in 3..600 {
        let done = wheel.advance(now, ALL, &mut |_: u32| Next::At(0));
        assert_eq!(done.looked, 1, "at {now}");
    }
}

#[test]
fn all_ids_fit_however_they_are_spread_and_memory_does_not_grow() {
    let n = 20_000;
    let mut wheel = Wheel::new(n, 0);
    let bytes = wheel.bytes();
    assert!(bytes < 9 * n as usize + 64 * 2 * SLOTS, "{bytes} bytes");
    for round in 0..50u64 {
        for id in 0..n {
            let spread = (u64::from(id) * 7_919 + round * 104_729) % 3_000_000;
            wheel.rearm(id, spread >> (id % 20));
        }
        assert_eq!(wheel.len(), n);
    }
    assert_eq!(wheel.bytes(), bytes);
    wheel.clear(7);
    assert!(wheel.is_empty() && wheel.at() == 7 && !wheel.contains(3));
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn an_id_past_the_end_is_a_bug() {
    Wheel::new(3, 0).insert(3, 1);
}
