//! Packet sockets of one end: a [`Sender`] of whole batches and a [`Sink`] with a ring shared with the kernel.

mod neighbour;
mod sender;
mod sink;

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub use neighbour::{mac_of, neighbour};
pub use sender::Sender;
pub use sink::{Received, Sink};

/// What opening an end can fail with.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A system call failed.
    #[error("{interface}: {what}: {source}{}", hint(.source))]
    Call {
        /// The interface.
        interface: String,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The interface has no link-layer address.
    #[error("{interface}: no such interface, or one without a MAC address")]
    NoMac {
        /// The interface.
        interface: String,
    },
    /// The neighbour did not answer ARP.
    #[error("{interface}: {address} did not answer ARP within {waited:?}")]
    NoNeighbour {
        /// The interface.
        interface: String,
        /// Who was asked.
        address: Ipv4Addr,
        /// For how long.
        waited: Duration,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => " (packet sockets need CAP_NET_RAW in the namespace)",
        _ => "",
    }
}

fn packet_socket(interface: &str) -> Result<OwnedFd, SocketError> {
    // Protocol 0: nothing is received before the bind.
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(failed(interface, "socket(AF_PACKET)")(
            io::Error::last_os_error(),
        ));
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bind(socket: &OwnedFd, interface: &str, ethertype: u16) -> Result<(), SocketError> {
    let index = nix::net::if_::if_nametoindex(interface);
    let index = index.map_err(|e| failed(interface, "if_nametoindex")(e.into()))?;
    // SAFETY: plain data for which all zeroes is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ethertype.to_be();
    address.sll_ifindex = index as i32;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is `len` readable bytes of the family it names.
    let result =
        unsafe { libc::bind(socket.as_raw_fd(), std::ptr::from_ref(&address).cast(), len) };
    if result == 0 {
        Ok(())
    } else {
        Err(failed(interface, "bind")(io::Error::last_os_error()))
    }
}

fn set<T>(
    socket: &OwnedFd,
    interface: &str,
    level: i32,
    name: i32,
    what: &'static str,
    value: &T,
) -> Result<(), SocketError> {
    let len = size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_ref(value).cast::<c_void>();
    // SAFETY: `value` points at `len` readable bytes of the type the option takes.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, len) };
    if result == 0 {
        Ok(())
    } else {
        Err(failed(interface, what)(io::Error::last_os_error()))
    }
}

fn failed(interface: &str, what: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    move |source| SocketError::Call {
        interface: interface.into(),
        what,
        source,
    }
}
