//! Atomics whose every store is a numbered point at which a writer may end: what one that is killed leaves
//! behind can so be tried at each of its stores, by this crate's tests ([`die_at`]: the thread unwinds) and
//! by `tests/crash_points` ([`arm`]: the process exits).
//!
//! Layout: as `core`'s, whose words they wrap. Order: a point stands before its store; a
//! compare-and-swap counts whether it succeeds or not. Stores of packet bytes are not among them:
//! they publish nothing.

use core::sync::atomic::{self, Ordering};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The exit code of a process that ended at its point.
pub const CRASHED: i32 = 86;

thread_local! {
    /// Stores until this thread ends, that one included; 0: it lives.
    static LEFT: Cell<u64> = const { Cell::new(0) };
    /// Stores of this thread so far.
    static SEEN: Cell<u64> = const { Cell::new(0) };
    /// It ends with its whole process.
    static EXITS: Cell<bool> = const { Cell::new(false) };
}

/// What a death unwinds with.
struct Died;

/// This process ends before this thread's store number `point`, counted from 0 and from here on.
pub fn arm(point: u32) {
    EXITS.set(true);
    LEFT.set(u64::from(point) + 1);
}

/// Nothing ends any more.
pub fn disarm() {
    LEFT.set(0);
    EXITS.set(false);
}

/// Runs `write` and ends it before its store number `point`, from 1; whether there was one.
pub fn die_at(point: u64, write: impl FnOnce()) -> bool {
    LEFT.set(point);
    let end = catch_unwind(AssertUnwindSafe(write));
    LEFT.set(0);
    match end {
        Ok(()) => false,
        Err(why) if why.is::<Died>() => true,
        Err(why) => resume_unwind(why),
    }
}

/// How many stores `write` makes.
pub fn stores(write: impl FnOnce()) -> u64 {
    let before = SEEN.get();
    write();
    SEEN.get() - before
}

/// Counts all stores of `write` as one: of bytes that nothing names yet, any part is as good as none.
pub fn as_one<R>(write: impl FnOnce() -> R) -> R {
    point();
    let (left, seen) = (LEFT.replace(0), SEEN.get());
    let done = write();
    LEFT.set(left);
    SEEN.set(seen);
    done
}

#[inline]
fn point() {
    SEEN.set(SEEN.get() + 1);
    let left = LEFT.get();
    if left == 0 {
        return;
    }
    LEFT.set(left - 1);
    if left > 1 {
        return;
    }
    if EXITS.get() {
        // SAFETY: ends the process at once, without destructors: that is its purpose.
        unsafe { libc::_exit(CRASHED) };
    }
    resume_unwind(Box::new(Died));
}

macro_rules! word {
    ($name:ident, $value:ty) => {
        /// As `core`'s, with a point before each store.
        #[derive(Debug, Default)]
        #[repr(transparent)]
        pub struct $name(atomic::$name);

        impl $name {
            /// A word of this process.
            pub const fn new(value: $value) -> $name {
                $name(atomic::$name::new(value))
            }

            /// Where it lies.
            pub const fn as_ptr(&self) -> *mut $value {
                self.0.as_ptr()
            }

            /// Loads it.
            #[inline]
            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(order)
            }

            /// Stores it.
            #[inline]
            pub fn store(&self, value: $value, order: Ordering) {
                point();
                self.0.store(value, order);
            }

            /// Stores it and gives what was there.
            #[inline]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.swap(value, order)
            }

            /// Stores `new` if `old` is there.
            ///
            /// # Errors
            /// What is there instead.
            #[inline]
            pub fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                ok: Ordering,
                lost: Ordering,
            ) -> Result<$value, $value> {
                point();
                self.0.compare_exchange(old, new, ok, lost)
            }

            /// The same; may fail for no reason.
            ///
            /// # Errors
            /// What is there.
            #[inline]
            pub fn compare_exchange_weak(
                &self,
                old: $value,
                new: $value,
                ok: Ordering,
                lost: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(old, new, ok, lost)
            }

            /// Its value, by exclusive access.
            pub fn get_mut(&mut self) -> &mut $value {
                self.0.get_mut()
            }

            /// Its value.
            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }
        }
    };
}

macro_rules! number {
    ($name:ident, $value:ty) => {
        word!($name, $value);
        number!($name, $value, fetch_add, "Adds; gives what was there.");
        number!($name, $value, fetch_sub, "Subtracts; gives what was there.");
        number!($name, $value, fetch_or, "Sets bits; gives what was there.");
        number!(
            $name,
            $value,
            fetch_and,
            "Keeps bits; gives what was there."
        );
        number!(
            $name,
            $value,
            fetch_xor,
            "Turns bits; gives what was there."
        );
        number!(
            $name,
            $value,
            fetch_max,
            "The greater of both; gives what was there."
        );
    };
    ($name:ident, $value:ty, $verb:ident, $doc:literal) => {
        impl $name {
            #[doc = $doc]
            #[inline]
            pub fn $verb(&self, value: $value, order: Ordering) -> $value {
                point();
                self.0.$verb(value, order)
            }
        }
    };
}

word!(AtomicBool, bool);
number!(AtomicU8, u8);
number!(AtomicU16, u16);
number!(AtomicU32, u32);
number!(AtomicU64, u64);
number!(AtomicUsize, usize);
