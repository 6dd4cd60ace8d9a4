//! A bounded window of mapped bytes, the only way in this workspace to touch shared memory.
//!
//! Two rules: no reference (`&T`, `&[u8]`) to shared bytes ever leaves this file except to
//! atomics; every access is bounds-checked here. Records are copied out and in by words, so a
//! process that writes at the same time makes the copy stale, never undefined.
//!
//! Invariants
//! - I1 `ptr..ptr + len` is mapped for as long as the process lives: regions are never unmapped.
//! - I2 `writable` is false only for mappings made with `PROT_READ`.
//! - I3 An access whose offset or alignment is wrong is a bug of the caller, not input: it
//!   panics with both numbers. Offsets that come from shared bytes go through [`Region::slice`],
//!   which returns an error.

use core::ptr::NonNull;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// A window over mapped memory; copies of it name the same bytes.
#[derive(Clone, Copy)]
pub struct Region {
    ptr: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: I1 makes the bytes valid from every thread; every access is atomic or a bounds-checked
// copy by atomics, so threads may share and move the window.
unsafe impl Send for Region {}
// SAFETY: as for `Send`.
unsafe impl Sync for Region {}

/// A range that does not lie in the region it was asked of.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum RegionError {
    /// The range leaves the region.
    #[error("bytes {offset}..{offset}+{len} asked of a region of {have} bytes")]
    OutOfBounds {
        /// Start of the range.
        offset: u64,
        /// Length of the range.
        len: u64,
        /// Length of the region.
        have: u64,
    },
}

impl Region {
    /// A window over a mapping.
    ///
    /// # Safety
    /// - `ptr..ptr + len` is mapped readable, and writable if `writable`.
    /// - It stays mapped until the process ends.
    /// - No Rust reference to any of these bytes exists or will exist, except to atomics.
    pub unsafe fn from_raw(ptr: NonNull<u8>, len: usize, writable: bool) -> Region {
        Region { ptr, len, writable }
    }

    /// Fresh zeroed memory of this process alone (tests, benches, standalone tools); never freed.
    ///
    /// # Panics
    /// When the kernel has no memory left.
    pub fn private(len: usize) -> Region {
        crate::sys::map_private(len).expect("anonymous memory")
    }

    /// Bytes in the window.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the window is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether this process may write here.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The first byte, for system calls and drivers; valid as [`Region`]'s invariants say.
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    /// A window inside this one; the way to use offsets that were read from shared bytes.
    pub fn slice(&self, offset: usize, len: usize) -> Result<Region, RegionError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(Region {
                // SAFETY: `offset <= self.len`, so the pointer stays in (or one past) the mapping.
                ptr: unsafe { self.ptr.add(offset) },
                len,
                writable: self.writable,
            }),
            _ => Err(RegionError::OutOfBounds {
                offset: offset as u64,
                len: len as u64,
                have: self.len as u64,
            }),
        }
    }

    /// The 32-bit word at `offset`.
    ///
    /// # Panics
    /// When `offset` is out of bounds or not a multiple of 4 (I3).
    #[inline]
    pub fn u32(&self, offset: usize) -> &'static AtomicU32 {
        &self.u32s(offset, 1)[0]
    }

    /// The 64-bit word at `offset`.
    ///
    /// # Panics
    /// When `offset` is out of bounds or not a multiple of 8 (I3).
    #[inline]
    pub fn u64(&self, offset: usize) -> &'static AtomicU64 {
        &self.u64s(offset, 1)[0]
    }

    /// `n` 32-bit words from `offset`.
    ///
    /// # Panics
    /// As [`Region::u32`].
    #[inline]
    pub fn u32s(&self, offset: usize, n: usize) -> &'static [AtomicU32] {
        let ptr = self.words(offset, n, size_of::<AtomicU32>()).cast();
        // SAFETY: `words` checked bounds and alignment; I1 gives 'static; shared words are only
        // ever reached as atomics (rule of this file).
        unsafe { core::slice::from_raw_parts(ptr, n) }
    }

    /// `n` 64-bit words from `offset`.
    ///
    /// # Panics
    /// As [`Region::u64`].
    #[inline]
    pub fn u64s(&self, offset: usize, n: usize) -> &'static [AtomicU64] {
        let ptr = self.words(offset, n, size_of::<AtomicU64>()).cast();
        // SAFETY: as in `u32s`.
        unsafe { core::slice::from_raw_parts(ptr, n) }
    }

    /// A copy of the record at `offset`. A writer elsewhere may be in the middle of changing it:
    /// the caller checks what publishes the record before and after.
    ///
    /// # Panics
    /// When the record leaves the region (I3).
    #[inline]
    pub fn read<T: FromBytes>(&self, offset: usize) -> T {
        self.check(offset, size_of::<T>());
        let mut value = core::mem::MaybeUninit::<T>::uninit();
        // SAFETY: the source was checked above, the destination is a value of that size.
        unsafe {
            load_bytes(
                self.ptr.as_ptr().add(offset),
                value.as_mut_ptr().cast(),
                size_of::<T>(),
            )
        };
        // SAFETY: every byte was written, and `FromBytes` says any bytes are a value.
        unsafe { value.assume_init() }
    }

    /// Stores a record at `offset`, word by word; what publishes it is another store, afterwards.
    ///
    /// # Panics
    /// When the record leaves the region, or the region is read-only (I2, I3).
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) {
        self.copy_in(offset, value.as_bytes());
    }

    /// Copies bytes out of the region.
    ///
    /// # Panics
    /// When the range leaves the region (I3).
    #[inline]
    pub fn copy_out(&self, offset: usize, to: &mut [u8]) {
        self.check(offset, to.len());
        // SAFETY: the source was checked above, the destination is a slice of that length.
        unsafe { load_bytes(self.ptr.as_ptr().add(offset), to.as_mut_ptr(), to.len()) };
    }

    /// Copies bytes into the region.
    ///
    /// # Panics
    /// When the range leaves the region, or the region is read-only (I2, I3).
    #[inline]
    pub fn copy_in(&self, offset: usize, from: &[u8]) {
        self.check(offset, from.len());
        self.check_writable();
        // SAFETY: the destination was checked above, the source is a slice of that length.
        unsafe { store_bytes(from.as_ptr(), self.ptr.as_ptr().add(offset), from.len()) };
    }

    /// A copy of `len` bytes from `offset`.
    ///
    /// # Panics
    /// When the range leaves the region (I3).
    pub fn to_vec(&self, offset: usize, len: usize) -> Vec<u8> {
        self.check(offset, len);
        let mut out = vec![0; len];
        self.copy_out(offset, &mut out);
        out
    }

    /// Sets every byte to zero.
    ///
    /// # Panics
    /// When the region is read-only (I2).
    pub fn zero(&self) {
        const ZEROS: [u8; 4096] = [0; 4096];
        for offset in (0..self.len).step_by(ZEROS.len()) {
            let n = ZEROS.len().min(self.len - offset);
            self.copy_in(offset, &ZEROS[..n]);
        }
    }

    /// Sets every byte to zero by giving whole pages back, where the memory is a file on pages of 4 KiB that
    /// can have holes; else, and at the edges, as [`Region::zero`].
    ///
    /// # Panics
    /// When the region is read-only (I2).
    pub fn discard(&self) {
        const PAGE: usize = 4096;
        self.check_writable();
        let head = self.ptr.addr().get().wrapping_neg() % PAGE;
        let whole = self.len.saturating_sub(head) / PAGE * PAGE;
        let (Ok(before), Ok(pages)) = (self.slice(0, head), self.slice(head, whole)) else {
            return self.zero();
        };
        // SAFETY: the pages lie inside this mapping; what was stored there reads as zero afterwards.
        let punched = whole > 0
            && unsafe { libc::madvise(pages.as_ptr().cast(), whole, libc::MADV_REMOVE) } == 0;
        if !punched {
            return self.zero();
        }
        before.zero();
        if let Ok(after) = self.slice(head + whole, self.len - head - whole) {
            after.zero();
        }
    }

    /// Writes to one byte of every page without changing it, so that later stores do not fault.
    pub fn touch(&self) {
        for offset in (0..self.len).step_by(4096) {
            let page = self.slice(offset & !3, 4).ok();
            match page {
                Some(page) if self.writable => {
                    page.u32(0).fetch_or(0, Ordering::Relaxed);
                }
                Some(page) => {
                    page.u32(0).load(Ordering::Relaxed);
                }
                None => {}
            }
        }
    }

    /// Checks an array of words and gives its first byte.
    #[inline]
    fn words(&self, offset: usize, n: usize, size: usize) -> *const u8 {
        let bytes = n
            .checked_mul(size)
            .expect("a number of words that fits memory");
        self.check(offset, bytes);
        // SAFETY: `check` put `offset` inside the mapping.
        let ptr = unsafe { self.ptr.as_ptr().add(offset) };
        assert!(
            ptr.addr() % size == 0,
            "word of {size} bytes at offset {offset} of a region that starts at {:#x}",
            self.ptr.addr()
        );
        ptr
    }

    #[inline]
    fn check(&self, offset: usize, len: usize) {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(
            inside,
            "bytes {offset}..{offset}+{len} of a region of {} bytes",
            self.len
        );
    }

    #[inline]
    fn check_writable(&self) {
        assert!(self.writable, "store to a region that is mapped read-only");
    }
}

impl core::fmt::Debug for Region {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let rights = if self.writable { "rw" } else { "r" };
        write!(f, "Region({} bytes, {rights})", self.len)
    }
}

/// Copies shared bytes to private ones by the widest atomic loads that alignment allows.
///
/// # Safety
/// - `from..from + len` is mapped and only ever written through atomics or by other processes.
/// - `to..to + len` is private, writable memory.
#[inline]
unsafe fn load_bytes(from: *const u8, to: *mut u8, len: usize) {
    let head = from.align_offset(8).min(len);
    let body = (len - head) & !7;
    for i in (0..head).chain(head + body..len) {
        // SAFETY: `i < len`; a byte is always aligned.
        unsafe {
            to.add(i)
                .write((*from.add(i).cast::<AtomicU8>()).load(Ordering::Relaxed))
        };
    }
    for i in (head..head + body).step_by(8) {
        // SAFETY: `i + 8 <= len`, and `from + head` is a multiple of 8, so each step is aligned;
        // the destination may not be, hence `write_unaligned`.
        unsafe {
            let word = (*from.add(i).cast::<AtomicU64>()).load(Ordering::Relaxed);
            to.add(i).cast::<u64>().write_unaligned(word);
        }
    }
}

/// Copies private bytes to shared ones by the widest atomic stores that alignment allows.
///
/// # Safety
/// - `from..from + len` is private, readable memory.
/// - `to..to + len` is mapped writable and only ever reached through atomics.
#[inline]
unsafe fn store_bytes(from: *const u8, to: *mut u8, len: usize) {
    let head = to.align_offset(8).min(len);
    let body = (len - head) & !7;
    for i in (0..head).chain(head + body..len) {
        // SAFETY: `i < len`; a byte is always aligned.
        unsafe { (*to.add(i).cast::<AtomicU8>()).store(from.add(i).read(), Ordering::Relaxed) };
    }
    for i in (head..head + body).step_by(8) {
        // SAFETY: `i + 8 <= len`, and `to + head` is a multiple of 8, so each step is aligned.
        unsafe {
            let word = from.add(i).cast::<u64>().read_unaligned();
            (*to.add(i).cast::<AtomicU64>()).store(word, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
