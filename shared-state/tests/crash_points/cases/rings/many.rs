//! The ring of many, in its modes and in mixed ones.

use baton_shared_state::ring::{Mode, Party, RingOf};

use super::{Case, Region, Sample, THROUGH, Wide, expect, fill, look, through};

const MT: u8 = Mode::Mt as u8;
const RTS: u8 = Mode::Rts as u8;
const HTS: u8 = Mode::Hts as u8;

pub(super) fn all() -> Vec<Case> {
    vec![
        alone::<u32, MT, MT>("ring, MT"),
        alone::<u32, RTS, RTS>("ring, RTS"),
        alone::<u32, HTS, HTS>("ring, HTS"),
        alone::<Wide, MT, MT>("ring, MT, 16 bytes"),
        alone::<Wide, RTS, RTS>("ring, RTS, 16 bytes"),
        alone::<Wide, HTS, HTS>("ring, HTS, 16 bytes"),
        claimed::<u32, MT>("ring, MT, claimed"),
        claimed::<u32, RTS>("ring, RTS, claimed"),
        claimed::<u32, HTS>("ring, HTS, claimed"),
        claimed::<Wide, MT>("ring, MT, claimed, 16 bytes"),
        claimed::<Wide, RTS>("ring, RTS, claimed, 16 bytes"),
        claimed::<Wide, HTS>("ring, HTS, claimed, 16 bytes"),
        several::<u32, MT, MT>("ring, MT, two in a row"),
        several::<u32, RTS, RTS>("ring, RTS, two in a row"),
        several::<u32, HTS, HTS>("ring, HTS, two in a row"),
        several::<Wide, MT, MT>("ring, MT, two in a row, 16 bytes"),
        several::<Wide, RTS, RTS>("ring, RTS, two in a row, 16 bytes"),
        several::<Wide, HTS, HTS>("ring, HTS, two in a row, 16 bytes"),
        in_place::<u32, HTS, HTS>("ring, HTS, in place"),
        in_place::<u32, HTS, MT>("ring, HTS to MT, put in place"),
        in_place::<u32, HTS, RTS>("ring, HTS to RTS, put in place"),
        in_place::<u32, MT, HTS>("ring, MT to HTS, taken in place"),
        in_place::<u32, RTS, HTS>("ring, RTS to HTS, taken in place"),
        in_place::<Wide, HTS, HTS>("ring, HTS, in place, 16 bytes"),
        in_place::<Wide, HTS, MT>("ring, HTS to MT, put in place, 16 bytes"),
        in_place::<Wide, HTS, RTS>("ring, HTS to RTS, put in place, 16 bytes"),
        in_place::<Wide, MT, HTS>("ring, MT to HTS, taken in place, 16 bytes"),
        in_place::<Wide, RTS, HTS>("ring, RTS to HTS, taken in place, 16 bytes"),
        peeked::<u32>("ring, HTS, peeked and left"),
        peeked::<Wide>("ring, HTS, peeked and left, 16 bytes"),
        held_beside::<u32>("ring, HTS, in place, two in a row"),
        held_beside::<Wide>("ring, HTS, in place, two in a row, 16 bytes"),
    ]
}

const PARTIES: [usize; 2] = [3, 4];
/// Where what a repair is given is kept: behind the ring, a mark for each element.
const MARKS: usize = 32;

fn mode(number: u8) -> Mode {
    let all = [Mode::Mt, Mode::Rts, Mode::Hts];
    let found = all.into_iter().find(|mode| *mode as u8 == number);
    found.expect("a mode")
}

fn create<E: Sample, const P: u8, const C: u8>(region: Region) {
    let ring = RingOf::<E>::create(region, 8, mode(P), mode(C)).expect("a ring");
    // The burst that follows goes around the end of the array.
    let party = ring.party(0);
    assert!(party.enqueue_bulk(&[E::of(7); 5]) && party.dequeue_bulk(&mut [E::NONE; 5]));
    assert!(party.enqueue_bulk(&through(&THROUGH[..3])));
}

fn ring<E: Sample>(region: Region) -> RingOf<E> {
    RingOf::attach(region).expect("a ring")
}

fn parties<E: Sample>(region: Region) -> [Party<E>; 2] {
    PARTIES.map(|party| ring(region).party(party))
}

fn bytes<E: Sample>() -> usize {
    RingOf::<E>::bytes_for(8) + 4 * MARKS
}

fn marks<E: Sample>(region: Region) -> Region {
    let at = RingOf::<E>::bytes_for(8);
    region.slice(at, 4 * MARKS).expect("room")
}

/// Keeps an element that was given or claimed: once or twice, that is the same.
fn mark<E: Sample>(region: Region, element: E) {
    set_mark(region, element, 1);
}

fn set_mark<E: Sample>(region: Region, element: E, mark: u32) {
    // One that is torn has a mark, too, which is of no number that went through.
    let at = (element.number() as usize).min(MARKS - 1);
    marks::<E>(region).copy_in(4 * at, &mark.to_le_bytes());
}

/// Both are dead.
fn repair<E: Sample>(region: Region) {
    let give = |element: E| mark(region, element);
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
fn check<E: Sample>(region: Region, taken: usize) -> Result<(), String> {
    let ring = ring::<E>(region);
    let mut found = Vec::new();
    ring.window(&mut |element| found.push(element.number()));
    let marks = marks::<E>(region).to_vec(0, 4 * MARKS);
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
    if ring.consumer_mode() == Mode::Hts
        && let Some(hold) = party.start_dequeue(9, || true).expect("nobody holds it")
    {
        let seen = look::<E>(hold.slots());
        expect(seen == found, || {
            format!("its window is {found:?}, in place there is {seen:?}")
        })?;
    }
    let out = taken_by(party, 9);
    expect(out == found, || {
        format!("its window is {found:?}, it gives {out:?}")
    })?;
    let n = ring.party(9).enqueue_burst(&[E::of(7); 9]);
    expect(n == 8, || format!("{n} of 8 places are free"))?;
    let n = taken_by(party, 9).len();
    expect(n == 8, || format!("{n} of 8 come out"))
}

fn taken_by<E: Sample>(party: Party<E>, most: usize) -> Vec<u32> {
    let mut out = vec![E::NONE; most];
    let n = party.dequeue_burst(&mut out);
    out[..n].iter().map(|element| element.number()).collect()
}

/// An operation on a ring of these modes, after whose death a consumer that lived on may have got `TAKEN` of the first three.
fn case<E: Sample, const P: u8, const C: u8, const TAKEN: usize>(
    name: &'static str,
    operation: fn(Region),
) -> Case {
    Case {
        name,
        bytes: bytes::<E>(),
        setup: create::<E, P, C>,
        operation,
        repair: repair::<E>,
        check: |region| check::<E>(region, TAKEN),
    }
}

fn alone<E: Sample, const P: u8, const C: u8>(name: &'static str) -> Case {
    case::<E, P, C, 2>(name, |region| {
        let [party, _] = parties::<E>(region);
        assert!(party.enqueue_bulk(&through(&THROUGH[3..])));
        assert!(party.dequeue_bulk(&mut [E::NONE; 2]));
    })
}

/// Each element is marked before it counts as taken, so not one may be lost.
fn claimed<E: Sample, const M: u8>(name: &'static str) -> Case {
    let operation = |region| {
        let [party, _] = parties::<E>(region);
        let n = party.dequeue_with(2, |_, element| mark(region, element));
        assert_eq!(n, 2);
        assert!(party.enqueue_bulk(&through(&THROUGH[3..])));
    };
    Case {
        check: |region| {
            // What was claimed and stayed in the ring (HTS) counts once.
            ring::<E>(region).window(&mut |element| set_mark(region, element, 0));
            check::<E>(region, 0)
        },
        ..case::<E, M, M, 0>(name, operation)
    }
}

/// The second stands behind the first, which has done all but to finish.
fn several<E: Sample, const P: u8, const C: u8>(name: &'static str) -> Case {
    case::<E, P, C, 3>(name, |region| {
        let [first, second] = parties::<E>(region);
        first.dequeue_with(1, |_, _| {
            // In the middle of it.
            let taken = second.dequeue_unless(&mut [E::NONE; 2], || true);
            if taken.is_ok() {
                let put = second.enqueue_unless(&through(&THROUGH[3..]), || true);
                assert_eq!(put, Ok(3));
            }
        });
    })
}

/// Puts the second three in place, holding more than it fills.
fn put_in_place<E: Sample>(party: Party<E>) {
    let hold = party.start_enqueue(5, || true).expect("nobody holds it");
    let hold = hold.expect("room");
    assert_eq!(fill(hold.slots(), &through::<E>(&THROUGH[3..])), 3);
    hold.finish(3);
}

/// Takes two in place, having looked at three.
fn take_in_place<E: Sample>(party: Party<E>) {
    let hold = party.start_dequeue(3, || true).expect("nobody holds it");
    let hold = hold.expect("elements");
    assert_eq!(look::<E>(hold.slots()), THROUGH[..3]);
    hold.finish(2);
}

/// In place on the sides whose mode has that.
fn in_place<E: Sample, const P: u8, const C: u8>(name: &'static str) -> Case {
    case::<E, P, C, 2>(name, |region| {
        let [party, _] = parties::<E>(region);
        if P == HTS {
            put_in_place(party);
        } else {
            assert!(party.enqueue_bulk(&through(&THROUGH[3..])));
        }
        if C == HTS {
            take_in_place(party);
        } else {
            assert!(party.dequeue_bulk(&mut [E::NONE; 2]));
        }
    })
}

/// What is dropped unfinished, on either side, is as if it had not been; then the real thing.
fn peeked<E: Sample>(name: &'static str) -> Case {
    case::<E, HTS, HTS, 0>(name, |region| {
        let [party, _] = parties::<E>(region);
        let hold = party.start_enqueue(4, || true).expect("nobody holds it");
        fill(hold.expect("room").slots(), &[E::of(7); 4]);
        let hold = party.start_dequeue(9, || true).expect("nobody holds it");
        assert_eq!(look::<E>(hold.expect("elements").slots()), THROUGH[..3]);
        put_in_place(party);
    })
}

/// While the first holds each side in place, the second comes to it in vain, and does the other side.
fn held_beside<E: Sample>(name: &'static str) -> Case {
    case::<E, HTS, HTS, 2>(name, |region| {
        let [first, second] = parties::<E>(region);
        let hold = first.start_dequeue(2, || true).expect("nobody holds it");
        assert!(second.start_dequeue(2, || true).is_err());
        put_in_place(second);
        hold.expect("elements").finish(1);
        let hold = first.start_enqueue(2, || true).expect("nobody holds it");
        assert!(second.start_enqueue(2, || true).is_err());
        assert!(second.dequeue_bulk(&mut [E::NONE; 1]));
        hold.expect("room").finish(0);
    })
}
