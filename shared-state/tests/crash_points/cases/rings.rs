//! Rings: one party that dies, and several of which one stands in another's way.

use baton_shared_state::Region;
use baton_shared_state::ring::{Mode, MpmcRing, Ring, SpscRing};

use super::{expect, nothing};
use crate::Case;

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    vec![
        spsc(),
        mpmc(),
        alone("ring, MT", |region| create(region, Mode::Mt)),
        alone("ring, RTS", |region| create(region, Mode::Rts)),
        alone("ring, HTS", |region| create(region, Mode::Hts)),
        several("ring, MT, two in a row", |region| create(region, Mode::Mt)),
        several("ring, RTS, two in a row", |region| {
            create(region, Mode::Rts)
        }),
        several("ring, HTS, two in a row", |region| {
            create(region, Mode::Hts)
        }),
    ]
}

/// What is in the ring is a piece of what went through it: nothing lost inside, nothing twice.
fn is_a_piece(found: &[u32], of: &[u32], firsts: usize, lasts: usize) -> Result<(), String> {
    let piece = (0..=firsts)
        .any(|first| (lasts..=of.len()).any(|last| first <= last && of[first..last] == *found));
    expect(piece, || format!("{found:?} is no piece of {of:?}"))
}

const THROUGH: [u32; 6] = [1, 2, 3, 10, 11, 12];

fn spsc() -> Case {
    fn ring(region: Region) -> SpscRing {
        SpscRing::attach(region).expect("a ring")
    }
    Case {
        name: "ring, one producer and consumer",
        bytes: SpscRing::bytes_for(8),
        setup: |region| {
            let ring = SpscRing::create(region, 8).expect("a ring");
            ring.enqueue_burst(&THROUGH[..3]);
        },
        operation: |region| {
            ring(region).enqueue_burst(&THROUGH[3..]);
            ring(region).dequeue_burst(&mut [0; 2]);
        },
        repair: nothing,
        check: |region| {
            let mut found = Vec::new();
            ring(region).window(&mut |element| found.push(element));
            is_a_piece(&found, &THROUGH, 2, 3)?;
            let mut out = [0; 8];
            let n = ring(region).dequeue_burst(&mut out);
            expect(out[..n] == found[..], || {
                "its window is what it gives".into()
            })?;
            let n = ring(region).enqueue_burst(&[7; 9]);
            expect(n == 8, || format!("{n} of 8 places are free"))
        },
    }
}

fn mpmc() -> Case {
    fn ring(region: Region) -> MpmcRing {
        MpmcRing::attach(region).expect("a ring")
    }
    Case {
        name: "ring, many producers and consumers",
        bytes: MpmcRing::bytes_for(8),
        setup: |region| {
            let ring = MpmcRing::create(region, 8).expect("a ring");
            ring.enqueue_burst(&THROUGH[..3]);
        },
        operation: |region| {
            ring(region).enqueue_burst(&THROUGH[3..]);
            ring(region).dequeue_burst(&mut [0; 2]);
        },
        repair: nothing,
        check: |region| {
            let mut found = Vec::new();
            ring(region).window(&mut |element| found.push(element));
            is_a_piece(&found, &THROUGH, 2, 3)?;
            let mut out = [0; 9];
            let n = ring(region).dequeue_burst(&mut out);
            expect(out[..n] == found[..], || {
                format!("its window is {found:?}, it gives {:?}", &out[..n])
            })?;
            let n = ring(region).enqueue_burst(&[7; 9]);
            expect(n == 8, || format!("{n} of 8 places are free"))
        },
    }
}

const PARTIES: [usize; 2] = [3, 4];
/// Where what a repair is given is kept: behind the ring, a mark for each element.
const MARKS: usize = 32;

fn create(region: Region, mode: Mode) {
    let ring = Ring::create(region, 8, mode, mode).expect("a ring");
    // The burst that follows goes around the end of the array.
    let party = ring.party(0);
    assert!(party.enqueue_bulk(&[7; 5]) && party.dequeue_bulk(&mut [0; 5]));
    assert!(party.enqueue_bulk(&THROUGH[..3]));
}

fn ring(region: Region) -> Ring {
    Ring::attach(region).expect("a ring")
}

fn marks(region: Region) -> Region {
    let at = Ring::bytes_for(8);
    region.slice(at, 4 * MARKS).expect("room")
}

/// Both are dead. What is given is kept: once or twice, that is the same.
fn repair(region: Region) {
    let marks = marks(region);
    let give = |element: u32| marks.copy_in(4 * element as usize, &1u32.to_le_bytes());
    let mut rounds = 0;
    while !PARTIES
        .map(|party| ring(region).repair(party, give))
        .iter()
        .all(|done| *done)
    {
        rounds += 1;
        assert!(rounds < 3, "the repair has no end");
    }
}

/// `taken`: how many of the first three a consumer may have got that lived on.
fn check(region: Region, taken: usize) -> Result<(), String> {
    let ring = ring(region);
    let mut found = Vec::new();
    ring.window(&mut |element| found.push(element));
    let marks = marks(region).to_vec(0, 4 * MARKS);
    let given = (0..MARKS as u32).filter(|element| marks[4 * *element as usize] == 1);
    // What was given stood in front of what is left.
    let all: Vec<u32> = given.chain(found.iter().copied()).collect();
    let ordered = all.is_sorted_by(|a, b| a < b) && all.iter().all(|one| THROUGH.contains(one));
    let [first, second] = [&THROUGH[..3], &THROUGH[3..]]
        .map(|part| part.iter().filter(|one| all.contains(one)).count());
    expect(
        ordered && first + taken >= 3 && (second == 0 || second == 3),
        || format!("{all:?} of {THROUGH:?}"),
    )?;
    let party = ring.party(PARTIES[0]);
    let mut out = [0; 9];
    let n = party.dequeue_burst(&mut out);
    expect(out[..n] == found[..], || {
        format!("its window is {found:?}, it gives {:?}", &out[..n])
    })?;
    let n = ring.party(9).enqueue_burst(&[7; 9]);
    expect(n == 8, || format!("{n} of 8 places are free"))?;
    let n = party.dequeue_burst(&mut out);
    expect(n == 8, || format!("{n} of 8 come out"))
}

fn alone(name: &'static str, setup: fn(Region)) -> Case {
    Case {
        name,
        bytes: Ring::bytes_for(8) + 4 * MARKS,
        setup,
        operation: |region| {
            let party = ring(region).party(PARTIES[0]);
            assert!(party.enqueue_bulk(&THROUGH[3..]));
            assert!(party.dequeue_bulk(&mut [0; 2]));
        },
        repair,
        check: |region| check(region, 2),
    }
}

/// The second stands behind the first, which has done all but to finish.
fn several(name: &'static str, setup: fn(Region)) -> Case {
    Case {
        name,
        bytes: Ring::bytes_for(8) + 4 * MARKS,
        setup,
        operation: |region| {
            let [first, second] = PARTIES.map(|party| ring(region).party(party));
            first.dequeue_with(1, |_, _| {
                // In the middle of it.
                let taken = second.dequeue_unless(&mut [0; 2], || true);
                if taken.is_ok() {
                    assert_eq!(second.enqueue_unless(&THROUGH[3..], || true), Ok(3));
                }
            });
        },
        repair,
        check: |region| check(region, 3),
    }
}
