//! An lcore without ports: it holds its lifeline, and owns shards by the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering as Std};
use std::time::Duration;

use baton_shared_state::arena::Arena;
use baton_shared_state::ledger::{Ledger, accept};
use baton_shared_state::lifeline::Lifeline;
use baton_shared_state::sync::Ordering;
use baton_shared_state::sys;

pub(crate) struct Lcore {
    pub(crate) arena: Arena,
    pub(crate) ledger: Ledger,
    pub(crate) slot: u16,
    pub(crate) shards: Vec<usize>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) polls: Arc<AtomicU64>,
    pub(crate) deaf: bool,
}

impl Lcore {
    /// Takes what the ledger gives it and hands over what is asked for.
    pub(crate) fn run(self, ready: &std::sync::mpsc::Sender<()>) {
        let _lifeline = Lifeline::hold(&self.arena, self.slot).expect("free");
        let _ = ready.send(());
        let mut owned = vec![false; self.shards.len()];
        while !self.stop.load(Std::Relaxed) {
            let now = sys::clock_boottime_ns();
            for (at, shard) in self.shards.iter().enumerate() {
                let mine = self.ledger.owner_word(*shard).lcore == Some(self.slot);
                let swap = self.ledger.swap(*shard);
                if mine && !owned[at] {
                    swap.taken_ns().store(now, Ordering::Relaxed);
                    swap.ring_used().store(9, Ordering::Relaxed);
                    swap.ring_entries().store(4096, Ordering::Relaxed);
                    swap.first_poll_ns()
                        .store(sys::clock_boottime_ns(), Ordering::Release);
                }
                owned[at] = mine;
                if !mine {
                    continue;
                }
                self.ledger
                    .heartbeat(self.slot)
                    .store(now, Ordering::Relaxed);
                self.polls.fetch_add(1, Std::Relaxed);
                if self.deaf {
                    continue;
                }
                if let Some(asked) = accept(
                    self.ledger.owner(*shard),
                    self.ledger.request(*shard),
                    self.slot,
                ) {
                    swap.stopped_ns()
                        .store(sys::clock_boottime_ns(), Ordering::Relaxed);
                    self.ledger
                        .hand_over(*shard, asked, self.slot)
                        .expect("only the owner changes it");
                    owned[at] = false;
                }
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }
}
