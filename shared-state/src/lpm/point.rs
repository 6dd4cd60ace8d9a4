//! Crash points: every store of a writer to shared memory is one, for the tests to die at.

/// Stands before a store.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn passed() {}

#[cfg(test)]
pub(crate) use armed::{die_at, passed};

#[cfg(test)]
mod armed {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    thread_local! {
        /// Stores until this thread dies; 0: it lives.
        static LEFT: Cell<u64> = const { Cell::new(0) };
    }

    /// What a death unwinds with.
    struct Died;

    pub(crate) fn passed() {
        let left = LEFT.get();
        if left > 0 {
            LEFT.set(left - 1);
            if left == 1 {
                resume_unwind(Box::new(Died));
            }
        }
    }

    /// Runs `write` and dies before its store number `point` (from 1); whether there was one.
    pub(crate) fn die_at(point: u64, write: impl FnOnce()) -> bool {
        LEFT.set(point);
        let end = catch_unwind(AssertUnwindSafe(write));
        LEFT.set(0);
        match end {
            Ok(()) => false,
            Err(why) if why.is::<Died>() => true,
            Err(why) => resume_unwind(why),
        }
    }
}
