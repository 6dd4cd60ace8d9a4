//! The structures and the operations on them: one file for each structure, here what they share.

mod acl;
mod directory;
mod hot;
mod ids;
mod ledger;
mod meters;
mod pool;
mod rcu;
mod routes;
mod routes6;
mod rows;
mod words;

use baton_shared_state::Region;
use baton_shared_state::ring::{MpmcRing, SpscRing};

use crate::Case;

/// Every case there is.
pub(crate) fn all() -> Vec<Case> {
    let rings = vec![spsc(), mpmc()];
    let files = [
        rings,
        pool::all(),
        rows::all(),
        ids::all(),
        hot::all(),
        words::all(),
        routes::all(),
        routes6::all(),
        acl::all(),
        rcu::all(),
        meters::all(),
        directory::all(),
        ledger::all(),
    ];
    files.into_iter().flatten().collect()
}

fn nothing(_: Region) {}

fn expect(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
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
