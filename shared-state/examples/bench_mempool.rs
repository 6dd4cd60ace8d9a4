//! Mempool and mbufs on DPDK's pattern (`b_mempool` of the peers' `mempool.c`).
//!
//! `cargo run --release -p baton-shared-state --example bench_mempool`
//!
//! 8192 buffers of 2048 bytes (theirs: 8191 objects), an lcore's cache of 512 mbufs in shared
//! memory (theirs: 256 in the process). Rows of the pool give back what was put nowhere, like an object of theirs;
//! rows of mbufs begin and free packets, of which each says where it is. Private memory on huge pages.

mod peer;

use std::hint::black_box;

use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::{Cache, Pool};
use peer::{calib, measure, memory, opaque};

const COUNT: u32 = 8192;
const CHUNK: u32 = 2048;
const ROUNDS: usize = 50_000;
const BURST: usize = 32;

fn main() {
    calib();
    let meta = memory(Pool::meta_bytes(COUNT));
    let data = memory(Pool::data_bytes(COUNT, CHUNK));
    let pool = Pool::create(meta, data, CHUNK).expect("a pool");
    let mut cache = pool.cache(0);
    bulk::<1>(&mut cache);
    bulk::<8>(&mut cache);
    bulk::<32>(&mut cache);
    swing(&mut cache);
    mbufs(&mut cache);
}

fn bulk<const N: usize>(cache: &mut Cache) {
    let mut mbufs = [0; N];
    let params = format!("cache=256 bulk={N} get+put, per object");
    measure("mempool", &params, ROUNDS * N, || {
        for _ in 0..ROUNDS {
            cache.alloc_burst(black_box(&mut mbufs));
            cache.give_back(black_box(&mbufs));
        }
    });
}

/// Swings wider than half of the cache, so that the common ring is touched.
fn swing(cache: &mut Cache) {
    let mut mbufs = [0; 512];
    let params = "cache=256 bulk=32 swing of 512 objects get+put, per object";
    measure("mempool", params, ROUNDS / 8 * mbufs.len(), || {
        for _ in 0..ROUNDS / 8 {
            for part in mbufs.chunks_mut(BURST) {
                cache.alloc_burst(black_box(part));
            }
            for part in mbufs.chunks(BURST) {
                cache.give_back(black_box(part));
            }
        }
    });
}

fn mbufs(cache: &mut Cache) {
    let pool = cache.pool();
    measure("mbuf", "alloc+free bulk=1, per mbuf", ROUNDS, || {
        for _ in 0..ROUNDS {
            let packet = cache.alloc().expect("a mbuf");
            opaque(packet.index().into());
            cache.free(packet);
        }
    });
    let mut mbufs = [0; BURST];
    let alloc = |cache: &mut Cache, mbufs: &mut [u32; BURST]| {
        cache.alloc_packets(mbufs);
        black_box(mbufs);
    };
    let params = "alloc_bulk+free_bulk 32, per mbuf";
    measure("mbuf", params, ROUNDS * BURST, || {
        for _ in 0..ROUNDS {
            alloc(cache, &mut mbufs);
            cache.free_burst(&mbufs);
        }
    });
    let params = "alloc_bulk 32 + 32 single frees, per mbuf";
    measure("mbuf", params, ROUNDS * BURST, || {
        for _ in 0..ROUNDS {
            alloc(cache, &mut mbufs);
            for m in &mbufs {
                cache.free(Packet::from_raw(*m, pool));
            }
        }
    });
}
