//! Values in arrays of 64-bit words: rows at hand after one bounds check, copies word by word.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sync::{AtomicU64, Ordering};

/// Bytes of a word.
pub(super) const WORD: usize = size_of::<u64>();

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

#[cold]
#[inline(never)]
fn no_row(id: u32, rows: usize) -> ! {
    panic!("row {id} of {rows}");
}

/// A copy of the value that the words begin with.
#[inline(always)]
pub(super) fn load<T: FromBytes + IntoBytes>(words: &[AtomicU64]) -> T {
    let mut value = T::new_zeroed();
    for (bytes, word) in value.as_mut_bytes().chunks_mut(WORD).zip(words) {
        let word = word.load(Ordering::Relaxed).to_le_bytes();
        bytes.copy_from_slice(&word[..bytes.len()]);
    }
    value
}

/// Stores a value; what is left of its last word becomes zero.
#[inline(always)]
pub(super) fn store<T: IntoBytes + Immutable>(words: &[AtomicU64], value: &T) {
    for (bytes, word) in value.as_bytes().chunks(WORD).zip(words) {
        word.store(padded(bytes), Ordering::Relaxed);
    }
}

/// Whether the words are what [`store`] makes of `value`.
#[inline(always)]
pub(super) fn same<T: IntoBytes + Immutable>(words: &[AtomicU64], value: &T) -> bool {
    let mut differ = 0;
    for (bytes, word) in value.as_bytes().chunks(WORD).zip(words) {
        differ |= word.load(Ordering::Relaxed) ^ padded(bytes);
    }
    differ == 0
}

#[inline(always)]
fn padded(bytes: &[u8]) -> u64 {
    let mut word = [0; WORD];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}
