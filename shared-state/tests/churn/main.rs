//! Promise: readers in other processes, at other addresses and with rights to read only, see of every structure what its
//! writer has published: no entry that is torn, none after it was taken back, and nothing they hold in a burst is
//! used again before they are through with it.
//!
//! The writer is the test's process; each reader is a process of its own, which this file starts as its test
//! [`reader_process`] and which opens the segments by the descriptors of its parent. How a reader knows what it may
//! see is in `oracle`. A run ends when its time is over *and* every reader has met changes of every structure, some of
//! them while it looked.

mod memory;
mod oracle;
mod process;
mod reader;
mod writer;

use std::time::{Duration, Instant};

use memory::{Memory, READERS};
use oracle::{Kind, Stats};
use process::ReaderProcess;
use writer::Writer;

/// What a reader has to have met of each structure, or the run proves nothing.
const CHANGES_SEEN: u64 = 100;
/// A run that has not come to its end by then never will.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn readers_in_other_processes_see_what_was_published_and_nothing_else() {
    churn(Duration::from_secs(3));
}

#[test]
#[ignore = "long: 60 s"]
fn readers_in_other_processes_see_what_was_published_and_nothing_else_for_a_minute() {
    churn(Duration::from_secs(60));
}

fn churn(time: Duration) {
    let memory = Memory::create();
    let mut writer = Writer::create(&memory, Instant::now() + time + PATIENCE);
    let mut readers: Vec<ReaderProcess> = (0..READERS)
        .map(|slot| ReaderProcess::start(&memory, slot))
        .collect();
    let end = Instant::now() + time;
    loop {
        (0..64).for_each(|_| writer.change());
        readers.iter_mut().for_each(ReaderProcess::must_live);
        let met = |slot| memory.stats(slot).has_met(CHANGES_SEEN);
        if Instant::now() >= end && (0..READERS).all(met) {
            break;
        }
        assert!(Instant::now() < end + PATIENCE, "a reader meets no changes");
    }
    memory.stop();
    for reader in &mut readers {
        reader.must_end_well();
    }
    let writer_at = memory.tables().as_ptr().addr() as u64;
    for slot in 0..READERS {
        let stats = memory.stats(slot);
        assert_ne!(stats.mapped_at(), writer_at, "another address");
        assert!(stats.has_met(CHANGES_SEEN), "it proves nothing");
        report(slot, &stats, &writer);
    }
    writer.settle();
}

fn report(slot: u16, stats: &Stats, writer: &Writer) {
    for kind in Kind::ALL {
        println!(
            "reader {slot}, {kind:?}: {} changes made, {} seen, {} lookups, {} of them beside a change",
            writer.made(kind),
            stats.changes(kind),
            stats.lookups(kind),
            stats.beside(kind),
        );
    }
}

#[test]
fn a_reader_that_is_killed_in_a_burst_holds_nothing_back_once_it_is_dead() {
    const VICTIM: u16 = 1;
    let memory = Memory::create();
    let mut writer = Writer::create(&memory, Instant::now() + PATIENCE);
    let mut live = ReaderProcess::start(&memory, 0);
    let mut victim = ReaderProcess::start(&memory, VICTIM);
    let has_met = |slot: u16, changes: u64| memory.stats(slot).least_changes() >= changes;
    writer.until("both readers meet changes", |writer| {
        (0..64).for_each(|_| writer.change());
        live.must_live();
        victim.must_live();
        has_met(0, CHANGES_SEEN) && has_met(VICTIM, CHANGES_SEEN)
    });
    // It stays inside a burst, with rows in its hands that it looks at again and again.
    memory.hold(VICTIM);
    writer.until("the victim is inside a burst", |writer| {
        writer.change_if_possible();
        memory.stats(VICTIM).looks_in_hold() > 0
    });
    let changes = writer.change_rows_until_none_is_free();
    let looks = memory.stats(VICTIM).looks_in_hold();
    writer.until("the victim looks on", |_| {
        memory.stats(VICTIM).looks_in_hold() > looks + 100
    });
    victim.must_live();
    live.must_live();
    assert!(writer.is_online(VICTIM) && !writer.is_dead(VICTIM));
    victim.kill();
    assert!(writer.is_dead(VICTIM), "the kernel has reported it");
    let seen = memory.stats(0).least_changes();
    writer.until("the other reader meets changes", |writer| {
        (0..64).for_each(|_| writer.change());
        live.must_live();
        memory.stats(0).least_changes() > seen + CHANGES_SEEN
    });
    assert!(!writer.is_online(VICTIM), "taken offline");
    memory.stop();
    live.must_end_well();
    writer.settle();
    println!("{changes} changes until no row was free, as long as the victim held some");
}

/// The readers' process: does nothing when it was not started by a test above.
#[test]
#[ignore = "a part of the tests above, which start it themselves"]
fn reader_process() {
    if let Some((parent, slot)) = process::who_am_i() {
        reader::run(parent, slot);
    }
}
