//! Sockets and device files: options, binding, ring mappings, wake-ups.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use baton_shared_state::Region;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A raw socket of a family, non-blocking and closed on exec.
pub(crate) fn socket(family: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    own(
        // SAFETY: takes no pointers.
        unsafe { libc::socket(family, kind, protocol) },
    )
}

/// A datagram socket that serves as the handle of interface ioctls.
pub(crate) fn control_socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    own(
        // SAFETY: takes no pointers.
        unsafe { libc::socket(libc::AF_INET, kind, 0) },
    )
}

/// Sets a socket option to a plain value.
pub(crate) fn set_option<T: IntoBytes + Immutable>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &T,
) -> io::Result<()> {
    let bytes = value.as_bytes();
    check(
        // SAFETY: `bytes` is readable for the length given.
        unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                level,
                name,
                bytes.as_ptr().cast(),
                bytes.len() as libc::socklen_t,
            )
        },
    )
}

/// Reads a socket option; bytes that the kernel does not fill stay zero.
pub(crate) fn get_option<T: FromBytes + IntoBytes + Immutable>(
    fd: BorrowedFd<'_>,
    level: i32,
    name: i32,
) -> io::Result<T> {
    let mut value = T::new_zeroed();
    let bytes = value.as_mut_bytes();
    let mut len = bytes.len() as libc::socklen_t;
    check(
        // SAFETY: `bytes` is writable for the length given in `len`.
        unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                level,
                name,
                bytes.as_mut_ptr().cast(),
                &raw mut len,
            )
        },
    )?;
    Ok(value)
}

/// Binds a socket to an address given as the bytes of its `sockaddr`.
pub(crate) fn bind<T: IntoBytes + Immutable>(fd: BorrowedFd<'_>, address: &T) -> io::Result<()> {
    let bytes = address.as_bytes();
    check(
        // SAFETY: `bytes` is readable for the length given.
        unsafe {
            libc::bind(
                fd.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len() as libc::socklen_t,
            )
        },
    )
}

/// Maps a ring of the kernel's, shared and populated; it stays mapped until the process ends.
pub(crate) fn map_shared(fd: BorrowedFd<'_>, len: usize, offset: u64) -> io::Result<Region> {
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let ptr = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            fd.as_raw_fd(),
            offset as libc::off_t,
        )
    };
    if ptr == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let ptr = NonNull::new(ptr.cast::<u8>()).expect("the kernel never maps page zero unasked");
    // SAFETY: mapped readable and writable just now; nothing unmaps it; no reference exists.
    Ok(unsafe { Region::from_raw(ptr, len, true) })
}

/// A sealed memfd of `len` bytes: memory that lives as long as somebody holds the descriptor.
pub(crate) fn memfd(name: &std::ffi::CStr, len: usize) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let fd = own(
        // SAFETY: `name` is a C string.
        unsafe { libc::memfd_create(name.as_ptr(), flags) },
    )?;
    check(
        // SAFETY: takes no pointers.
        unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) },
    )?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    check(
        // SAFETY: takes no pointers.
        unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_ADD_SEALS, seals) },
    )?;
    Ok(fd)
}

/// Bytes of the file behind a descriptor.
pub(crate) fn file_len(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: all-zero bytes are a `stat`.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    check(
        // SAFETY: `stat` is a writable `stat`.
        unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) },
    )?;
    Ok(stat.st_size as u64)
}

/// Asks the kernel to send what stands in a transmit ring; never blocks.
pub(crate) fn wake_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    let sent = {
        // SAFETY: an empty message: the kernel reads no memory of ours.
        unsafe {
            libc::sendto(
                fd.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        }
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Asks the kernel to look at a fill ring; never blocks.
pub(crate) fn wake_rx(fd: BorrowedFd<'_>) -> io::Result<()> {
    let got = {
        // SAFETY: an empty buffer: the kernel writes no memory of ours.
        unsafe {
            libc::recvfrom(
                fd.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        }
    };
    if got < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The limit of locked memory of this process, bytes.
pub(crate) fn memlock_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a writable `rlimit`; on failure it stays zero.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    limit.rlim_cur
}

/// Takes ownership of a descriptor that a call returned.
pub(super) fn own(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Turns the `-1` of a call into its error.
pub(super) fn check(result: i32) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_of_one_memfd_show_the_same_bytes() {
        let fd = memfd(c"baton-test", 8192).unwrap();
        assert_eq!(file_len(fd.as_fd()).unwrap(), 8192);
        let a = map_shared(fd.as_fd(), 8192, 0).unwrap();
        let b = map_shared(fd.as_fd(), 8192, 0).unwrap();
        a.u64(4096).store(7, Ordering::Relaxed);
        assert_eq!(b.u64(4096).load(Ordering::Relaxed), 7);
    }

    #[test]
    fn options_are_set_and_read_back() {
        let fd = control_socket().unwrap();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_SNDBUF);
        set_option(fd.as_fd(), level, name, &8192i32).unwrap();
        assert_eq!(get_option::<i32>(fd.as_fd(), level, name).unwrap(), 16_384);
        assert!(set_option(fd.as_fd(), 9999, 1, &0i32).is_err());
    }
}
