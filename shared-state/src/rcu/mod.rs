//! RCU by quiescent states (QSBR) across processes: when may what was unlinked be used again?
//!
//! A reader says between two bursts that it holds nothing ([`Reader::quiescent`]: two loads, and
//! a store if a writer has asked since). A writer unlinks, takes a token ([`Qsbr::start`]) and may
//! use the memory again when [`Qsbr::check`] says that every reader has been quiescent since.
//! [`DeferQueue`] keeps (token, value) pairs until then, in shared memory, so that another process
//! goes on reclaiming when the writer has died.
//!
//! Layout
//! ```text
//!   0 magic u32, slots u32     64 token u64     128 acked u64, words of `registered` in use u64
//! 192 registered: a bit for each slot                    256 slots x 64 bytes: seen u64
//! seen: 0 = offline | the token at its last quiescent state
//! ```
//! Tools show [`QsbrHead`] and [`DeferHead`], the zones' stored schemas. The readers' words and the queue's entries
//! are no rows of these zones, which do not begin with them ([`Qsbr::is_online`], [`DeferQueue::values`]).
//!
//! Order: `start` is a locked add behind the unlinking stores; a reader loads the token (Acquire)
//! and stores it into its slot (Release), `check` loads it (Acquire). So what a reader loaded
//! before is over when `check` sees its token, and what it loads afterwards is the new. Going
//! online needs a full barrier between its store and its first load, being quiescent does not.
//!
//! Failure: a reader that dies online blocks nobody for longer than one `check`: whoever finds its
//! slot behind asks `is_dead` and takes it offline by compare-and-swap. That never hits a thread
//! which took the slot over: `check` reads the slot, then the lifeline. A thread that holds the
//! lifeline later goes online with a token at least as new as the one waited for, and the swap
//! expects an older one. A writer that dies after `start` has used up a number, nothing else.
//!
//! `is_dead` may be `|slot| lifelines.status(slot) == Status::Dead`. A slot that never had a
//! lifeline is not dead, so readers without one (tests) are waited for.

mod defer;
mod head;

pub use defer::DeferQueue;
pub use head::{DeferHead, QsbrHead};

use thiserror::Error;

use crate::limits::LCORE_SLOTS;
use crate::region::{Region, RegionError};
use crate::sync::{AtomicU64, Ordering};

const MAGIC: u32 = u32::from_le_bytes(*b"qsbr");
const SLOTS_AT: usize = 4;
const TOKEN_AT: usize = 64;
const ACKED_AT: usize = 128;
const WORDS_AT: usize = 136;
const REGISTERED_AT: usize = 192;
const READERS_AT: usize = 256;
const LINE: usize = 64;
const WORDS_PER_LINE: usize = LINE / size_of::<u64>();
const OFFLINE: u64 = 0;
const FIRST_TOKEN: u64 = 1;

/// Why there is no RCU here.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum RcuError {
    /// Not what it should be.
    #[error("{what} {wanted:#010x} expected, {found:#010x} found")]
    Kind {
        /// Which structure.
        what: &'static str,
        /// The magic number found.
        found: u32,
        /// The magic number wanted.
        wanted: u32,
    },
    /// A number that cannot be.
    #[error("{what}: {found} found, possible is up to {most}")]
    Number {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The most possible.
        most: u64,
    },
    /// The queue holds as much as it can.
    #[error("all {capacity} entries of the queue wait for their readers")]
    Full {
        /// Entries of the queue.
        capacity: u32,
    },
    /// The region is smaller than the structure.
    #[error("region too small: {0}")]
    Region(#[from] RegionError),
}

/// The words by which readers and writers agree; copies are the same words.
#[derive(Clone, Copy)]
pub struct Qsbr {
    token: &'static AtomicU64,
    acked: &'static AtomicU64,
    words: &'static AtomicU64,
    registered: &'static [AtomicU64],
    readers: &'static [AtomicU64],
}

/// One reader's slot. Dropping it goes offline.
#[derive(Debug)]
pub struct Reader {
    token: &'static AtomicU64,
    seen: &'static AtomicU64,
    slot: u16,
}

impl Qsbr {
    /// Bytes for all lcore slots.
    pub const fn bytes() -> usize {
        READERS_AT + LCORE_SLOTS * LINE
    }

    /// Makes one in a zeroed region nobody else uses yet.
    pub fn create(region: Region) -> Result<Qsbr, RcuError> {
        region.slice(0, Self::bytes())?;
        region
            .u32(SLOTS_AT)
            .store(LCORE_SLOTS as u32, Ordering::Relaxed);
        region.u64(TOKEN_AT).store(FIRST_TOKEN, Ordering::Relaxed);
        region.u32(0).store(MAGIC, Ordering::Release);
        Self::attach(region)
    }

    /// Opens one that another process made.
    pub fn attach(region: Region) -> Result<Qsbr, RcuError> {
        let region = region.slice(0, Self::bytes())?;
        check_magic("qsbr", region.u32(0).load(Ordering::Acquire), MAGIC)?;
        let (found, most) = (region.u32(SLOTS_AT), LCORE_SLOTS as u64);
        let found = u64::from(found.load(Ordering::Relaxed));
        if found != most {
            let what = "slots";
            return Err(RcuError::Number { what, found, most });
        }
        Ok(Qsbr {
            token: region.u64(TOKEN_AT),
            acked: region.u64(ACKED_AT),
            words: region.u64(WORDS_AT),
            registered: region.u64s(REGISTERED_AT, LCORE_SLOTS / 64),
            readers: region.u64s(READERS_AT, LCORE_SLOTS * WORDS_PER_LINE),
        })
    }

    /// The reader of an lcore slot, offline. The caller is the slot's only thread (it holds the
    /// slot's lifeline), so what a dead predecessor left there is cleared.
    pub fn reader(&self, slot: u16) -> Result<Reader, RcuError> {
        if usize::from(slot) >= LCORE_SLOTS {
            let (what, found, most) = ("lcore slot", slot.into(), LCORE_SLOTS as u64 - 1);
            return Err(RcuError::Number { what, found, most });
        }
        let seen = self.seen(slot);
        seen.store(OFFLINE, Ordering::Release);
        let (word, bit) = (usize::from(slot) / 64, 1 << (slot % 64));
        self.registered[word].fetch_or(bit, Ordering::SeqCst);
        self.words.fetch_or(1 << word, Ordering::SeqCst);
        let token = self.token;
        Ok(Reader { token, seen, slot })
    }

    /// A token for what was unlinked before this call.
    #[inline]
    pub fn start(&self) -> u64 {
        let token = self.token.fetch_add(1, Ordering::SeqCst) + 1;
        #[cfg(not(target_arch = "x86_64"))]
        crate::sync::fence(Ordering::SeqCst); // There a locked add is a full barrier by itself.
        token
    }

    /// Whether every reader has been quiescent or offline since `token` was given out. Readers
    /// that are behind and for which `is_dead` says so are taken offline on the way.
    #[inline]
    pub fn check(&self, token: u64, mut is_dead: impl FnMut(u16) -> bool) -> bool {
        if self.acked.load(Ordering::Acquire) >= token {
            return true;
        }
        let mut least = u64::MAX;
        let mut words = self.words.load(Ordering::Acquire);
        while words != 0 {
            let word = words.trailing_zeros() as usize % self.registered.len();
            words &= words - 1;
            let mut bits = self.registered[word].load(Ordering::Acquire);
            while bits != 0 {
                let slot = (word * 64) as u16 + bits.trailing_zeros() as u16;
                bits &= bits - 1;
                let mut seen = self.seen(slot).load(Ordering::Acquire);
                while seen != OFFLINE && seen < token {
                    if !is_dead(slot) {
                        return false;
                    }
                    seen = self.take_offline(slot, seen);
                }
                if seen != OFFLINE {
                    least = least.min(seen);
                }
            }
        }
        let acked = if least == u64::MAX { token } else { least };
        // A race with another `check` may store the smaller one: only a short cut is lost.
        self.acked.store(acked, Ordering::Release);
        true
    }

    /// Starts a grace period and spins until it is over. The calling thread's own reader must be
    /// offline.
    pub fn synchronize(&self, mut is_dead: impl FnMut(u16) -> bool) {
        let token = self.start();
        while !self.check(token, &mut is_dead) {
            core::hint::spin_loop();
        }
    }

    /// Whether the reader of a slot is online; for status output.
    pub fn is_online(&self, slot: u16) -> bool {
        let slot = usize::from(slot) * WORDS_PER_LINE;
        self.readers
            .get(slot)
            .is_some_and(|seen| seen.load(Ordering::Acquire) != OFFLINE)
    }

    /// Takes a dead reader offline unless its slot changed since; what the slot holds now.
    #[cold]
    fn take_offline(&self, slot: u16, seen: u64) -> u64 {
        let (ok, lost) = (Ordering::AcqRel, Ordering::Acquire);
        match self.seen(slot).compare_exchange(seen, OFFLINE, ok, lost) {
            Ok(_) => OFFLINE,
            Err(now) => now,
        }
    }

    #[inline(always)]
    fn seen(&self, slot: u16) -> &'static AtomicU64 {
        &self.readers[usize::from(slot) * WORDS_PER_LINE]
    }
}

impl Reader {
    /// Begins to be waited for. What is loaded afterwards is safe until the next
    /// [`Reader::quiescent`] or [`Reader::offline`].
    #[inline]
    pub fn online(&self) {
        let token = self.token.load(Ordering::Acquire);
        // The store must be seen before the first load of what is protected: a full barrier,
        // which an exchange is on x86-64 (and half as dear as `mfence`).
        #[cfg(target_arch = "x86_64")]
        self.seen.swap(token, Ordering::SeqCst);
        #[cfg(not(target_arch = "x86_64"))]
        {
            self.seen.store(token, Ordering::SeqCst);
            crate::sync::fence(Ordering::SeqCst);
        }
    }

    /// Says that this reader holds nothing it loaded before.
    #[inline(always)]
    pub fn quiescent(&self) {
        let token = self.token.load(Ordering::Acquire);
        if self.seen.load(Ordering::Relaxed) != token {
            self.seen.store(token, Ordering::Release);
        }
    }

    /// Ends to be waited for: holds nothing and will load nothing until it is online again.
    #[inline]
    pub fn offline(&self) {
        self.seen.store(OFFLINE, Ordering::Release);
    }

    /// The lcore slot.
    pub fn slot(&self) -> u16 {
        self.slot
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.offline();
    }
}

impl core::fmt::Debug for Qsbr {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Qsbr(token {})", self.token.load(Ordering::Relaxed))
    }
}

fn check_magic(what: &'static str, found: u32, wanted: u32) -> Result<(), RcuError> {
    if found == wanted {
        return Ok(());
    }
    Err(RcuError::Kind {
        what,
        found,
        wanted,
    })
}

#[cfg(test)]
mod tests;
