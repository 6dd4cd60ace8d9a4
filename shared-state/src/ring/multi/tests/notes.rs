//! Whose reservation it is in mode MT, where the last notes are of before.

use super::super::side::Held;
use super::super::words::{Note, State};
use super::*;

const CAPACITY: usize = 16;

fn held_by(ring: Ring, party: usize) -> Option<(u64, usize)> {
    let held: Option<Held> = ring.producers().in_flight(party, CAPACITY);
    held.map(|held| (held.start, held.n))
}

fn say(ring: Ring, head: (u64, usize), tail: u64) {
    let side = ring.producers();
    let (position, party) = head;
    side.head
        .store(Word::new(position, party).0, Ordering::Relaxed);
    side.tail.store(Word::new(tail, 0).0, Ordering::Relaxed);
}

fn note(ring: Ring, party: usize, start: u64, n: usize, before: u64) {
    let note = Note::new(start, n, before, State::Try);
    ring.producers()
        .note(party)
        .store(note.0, Ordering::Relaxed);
}

#[test]
fn an_attempt_that_failed_does_not_say_where_a_reservation_made_alone_starts() {
    let ring = ring::<u32>(CAPACITY, Mode::Mt, Mode::Mt);
    // Party 1 wanted 0..4, party 0 had moved on to 2, and 1 took 2..4, which is where its note ends, too.
    note(ring, 1, 0, 4, 0);
    say(ring, (4, 1), 2);
    assert_eq!(held_by(ring, 1), Some((2, 2)));
    assert_eq!(held_by(ring, 0), None);
    // The next one behind it.
    note(ring, 2, 4, 3, 1);
    say(ring, (7, 2), 2);
    assert_eq!(held_by(ring, 1), Some((2, 2)));
    assert_eq!(held_by(ring, 2), Some((4, 3)));
    // The first is done.
    say(ring, (7, 2), 4);
    assert_eq!(held_by(ring, 1), None);
    assert_eq!(held_by(ring, 2), Some((4, 3)));
    say(ring, (7, 2), 7);
    assert_eq!(held_by(ring, 2), None);
}

#[test]
fn who_is_alone_reserves_by_one_store_and_who_is_not_says_so_before() {
    let ring = ring::<u32>(CAPACITY, Mode::Mt, Mode::Mt);
    let free = Note::free(0);
    assert!(ring.party(1).enqueue_bulk(&[1, 2]));
    assert_eq!(ring.producers().load_note(1), free, "nobody was in front");
    say(ring, (4, 1), 2);
    assert_eq!(
        ring.party(2).enqueue_unless(&[3], || true),
        Err(Stalled),
        "party 1 does not finish"
    );
    assert_eq!(
        ring.producers().load_note(2),
        Note::new(4, 1, 1, State::Try)
    );
    assert!(!ring.repair(2, |_| ()), "party 1 is in front");
    assert!(ring.repair(1, |_| ()) && ring.repair(2, |_| ()));
    assert_eq!(held(ring), [1, 2]);
    assert_eq!(
        ring.producers().load_note(2),
        free,
        "it has nothing under way"
    );
}

#[test]
fn a_note_does_not_outlive_what_it_is_of() {
    let ring = ring::<u32>(CAPACITY, Mode::Mt, Mode::Mt);
    let free = Note::free(0);
    // Party 1 is in front and finishes while party 2 waits.
    say(ring, (2, 1), 0);
    let put = ring.party(2).enqueue_unless(&[3], || {
        assert_eq!(
            ring.producers().load_note(2),
            Note::new(2, 1, 1, State::Try)
        );
        ring.producers().mt_advance(Held {
            start: 0,
            n: 2,
            turn: 0,
        });
        false
    });
    assert_eq!((put, ring.producers().load_note(2)), (Ok(1), free));
    // It died between the tail and its note.
    note(ring, 3, 7, 3, 0);
    assert!(ring.repair(3, |_| ()));
    assert_eq!(ring.producers().load_note(3), free);
    // Nothing but the slow path, alone, after an attempt that failed.
    note(ring, 2, 7, 3, 0);
    assert_eq!(ring.party(2).enqueue_burst(&[1; CAPACITY]), CAPACITY - 3);
    assert_eq!(ring.producers().load_note(2), free);
    // Nor where that ends with nothing.
    note(ring, 2, 7, 3, 0);
    assert_eq!(ring.party(2).enqueue_burst(&[1]), 0);
    assert_eq!(ring.producers().load_note(2), free);
}

#[test]
fn a_head_farther_from_the_tail_than_the_capacity_is_nobodys() {
    let ring = ring::<u32>(CAPACITY, Mode::Mt, Mode::Mt);
    let end = CAPACITY as u64;
    note(ring, 1, end, 2, 0);
    say(ring, (end, 2), 0);
    assert_eq!(held_by(ring, 2), Some((0, CAPACITY)));
    // What follows is damaged, though the note fits and says no more than there is room for.
    say(ring, (end + 2, 1), 0);
    assert_eq!((held_by(ring, 1), held_by(ring, 2)), (None, None));
    say(ring, (end + 2, 1), 2);
    assert_eq!(held_by(ring, 1), Some((end, 2)));
}

#[test]
fn an_operation_moves_as_many_as_a_note_can_say_and_no_more() {
    const WANT: usize = MOST + 1;
    let from: Vec<u32> = (0..WANT as u32).collect();
    let mut to = vec![0; WANT];
    for mode in MODES {
        let party = ring::<u32>(2 * WANT, mode, mode).party(3);
        assert!(!party.enqueue_bulk(&from), "{mode:?}");
        assert_eq!(party.enqueue_burst(&from), MOST);
        assert_eq!(party.enqueue_burst(&from[MOST..]), 1);
        assert!(!party.dequeue_bulk(&mut to));
        assert_eq!(party.dequeue_burst(&mut to), MOST);
        assert_eq!(to[..MOST], from[..MOST]);
        assert!(party.enqueue_bulk(&from[..MOST]), "exactly so many");
    }
}

#[test]
fn a_hole_that_ends_where_positions_wrap_is_no_lack_of_holes() {
    for mode in [Mode::Mt, Mode::Rts] {
        // The last four positions of all are a dead one's.
        let ring = ring_at(u64::MAX - 3, CAPACITY, mode);
        let plan = |_, room: usize| room.min(4);
        let held = ring.party(5).producer().reserve(4, plan, &mut || true);
        assert_eq!(held.unwrap().map(|held| held.n), Some(4));
        assert!(ring.repair(5, |_| ()));
        assert!(ring.party(1).enqueue_bulk(&[1, 2]));
        let mut to = [0; 6];
        assert_eq!(ring.party(2).dequeue_burst(&mut to), 2);
        assert_eq!(to[..2], [1, 2]);
    }
}

#[test]
fn nothing_put_or_taken_leaves_no_trace() {
    for mode in MODES {
        let ring = ring::<u32>(CAPACITY, mode, mode);
        assert!(ring.party(1).enqueue_bulk(&[1, 2]));
        let words = |side: Side| (side.load_head(), side.load_tail());
        let before = (words(ring.producers()), words(ring.consumers()));
        let party = ring.party(2);
        assert_eq!(
            (party.enqueue_burst(&[]), party.dequeue_burst(&mut [])),
            (0, 0)
        );
        assert!(party.enqueue_bulk(&[]) && party.dequeue_bulk(&mut []));
        assert_eq!((words(ring.producers()), words(ring.consumers())), before);
    }
}
