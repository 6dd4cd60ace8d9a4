//! For the tests of both route tables: a reader that knows at every moment what it may see.

use std::thread;

use crate::rcu::Qsbr;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Addresses that are watched: two bursts.
pub(crate) const WATCHED: usize = 64;

/// What each watched address gives before and after the change that is under way.
pub(crate) struct Watch {
    sequence: AtomicU64,
    old: [AtomicU32; WATCHED],
    new: [AtomicU32; WATCHED],
    done: AtomicBool,
    /// Looks during which the allowed values stayed the same, and so were compared.
    compared: AtomicU64,
}

impl Watch {
    pub(crate) fn new(nothing: u16) -> Watch {
        let all = || core::array::from_fn(|_| AtomicU32::new(nothing.into()));
        Watch {
            sequence: AtomicU64::new(0),
            old: all(),
            new: all(),
            done: AtomicBool::new(false),
            compared: AtomicU64::new(0),
        }
    }

    /// Says what holds after the next change; before it holds what held after the last.
    pub(crate) fn expect(&self, after: impl Fn(usize) -> u16) {
        self.sequence.fetch_add(1, Ordering::SeqCst);
        for (i, (old, new)) in self.old.iter().zip(&self.new).enumerate() {
            old.store(new.load(Ordering::Relaxed), Ordering::SeqCst);
            new.store(after(i).into(), Ordering::SeqCst);
        }
        self.sequence.fetch_add(1, Ordering::SeqCst);
    }

    /// Looks until [`Watch::stop`]; panics at a value that is neither old nor new.
    pub(crate) fn look(&self, qsbr: Qsbr, slot: u16, lookup: impl Fn(&mut [u16; WATCHED])) {
        let reader = qsbr.reader(slot).unwrap();
        reader.online();
        while !self.done.load(Ordering::Relaxed) {
            let before = self.sequence.load(Ordering::SeqCst);
            let load = |all: &[AtomicU32; WATCHED]| -> [u32; WATCHED] {
                core::array::from_fn(|i| all[i].load(Ordering::SeqCst))
            };
            let (old, new) = (load(&self.old), load(&self.new));
            let mut found = [0; WATCHED];
            lookup(&mut found);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::SeqCst) == before {
                for (i, hop) in found.into_iter().map(u32::from).enumerate() {
                    let (old, new) = (old[i], new[i]);
                    assert!(
                        hop == old || hop == new,
                        "address {i}: {hop}, not {old} or {new}, in change {before}"
                    );
                }
                self.compared.fetch_add(1, Ordering::Relaxed);
            }
            reader.quiescent();
            if before.is_multiple_of(64) {
                thread::yield_now();
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    pub(crate) fn compared(&self) -> u64 {
        self.compared.load(Ordering::Relaxed)
    }
}

/// The same memory at two addresses, as two processes have it: to write, and to read.
pub(crate) fn two_mappings(len: usize) -> [crate::Region; 2] {
    use std::os::fd::AsFd;

    use crate::sys::memory::{Access, Reservation};
    let file = tempfile::tempfile_in("/dev/shm").unwrap();
    let len = len.next_multiple_of(4096);
    file.set_len(len as u64).unwrap();
    [Access::ReadWrite, Access::ReadOnly].map(|access| {
        let place = Reservation::new(len, 4096).unwrap();
        place.map_shared(0, len, file.as_fd(), access).unwrap()
    })
}

/// splitmix64, from which the tests draw.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
