//! RCU beside DPDK's `rte_rcu_qsbr`: the same operations and lines.
//!
//! `cargo run --release -p baton-shared-state --example bench_rcu`
//!
//! Private memory, 4 KiB pages. The slots are those of all lcores (512) where DPDK has 128.

mod peer;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_shared_state::rcu::{Qsbr, Reader};
use baton_shared_state::region::Region;
use peer::measure;

const N: usize = 500_000;

fn main() {
    for threads in [1u16, 8, 64] {
        let qsbr = fresh();
        let readers: Vec<Reader> = (0..threads)
            .map(|slot| qsbr.reader(slot).expect("a slot"))
            .collect();
        readers[0].online();
        if threads == 1 {
            alone(&qsbr, &readers[0]);
        }
        rounds(&qsbr, &readers);
    }
    grace_period();
}

fn fresh() -> Qsbr {
    Qsbr::create(Region::private(Qsbr::bytes())).expect("room")
}

fn alive(_: u16) -> bool {
    false
}

fn alone(qsbr: &Qsbr, reader: &Reader) {
    measure("rcu", "rte_rcu_qsbr_quiescent, no writer", N, || {
        (0..N).for_each(|_| reader.quiescent());
    });
    measure("rcu", "online+offline pair", N, || {
        for _ in 0..N {
            reader.online();
            reader.offline();
        }
    });
    reader.online();
    measure("rcu", "rte_rcu_qsbr_start (writer token)", N, || {
        (0..N).for_each(|_| _ = black_box(qsbr.start()));
    });
}

fn rounds(qsbr: &Qsbr, readers: &[Reader]) {
    let n = readers.len();
    readers[0].quiescent();
    let params = format!("start+quiescent+check, {n} registered of which 1 online");
    measure("rcu", &params, N / 20, || {
        for _ in 0..N / 20 {
            let token = qsbr.start();
            readers[0].quiescent();
            assert!(qsbr.check(token, alive));
        }
    });
    readers.iter().for_each(Reader::online);
    let params = format!("start+{n} quiescents+check, all online");
    measure("rcu", &params, N / 20, || {
        for _ in 0..N / 20 {
            let token = qsbr.start();
            readers.iter().for_each(Reader::quiescent);
            assert!(qsbr.check(token, alive));
        }
    });
}

fn grace_period() {
    static STOP: AtomicBool = AtomicBool::new(false);
    const PERIODS: usize = 5000;
    let qsbr = fresh();
    let reader = qsbr.reader(1).expect("a slot");
    // Left to the kernel: run under `taskset -c 0,1`.
    let thread = std::thread::spawn(move || {
        reader.online();
        while !STOP.load(Ordering::Relaxed) {
            reader.quiescent();
            std::hint::spin_loop();
        }
    });
    while !qsbr.is_online(1) {
        std::thread::yield_now();
    }
    let params = "synchronize against one spinning reader on the other core (grace period)";
    measure("rcu", params, PERIODS, || {
        (0..PERIODS).for_each(|_| qsbr.synchronize(alive));
    });
    STOP.store(true, Ordering::Relaxed);
    thread.join().expect("the reader");
}
