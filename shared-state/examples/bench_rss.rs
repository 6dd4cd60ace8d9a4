//! The Toeplitz hash on DPDK's tuples (`b_thash` of the peers' `misc.c`).
//!
//! `cargo run --release -p baton-shared-state --example bench_rss`
//!
//! The peers' names for the figures stand for these paths: `rte_softrss` the scalar one,
//! `rte_softrss_be` CLMUL, `rte_thash_gfni` GFNI.

mod peer;

use std::hint::black_box;

use baton_shared_state::rss::{MICROSOFT_KEY, Path, Toeplitz};
use peer::{calib, measure, sm64};

const TUPLES: usize = 4096;
const N: usize = TUPLES * 16;
const BURST: usize = 32;

fn main() {
    calib();
    let mut state = 4;
    let tuples: Vec<[u8; 36]> = (0..TUPLES)
        .map(|_| {
            let mut tuple = [0; 36];
            for word in tuple.chunks_mut(4) {
                word.copy_from_slice(&(sm64(&mut state) as u32).to_be_bytes());
            }
            tuple
        })
        .collect();
    hashes::<12>("IPv4 4-tuple 12B", &tuples);
    hashes::<36>("IPv6 4-tuple 36B", &tuples);
}

fn hashes<const W: usize>(what: &str, tuples: &[[u8; 36]]) {
    let tuples: Vec<&[u8; W]> = tuples
        .iter()
        .map(|tuple| tuple.first_chunk().expect("a tuple that long"))
        .collect();
    let names = [
        (Path::Scalar, "rte_softrss"),
        (Path::Clmul, "rte_softrss_be"),
        (Path::Gfni, "rte_thash_gfni"),
    ];
    let mut sum = 0;
    for (path, name) in names {
        let Some(hash) = Toeplitz::with_path(&MICROSOFT_KEY, path) else {
            continue;
        };
        let hash = black_box(hash);
        measure("thash", &format!("{name} {what}"), N, || {
            for i in 0..N {
                sum ^= hash.hash(tuples[i % TUPLES]);
            }
        });
        if path == Path::Gfni {
            let mut hashes = [0; BURST];
            measure("thash", &format!("{name}_bulk 32 {what}"), N, || {
                for i in (0..N).step_by(BURST) {
                    let at = i % TUPLES;
                    hash.hash_burst(black_box(&tuples[at..at + BURST]), &mut hashes);
                    sum ^= hashes[0] ^ hashes[31];
                }
            });
        }
    }
    black_box(sum);
}
