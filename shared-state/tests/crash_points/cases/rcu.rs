//! Readers that come and go, and values that wait for them.

use baton_shared_state::Region;
use baton_shared_state::rcu::{DeferQueue, Qsbr, Reader};
use baton_shared_state::sync::Ordering;

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    vec![reader(), grace_period(), deferred()]
}

const DEAD: u16 = 70;
const LIVE: u16 = 3;

fn qsbr(region: Region) -> Qsbr {
    Qsbr::attach(region).expect("words of readers")
}

/// A reader that stays online when this process forgets it.
fn forget(reader: Reader) {
    std::mem::forget(reader);
}

fn with_a_live_reader(region: Region) {
    let live = Qsbr::create(region).expect("words of readers").reader(LIVE);
    let live = live.expect("a slot");
    live.online();
    forget(live);
}

/// Whoever notices takes the dead one offline; the live one goes on meanwhile.
fn take_dead_offline(region: Region) {
    let qsbr = qsbr(region);
    let token = qsbr.start();
    let live = qsbr.reader(LIVE).expect("a slot");
    live.online();
    assert!(
        qsbr.check(token, |slot| slot == DEAD),
        "nobody holds it back"
    );
    forget(live);
}

fn readers_work(region: Region) -> Result<(), String> {
    let qsbr = qsbr(region);
    expect(!qsbr.is_online(DEAD), || "the dead reader is online".into())?;
    expect(qsbr.is_online(LIVE), || "the live reader is offline".into())?;
    let before = qsbr.start();
    expect(!qsbr.check(before, |_| false), || {
        "the live reader is not waited for".into()
    })?;
    // The slots have other threads: what was before them is over, what comes is waited for.
    let (live, heir) = (qsbr.reader(LIVE), qsbr.reader(DEAD));
    let (live, heir) = (live.expect("a slot"), heir.expect("a slot"));
    live.online();
    heir.online();
    let nobody = |_| -> bool { false };
    expect(qsbr.check(before, nobody), || {
        "newcomers hold an old token back".into()
    })?;
    let token = qsbr.start();
    live.quiescent();
    expect(!qsbr.check(token, nobody), || {
        "the heir is not waited for".into()
    })?;
    heir.quiescent();
    expect(qsbr.check(token, nobody), || "a token is never done".into())?;
    heir.offline();
    live.quiescent();
    let token = qsbr.start();
    live.quiescent();
    expect(qsbr.check(token, nobody), || {
        "an offline reader is waited for".into()
    })?;
    live.online();
    forget(live);
    Ok(())
}

fn reader() -> Case {
    Case {
        name: "QSBR, a reader comes, is quiescent and goes",
        bytes: Qsbr::bytes(),
        setup: with_a_live_reader,
        operation: |region| {
            let qsbr = qsbr(region);
            let reader = qsbr.reader(DEAD).expect("a slot");
            reader.online();
            qsbr.start();
            reader.quiescent();
            reader.offline();
            reader.online();
            qsbr.start();
            reader.quiescent();
            // Dropped: it goes.
        },
        repair: take_dead_offline,
        check: readers_work,
    }
}

fn grace_period() -> Case {
    Case {
        name: "QSBR, a grace period and a dead reader",
        bytes: Qsbr::bytes(),
        setup: |region| {
            with_a_live_reader(region);
            let dead = qsbr(region).reader(DEAD).expect("a slot");
            dead.online();
            forget(dead);
        },
        operation: |region| {
            let qsbr = qsbr(region);
            let token = qsbr.start();
            // Its own process knows that the live one is between two bursts.
            let live = qsbr.reader(LIVE).expect("a slot");
            live.online();
            assert!(qsbr.check(token, |slot| slot == DEAD));
            forget(live);
            qsbr.start();
        },
        repair: take_dead_offline,
        check: readers_work,
    }
}

const VALUES: u32 = 6;
const CAPACITY: u32 = 4;
/// What a value is: its word.
const LINKED: u64 = 0;
const UNLINKED: u64 = 1;
const FREE: u64 = 2;

fn parts(region: Region) -> (Qsbr, Region, Region) {
    let queue_at = Qsbr::bytes();
    let words_at = queue_at + DeferQueue::bytes_for(CAPACITY).next_multiple_of(64);
    let part = |from: usize, to: usize| region.slice(from, to - from).expect("room");
    let words = part(words_at, words_at + 8 * VALUES as usize);
    (qsbr(region), part(queue_at, words_at), words)
}

fn deferred_bytes() -> usize {
    let queue = DeferQueue::bytes_for(CAPACITY).next_multiple_of(64);
    Qsbr::bytes() + queue + 8 * VALUES as usize
}

fn free(words: Region, value: u32) {
    words.u64(8 * value as usize).store(FREE, Ordering::Release);
}

fn unlink(queue: &DeferQueue, qsbr: &Qsbr, words: Region, value: u32) {
    words
        .u64(8 * value as usize)
        .store(UNLINKED, Ordering::Release);
    queue.defer_free(qsbr, value).expect("room in the queue");
}

fn deferred() -> Case {
    Case {
        name: "values deferred and reclaimed",
        bytes: deferred_bytes(),
        setup: |region| {
            Qsbr::create(region).expect("words of readers");
            let (qsbr, queue, words) = parts(region);
            let queue = DeferQueue::create(queue, CAPACITY).expect("a queue");
            (0..2).for_each(|value| unlink(&queue, &qsbr, words, value));
        },
        operation: |region| {
            let (qsbr, queue, words) = parts(region);
            let queue = DeferQueue::attach(queue).expect("a queue");
            unlink(&queue, &qsbr, words, 2);
            unlink(&queue, &qsbr, words, 3);
            queue.reclaim(&qsbr, |_| false, |value| free(words, value));
            // Past the end of the ring.
            unlink(&queue, &qsbr, words, 4);
        },
        // What is unlinked and not in the queue was on its way there.
        repair: |region| {
            let (qsbr, queue, words) = parts(region);
            let queue = DeferQueue::attach(queue).expect("a queue");
            queue.reclaim(&qsbr, |_| false, |value| free(words, value));
            let waiting: Vec<u32> = queue.values().collect();
            for value in (0..VALUES).filter(|value| !waiting.contains(value)) {
                if words.u64(8 * value as usize).load(Ordering::Acquire) == UNLINKED {
                    queue.defer_free(&qsbr, value).expect("room in the queue");
                }
            }
        },
        check: |region| {
            let (qsbr, queue, words) = parts(region);
            let queue = DeferQueue::attach(queue).map_err(|why| why.to_string())?;
            let mut waiting: Vec<u32> = queue.values().collect();
            let reader = qsbr.reader(LIVE).expect("a slot");
            for value in 0..VALUES {
                let word = words.u64(8 * value as usize).load(Ordering::Acquire);
                let times = waiting.iter().filter(|waits| **waits == value).count();
                let whole = match word {
                    LINKED => times == 0 && value > 1,
                    UNLINKED => times == 1,
                    _ => times == 0,
                };
                expect(whole, || {
                    format!("value {value} is {word}, {times} times in the queue")
                })?;
            }
            // It works on: what waits is given out once and in order, when the readers have moved.
            reader.online();
            while waiting.len() < CAPACITY as usize {
                queue.defer_free(&qsbr, 5).map_err(|why| why.to_string())?;
                waiting.push(5);
            }
            expect(queue.defer_free(&qsbr, 9).is_err(), || {
                "more than there is room for".into()
            })?;
            reader.quiescent();
            let mut given = Vec::new();
            queue.reclaim(&qsbr, |_| false, |value| given.push(value));
            expect(given == waiting, || format!("{given:?} of {waiting:?}"))
        },
    }
}
