//! The atomic types of the workspace: `core`'s, `loom`'s under `--cfg loom`, or in this crate's tests and
//! with the feature `crash-points` `crash`'s, which can end a writer before any one of its stores.
//!
//! Every word that several threads or processes touch is one of these, so that a model checker
//! can be put under the algorithms by changing this file alone.

#[cfg(all(any(test, feature = "crash-points"), not(loom)))]
pub mod crash;

#[cfg(not(any(loom, test, feature = "crash-points")))]
pub use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(not(loom))]
pub use core::sync::atomic::{Ordering, compiler_fence, fence};
#[cfg(all(any(test, feature = "crash-points"), not(loom)))]
pub(crate) use crash::as_one;
#[cfg(all(any(test, feature = "crash-points"), not(loom)))]
pub use crash::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Runs `write`; where writers are ended at their stores, all of its are one.
#[cfg(any(loom, not(any(test, feature = "crash-points"))))]
#[inline(always)]
pub(crate) fn as_one<R>(write: impl FnOnce() -> R) -> R {
    write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_eight_bytes_wherever_it_is_shared() {
        #[cfg(not(loom))]
        assert_eq!((size_of::<AtomicU64>(), align_of::<AtomicU64>()), (8, 8));
        assert_eq!(Ordering::Relaxed, Ordering::Relaxed);
    }
}
