//! Packet buffers: taken, given back, and a cache given up.

use std::sync::OnceLock;

use baton_shared_state::Region;
use baton_shared_state::audit::{Audit, settle};
use baton_shared_state::mempool::Pool;

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    vec![pool_alloc_and_free(), pool_flush()]
}

const MBUFS: u32 = 320;
const CHUNK: u32 = 2048;
const DEAD: usize = 1;

/// The metadata are what may break; the packets' bytes are each process's own here.
fn split(meta: Region) -> (Region, Region) {
    static DATA: OnceLock<Region> = OnceLock::new();
    let data = DATA.get_or_init(|| Region::private(Pool::data_bytes(MBUFS, CHUNK)));
    (meta, *data)
}

fn pool(region: Region) -> Pool {
    let (meta, data) = split(region);
    Pool::attach(meta, data).expect("a pool")
}

/// What the dead one had in hand is found by its place, and given back.
fn settle_pool(region: Region) {
    let pool = pool(region);
    let settled = settle(pool, DEAD, &Audit::new(pool).finish());
    pool.cache(DEAD).free_burst(&settled.in_hand);
}

fn pool_is_whole(region: Region) -> Result<(), String> {
    let pool = pool(region);
    let accounting = Audit::new(pool).finish();
    expect(
        accounting.is_exact() && accounting.free == u64::from(MBUFS),
        || format!("{accounting:?}"),
    )?;
    let mut cache = pool.cache(DEAD);
    let mut all = vec![0; MBUFS as usize + 1];
    let n = cache.alloc_burst(&mut all);
    let mut once: Vec<u32> = all[..n].to_vec();
    once.sort_unstable();
    once.dedup();
    expect(n == MBUFS as usize && once.len() == n, || {
        format!("{n} mbufs given out, {} different ones", once.len())
    })
}

fn pool_alloc_and_free() -> Case {
    Case {
        name: "mempool, alloc and free by a cache",
        bytes: Pool::meta_bytes(MBUFS),
        setup: |region| {
            let (meta, data) = split(region);
            Pool::create(meta, data, CHUNK).expect("a pool");
        },
        operation: |region| {
            let mut cache = pool(region).cache(DEAD);
            let mut mbufs = [0; 40];
            let n = cache.alloc_burst(&mut mbufs);
            cache.free_burst(&mbufs[..n]);
        },
        repair: settle_pool,
        check: pool_is_whole,
    }
}

fn pool_flush() -> Case {
    Case {
        name: "mempool, a cache given up",
        bytes: Pool::meta_bytes(MBUFS),
        setup: |region| {
            let (meta, data) = split(region);
            let pool = Pool::create(meta, data, CHUNK).expect("a pool");
            let mut mbufs = [0; 40];
            pool.cache(DEAD).alloc_burst(&mut mbufs);
            pool.cache(DEAD).free_burst(&mbufs);
        },
        operation: |region| pool(region).cache(DEAD).flush(),
        repair: settle_pool,
        check: pool_is_whole,
    }
}
