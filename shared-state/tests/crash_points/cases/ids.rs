//! Ids alone: taken, given back, and found again from the rows that use them.

use baton_shared_state::Region;
use baton_shared_state::sync::Ordering;
use baton_shared_state::table::{IdPlan, IdSpace};

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    vec![taken_and_given_back()]
}

const SHARDS: u16 = 2;

fn plan() -> IdPlan {
    IdPlan::new(128, SHARDS).expect("a plan")
}

/// The ids, and behind them a word for each: 1 where a row uses it.
fn parts(region: Region) -> (Region, Region) {
    let at = IdSpace::bytes_for(&plan()).next_multiple_of(64);
    let ids = region.slice(0, at).expect("room");
    let rows = region.slice(at, 4 * plan().total() as usize);
    (ids, rows.expect("room"))
}

fn is_used(region: Region, id: u32) -> bool {
    parts(region).1.u32(4 * id as usize).load(Ordering::Acquire) != 0
}

fn set_used(region: Region, id: u32, used: bool) {
    let word = parts(region).1.u32(4 * id as usize);
    word.store(used.into(), Ordering::Release);
}

fn space(region: Region) -> IdSpace {
    IdSpace::attach(parts(region).0).expect("ids")
}

fn take(region: Region) -> u32 {
    let id = space(region).shard(1).alloc().expect("a free id");
    set_used(region, id, true);
    id
}

fn give(region: Region, id: u32) {
    set_used(region, id, false);
    space(region).shard(1).free(id);
}

fn taken_and_given_back() -> Case {
    Case {
        name: "ids, taken and given back",
        bytes: IdSpace::bytes_for(&plan()).next_multiple_of(64) + 4 * plan().total() as usize,
        setup: |region| {
            IdSpace::create(parts(region).0, plan()).expect("ids");
            // Past the end of the ring, so that what is given back stands at its beginning.
            (0..plan().per_shard() - 2).for_each(|_| _ = take(region));
        },
        operation: |region| {
            let (a, b) = (take(region), take(region));
            give(region, a);
            give(region, 70);
            take(region);
            give(region, b);
        },
        repair: |region| {
            let shard = space(region).shard(1);
            shard.rebuild(|id| !is_used(region, id));
        },
        check: |region| {
            let space = space(region);
            for shard in 0..SHARDS {
                let ids: Vec<u32> = space.ranges(shard).flatten().collect();
                let mut seen: Vec<u32> = ids
                    .iter()
                    .copied()
                    .filter(|id| is_used(region, *id))
                    .collect();
                while let Some(id) = space.shard(shard).alloc() {
                    seen.push(id);
                }
                seen.sort_unstable();
                expect(seen == ids, || {
                    format!("shard {shard} has {ids:?}, accounted for are {seen:?}")
                })?;
            }
            Ok(())
        },
    }
}
