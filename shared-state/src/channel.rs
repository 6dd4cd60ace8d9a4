//! A connection between two processes of one instance: one message a packet, descriptors beside
//! it.
//!
//! `SOCK_SEQPACKET` keeps messages apart; a message is what `baton_schema::wire` makes of a value,
//! with at most [`MAX_FDS`] descriptors by `SCM_RIGHTS` (all close-on-exec). Whatever arrives is
//! a message or a [`ChannelError`], and every wait has a deadline.
//!
//! Failure: a peer that dies is `Ok(None)` on the next receive, after all it had sent.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use baton_schema::wire::{self, WireError};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    UnixAddr, accept4, bind, connect, getsockopt, listen, recvmsg, sendmsg, socket, socketpair,
    sockopt,
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

/// A socket that others connect to.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
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
        if fds.len() > MAX_FDS {
            return Err(ChannelError::TooManyFds {
                found: fds.len(),
                limit: MAX_FDS,
            });
        }
        self.send_bytes(&wire::encode(message)?, fds)
    }

    /// Receives the next message. `None`: the other end is closed and nothing is left.
    pub fn recv<T: DeserializeOwned>(
        &self,
        deadline: Instant,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, ChannelError> {
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

    fn send_bytes(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let raw: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let rights = if raw.is_empty() { &[][..] } else { &rights };
        let data = [IoSlice::new(bytes)];
        loop {
            let flags = MsgFlags::MSG_NOSIGNAL;
            match sendmsg::<UnixAddr>(self.fd.as_raw_fd(), &data, rights, flags, None) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EPIPE | Errno::ECONNRESET) => return Err(ChannelError::Closed),
                Err(errno) => return Err(io("sendmsg")(errno)),
            }
        }
    }

    fn recv_bytes(&self) -> Result<Option<(Vec<u8>, Vec<OwnedFd>)>, ChannelError> {
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

impl Listener {
    /// Listens at `path`, for this user alone. A socket file there is removed only after nobody
    /// answered on it.
    pub fn bind(path: &Path) -> Result<Listener, ChannelError> {
        remove_stale(path)?;
        let fd = seqpacket().map_err(io("socket"))?;
        let address = UnixAddr::new(path).map_err(io("the socket's path"))?;
        bind(fd.as_raw_fd(), &address).map_err(|errno| match errno {
            Errno::EADDRINUSE => ChannelError::InUse {
                path: path.to_owned(),
            },
            errno => io("bind")(errno),
        })?;
        // Nobody can connect before `listen`, so the mode is in force from the first moment.
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).map_err(io_error("chmod of the socket"))?;
        listen(&fd, Backlog::new(16).expect("a small backlog")).map_err(io("listen"))?;
        let path = path.to_owned();
        Ok(Listener { fd, path })
    }

    /// The next connection.
    pub fn accept(&self, deadline: Instant) -> Result<Channel, ChannelError> {
        loop {
            if !wait_readable(self.fd.as_fd(), deadline).map_err(io_error("poll"))? {
                return Err(ChannelError::TimedOut);
            }
            match accept4(self.fd.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                Ok(fd) => return Ok(Channel { fd: own(fd) }),
                Err(Errno::EINTR | Errno::EAGAIN | Errno::ECONNABORTED) => {}
                Err(errno) => return Err(io("accept")(errno)),
            }
        }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn remove_stale(path: &Path) -> Result<(), ChannelError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => {
            return Err(ChannelError::Io {
                op: "bind: a file that is no socket is in the way",
                source: io::ErrorKind::AlreadyExists.into(),
            });
        }
        Err(_) => return Ok(()),
    }
    match Channel::connect(path) {
        Ok(_) => Err(ChannelError::InUse {
            path: path.to_owned(),
        }),
        Err(ChannelError::Connect { source, .. })
            if source.kind() == io::ErrorKind::ConnectionRefused =>
        {
            std::fs::remove_file(path).map_err(io_error("removing a stale socket"))
        }
        Err(error) => Err(error),
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (a, b) = Channel::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"kept").unwrap();
        a.send(&(7u32, "seven".to_owned()), &[file.as_fd()])
            .unwrap();
        let ((number, text), fds) = b.recv::<(u32, String)>(soon()).unwrap().unwrap();
        assert_eq!((number, text.as_str(), fds.len()), (7, "seven", 1));
        let mut same = std::fs::File::from(fds.into_iter().next().unwrap());
        let mut kept = String::new();
        same.rewind().unwrap();
        same.read_to_string(&mut kept).unwrap();
        assert_eq!(kept, "kept");
        assert_eq!(b.peer().unwrap().pid, std::process::id());
    }

    #[test]
    fn received_descriptors_do_not_leak_into_children() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&1u8, &[a.as_fd()]).unwrap();
        let (_, fds) = b.recv::<u8>(soon()).unwrap().unwrap();
        let flags = nix::fcntl::fcntl(&fds[0], nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn a_closed_peer_is_the_end_after_its_last_word() {
        let (a, b) = Channel::pair().unwrap();
        a.send(&5u64, &[]).unwrap();
        drop(a);
        assert_eq!(b.recv::<u64>(soon()).unwrap().unwrap().0, 5);
        assert!(b.recv::<u64>(soon()).unwrap().is_none());
        assert!(matches!(b.send(&1u8, &[]), Err(ChannelError::Closed)));
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let (_a, b) = Channel::pair().unwrap();
        assert!(matches!(
            b.recv::<u8>(Instant::now()),
            Err(ChannelError::TimedOut)
        ));
    }

    #[test]
    fn garbage_is_an_error_and_the_next_message_arrives() {
        let (a, b) = Channel::pair().unwrap();
        a.send_bytes(b"garbage that is no message", &[]).unwrap();
        a.send(&9u8, &[]).unwrap();
        assert!(matches!(b.recv::<u8>(soon()), Err(ChannelError::Wire(_))));
        assert_eq!(b.recv::<u8>(soon()).unwrap().unwrap().0, 9);
    }

    #[test]
    fn what_is_too_large_is_refused_at_both_ends() {
        let (a, b) = Channel::pair().unwrap();
        let long = vec![1u8; wire::MAX_MESSAGE + 1];
        assert!(matches!(a.send(&long, &[]), Err(ChannelError::Wire(_))));
        a.send_bytes(&long, &[]).unwrap();
        let error = b.recv::<u8>(soon()).unwrap_err();
        assert!(
            error.to_string().contains("more than 131072 bytes"),
            "{error}"
        );
    }

    #[test]
    fn too_many_descriptors_are_refused_at_both_ends() {
        let (a, b) = Channel::pair().unwrap();
        let most = vec![a.as_fd(); MAX_FDS];
        a.send(&1u8, &most).unwrap();
        assert_eq!(b.recv::<u8>(soon()).unwrap().unwrap().1.len(), MAX_FDS);
        let more = vec![a.as_fd(); MAX_FDS + 1];
        assert!(matches!(
            a.send(&1u8, &more),
            Err(ChannelError::TooManyFds { .. })
        ));
        for count in [MAX_FDS + 1, MAX_FDS + 40] {
            a.send_bytes(&wire::encode(&1u8).unwrap(), &vec![a.as_fd(); count])
                .unwrap();
            let error = b.recv::<u8>(soon()).unwrap_err();
            assert!(matches!(error, ChannelError::TooManyFds { .. }), "{error}");
        }
    }

    #[test]
    fn a_listener_is_private_and_there_is_one_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = Listener::bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let client = Channel::connect(&path).unwrap();
        let server = listener.accept(soon()).unwrap();
        client.send(&3u8, &[]).unwrap();
        assert_eq!(server.recv::<u8>(soon()).unwrap().unwrap().0, 3);
        let error = Listener::bind(&path).unwrap_err();
        assert!(error.to_string().contains("running instance"), "{error}");
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_foreign_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        drop(Listener::bind(&path).unwrap());
        let error = Channel::connect(&path).unwrap_err();
        assert!(
            error.to_string().contains("is the instance running?"),
            "{error}"
        );
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(listener.path(), path);
        let timed_out = listener.accept(Instant::now()).unwrap_err();
        assert!(matches!(timed_out, ChannelError::TimedOut));
        let file = dir.path().join("precious");
        std::fs::write(&file, "x").unwrap();
        assert!(Listener::bind(&file).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"x");
    }
}
