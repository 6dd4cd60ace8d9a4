//! A connection between two processes of one instance: one message a packet, descriptors beside
//! it.
//!
//! `SOCK_SEQPACKET` keeps messages apart; a message is what `baton_schema::wire` makes of a value,
//! with at most [`MAX_FDS`] descriptors by `SCM_RIGHTS` (all close-on-exec). Whatever arrives is
//! a message or a [`ChannelError`], and every wait has a deadline.
//!
//! Failure: a peer that dies is `Ok(None)` on the next receive, after all it had sent.

mod listener;
#[cfg(test)]
mod tests;

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use baton_schema::wire::{self, WireError};
pub use listener::Listener;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    connect, getsockopt, recvmsg, sendmsg, socket, socketpair, sockopt,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::sys::process::wait_readable;

/// Descriptors that one message carries at most.
pub const MAX_FDS: usize = 64;

/// The kernel's own limit (`SCM_MAX_FD` of `net/scm.h`).
const SCM_MAX_FD: usize = 253;

/// Why a message was not sent or received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The bytes are no message, or the message is too large.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A packet longer than any message.
    #[error("a message of more than {limit} bytes arrived and was dropped")]
    Oversized {
        /// Longest message there is.
        limit: usize,
    },
    /// Too many descriptors.
    #[error("{found} descriptors with one message, {limit} are the most")]
    TooManyFds {
        /// How many were given, at least.
        found: usize,
        /// How many may be.
        limit: usize,
    },
    /// Nothing arrived in time.
    #[error("nothing arrived in time")]
    TimedOut,
    /// The other end's queue is full.
    #[error("the other end does not read: its queue is full")]
    Full,
    /// The other end is gone.
    #[error("the other end has closed the connection")]
    Closed,
    /// A socket file of a live process.
    #[error(
        "{path} is listened on by a running instance: stop it, or choose another --file-prefix"
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Nobody listens.
    #[error("cannot reach {path}: {source}; is the instance running?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Any other failed system call.
    #[error("{op}: {source}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A message and the descriptors that came with it.
pub type Received<T> = (T, Vec<OwnedFd>);

/// Who is at the other end, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id at the time of the connection.
    pub pid: u32,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

impl Channel {
    /// Connects to a listener.
    pub fn connect(path: &Path) -> Result<Channel, ChannelError> {
        let failed = |errno: Errno| ChannelError::Connect {
            path: path.to_owned(),
            source: errno.into(),
        };
        let fd = seqpacket().map_err(failed)?;
        let address = UnixAddr::new(path).map_err(failed)?;
        connect(fd.as_raw_fd(), &address).map_err(failed)?;
        Ok(Channel { fd })
    }

    /// Two ends of one connection.
    pub fn pair() -> Result<(Channel, Channel), ChannelError> {
        let (unix, flags) = (AddressFamily::Unix, SockFlag::SOCK_CLOEXEC);
        let (a, b) =
            socketpair(unix, SockType::SeqPacket, None, flags).map_err(io("socketpair"))?;
        Ok((Channel { fd: a }, Channel { fd: b }))
    }

    /// An end that was inherited or received as a descriptor.
    pub fn from_fd(fd: OwnedFd) -> Channel {
        Channel { fd }
    }

    /// Sends one message with its descriptors; waits while the other end's queue is full.
    pub fn send<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        self.send_with(message, fds, MsgFlags::empty())
    }

    /// Sends one message with its descriptors, or says [`ChannelError::Full`] at once: for a sender that
    /// has others to serve.
    pub fn try_send<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), ChannelError> {
        self.send_with(message, fds, MsgFlags::MSG_DONTWAIT)
    }

    fn send_with<T: Serialize>(
        &self,
        message: &T,
        fds: &[BorrowedFd<'_>],
        flags: MsgFlags,
    ) -> Result<(), ChannelError> {
        if fds.len() > MAX_FDS {
            return Err(ChannelError::TooManyFds {
                found: fds.len(),
                limit: MAX_FDS,
            });
        }
        self.send_bytes(&wire::encode(message)?, fds, flags)
    }

    /// Receives the next message. `None`: the other end is closed and nothing is left.
    pub fn recv<T: DeserializeOwned>(
        &self,
        deadline: Instant,
    ) -> Result<Option<Received<T>>, ChannelError> {
        if !wait_readable(self.fd.as_fd(), deadline).map_err(io_error("poll"))? {
            return Err(ChannelError::TimedOut);
        }
        match self.recv_bytes()? {
            Some((bytes, fds)) => Ok(Some((wire::decode(&bytes)?, fds))),
            None => Ok(None),
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> Result<Peer, ChannelError> {
        let found = getsockopt(&self.fd, sockopt::PeerCredentials).map_err(io("SO_PEERCRED"))?;
        Ok(Peer {
            pid: u32::try_from(found.pid()).unwrap_or(0),
            uid: found.uid(),
            gid: found.gid(),
        })
    }

    fn send_bytes(
        &self,
        bytes: &[u8],
        fds: &[BorrowedFd<'_>],
        flags: MsgFlags,
    ) -> Result<(), ChannelError> {
        let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights };
        let data = [IoSlice::new(bytes)];
        loop {
            let flags = flags | MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<UnixAddr>(self.fd.as_raw_fd(), &data, rights, flags, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(ChannelError::Full),
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(ChannelError::Closed),
                Err(errno) => return Err(io("sendmsg")(errno)),
            }
        }
    }

    fn recv_bytes(&self) -> Result<Option<Received<Vec<u8>>>, ChannelError> {
        let mut bytes = vec![0; wire::MAX_MESSAGE];
        // Room for all that a message can carry, so that each descriptor is taken and closed.
        let mut space = nix::cmsg_space!([i32; SCM_MAX_FD]);
        let mut data = [IoSliceMut::new(&mut bytes)];
        let (length, flags, fds) = loop {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
            match recvmsg::<UnixAddr>(self.fd.as_raw_fd(), &mut data, Some(&mut space), flags) {
                Ok(found) => {
                    let fds = owned(found.cmsgs().map_err(io("SCM_RIGHTS"))?);
                    break (found.bytes, found.flags, fds);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(None),
                Err(errno) => return Err(io("recvmsg")(errno)),
            }
        };
        if flags.contains(MsgFlags::MSG_TRUNC) {
            let limit = wire::MAX_MESSAGE;
            return Err(ChannelError::Oversized { limit });
        }
        if fds.len() > MAX_FDS {
            return Err(ChannelError::TooManyFds {
                found: fds.len(),
                limit: MAX_FDS,
            });
        }
        bytes.truncate(length);
        Ok((length > 0).then_some((bytes, fds)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn seqpacket() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)
}

/// Takes all received descriptors, so that none leaks when the message is refused.
fn owned(messages: impl Iterator<Item = ControlMessageOwned>) -> Vec<OwnedFd> {
    let rights = messages.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    });
    rights.flatten().map(own).collect()
}

fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn io(op: &'static str) -> impl Fn(Errno) -> ChannelError {
    move |errno| ChannelError::Io {
        op,
        source: errno.into(),
    }
}

fn io_error(op: &'static str) -> impl Fn(io::Error) -> ChannelError {
    move |source| ChannelError::Io { op, source }
}
