//! What the programs `bench_*` share: the peers' random numbers, and one JSON line per figure in
//! their form, so that a harness can put both beside each other by `bench` and `params`.

#![allow(dead_code, unreachable_pub)] // each program includes this file and uses a part of it

use std::ptr::NonNull;
use std::time::Instant;

use baton_shared_state::region::Region;

/// Repetitions of each figure; the median counts. One more goes before, to warm up.
pub const REPS: usize = 15;
/// Bytes of a huge page.
const HUGE: usize = 2 << 20;

/// As [`REPS`], or what `PEER_REPS` says, as for the peers' programs.
pub fn reps() -> usize {
    let asked = std::env::var("PEER_REPS").ok();
    let asked = asked.and_then(|reps| reps.parse().ok());
    asked.unwrap_or(REPS).clamp(1, 60)
}

/// splitmix64: every random stream of the peers comes from this, with fixed seeds.
pub fn sm64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Zipf (s = 1) over 0..n: floor(n^u) - 1.
pub fn zipf1(state: &mut u64, n: u64) -> u64 {
    let u = (sm64(state) >> 11) as f64 * 0.5f64.powi(53);
    ((n as f64).powf(u) as u64).saturating_sub(1).min(n - 1)
}

/// Measures `round`, which does `ops` operations.
pub fn measure(bench: &str, params: &str, ops: usize, round: impl FnMut()) {
    measure_as(bench, &[params], ops, round);
}

/// As [`measure`], printed under several names.
pub fn measure_as(bench: &str, names: &[impl AsRef<str>], ops: usize, mut round: impl FnMut()) {
    let times = times(|| {
        let start = Instant::now();
        round();
        start.elapsed().as_nanos() as f64 / ops as f64
    });
    for params in names {
        emit(bench, params.as_ref(), times.clone());
    }
}

/// Prints the median of what `round` says about one operation, in ns.
pub fn measure_with(bench: &str, params: &str, round: impl FnMut() -> f64) {
    emit(bench, params, times(round));
}

/// What `round` says, [`reps`] times. A repetition in which the kernel took the core away is run again, up
/// to 8 times within 2 s, as the peers do.
fn times(mut round: impl FnMut() -> f64) -> Vec<f64> {
    round();
    let start = Instant::now();
    (0..reps())
        .map(|_| {
            for _ in 0..7 {
                let before = switches();
                let time = round();
                if switches() == before || start.elapsed().as_secs() >= 2 {
                    return time;
                }
            }
            round()
        })
        .collect()
}

/// How often this thread lost its core.
pub fn switches() -> i64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let usage = getrusage(UsageWho::RUSAGE_THREAD).expect("usage of a thread");
    usage.involuntary_context_switches()
}

/// Private zeroed memory on 2 MiB pages: of the pool that the peers take theirs from, else of those the
/// kernel can make (`BATON_4K=1`: on 4 KiB pages). Says so where it got none, because that measures page
/// walks, in a virtual machine above all.
pub fn memory(len: usize) -> Region {
    let len = len.next_multiple_of(HUGE);
    let small = std::env::var_os("BATON_4K").is_some();
    let pool = if small {
        None
    } else {
        map(len, libc::MAP_HUGETLB)
    };
    pool.unwrap_or_else(|| advised(len, small))
}

fn advised(len: usize, small: bool) -> Region {
    let region = map(len + HUGE, 0).expect("memory");
    let start = region.as_ptr().addr().next_multiple_of(HUGE) - region.as_ptr().addr();
    let region = region.slice(start, len).expect("inside");
    let advise = |advice| {
        // SAFETY: the range is mapped and stays so; the advice changes no byte of it.
        unsafe { libc::madvise(region.as_ptr().cast(), len, advice) }
    };
    if small {
        advise(libc::MADV_NOHUGEPAGE);
        return region;
    }
    advise(libc::MADV_HUGEPAGE);
    region.touch();
    if advise(libc::MADV_COLLAPSE) != 0 {
        eprintln!("WARNING: {len} bytes not all on 2 MiB pages");
    }
    region
}

/// The items in such memory, where the peers' programs have theirs, too.
pub fn placed<T: Copy>(items: &[T]) -> &'static [T] {
    let to = memory(size_of_val(items)).as_ptr().cast::<T>();
    // SAFETY: fresh private memory of at least so many bytes, aligned to a page, which stays mapped.
    unsafe { to.copy_from_nonoverlapping(items.as_ptr(), items.len()) };
    // SAFETY: as above; just written, and by nobody from here on.
    unsafe { std::slice::from_raw_parts(to, items.len()) }
}

fn map(len: usize, flags: i32) -> Option<Region> {
    let flags = flags | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: fresh memory wherever the kernel likes.
    let ptr = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0) };
    if ptr == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: just mapped with these rights, and nothing unmaps it or has a reference to it.
    Some(unsafe { Region::from_raw(NonNull::new(ptr.cast())?, len, true) })
}

/// Prints a figure: the median, and each repetition in order of time taken.
pub fn emit(bench: &str, params: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let (median, min, max) = (times[times.len() / 2], times[0], times[times.len() - 1]);
    let samples: Vec<String> = times.iter().map(|time| format!("{time:.3}")).collect();
    println!(
        "{{\"peer\":\"baton\",\"bench\":\"{bench}\",\"params\":\"{params}\",\"reps\":{},\
         \"ns_per_op\":{median:.3},\"min\":{min:.3},\"max\":{max:.3},\"samples\":[{}]}}",
        times.len(),
        samples.join(",")
    );
}

/// Prints a figure that was taken once.
pub fn emit_value(bench: &str, unit: &str, params: &str, value: f64) {
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
            x = opaque(x.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
    });
    std::hint::black_box(x);
}

/// The value, of which the optimizer knows nothing afterwards; memory may have changed, too. Unlike
/// `black_box` it stays in its register.
#[inline(always)]
pub fn opaque(mut x: u64) -> u64 {
    // SAFETY: no instruction at all.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) x, options(nostack, preserves_flags)) };
    x
}
