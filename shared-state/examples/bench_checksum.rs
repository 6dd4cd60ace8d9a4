//! The Internet checksum on DPDK's bytes (`b_cksum` of the peers' `misc.c`).
//!
//! `cargo run --release -p baton-shared-state --example bench_checksum`

mod peer;

use std::hint::black_box;

use baton_shared_state::checksum::{Delta, of};
use peer::{calib, measure, opaque, sm64};

const N: usize = 200_000;

fn main() {
    calib();
    let mut seed = 8;
    let bytes: Vec<u8> = (0..65_536).map(|_| sm64(&mut seed) as u8).collect();
    let mut sum = 0u64;
    for len in [20, 64, 256, 1500, 9000] {
        let n = if len > 1000 { N / 10 } else { N };
        let len_now = black_box(len);
        measure("cksum", &format!("rte_raw_cksum {len}B hot"), n, || {
            let (bytes, len, mut x) = (&bytes[..], len_now, sum);
            for i in 0..n {
                let from = (i & 15) * 2;
                x = opaque(x + u64::from(of(&bytes[from..from + len])));
            }
            sum = x;
        });
    }
    measure("cksum", "rte_ipv4_cksum 20B constant length", N, || {
        for i in 0..N {
            let from = (i & 15) * 64;
            let header: &[u8; 20] = bytes[from..].first_chunk().expect("a header");
            sum = opaque(sum + u64::from(of(header)));
        }
    });
    measure("cksum", "incremental, one address and one port", N, || {
        for i in 0..N {
            let old = u32::from(bytes[i & 15]);
            let delta = Delta::default().double_word(old, i as u32);
            let delta = delta.word(old as u16, i as u16);
            sum = opaque(u64::from(delta.apply(sum as u16)));
        }
    });
}
