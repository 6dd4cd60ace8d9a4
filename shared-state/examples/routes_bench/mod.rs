//! Measuring as DPDK's `peer-bench` does: the same streams, repetitions and lines.

use std::ptr::NonNull;
use std::time::Instant;

use baton_shared_state::region::Region;

/// Repetitions of each figure, where `PEER_REPS` says nothing else.
pub(crate) const REPS: usize = 15;
const HUGE: usize = 2 << 20;

/// How often each figure is taken.
pub(crate) fn reps() -> usize {
    let asked = std::env::var("PEER_REPS").ok();
    let asked = asked.and_then(|reps| reps.parse().ok());
    asked.unwrap_or(REPS).clamp(1, 60)
}

/// splitmix64, from which all data of the suite comes.
#[allow(dead_code)]
pub(crate) fn sm64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Zipf (s = 1) over 0..n: floor(n^u) - 1.
#[allow(dead_code)]
pub(crate) fn zipf1(state: &mut u64, n: u64) -> u64 {
    let u = (sm64(state) >> 11) as f64 * (0.5f64).powi(53);
    ((n as f64).powf(u) as u64).saturating_sub(1).min(n - 1)
}

/// Prints a figure that was taken `values.len()` times.
pub(crate) fn emit(bench: &str, params: &str, values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
    let (n, median) = (values.len(), values[values.len() / 2]);
    let samples: Vec<String> = values.iter().map(|value| format!("{value:.3}")).collect();
    println!(
        "{{\"peer\":\"baton\",\"bench\":\"{bench}\",\"params\":\"{params}\",\"reps\":{n},\"ns_per_op\":{median:.3},\"min\":{:.3},\"max\":{:.3},\"samples\":[{}]}}",
        values[0],
        values[n - 1],
        samples.join(",")
    );
}

/// Prints a figure that was taken once.
#[allow(dead_code)]
pub(crate) fn emit_value(bench: &str, unit: &str, params: &str, value: f64) {
    println!(
        "{{\"peer\":\"baton\",\"bench\":\"{bench}\",\"params\":\"{params}\",\"unit\":\"{unit}\",\"value\":{value:.3}}}"
    );
}

/// Times `round`, which does `operations`, once to warm up and then [`reps`] times. A repetition
/// in which the kernel took the core away is done again, up to 8 times within 2 s. With
/// `BATON_CPU_TIME=1` it is the thread's own time: for steering on a busy machine only.
#[allow(dead_code)]
pub(crate) fn measure(bench: &str, params: &str, operations: usize, round: impl FnMut()) {
    measure_as(bench, &[params], operations, round);
}

/// As [`measure`], printed under several names.
#[allow(dead_code)]
pub(crate) fn measure_as(
    bench: &str,
    names: &[impl AsRef<str>],
    operations: usize,
    mut round: impl FnMut(),
) {
    round();
    let begin = Instant::now();
    let mut values: Vec<f64> = (0..reps())
        .map(|_| {
            for tries in 1.. {
                let (switches, start) = (preemptions(), now());
                round();
                let taken = now() - start;
                if preemptions() == switches || tries == 8 || begin.elapsed().as_secs() >= 2 {
                    return taken as f64 / operations as f64;
                }
            }
            unreachable!("eight tries end it")
        })
        .collect();
    for params in names {
        emit(bench, params.as_ref(), &mut values);
    }
}

/// Nanoseconds of a clock that only goes forward.
pub(crate) fn now() -> u64 {
    let own = std::env::var_os("BATON_CPU_TIME").is_some();
    let clock = if own {
        libc::CLOCK_THREAD_CPUTIME_ID
    } else {
        libc::CLOCK_MONOTONIC
    };
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel stores a time into a local.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn preemptions() -> i64 {
    // SAFETY: a structure of integers, for which zeros are values.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel stores this thread's usage into a local.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    usage.ru_nivcsw
}

/// Private memory on 2 MiB pages: of the pool that DPDK's programs take theirs from, else of those
/// the kernel can make (`BATON_4K=1`: on 4 KiB pages). Says so where it got none, because that
/// measures page walks, in a virtual machine above all.
#[allow(dead_code)]
pub(crate) fn memory(len: usize) -> Region {
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
        // SAFETY: advice about pages that were just mapped, nothing else.
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
