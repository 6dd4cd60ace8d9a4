//! Values in arrays of 64-bit words: rows at hand after one bounds check, copies word by word.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::simd::prefetch;
use crate::sync::{AtomicU64, Ordering};

/// Bytes of a word.
pub(super) const WORD: usize = size_of::<u64>();
const CACHE_LINE: usize = 64;

/// The words of row `id`, each row having `n`.
///
/// # Panics
/// When there is no such row.
#[inline(always)]
pub(super) fn row(words: &'static [AtomicU64], id: u32, n: usize) -> &'static [AtomicU64] {
    let from = id as usize * n;
    match words.get(from..from + n) {
        Some(row) => row,
        None => no_row(id, words.len() / n),
    }
}

/// Brings row `id` into the processor's cache; one that does not exist is let be.
#[inline(always)]
pub(super) fn prefetch_row(words: &'static [AtomicU64], id: u32, n: usize) {
    let row = words.as_ptr().wrapping_add(id as usize * n);
    prefetch(row);
    if !CACHE_LINE.is_multiple_of(n * WORD) {
        // Some rows lie in two lines.
        prefetch(row.wrapping_add(n - 1));
    }
}

#[cold]
#[inline(never)]
pub(super) fn no_row(id: u32, rows: usize) -> ! {
    panic!("row {id} of {rows}");
}

/// A copy of the value that the words begin with.
#[inline(always)]
pub(super) fn load<T: FromBytes + IntoBytes>(words: &[AtomicU64]) -> T {
    let mut value = T::new_zeroed();
    // Whole words first: a copy of a length known to the compiler is a store, not a call.
    let (whole, rest) = value.as_mut_bytes().as_chunks_mut::<WORD>();
    for (bytes, word) in whole.iter_mut().zip(words) {
        *bytes = word.load(Ordering::Relaxed).to_le_bytes();
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(whole.len())) {
        let word = word.load(Ordering::Relaxed).to_le_bytes();
        rest.copy_from_slice(&word[..rest.len()]);
    }
    value
}

/// Stores a value; what is left of its last word becomes zero.
#[inline(always)]
pub(super) fn store<T: IntoBytes + Immutable>(words: &[AtomicU64], value: &T) {
    let (whole, rest) = value.as_bytes().as_chunks::<WORD>();
    for (bytes, word) in whole.iter().zip(words) {
        word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(whole.len())) {
        word.store(padded(rest), Ordering::Relaxed);
    }
}

/// Whether the words are what [`store`] makes of `value`.
#[inline(always)]
pub(super) fn same<T: IntoBytes + Immutable>(words: &[AtomicU64], value: &T) -> bool {
    let mut differ = 0;
    let (whole, rest) = value.as_bytes().as_chunks::<WORD>();
    for (bytes, word) in whole.iter().zip(words) {
        differ |= word.load(Ordering::Relaxed) ^ u64::from_le_bytes(*bytes);
    }
    if let (false, Some(word)) = (rest.is_empty(), words.get(whole.len())) {
        differ |= word.load(Ordering::Relaxed) ^ padded(rest);
    }
    differ == 0
}

#[inline(always)]
fn padded(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
