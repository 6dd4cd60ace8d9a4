//! Atomics whose every store is a numbered point at which the process may end: what a writer that is
//! killed leaves behind can so be tried at each of its stores (`tests/crash_points`).
//!
//! Layout: as `core`'s, whose words they wrap. Order: a point stands before its store; a
//! compare-and-swap counts whether it succeeds or not. Stores of packet bytes are not among them:
//! they publish nothing.

use core::sync::atomic::{self, Ordering};

/// The exit code of a process that ended at its point.
pub const CRASHED: i32 = 86;

/// Stores left before the end; negative: none is counted.
static LEFT: atomic::AtomicI64 = atomic::AtomicI64::new(-1);

/// This process ends before its store number `point`, counted from 0 and from here on.
pub fn arm(point: u32) {
    LEFT.store(i64::from(point), Ordering::Relaxed);
}

/// Nothing ends any more; the stores that were left.
pub fn disarm() -> u32 {
    u32::try_from(LEFT.swap(-1, Ordering::Relaxed)).unwrap_or(0)
}

#[inline]
fn point() {
    let left = LEFT.load(Ordering::Relaxed);
    if left < 0 {
        return;
    }
    if left == 0 {
        // SAFETY: ends the process at once, without destructors: that is its purpose.
        unsafe { libc::_exit(CRASHED) };
    }
    LEFT.store(left - 1, Ordering::Relaxed);
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
