//! Hot words: counted by the owner of the row, folded at commit and at rollback.

use baton_schema::{Path, Record};
use baton_shared_state::Region;
use baton_shared_state::table::{FRESH, Hot, Hot32, Hot64, RawRecords};

use super::{expect, nothing};
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    vec![counted(), folded_up(), folded_down()]
}

const ROWS: u32 = 6;
const OLD: Hot32 = Hot32 {
    packets: 1000,
    bytes: 50_000,
    last_seen: 70,
    flags: 0,
};
const SINCE: Hot64 = Hot64 {
    packets: 7,
    bytes: 400,
    last_seen: 90,
    flags: 0,
    _fill: 0,
};

fn old_bytes() -> usize {
    RawRecords::bytes_for(size_of::<Hot32>(), ROWS).next_multiple_of(64)
}

fn old(region: Region) -> RawRecords {
    let region = region.slice(0, old_bytes()).expect("room");
    RawRecords::new(region, size_of::<Hot32>(), ROWS).expect("the older array")
}

fn hot(region: Region) -> Hot<Hot64> {
    let region = region.slice(old_bytes(), Hot::<Hot64>::bytes_for(ROWS));
    Hot::new(region.expect("room"), ROWS).expect("the newer array")
}

fn bytes() -> usize {
    old_bytes() + Hot::<Hot64>::bytes_for(ROWS)
}

fn path() -> Path {
    Hot64::chain().path(Hot32::FINGERPRINT).expect("a way up")
}

fn of_old(region: Region, id: u32) -> Hot32 {
    let mut bytes = [0; size_of::<Hot32>()];
    old(region).read(id, &mut bytes);
    zerocopy::transmute!(bytes)
}

fn both_arrays(region: Region) {
    for id in 0..ROWS {
        old(region).write(id, zerocopy::IntoBytes::as_bytes(&OLD));
        hot(region).write(id, &SINCE);
    }
    // Row 1 began after the swap: what the older array says of it is another row's.
    let fresh = Hot64 {
        flags: FRESH,
        ..SINCE
    };
    hot(region).write(1, &fresh);
}

fn counted() -> Case {
    Case {
        name: "hot words, a row begun and counted",
        bytes: bytes(),
        setup: both_arrays,
        operation: |region| {
            hot(region).start(3, 100);
            hot(region).count(3, 2, 128, 101);
            hot(region).count(3, 1, 64, 102);
        },
        repair: nothing,
        check: |region| {
            for id in (0..ROWS).filter(|id| *id != 3) {
                let (packets, bytes) = (hot(region).read(id).packets, hot(region).read(id).bytes);
                expect((packets, bytes) == (7, 400), || {
                    format!("row {id} has changed")
                })?;
            }
            // Counters are words: packets may be one count ahead of bytes, and nothing else.
            let row = hot(region).read(3);
            let ahead = matches!(
                (row.packets, row.bytes),
                (7, 400) | (0, 400) | (0, 0) | (2, 0) | (2, 128) | (3, 128) | (3, 192)
            );
            expect(ahead, || format!("{row:?}"))?;
            // A row begun anew has no past.
            hot(region).start(3, 200);
            hot(region).count(3, 1, 60, 200);
            let row = hot(region).read(3);
            let all = (row.packets, row.bytes, row.last_seen, row.flags);
            expect(all == (1, 60, 200, FRESH), || format!("{row:?}"))
        },
    }
}

fn folded_up() -> Case {
    fn fold(region: Region) {
        (0..ROWS).for_each(|id| hot(region).fold_up(id, &old(region), &path()));
    }
    Case {
        name: "hot words, folded up at commit",
        bytes: bytes(),
        setup: both_arrays,
        operation: fold,
        repair: fold,
        check: |region| {
            for id in 0..ROWS {
                let row = hot(region).read(id);
                let all = (row.packets, row.bytes, row.last_seen, row.flags);
                let (packets, bytes) = all_counts(id);
                let want = (packets, bytes, 90, FRESH);
                expect(all == want, || format!("row {id} is {all:?}, not {want:?}"))?;
            }
            Ok(())
        },
    }
}

/// What a row has counted before and since; row 1 is new.
fn all_counts(id: u32) -> (u64, u64) {
    if id == 1 { (7, 400) } else { (1007, 50_400) }
}

fn folded_down() -> Case {
    fn fold(region: Region) {
        (0..ROWS).for_each(|id| hot(region).fold_down(id, &old(region), &path()));
    }
    Case {
        name: "hot words, folded down at rollback",
        bytes: bytes(),
        setup: both_arrays,
        operation: fold,
        repair: fold,
        check: |region| {
            for id in 0..ROWS {
                let row = of_old(region, id);
                let all = (u64::from(row.packets), u64::from(row.bytes));
                let want = all_counts(id);
                expect(all == want, || format!("row {id} is {all:?}, not {want:?}"))?;
                expect(row.last_seen == 90, || format!("row {id}: {row:?}"))?;
                let left = hot(region).read(id);
                let left = (left.packets, left.bytes, left.flags);
                expect(left == (0, 0, 0), || {
                    format!("row {id} goes on from {left:?}")
                })?;
            }
            Ok(())
        },
    }
}
