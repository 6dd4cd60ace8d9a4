//! Packets of more than one mbuf, and what it costs to ask. No rows of the peers'.
//!
//! `cargo run --release -p baton-shared-state --example bench_mbuf`
//!
//! Apart from `bench_mempool`: more callers of one function there change what the compiler does with it.

mod peer;

use std::hint::black_box;

use baton_shared_state::mbuf::{Chain, Packet};
use baton_shared_state::mempool::{Cache, Pool};
use peer::{calib, measure, memory};

const COUNT: u32 = 8192;
const CHUNK: u32 = 2048;
const ROUNDS: usize = 50_000;
const BURST: usize = 32;

fn main() {
    calib();
    let meta = memory(Pool::meta_bytes(COUNT));
    let data = memory(Pool::data_bytes(COUNT, CHUNK));
    let pool = Pool::create(meta, data, CHUNK).expect("a pool");
    packets(&mut pool.cache(0));
}

/// Frees that ask what a packet is made of, and what more than one mbuf costs. No rows of the peers'.
fn packets(cache: &mut Cache) {
    let pool = cache.pool();
    let mut mbufs = [0; BURST];
    let params = "alloc_bulk 32 + free_packets 32, all plain, per mbuf";
    measure("mbuf", params, ROUNDS * BURST, || {
        for _ in 0..ROUNDS {
            cache.alloc_burst(&mut mbufs);
            for m in &mut mbufs {
                *m = Packet::fresh(*m, pool).into_raw();
            }
            cache.free_packets(black_box(&mbufs));
        }
    });
    let mut first = Chain::of(cache.alloc().expect("a mbuf"));
    measure("mbuf", "clone and free of one segment", ROUNDS, || {
        for _ in 0..ROUNDS {
            let clone = black_box(first.clone(cache)).expect("a mbuf");
            clone.free(cache);
        }
    });
    first.free(cache);
    measure(
        "mbuf",
        "chain of 4 built and freed, per mbuf",
        ROUNDS * 4,
        || {
            for _ in 0..ROUNDS {
                let mut chain = Chain::of(cache.alloc().expect("a mbuf"));
                for _ in 1..4 {
                    let next = cache.alloc().expect("a mbuf");
                    chain.push(next).expect("room for four");
                }
                black_box(chain).free(cache);
            }
        },
    );
}
