//! Rings on DPDK's pattern (`b_ring` of the peers' `ring.c`): one core fills and empties, or two
//! cores share a ring.
//!
//! `cargo run --release -p baton-shared-state --example bench_ring`
//!
//! Our element is a `u32`, theirs a pointer: half the bytes, as both have it in use. Private
//! memory with the advice to use huge pages. Of the CPUs that the process may run on the main
//! thread takes the last, the other one the first; with one CPU the two-core part is left out.

mod peer;

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use baton_shared_state::ring::{Mode, MpmcRing, Party, Ring as Multi, SpscRing};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use peer::{calib, emit, measure, memory, reps};

const SLOTS: usize = 1024;
const BURST: usize = 32;
/// Elements that cross from one core to the other in a repetition.
const TOTAL: usize = 1_000_000;
const TRIPS: usize = 5000;
/// How long repetitions are run again in which a core was taken away.
const PATIENCE: Duration = Duration::from_secs(2);

/// What all kinds of ring can do.
trait Ring: Copy + Send + Sync + 'static {
    /// The peers' name of the mode.
    const MODE: &'static str;
    fn make() -> Self;
    /// As the thread on the other core uses it.
    fn other(self) -> Self {
        self
    }
    fn enqueue(&self, from: &[u32]) -> usize;
    fn dequeue(&self, to: &mut [u32]) -> usize;
}

impl Ring for SpscRing {
    const MODE: &'static str = "sp/sc";
    fn make() -> Self {
        SpscRing::create(memory(SpscRing::bytes_for(SLOTS)), SLOTS).expect("a ring")
    }
    #[inline(always)]
    fn enqueue(&self, from: &[u32]) -> usize {
        self.enqueue_burst(from)
    }
    #[inline(always)]
    fn dequeue(&self, to: &mut [u32]) -> usize {
        self.dequeue_burst(to)
    }
}

/// The ring of the pool, which needs no repair: an operation for each element.
impl Ring for MpmcRing {
    const MODE: &'static str = "mp/mc by elements";
    fn make() -> Self {
        MpmcRing::create(memory(MpmcRing::bytes_for(SLOTS)), SLOTS).expect("a ring")
    }
    #[inline(always)]
    fn enqueue(&self, from: &[u32]) -> usize {
        self.enqueue_burst(from)
    }
    #[inline(always)]
    fn dequeue(&self, to: &mut [u32]) -> usize {
        self.dequeue_burst(to)
    }
}

/// One type a mode, so that each has a loop of its own, as the peers'.
#[derive(Clone, Copy)]
struct Many<const MODE: u8>(Party);

const MT: u8 = Mode::Mt as u8;
const RTS: u8 = Mode::Rts as u8;
const HTS: u8 = Mode::Hts as u8;

impl<const MODE: u8> Ring for Many<MODE> {
    const MODE: &'static str = match MODE {
        MT => "mp/mc",
        RTS => "mp_rts/mc_rts",
        _ => "mp_hts/mc_hts",
    };
    fn make() -> Self {
        let mode = match MODE {
            MT => Mode::Mt,
            RTS => Mode::Rts,
            _ => Mode::Hts,
        };
        let region = memory(Multi::bytes_for(SLOTS));
        Many(
            Multi::create(region, SLOTS, mode, mode)
                .expect("a ring")
                .party(0),
        )
    }
    fn other(self) -> Self {
        Many(self.0.ring().party(1))
    }
    #[inline(always)]
    fn enqueue(&self, from: &[u32]) -> usize {
        self.0.enqueue_burst(from)
    }
    #[inline(always)]
    fn dequeue(&self, to: &mut [u32]) -> usize {
        self.0.dequeue_burst(to)
    }
}

fn main() {
    calib();
    let [main, other] = cpus();
    pin(main);
    one_core::<SpscRing>();
    one_core::<Many<MT>>();
    one_core::<Many<RTS>>();
    one_core::<Many<HTS>>();
    one_core::<MpmcRing>();
    if main == other {
        eprintln!("one CPU only: two-core part skipped");
        return;
    }
    one_way::<SpscRing>(other);
    two_ways::<Many<MT>>(other);
    two_ways::<Many<RTS>>(other);
    two_ways::<Many<HTS>>(other);
    two_ways::<MpmcRing>(other);
    pingpong(other);
}

fn one_core<R: Ring>() {
    let ring = R::make();
    bulk::<R, 1>(ring);
    bulk::<R, 8>(ring);
    bulk::<R, 32>(ring);
    bulk::<R, 128>(ring);
}

fn bulk<R: Ring, const N: usize>(ring: R) {
    let rounds = 800_000 / N.max(8);
    let mut burst: [u32; N] = core::array::from_fn(|i| i as u32 + 1);
    let params = format!("{} bulk={N} slots={SLOTS} enq+deq, per object", R::MODE);
    measure("ring.1core", &params, rounds * N, || {
        // A local one, as the peers' loop has its pointer.
        let local = ring;
        for _ in 0..rounds {
            local.enqueue(&burst);
            local.dequeue(&mut burst);
        }
    });
}

fn one_way<R: Ring>(other: usize) {
    let params = format!(
        "{} bulk={BURST} slots={SLOTS} one producer one consumer, per object",
        R::MODE
    );
    two_cores::<R>(&params, other, produce::<R>, consume::<R>);
}

fn two_ways<R: Ring>(other: usize) {
    one_way::<R>(other);
    both_ways::<R>(other);
}

fn both_ways<R: Ring>(other: usize) {
    let params = format!(
        "{} bulk={BURST} both cores enqueue and dequeue the same ring, per object",
        R::MODE
    );
    two_cores::<R>(&params, other, both::<R>, both::<R>);
}

/// Times `here`, which starts together with `there` on the other core, until both have ended.
fn two_cores<R: Ring>(params: &str, other: usize, there: fn(R), here: fn(R)) {
    let ring = R::make();
    let (mut times, start) = (Vec::new(), Instant::now());
    let wanted = reps() + 1;
    while times.len() < wanted {
        let before = process_switches();
        let ns = timed(ring, other, there, here);
        let disturbed = process_switches() != before;
        if !times.is_empty() && disturbed && start.elapsed() < PATIENCE {
            continue;
        }
        times.push(ns);
    }
    emit("ring.2core", params, times.split_off(1));
}

fn timed<R: Ring>(ring: R, other: usize, there: fn(R), here: fn(R)) -> f64 {
    let [there_is, go] = [const { AtomicBool::new(false) }; 2];
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(other);
            there_is.store(true, Ordering::Release);
            while !go.load(Ordering::Acquire) {
                spin_loop();
            }
            there(ring.other());
        });
        // It begins on this CPU, as its maker is pinned, and would otherwise have to wait for a turn.
        while !there_is.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let start = Instant::now();
        go.store(true, Ordering::Release);
        here(ring);
        let end = start.elapsed();
        thread.join().expect("the other core");
        // Who consumes ends last; of two who do the same, either may.
        let end = if core::ptr::fn_addr_eq(there, here) {
            start.elapsed()
        } else {
            end
        };
        end.as_nanos() as f64 / TOTAL as f64
    })
}

fn produce<R: Ring>(ring: R) {
    let burst: [u32; BURST] = core::array::from_fn(|i| i as u32 + 1);
    let mut sent = 0;
    while sent < TOTAL {
        let n = ring.enqueue(&burst);
        sent += n;
        if n == 0 {
            spin_loop();
        }
    }
}

fn consume<R: Ring>(ring: R) {
    let mut burst = [0; BURST];
    let mut got = 0;
    while got < TOTAL {
        let n = ring.dequeue(&mut burst);
        got += n;
        if n == 0 {
            spin_loop();
        }
    }
    // What the producer's last burst had over.
    while ring.dequeue(&mut burst) > 0 {}
}

fn both<R: Ring>(ring: R) {
    let mut burst: [u32; BURST] = core::array::from_fn(|i| i as u32 + 1);
    let mut sent = 0;
    while sent < TOTAL / 2 {
        let n = ring.enqueue(&burst);
        sent += n;
        let mut left = n;
        while left > 0 {
            let got = ring.dequeue(&mut burst[..left]);
            left -= got;
            if got == 0 {
                spin_loop();
            }
        }
    }
}

/// One element there and back between two cores: the latency of the handover.
fn pingpong(other: usize) {
    let (to, from) = (SpscRing::make(), SpscRing::make());
    let hop = |take: SpscRing, give: SpscRing| {
        let mut one = [0];
        while take.dequeue_burst(&mut one) == 0 {
            spin_loop();
        }
        while give.enqueue_burst(&one) == 0 {
            spin_loop();
        }
    };
    let mut times: Vec<f64> = (0..=reps())
        .map(|_| {
            thread::scope(|scope| {
                scope.spawn(|| {
                    pin(other);
                    (0..=TRIPS).for_each(|_| hop(to, from));
                });
                // The first trip waits for the thread to be there.
                let mut one = [1];
                to.enqueue_burst(&one);
                while from.dequeue_burst(&mut one) == 0 {
                    spin_loop();
                }
                let start = Instant::now();
                for _ in 0..TRIPS {
                    to.enqueue_burst(&one);
                    while from.dequeue_burst(&mut one) == 0 {
                        spin_loop();
                    }
                }
                start.elapsed().as_nanos() as f64 / TRIPS as f64
            })
        })
        .collect();
    let params = "sp/sc one pointer there and back between two cores, per round trip";
    emit("ring.pingpong", params, times.split_off(1));
}

fn process_switches() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("usage of a process");
    usage.involuntary_context_switches()
}

/// The CPU of the main thread and that of the other one.
fn cpus() -> [usize; 2] {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("the CPUs of this process");
    let mut all = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
    let first = all.next().expect("a CPU");
    [all.next_back().unwrap_or(first), first]
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).expect("a CPU");
    sched_setaffinity(Pid::from_raw(0), &set).expect("a CPU of this process");
}
