//! The timer wheel on DPDK's pattern (`b_timer` of the peers' `misc.c`): hours away, spread over a
//! minute; re-armed at random; some due at once.
//!
//! `cargo run --release -p baton-shared-state --example bench_timer`
//!
//! The peers' names stand for this. "re-arm" and "refresh to the tail" are what a packet costs
//! here: its counters and last-seen stored ([`Hot::count`]), which it needs in any case. What is
//! put off until the slot is due has lines of its own. "expire" looks at last-seen and forgets the
//! row. A tick is a millisecond. The hot words lie in private memory with
//! the advice to use huge pages, the wheel in the allocator's.

mod peer;

use std::hint::black_box;
use std::time::Instant;

use baton_shared_state::table::{Hot, Hot64};
use baton_shared_state::timer::{Next, Rows, Wheel};
use peer::{REPS, calib, emit, emit_value, measure, memory, sm64};

const HOUR: u64 = 3_600_000;
const MINUTE: u64 = 60_000;
const ALL: u32 = u32::MAX;

/// Rows whose timeout is the same for all.
struct Table {
    hot: Hot<Hot64>,
    timeout: u64,
    now: u64,
}

impl Rows for Table {
    #[inline]
    fn look(&mut self, id: u32) -> Next {
        let deadline = u64::from(self.hot.last_seen(id)) + self.timeout;
        if deadline <= self.now {
            Next::Expired
        } else {
            Next::At(deadline)
        }
    }

    #[inline]
    fn prefetch(&mut self, id: u32) {
        self.hot.prefetch(id);
    }
}

fn main() {
    calib();
    for n in [1000, 100_000, 1_000_000] {
        timers(n);
    }
}

fn timers(n: u32) {
    let region = memory(Hot::<Hot64>::bytes_for(n));
    let hot = Hot::<Hot64>::new(region, n).expect("hot words");
    let mut table = Table {
        hot,
        timeout: 0,
        now: 0,
    };
    let mut wheel = Wheel::new(n, 0);
    let mut seed = 6;
    fill(n, &mut wheel, &mut seed);
    let k = n.min(20_000);
    packets(n, k, &table.hot, &mut seed);
    measure(
        "timer",
        &format!("move at once one of {n} pending"),
        k as usize,
        || {
            for _ in 0..k {
                let id = (sm64(&mut seed) % u64::from(n)) as u32;
                wheel.rearm(id, HOUR + sm64(&mut seed) % MINUTE);
            }
        },
    );
    let params = format!("manage with none due, {n} pending");
    measure("timer", &params, 100_000, || {
        for _ in 0..100_000 {
            black_box(wheel.advance(black_box(0), ALL, &mut table));
        }
    });
    expire_and_stop(n, k, &mut wheel, &mut table, &mut seed);
    if n >= 100_000 {
        look_again(n, &mut wheel, &mut table, &mut seed);
    }
    let params = format!("bytes an id beside the row, {n} pending");
    emit_value(
        "timer.memory",
        "B",
        &params,
        wheel.bytes() as f64 / f64::from(n),
    );
}

/// From empty to `n` pending, and the same from last-seen, as after a change of hands.
fn fill(n: u32, wheel: &mut Wheel, seed: &mut u64) {
    let start = Instant::now();
    for id in 0..n {
        wheel.insert(id, HOUR + sm64(seed) % MINUTE);
    }
    let ns = start.elapsed().as_nanos() as f64 / f64::from(n);
    let params = format!("rte_timer_reset from empty to {n} pending, random expiry within 60 s");
    emit_value("timer", "ns/timer", &params, ns);
}

/// What a packet costs.
fn packets(n: u32, k: u32, hot: &Hot<Hot64>, seed: &mut u64) {
    let params = format!("re-arm one of {n} pending");
    measure("timer", &params, k as usize, || {
        for _ in 0..k {
            let id = (sm64(seed) % u64::from(n)) as u32;
            hot.count(id, 1, 64, (HOUR + sm64(seed) % MINUTE) as u32);
        }
    });
    let mut now = 2 * HOUR as u32;
    let params = format!("refresh to the tail, {n} pending");
    measure("timer", &params, k as usize, || {
        for _ in 0..k {
            now += 1;
            hot.count((sm64(seed) % u64::from(n)) as u32, 1, 64, now);
        }
    });
}

fn expire_and_stop(n: u32, k: u32, wheel: &mut Wheel, table: &mut Table, seed: &mut u64) {
    let (mut expire, mut stop) = (vec![], vec![]);
    for _ in 0..REPS {
        for id in 0..k {
            table.hot.start(id, wheel.at() as u32);
            wheel.rearm(id, wheel.at() + 1 + sm64(seed) % 8);
        }
        (table.timeout, table.now) = (0, wheel.at() + 10);
        let start = Instant::now();
        let done = wheel.advance(table.now, ALL, table);
        expire.push(start.elapsed().as_nanos() as f64 / f64::from(k));
        assert_eq!(done.expired, k);
        for id in 0..k {
            wheel.insert(id, HOUR + sm64(seed) % MINUTE);
        }
        let start = Instant::now();
        for id in 0..k {
            wheel.remove(id);
        }
        stop.push(start.elapsed().as_nanos() as f64 / f64::from(k));
        for id in 0..k {
            wheel.insert(id, HOUR + sm64(seed) % MINUTE);
        }
    }
    let params = format!("expire in one manage, per timer, {n} pending");
    emit("timer", &params, expire);
    emit("timer", &format!("stop, {n} pending"), stop);
}

/// What re-arming puts off: every row was seen since; in two timeouts each is looked at some times
/// and queued anew. And the wheel rebuilt from last-seen.
fn look_again(n: u32, wheel: &mut Wheel, table: &mut Table, seed: &mut u64) {
    let (mut look, mut per_timeout, mut rebuild) = (vec![], vec![], vec![]);
    for _ in 0..REPS {
        (table.timeout, table.now) = (MINUTE, 0);
        for id in 0..n {
            table.hot.start(id, (sm64(seed) % MINUTE) as u32);
        }
        let start = Instant::now();
        wheel.clear(0);
        for id in 0..n {
            wheel.insert(id, u64::from(table.hot.last_seen(id)) + table.timeout);
        }
        rebuild.push(start.elapsed().as_nanos() as f64 / f64::from(n));
        // All rows are seen once more, a minute later, in another order than they are queued in.
        for id in 0..n {
            table.hot.start(id, (MINUTE + sm64(seed) % MINUTE) as u32);
        }
        let start = Instant::now();
        let (mut looked, mut expired) = (0, 0);
        while table.now < 3 * MINUTE {
            table.now += 1;
            let done = wheel.advance(table.now, ALL, table);
            (looked, expired) = (looked + done.looked, expired + done.expired);
        }
        let ns = start.elapsed().as_nanos() as f64;
        assert_eq!(expired, n);
        look.push(ns / f64::from(looked));
        per_timeout.push(ns / f64::from(n));
    }
    let params = format!("look at a row and queue it anew or end it, {n} pending");
    emit("timer", &params, look);
    let params = format!("all looks of a row from its first timeout to its end, {n} rows");
    emit("timer", &params, per_timeout);
    emit(
        "timer",
        &format!("rebuild from last-seen, {n} rows"),
        rebuild,
    );
}
