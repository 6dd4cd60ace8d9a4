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

/// Stores words `AT` and `AT + 1`, Relaxed each; in one instruction where the processor has one: it makes one or
/// two stores a cycle. Where writers are ended at their stores there are two to end at.
#[cfg(not(loom))]
#[inline(always)]
pub(crate) fn store_two<const AT: usize, const N: usize>(words: &[AtomicU64; N], values: [u64; 2]) {
    const { assert!(AT + 2 <= N) };
    #[cfg(target_arch = "x86_64")]
    if cfg!(not(any(miri, test, feature = "crash-points"))) {
        return store_together::<AT, N>(words, values);
    }
    words[AT].store(values[0], Ordering::Relaxed);
    words[AT + 1].store(values[1], Ordering::Relaxed);
}

#[cfg(all(not(loom), target_arch = "x86_64"))]
#[inline(always)]
fn store_together<const AT: usize, const N: usize>(words: &[AtomicU64; N], values: [u64; 2]) {
    use core::arch::x86_64::{__m128i, _mm_set_epi64x};
    let [low, high] = values.map(u64::cast_signed);
    // SAFETY: SSE2 is part of x86-64.
    let both: __m128i = unsafe { _mm_set_epi64x(high, low) };
    // JUSTIFICATION: of two atomic stores the compiler makes two instructions; an ordinary one of 16 bytes would be
    // undefined beside the loads of others.
    // SAFETY: both are among the words, which may be written while others look, and no processor tears an aligned
    // half of eight bytes, so this does what two relaxed stores do.
    unsafe {
        core::arch::asm!(
            "movups [{words} + {at}], {both}",
            words = in(reg) words.as_ptr(),
            at = const AT * 8,
            both = in(xmm_reg) both,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(not(loom), target_arch = "x86_64"))]
    fn two_words_stored_together_are_what_two_stores_leave() {
        let words = [const { AtomicU64::new(0) }; 4];
        let values = [0x0123_4567_89ab_cdef, u64::MAX - 1];
        store_together::<1, 4>(&words, values);
        let there = words.each_ref().map(|word| word.load(Ordering::Relaxed));
        assert_eq!(there, [0, values[0], values[1], 0]);
        store_two::<0, 4>(&words, [7, 8]);
        let there = words.each_ref().map(|word| word.load(Ordering::Relaxed));
        assert_eq!(there, [7, 8, values[1], 0]);
    }

    #[test]
    #[cfg(not(loom))]
    fn a_word_is_eight_bytes_wherever_it_is_shared() {
        assert_eq!((size_of::<AtomicU64>(), align_of::<AtomicU64>()), (8, 8));
    }
}
