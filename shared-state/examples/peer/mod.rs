//! What the programs `bench_*` share: the peers' random numbers, and one JSON line per figure in
//! their form, so that a harness can put both beside each other by `bench` and `params`.

#![allow(dead_code)]

use std::time::Instant;

/// Repetitions of each figure; the median counts. One more goes before, to warm up.
pub const REPS: usize = 15;

/// splitmix64: every random stream of the peers comes from this, with fixed seeds.
pub fn sm64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Measures `round`, which does `ops` operations.
pub fn measure(bench: &str, params: &str, ops: usize, mut round: impl FnMut()) {
    measure_with(bench, params, || {
        let start = Instant::now();
        round();
        start.elapsed().as_nanos() as f64 / ops as f64
    });
}

/// Prints the median of what `round` says about one operation, in ns.
pub fn measure_with(bench: &str, params: &str, mut round: impl FnMut() -> f64) {
    round();
    let times = (0..REPS).map(|_| round()).collect();
    emit(bench, params, times);
}

/// Prints a figure.
pub fn emit(bench: &str, params: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let (median, min, max) = (times[times.len() / 2], times[0], times[times.len() - 1]);
    println!(
        "{{\"peer\":\"baton\",\"bench\":\"{bench}\",\"params\":\"{params}\",\"reps\":{},\
         \"ns_per_op\":{median:.3},\"min\":{min:.3},\"max\":{max:.3}}}",
        times.len()
    );
}

/// Prints a figure that was taken once.
pub fn emit_value(bench: &str, unit: &str, value: f64, params: &str) {
    println!(
        "{{\"peer\":\"baton\",\"bench\":\"{bench}\",\"params\":\"{params}\",\
         \"unit\":\"{unit}\",\"value\":{value:.3}}}"
    );
}

/// The peers' first yardstick, by which figures of another day can be read.
pub fn calib() {
    const N: usize = 2_000_000;
    let mut x = 88_172_645_463_325_252u64;
    measure("calib", "dependent 64-bit multiply (3 cycles)", N, || {
        for _ in 0..N {
            x = std::hint::black_box(x.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
    });
}
