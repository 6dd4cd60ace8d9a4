//! The atomic types of the workspace: `core`'s, or `loom`'s under `--cfg loom`.
//!
//! Every word that several threads or processes touch is one of these, so that a model checker
//! can be put under the algorithms by changing this file alone.

#[cfg(not(loom))]
pub use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence,
    fence,
};
#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

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
