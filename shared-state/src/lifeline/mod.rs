//! Lifelines: one word for each lcore thread, by which the kernel reports its death.
//!
//! Layout: `LCORE_SLOTS` lines of 64 bytes in the `lifelines` segment, each a 32-bit word:
//! ```text
//!  0                      never held
//!  thread id | WAITERS    held: the thread lives
//!  OWNER_DIED (| WAITERS) its thread ended: killed, exec'd, returned, or let go
//! ```
//! Invariants
//! - L1 A word reads alive only while the thread that stored it lives (or is being killed): the
//!   kernel changes it when the thread ends, before its memory goes away.
//!   A thread that holds one never calls `exec` itself (the kernel gives it another number first
//!   and then does not know the word); another thread of its process may.
//! - L2 It is not a lock: nobody waits for it in order to work, and a kill leaves it reporting.
//! - L3 Words of another boot are void: nobody will ever mark them, so they read dead.
//!
//! Order: what a thread stored before its end is seen by whoever reads its word dead (the kernel's
//! store and the load here are ordered).
//!
//! Failure: the kernel wakes one sleeper; whoever finds a word dead wakes the others.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use thiserror::Error;

use crate::arena::layout::{LIFELINE_STRIDE, LIFELINES, LIFELINES_LEN};
use crate::arena::{Arena, ArenaError};
use crate::directory::Directory;
use crate::limits::LCORE_SLOTS;
use crate::region::Region;
use crate::sync::{AtomicU32, Ordering};
use crate::sys::robust::{OWNER_DIED, RobustWord, TID_MASK, WAITERS};
pub use crate::sys::{WaitOutcome, futex::MAX_WAITS};
use crate::sys::{futex_waitv, futex_wake, gettid};

/// What a lifeline says about its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// No thread has held it.
    Never,
    /// Its thread lives.
    Alive,
    /// Its thread has ended.
    Dead,
}

/// A lifeline that cannot be held or watched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LifelineError {
    /// The arena has no lifelines (an image, or the files of a dead instance).
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// There are not so many.
    #[error("lcore slot {slot} of {slots}")]
    NoSuchSlot {
        /// What was asked for.
        slot: u16,
        /// How many there are.
        slots: usize,
    },
    /// Another thread lives in this slot.
    #[error("the lifeline of lcore slot {slot} is held by thread {tid}: two tenants in one slot")]
    Held {
        /// The slot.
        slot: u16,
        /// Who holds it.
        tid: u32,
    },
    /// The kernel refused.
    #[error("lifeline of lcore slot {slot}: {source}")]
    System {
        /// The slot.
        slot: u16,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The calling thread's lifeline. Dropping it reports the thread as ended, so it is dropped after
/// the thread's last access to anything it owns.
#[derive(Debug)]
pub struct Lifeline {
    robust: RobustWord,
    slot: u16,
}

/// All lifelines of an instance, to look at; copies are the same words.
#[derive(Debug, Clone, Copy)]
pub struct Lifelines {
    words: Region,
    void: bool,
}

impl Lifeline {
    /// Takes the lifeline of an lcore slot for the calling thread, until it ends.
    pub fn hold(arena: &Arena, slot: u16) -> Result<Lifeline, LifelineError> {
        let found = Lifelines::open(arena)?.word(slot)?.load(Ordering::Acquire);
        if is_alive(found) {
            let tid = found & TID_MASK;
            return Err(LifelineError::Held { slot, tid });
        }
        let none = || LifelineError::System {
            slot,
            source: io::ErrorKind::Unsupported.into(),
        };
        let fd = arena.segment_fd(LIFELINES).ok_or_else(none)?;
        let failed = |source| LifelineError::System { slot, source };
        let len = LIFELINES_LEN as usize;
        let robust = RobustWord::register(fd.as_fd(), len, at(slot)).map_err(failed)?;
        // Registered first, stored second: a kill in between finds another value and does nothing.
        let mine = gettid() | WAITERS;
        let (ok, lost) = (Ordering::AcqRel, Ordering::Acquire);
        match robust.word().compare_exchange(found, mine, ok, lost) {
            Ok(_) => Ok(Lifeline { robust, slot }),
            Err(other) => Err(LifelineError::Held {
                slot,
                tid: other & TID_MASK,
            }),
        }
    }

    /// The lcore slot.
    pub fn slot(&self) -> u16 {
        self.slot
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        let word = self.robust.word();
        word.store(OWNER_DIED, Ordering::Release);
        let _ = futex_wake(word, u32::MAX);
    }
}

impl Lifelines {
    /// The lifelines of an arena. Those of another boot are void (L3).
    pub fn open(arena: &Arena) -> Result<Lifelines, LifelineError> {
        let words = arena.require(LIFELINES)?;
        // An arena whose header is not written yet is being made, in this boot.
        let void = Directory::inspect(arena).is_ok_and(|d| !d.is_of_this_boot());
        let void = void || arena.segment_fd(LIFELINES).is_none();
        Ok(Lifelines { words, void })
    }

    /// What the lifeline of a slot says. A caller that will take from a dead owner reads the owner
    /// word first and this second.
    pub fn status(&self, slot: u16) -> Status {
        match self.word(slot).map(|word| word.load(Ordering::Acquire)) {
            Err(_) | Ok(0) => Status::Never,
            Ok(word) if is_alive(word) && !self.void => Status::Alive,
            Ok(_) => Status::Dead,
        }
    }

    /// The word of a slot, to be waited for.
    pub fn word(&self, slot: u16) -> Result<&'static AtomicU32, LifelineError> {
        let slots = LCORE_SLOTS;
        if usize::from(slot) >= slots {
            return Err(LifelineError::NoSuchSlot { slot, slots });
        }
        Ok(self.words.u32(at(slot)))
    }

    /// Sleeps until one of `slots` is no longer alive or `timeout` is over; returns the first that
    /// is dead. Slots that never lived are not waited for.
    pub fn wait_dead(&self, slots: &[u16], timeout: Duration) -> Option<u16> {
        let until = std::time::Instant::now() + timeout;
        loop {
            let mut watched = Vec::new();
            for slot in slots {
                let word = self.word(*slot).ok()?;
                let seen = word.load(Ordering::Acquire);
                if seen != 0 && (self.void || !is_alive(seen)) {
                    return Some(*slot);
                }
                watched.push((word, seen));
            }
            watched.truncate(MAX_WAITS);
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return None;
            }
            if wait(&watched, left).is_err() {
                std::thread::sleep(left.min(Duration::from_millis(1)));
            }
        }
    }
}

/// Sleeps while every word has its expected value, at most `timeout`: owner epochs and lifelines
/// together. A lifeline that died is passed on to its other sleepers.
pub fn wait(words: &[(&AtomicU32, u32)], timeout: Duration) -> io::Result<WaitOutcome> {
    let outcome = futex_waitv(words, timeout)?;
    if let WaitOutcome::Woken(index) = outcome
        && let Some((word, expected)) = words.get(index)
    {
        let now = word.load(Ordering::Acquire);
        if now != *expected && now & OWNER_DIED != 0 {
            futex_wake(word, u32::MAX)?;
        }
    }
    Ok(outcome)
}

/// Wakes up to `count` sleepers of a word.
pub fn wake(word: &AtomicU32, count: u32) -> io::Result<usize> {
    futex_wake(word, count)
}

fn is_alive(word: u32) -> bool {
    word & OWNER_DIED == 0 && word & TID_MASK != 0
}

fn at(slot: u16) -> usize {
    usize::from(slot) * LIFELINE_STRIDE
}
