//! The listening end: a socket file that belongs to one user and one live process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{Backlog, SockFlag, UnixAddr, accept4, bind, listen};

use super::{Channel, ChannelError, io as failed, io_error, own, seqpacket};
use crate::sys::process::wait_readable;

/// A socket that others connect to.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    path: PathBuf,
}

impl Listener {
    /// Listens at `path`, for this user alone. A socket file there is removed only after nobody
    /// answered on it.
    pub fn bind(path: &Path) -> Result<Listener, ChannelError> {
        remove_stale(path)?;
        let fd = seqpacket().map_err(failed("socket"))?;
        let address = UnixAddr::new(path).map_err(failed("the socket's path"))?;
        bind(fd.as_raw_fd(), &address).map_err(|errno| match errno {
            Errno::EADDRINUSE => ChannelError::InUse {
                path: path.to_owned(),
            },
            errno => failed("bind")(errno),
        })?;
        // Nobody can connect before `listen`, so the mode is in force from the first moment.
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path, mode).map_err(io_error("chmod of the socket"))?;
        listen(&fd, Backlog::new(16).expect("a small backlog")).map_err(failed("listen"))?;
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
                Err(errno) => return Err(failed("accept")(errno)),
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
