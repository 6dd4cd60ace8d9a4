//! A robust list of one word: the kernel marks the word when the thread ends, however it ends.
//!
//! The list's head and its only node lie in a private page; the word lies in a shared page mapped
//! directly behind it, which the kernel reaches by the constant distance between node and word.
//! No pointer is shared, and no other process can break the list. Non-PI.
//!
//! `set_robust_list` replaces the list of the C library, so the thread must not hold a robust
//! pthread mutex while it holds this; the list it had is put back on [`RobustWord::drop`].

use core::ptr::NonNull;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;
use crate::sync::AtomicU32;

/// `FUTEX_WAITERS`: the kernel wakes a sleeper when it marks the word.
pub const WAITERS: u32 = 0x8000_0000;
/// `FUTEX_OWNER_DIED`: the kernel's mark.
pub const OWNER_DIED: u32 = 0x4000_0000;
/// `FUTEX_TID_MASK`: who holds it.
pub const TID_MASK: u32 = 0x3fff_ffff;

/// `struct robust_list_head` of `linux/futex.h`; the list is a ring through `next`.
#[repr(C)]
struct Head {
    next: *mut Node,
    futex_offset: isize,
    pending: *mut Node,
}

/// `struct robust_list`.
#[repr(C)]
struct Node {
    next: *mut Node,
}

/// Where the node lies in the private page, away from the head.
const NODE_AT: usize = 64;
const PAGE: usize = 4096;

/// A word registered for the calling thread, which alone may hold this.
#[derive(Debug)]
pub struct RobustWord {
    base: NonNull<u8>,
    len: usize,
    word: &'static AtomicU32,
    before: (usize, usize),
    /// Neither `Send` nor `Sync`: the list is the calling thread's.
    _thread: PhantomData<*mut ()>,
}

impl RobustWord {
    /// Maps `len` bytes of `fd` (whole pages) behind a private page and registers the word at
    /// `offset`. The kernel touches it only if it holds the thread's number by then.
    pub fn register(fd: BorrowedFd<'_>, len: usize, offset: usize) -> io::Result<RobustWord> {
        assert!(
            offset.is_multiple_of(4) && offset + 4 <= len,
            "word {offset} of {len} bytes"
        );
        let base = map_behind_private_page(fd, len)?;
        let at = |offset: usize| {
            // SAFETY: `PAGE + len` bytes are mapped from `base`, and all offsets lie within.
            unsafe { base.as_ptr().add(offset) }
        };
        let (head, node) = (at(0).cast::<Head>(), at(NODE_AT).cast::<Node>());
        let word_at = at(PAGE + offset);
        // SAFETY: the page is private, writable and aligned; the ring is head -> node -> head.
        unsafe {
            node.write(Node { next: head.cast() });
            head.write(Head {
                next: node,
                futex_offset: word_at.offset_from(node.cast()),
                pending: core::ptr::null_mut(),
            });
        }
        let before = current_list()?;
        set_list(head.expose_provenance(), size_of::<Head>())?;
        // SAFETY: mapped and aligned (asserted above); the mapping stays (see `drop`), and shared
        // words are only reached as atomics.
        let word = unsafe { &*word_at.cast::<AtomicU32>() };
        Ok(RobustWord {
            base,
            len,
            word,
            before,
            _thread: PhantomData,
        })
    }

    /// The word.
    pub fn word(&self) -> &AtomicU32 {
        self.word
    }
}

impl Drop for RobustWord {
    fn drop(&mut self) {
        // The kernel must not walk into an unmapped page: put the old list back first, and leave
        // the mapping where it is if that fails.
        if set_list(self.before.0, self.before.1).is_ok() {
            // SAFETY: mapped by `register`; `word()` lends for no longer than `self` lives.
            unsafe { libc::munmap(self.base.as_ptr().cast(), PAGE + self.len) };
        }
    }
}

fn map_behind_private_page(fd: BorrowedFd<'_>, len: usize) -> io::Result<NonNull<u8>> {
    let rw = libc::PROT_READ | libc::PROT_WRITE;
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping touches nothing.
    let base = unsafe { libc::mmap(core::ptr::null_mut(), PAGE + len, rw, private, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let base = NonNull::new(base.cast::<u8>()).expect("never page zero");
    let undo = |error| {
        // SAFETY: mapped just above and not used yet.
        unsafe { libc::munmap(base.as_ptr().cast(), PAGE + len) };
        Err(error)
    };
    let shared = libc::MAP_SHARED | libc::MAP_FIXED;
    // SAFETY: inside the mapping above.
    let behind = unsafe { base.as_ptr().add(PAGE) };
    // SAFETY: replaces the part of the fresh mapping that lies behind its first page.
    let words = unsafe { libc::mmap(behind.cast(), len, rw, shared, fd.as_raw_fd(), 0) };
    if words == libc::MAP_FAILED {
        return undo(io::Error::last_os_error());
    }
    for advice in [libc::MADV_DONTFORK, libc::MADV_DONTDUMP] {
        // SAFETY: exactly the two mappings made above.
        if unsafe { libc::madvise(base.as_ptr().cast(), PAGE + len, advice) } != 0 {
            return undo(io::Error::last_os_error());
        }
    }
    Ok(base)
}

/// The calling thread's list: address of its head, and its length.
fn current_list() -> io::Result<(usize, usize)> {
    let (mut head, mut len) = (0usize, 0usize);
    // SAFETY: both places are valid for the answer; 0 is the calling thread.
    checked(unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut len) })?;
    Ok((head, len))
}

fn set_list(head: usize, len: usize) -> io::Result<()> {
    let len = if head == 0 { size_of::<Head>() } else { len };
    // SAFETY: the head is null, the one the thread had before, or one that stays mapped until the
    // list is put back.
    checked(unsafe { libc::syscall(libc::SYS_set_robust_list, head, len) })?;
    Ok(())
}
