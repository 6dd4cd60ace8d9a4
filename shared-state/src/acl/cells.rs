//! Stores and loads of the classifier's words; every store of a writer goes through this file.
//!
//! A table of cells has 16 bits each (IPv4, ports, protocols) or 32 (IPv6).

use zerocopy::{Immutable, IntoBytes};

use crate::region::Region;
use crate::sync::{AtomicU16, AtomicU32, Ordering, as_one};

/// A table of cells of 16 or 32 bits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cells {
    /// 16 bits each.
    Narrow(&'static [AtomicU16]),
    /// 32 bits each.
    Wide(&'static [AtomicU32]),
}

impl Cells {
    /// Cells of 16 bits at `offset` of a region, which is a multiple of 4.
    pub(super) fn narrow(region: Region, offset: usize, n: usize) -> Cells {
        Cells::Narrow(halves(region, offset, n))
    }

    /// Cells of 32 bits at `offset` of a region, which is a multiple of 4.
    pub(super) fn wide(region: Region, offset: usize, n: usize) -> Cells {
        Cells::Wide(region.u32s(offset, n))
    }

    /// The mark of a cell that names a node of a trie.
    #[inline]
    pub(super) const fn node_mark(&self) -> u32 {
        match self {
            Cells::Narrow(_) => 1 << 15,
            Cells::Wide(_) => 1 << 31,
        }
    }

    /// Where the first cell lies in this process.
    #[inline]
    pub(super) fn as_ptr(&self) -> *const u8 {
        match self {
            Cells::Narrow(cells) => cells.as_ptr().cast(),
            Cells::Wide(cells) => cells.as_ptr().cast(),
        }
    }

    #[inline]
    pub(super) fn get(&self, i: usize) -> u32 {
        match self {
            Cells::Narrow(cells) => u32::from(cells[i].load(Ordering::Acquire)),
            Cells::Wide(cells) => cells[i].load(Ordering::Acquire),
        }
    }

    #[inline]
    pub(super) fn set(&self, i: usize, value: u32) {
        match self {
            Cells::Narrow(cells) => cells[i].store(value as u16, Ordering::Release),
            Cells::Wide(cells) => cells[i].store(value, Ordering::Release),
        }
    }
}

/// `n` words of 16 bits at `offset`, which is a multiple of 4.
pub(super) fn halves(region: Region, offset: usize, n: usize) -> &'static [AtomicU16] {
    let words = region.u32s(offset, n.div_ceil(2));
    // SAFETY: the same bytes as `words`, at least `n` halves of them, aligned to 4; atomics of
    // 16 bits are as good a view of shared bytes as atomics of 32.
    unsafe { core::slice::from_raw_parts(words.as_ptr().cast(), n) }
}

/// Stores one word with Release: what publishes.
pub(super) fn publish(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
}

/// Stores one half word.
pub(super) fn set_half(word: &AtomicU16, value: u16) {
    word.store(value, Ordering::Release);
}

/// Stores bytes that nothing names yet: for who tries deaths two stores, one of each half.
pub(super) fn put<T: IntoBytes + Immutable + ?Sized>(region: Region, offset: usize, value: &T) {
    let bytes = value.as_bytes();
    let (head, tail) = bytes.split_at((bytes.len() / 2) & !7);
    as_one(|| region.copy_in(offset, head));
    as_one(|| region.copy_in(offset + head.len(), tail));
}
