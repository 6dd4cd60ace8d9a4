//! Sleeping on words that several processes share.
//!
//! A wait returns when the word no longer has the value its caller saw, when somebody wakes it,
//! or at its timeout: the caller looks at the word again in every case. Words are shared ones
//! (never `FUTEX_PRIVATE`), so the kernel finds them by file and offset, at any address.

use core::time::Duration;
use std::io;

use super::checked;
use crate::sync::AtomicU32;

/// Words that one [`futex_waitv`] may watch (`FUTEX_WAITV_MAX` of the kernel).
pub const MAX_WAITS: usize = 128;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The word at this place in the list was woken.
    Woken(usize),
    /// A word had another value already.
    Changed,
    /// The time is over.
    TimedOut,
    /// A signal arrived.
    Interrupted,
}

/// Sleeps while `word` is `expected`, at most `timeout`.
pub fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) -> io::Result<WaitOutcome> {
    futex_waitv(&[(word, expected)], timeout)
}

/// Sleeps while every word has its expected value, at most `timeout`.
///
/// # Panics
/// With more than [`MAX_WAITS`] words.
pub fn futex_waitv(words: &[(&AtomicU32, u32)], timeout: Duration) -> io::Result<WaitOutcome> {
    assert!(
        words.len() <= MAX_WAITS,
        "{} words to wait for",
        words.len()
    );
    if words.is_empty() {
        std::thread::sleep(timeout);
        return Ok(WaitOutcome::TimedOut);
    }
    let waiters: Vec<WaitV> = words
        .iter()
        .map(|(word, expected)| WaitV {
            val: u64::from(*expected),
            uaddr: word.as_ptr().expose_provenance() as u64,
            flags: FUTEX2_SIZE_U32,
            reserved: 0,
        })
        .collect();
    let until = deadline(timeout);
    // SAFETY: `waiters` and `until` live over the call, and each address is a live word.
    let result = checked(unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            waiters.len(),
            0,
            &raw const until,
            libc::CLOCK_MONOTONIC,
        )
    });
    match result {
        Ok(index) => Ok(WaitOutcome::Woken(usize::try_from(index).unwrap_or(0))),
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Ok(WaitOutcome::Changed),
            Some(libc::ETIMEDOUT) => Ok(WaitOutcome::TimedOut),
            Some(libc::EINTR) => Ok(WaitOutcome::Interrupted),
            _ => Err(error),
        },
    }
}

/// Wakes up to `count` sleepers of `word`; says how many there were.
pub fn futex_wake(word: &AtomicU32, count: u32) -> io::Result<usize> {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: the address is a live word; the kernel only looks at where it lies.
    let woken =
        checked(unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) })?;
    Ok(usize::try_from(woken).unwrap_or(0))
}

/// `struct futex_waitv` of `linux/futex.h`.
#[repr(C)]
struct WaitV {
    val: u64,
    uaddr: u64,
    flags: u32,
    reserved: u32,
}

/// `FUTEX2_SIZE_U32` of `linux/futex.h`; without `FUTEX2_PRIVATE` the word is a shared one.
const FUTEX2_SIZE_U32: u32 = 2;

/// `futex_waitv` takes a point in time, not a length.
fn deadline(timeout: Duration) -> libc::timespec {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    let nanos = now.tv_nsec + i64::from(timeout.subsec_nanos());
    let whole = i64::try_from(timeout.as_secs().min(1 << 40)).unwrap_or(0);
    libc::timespec {
        tv_sec: now.tv_sec + whole + nanos / 1_000_000_000,
        tv_nsec: nanos % 1_000_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Region;
    use crate::sync::Ordering;

    #[test]
    fn another_value_ends_the_wait_before_it_begins() {
        let word = Region::private(64).u32(0);
        word.store(3, Ordering::Relaxed);
        let outcome = futex_wait(word, 2, Duration::from_secs(10)).unwrap();
        assert_eq!(outcome, WaitOutcome::Changed);
    }

    #[test]
    fn nobody_wakes_means_timed_out() {
        let word = Region::private(64).u32(0);
        let outcome = futex_wait(word, 0, Duration::from_millis(2)).unwrap();
        assert_eq!(outcome, WaitOutcome::TimedOut);
        let outcome = futex_waitv(&[], Duration::from_millis(1)).unwrap();
        assert_eq!(outcome, WaitOutcome::TimedOut);
    }

    #[test]
    fn one_of_several_words_wakes_the_sleeper_and_names_itself() {
        let words = Region::private(64).u32s(0, 3);
        let sleeper = std::thread::spawn(|| {
            let watched: Vec<_> = words.iter().map(|w| (w, 0)).collect();
            futex_waitv(&watched, Duration::from_secs(20)).unwrap()
        });
        while futex_wake(&words[2], 1).unwrap() == 0 && !sleeper.is_finished() {
            std::thread::yield_now();
        }
        assert_eq!(sleeper.join().unwrap(), WaitOutcome::Woken(2));
    }
}
