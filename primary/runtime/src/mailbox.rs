//! Questions of the control thread to an lcore of the same process, answered at a burst boundary.
//!
//! One flag is looked at every few rounds; the lock is only touched when it is set. Nothing here is
//! shared with another process.

use crate::zone::Previous;
use baton_schema::control::PortStats;
use baton_shared_state::place::{Holder, Place};
use baton_shared_state::sync::{AtomicU32, Ordering};
use baton_shared_state::sys;
use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

/// A buffer seen in a published window, with its holder.
pub(crate) type Held = (Holder, u32);

/// What an lcore found while all lcores stood still.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// Every buffer in a published window.
    pub(crate) windows: Vec<Held>,
    /// By port and queue: frames the kernel holds outside every ring.
    pub(crate) in_kernel: Vec<(u16, u16, u32)>,
    /// Where every buffer says it is.
    pub(crate) places: Vec<Place>,
    /// Whether the others stood still too, from beginning to end.
    pub(crate) exact: bool,
}

/// Where lcores wait for each other between two bursts, and never long: one that does not come voids it.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    expected: u32,
    arrived: AtomicU32,
    done: AtomicU32,
    void: AtomicU32,
}

/// The longest that an lcore waits for the others.
const PATIENCE_NS: u64 = 500_000;

impl Rendezvous {
    pub(crate) fn of(expected: usize) -> Rendezvous {
        let zero = || AtomicU32::new(0);
        Rendezvous {
            expected: expected as u32,
            arrived: zero(),
            done: zero(),
            void: zero(),
        }
    }

    /// All stand still; whether they do.
    pub(crate) fn arrive(&self) -> bool {
        self.meet(&self.arrived)
    }

    /// All have looked; whether nobody left before.
    pub(crate) fn leave(&self) -> bool {
        self.meet(&self.done)
    }

    fn meet(&self, count: &AtomicU32) -> bool {
        let until = sys::clock_boottime_ns() + PATIENCE_NS;
        count.fetch_add(1, Ordering::AcqRel);
        while count.load(Ordering::Acquire) < self.expected {
            if sys::clock_boottime_ns() > until {
                self.void.store(1, Ordering::Release);
            }
            if self.void.load(Ordering::Acquire) != 0 {
                return false;
            }
            std::thread::yield_now();
        }
        self.void.load(Ordering::Acquire) == 0
    }
}

/// A question.
pub(crate) enum Ask {
    /// The state of the ports' queues.
    Ports(Sender<Vec<PortStats>>),
    /// Keep these older generations current (none: no more).
    Export {
        older: Arc<HashMap<String, Previous>>,
        answer: Sender<()>,
    },
    /// Stand still with all the others and list every buffer.
    Audit {
        together: Arc<Rendezvous>,
        /// One of them lists the pool's own windows and every buffer's place.
        leads: bool,
        answer: Sender<Inventory>,
    },
}

/// Where questions to one lcore are left.
#[derive(Default)]
pub(crate) struct Mailbox {
    flag: AtomicU32,
    active: AtomicU32,
    stop: AtomicU32,
    asks: Mutex<Vec<Ask>>,
}

impl Mailbox {
    /// Leaves a question.
    pub(crate) fn ask(&self, ask: Ask) {
        self.lock().push(ask);
        self.flag.store(1, Ordering::Release);
    }

    /// Whether a question waits.
    #[inline]
    pub(crate) fn waiting(&self) -> bool {
        self.flag.load(Ordering::Relaxed) != 0
    }

    /// Takes all questions.
    pub(crate) fn take(&self) -> Vec<Ask> {
        self.flag.store(0, Ordering::Relaxed);
        core::mem::take(&mut *self.lock())
    }

    /// The lcore says whether it owns shards.
    pub(crate) fn set_active(&self, active: bool) {
        self.active.store(u32::from(active), Ordering::Release);
    }

    /// Whether the lcore owns shards: only then it answers soon.
    pub(crate) fn active(&self) -> bool {
        self.active.load(Ordering::Acquire) != 0
    }

    /// Tells the lcore to give up its shards and end.
    pub(crate) fn stop(&self) {
        self.stop.store(1, Ordering::Release);
    }

    /// Whether it was told so.
    #[inline]
    pub(crate) fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Ask>> {
        self.asks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
