//! Mappings that last as long as the process, and what limits them.

use core::mem::MaybeUninit;
use core::ptr::NonNull;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::region::Region;

/// What a mapping may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Loads and stores.
    ReadWrite,
    /// Loads only; the kernel refuses stores and a later `mprotect`.
    ReadOnly,
}

/// A range of addresses kept free for mappings at fixed places; never given back.
#[derive(Debug, Clone, Copy)]
pub struct Reservation {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a range of addresses, not memory: what is mapped there is reached through regions.
unsafe impl Send for Reservation {}
// SAFETY: as for `Send`.
unsafe impl Sync for Reservation {}

/// Anonymous zeroed memory of this process, never freed.
pub fn map_private(len: usize) -> io::Result<Region> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let ptr = map(None, len.max(1), READ_WRITE, flags, None)?;
    // SAFETY: just mapped readable and writable, and nothing unmaps it.
    Ok(unsafe { Region::from_raw(ptr, len, true) })
}

/// Asks for huge pages under memory of this process that nothing has touched yet, where the kernel gives them to
/// who asks. Memory that is not whole pages is let be.
pub fn prefer_huge_pages<T>(memory: &mut [MaybeUninit<T>]) -> io::Result<()> {
    let (start, len) = (memory.as_mut_ptr().cast::<u8>(), size_of_val(memory));
    let skip = start.align_offset(PAGE).min(len);
    let len = (len - skip) / PAGE * PAGE;
    // SAFETY: the pages lie in `memory`, and the advice changes no byte of them.
    match unsafe { libc::madvise(start.wrapping_add(skip).cast(), len, libc::MADV_HUGEPAGE) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Reservation {
    /// Reserves `len` bytes of addresses; `align` is a power of two.
    pub fn new(len: usize, align: usize) -> io::Result<Reservation> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let ptr = map(None, len + align, libc::PROT_NONE, flags, None)?;
        let skip = ptr.as_ptr().align_offset(align);
        // SAFETY: `skip < align`, and `len + align` bytes were reserved.
        let base = unsafe { ptr.add(skip) };
        Ok(Reservation { base, len })
    }

    /// Maps `len` bytes of a shared file from its start at `offset` of the reservation.
    pub fn map_shared(
        &self,
        offset: usize,
        len: usize,
        fd: BorrowedFd<'_>,
        access: Access,
    ) -> io::Result<Region> {
        let (prot, writable) = match access {
            Access::ReadWrite => (READ_WRITE, true),
            Access::ReadOnly => (libc::PROT_READ, false),
        };
        let at = self.place(offset, len)?;
        let ptr = map(Some(at), len, prot, libc::MAP_SHARED, Some(fd))?;
        // Not in a core dump (packets are other people's), not in a child of a fork.
        for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
            // SAFETY: the range was mapped just above.
            if unsafe { libc::madvise(ptr.as_ptr().cast(), len, advice) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        // SAFETY: just mapped with these rights; the reservation is never given back.
        Ok(unsafe { Region::from_raw(ptr, len, writable) })
    }

    /// Maps `len` bytes of private zeroed memory at `offset` of the reservation.
    pub fn map_private(&self, offset: usize, len: usize) -> io::Result<Region> {
        let at = self.place(offset, len)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let ptr = map(Some(at), len, READ_WRITE, flags, None)?;
        // SAFETY: just mapped readable and writable; the reservation is never given back.
        Ok(unsafe { Region::from_raw(ptr, len, true) })
    }

    fn place(&self, offset: usize, len: usize) -> io::Result<NonNull<u8>> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            let what = format!(
                "{len} bytes at {offset} of {} reserved bytes of addresses",
                self.len
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        // SAFETY: `offset` lies in the reservation.
        Ok(unsafe { self.base.add(offset) })
    }
}

/// The soft limit of memory this process may lock, in bytes; `None` when there is none.
pub fn memlock_limit() -> io::Result<Option<u64>> {
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_MEMLOCK)?;
    Ok((soft != libc::RLIM_INFINITY).then_some(soft))
}

/// Lifts the limit of locked memory as far as this process is allowed to; says what it is now.
pub fn raise_memlock_limit() -> io::Result<Option<u64>> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    let all = libc::RLIM_INFINITY;
    if soft != all && setrlimit(Resource::RLIMIT_MEMLOCK, all, all).is_err() {
        setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard)?;
    }
    memlock_limit()
}

/// Free huge pages of 2 MiB in the kernel's pool; zero where there is no pool.
pub fn free_huge_pages() -> u64 {
    let read = |name: &str| -> u64 {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-2048kB/{name}");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    // Reserved pages are free pages that somebody else was promised.
    read("free_hugepages").saturating_sub(read("resv_hugepages"))
}

/// As `madvise` knows them.
const PAGE: usize = 4096;

const READ_WRITE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;

/// `mmap`; with `at` it replaces what is mapped there, which must be part of a reservation.
fn map(
    at: Option<NonNull<u8>>,
    len: usize,
    prot: libc::c_int,
    flags: libc::c_int,
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<NonNull<u8>> {
    let fixed = if at.is_some() { libc::MAP_FIXED } else { 0 };
    let addr = at.map_or(core::ptr::null_mut(), NonNull::as_ptr);
    let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
    // SAFETY: a fresh mapping touches nothing, and one at a fixed place replaces only addresses
    // of a reservation that `Reservation::place` checked.
    let ptr = unsafe { libc::mmap(addr.cast(), len, prot, flags | fixed, fd, 0) };
    if ptr == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(NonNull::new(ptr.cast()).expect("the kernel never maps page zero unasked"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering;
    use std::os::fd::AsFd;

    #[test]
    fn one_file_mapped_twice_is_the_same_bytes_with_two_sets_of_rights() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        let range = Reservation::new(1 << 20, 1 << 16).unwrap();
        assert_eq!(range.base.as_ptr().addr() % (1 << 16), 0);
        let rw = range
            .map_shared(0, 8192, file.as_fd(), Access::ReadWrite)
            .unwrap();
        let ro = range
            .map_shared(65_536, 8192, file.as_fd(), Access::ReadOnly)
            .unwrap();
        rw.u64(4096).store(77, Ordering::Relaxed);
        assert_eq!(ro.u64(4096).load(Ordering::Relaxed), 77);
        assert!(rw.is_writable() && !ro.is_writable());
    }

    #[test]
    fn nothing_is_mapped_outside_the_reservation() {
        let range = Reservation::new(8192, 4096).unwrap();
        assert!(range.map_private(4096, 4096).is_ok());
        let error = range.map_private(4096, 8192).unwrap_err();
        assert!(
            error.to_string().contains("of 8192 reserved bytes"),
            "{error}"
        );
        assert!(range.map_private(usize::MAX, 4096).is_err());
    }

    #[test]
    fn the_memlock_limit_only_grows() {
        let before = memlock_limit().unwrap();
        let after = raise_memlock_limit().unwrap();
        assert!(after.is_none_or(|now| before.is_some_and(|was| now >= was)));
    }
}
