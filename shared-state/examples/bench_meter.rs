//! Meters with DPDK's rates, packets and clock steps (`b_meter` of the peers' `qos.c`).
//!
//! `cargo run --release -p baton-shared-state --example bench_meter`
//!
//! The clock is the processor's, as there; the meters lie in private memory with the advice to use huge
//! pages.

mod peer;

use std::hint::black_box;
use std::time::{Duration, Instant};

use baton_shared_state::meter::{Color, Meter, Meters, Rfc4115, SrTcm, TrTcm};
use peer::{calib, measure, memory, sm64};

const METERS: u32 = 1 << 16;
const N: u64 = 4 * METERS as u64;
const BURST: u64 = 2048 * 64;
const CIR: u64 = 125_000_000;
const PIR: u64 = 250_000_000;
const COLORS: [Color; 2] = [Color::Green, Color::Yellow];

fn main() {
    calib();
    let hz = ticks_per_second();
    let sr = black_box(SrTcm::new(CIR, BURST, BURST, hz).expect("rates"));
    let tr = black_box(TrTcm::new(CIR, BURST, PIR, BURST, hz).expect("rates"));
    let dual = black_box(Rfc4115::new(CIR, BURST, PIR - CIR, BURST, hz).expect("rates"));
    let mut now = ticks();
    let [srs, trs, duals] = [(); 3].map(|()| meters());
    for id in 0..METERS {
        sr.start(srs.at(id), now);
        tr.start(trs.at(id), now);
        dual.start(duals.at(id), now);
    }
    let mut seed = 1;
    let random: Vec<u32> = (0..METERS)
        .map(|_| (sm64(&mut seed) % u64::from(METERS)) as u32)
        .collect();
    let one = vec![0; METERS as usize];
    for (order, what) in [(&one, "one meter"), (&random, "65536 meters at random")] {
        let mut run = |name: &str, meters: Meters, mark: &dyn Fn(&mut Round<'_>)| {
            let mut round = Round {
                order,
                meters,
                now,
                colors: 0,
            };
            measure("meter", &format!("{name}, {what}"), N as usize, || {
                mark(&mut round);
            });
            now = round.now;
            black_box(round.colors);
        };
        run("srtcm colour-blind", srs, &|round| {
            round.each(|meter, now, bytes, _| sr.mark_blind(meter, now, bytes));
        });
        run("srtcm colour-aware", srs, &|round| {
            round.each(|meter, now, bytes, came| sr.mark_aware(meter, now, bytes, came));
        });
        run("trtcm colour-blind", trs, &|round| {
            round.each(|meter, now, bytes, _| tr.mark_blind(meter, now, bytes));
        });
        run("trtcm colour-aware", trs, &|round| {
            round.each(|meter, now, bytes, came| tr.mark_aware(meter, now, bytes, came));
        });
        run("rfc4115 colour-blind", duals, &|round| {
            round.each(|meter, now, bytes, _| dual.mark_blind(meter, now, bytes));
        });
        run("rfc4115 colour-aware", duals, &|round| {
            round.each(|meter, now, bytes, came| dual.mark_aware(meter, now, bytes, came));
        });
    }
}

struct Round<'a> {
    order: &'a [u32],
    meters: Meters,
    now: u64,
    colors: u64,
}

impl Round<'_> {
    #[inline(always)]
    fn each(&mut self, mark: impl Fn(Meter, u64, u32, Color) -> Color) {
        let (mut now, mut colors) = (self.now, 0);
        let (order, meters) = (self.order, self.meters);
        for i in 0..N {
            now += 100;
            let meter = meters.at(order[i as usize & (order.len() - 1)]);
            let came = COLORS[i as usize & 1];
            colors += mark(meter, now, 64 + (i & 1023) as u32, came) as u64;
        }
        (self.now, self.colors) = (now, self.colors + colors);
    }
}

fn meters() -> Meters {
    let region = memory(Meters::bytes_for(METERS));
    Meters::new(region, METERS).expect("a region of that size")
}

fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the instruction.
    return unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    baton_shared_state::sys::clock_boottime_ns()
}

fn ticks_per_second() -> u64 {
    let (start, from) = (Instant::now(), ticks());
    while start.elapsed() < Duration::from_millis(100) {}
    let (to, ns) = (ticks(), start.elapsed().as_nanos());
    (u128::from(to - from) * 1_000_000_000 / ns) as u64
}
