//! Making the sockets of a port: one UMEM over the whole data segment, rings, bind.
//!
//! The first queue's socket registers the UMEM and says how (zero copy tried first); the others
//! share it and inherit that, each with rings of its own.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use baton_shared_state::mempool::Pool;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::rings::SOL_XDP;
use crate::error::PortError;
use crate::spec::PortSpec;
use crate::sys::netif;
use crate::sys::socket::{bind, get_option, memlock_limit, set_option, socket};

const XDP_RX_RING: i32 = 2;
const XDP_TX_RING: i32 = 3;
const XDP_UMEM_REG: i32 = 4;
const XDP_UMEM_FILL_RING: i32 = 5;
const XDP_UMEM_COMPLETION_RING: i32 = 6;
const XDP_STATISTICS: i32 = 7;
const XDP_SHARED_UMEM: u16 = 1;
const XDP_COPY: u16 = 1 << 1;
const XDP_ZEROCOPY: u16 = 1 << 2;
const XDP_USE_NEED_WAKEUP: u16 = 1 << 3;
const CAP_NET_RAW: u32 = 13;
/// Bytes of skbs that may be under way in copy mode.
const SEND_BUFFER: i32 = 8 << 20;
/// How long a queue may stay bound to a socket whose last holder has just gone.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// `struct xdp_umem_reg`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct UmemReg {
    addr: u64,
    len: u64,
    chunk_size: u32,
    headroom: u32,
    flags: u32,
    tx_metadata_len: u32,
}

/// `struct sockaddr_xdp`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct XdpAddress {
    family: u16,
    flags: u16,
    ifindex: u32,
    queue: u32,
    shared_umem_fd: i32,
}

/// `struct xdp_statistics`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct Statistics {
    /// Packets that fit no buffer, or for another reason.
    pub(super) rx_dropped: u64,
    /// Fill entries that name no buffer.
    pub(super) rx_invalid_descs: u64,
    /// Transmit entries that name no buffer.
    pub(super) tx_invalid_descs: u64,
    /// Packets the receive ring had no room for.
    pub(super) rx_ring_full: u64,
    /// Times the fill ring was empty.
    pub(super) fill_empty: u64,
    /// Times the transmit ring was empty.
    pub(super) tx_empty: u64,
}

/// The sockets of all queues, bound, and whether they are zero-copy.
pub(super) fn open(
    spec: &PortSpec,
    iface: &str,
    ifindex: u32,
    pool: Pool,
) -> Result<(Vec<OwnedFd>, bool), PortError> {
    let maker = Maker {
        spec,
        iface,
        ifindex,
        pool,
    };
    let zero_copy = if spec.switch("force_copy") {
        None
    } else {
        maker.first(XDP_ZEROCOPY).ok() // copy mode tells why, if that fails as well
    };
    let is_zero_copy = zero_copy.is_some();
    let first = match zero_copy {
        Some(first) => first,
        None => maker.first(XDP_COPY)?,
    };
    let mut sockets = vec![first];
    for queue in 1..spec.queues {
        let fd = maker.socket()?;
        maker.bind(fd.as_fd(), queue, XDP_SHARED_UMEM, sockets[0].as_raw_fd())?;
        sockets.push(fd);
    }
    Ok((sockets, is_zero_copy))
}

/// What the kernel counted for a socket since it was made.
pub(super) fn statistics(fd: BorrowedFd<'_>) -> io::Result<Statistics> {
    get_option(fd, SOL_XDP, XDP_STATISTICS)
}

struct Maker<'a> {
    spec: &'a PortSpec,
    iface: &'a str,
    ifindex: u32,
    pool: Pool,
}

impl Maker<'_> {
    /// The socket of the first queue, with the UMEM.
    fn first(&self, mode: u16) -> Result<OwnedFd, PortError> {
        let fd = self.socket()?;
        let data = self.pool.data();
        let umem = UmemReg {
            addr: data.as_ptr().addr() as u64,
            len: self.umem_len(),
            chunk_size: self.pool.chunk(),
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        // Kept while the error is judged: ENOBUFS here is the limit of locked memory.
        set_option(fd.as_fd(), SOL_XDP, XDP_UMEM_REG, &umem).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::ENOBUFS | libc::ENOMEM) => PortError::Memlock {
                    iface: self.iface.to_owned(),
                    need: self.umem_len(),
                    limit: memlock_limit(),
                },
                _ => self.refused("XDP_UMEM_REG", 0, error),
            }
        })?;
        self.bind(fd.as_fd(), 0, mode | XDP_USE_NEED_WAKEUP, 0)?;
        Ok(fd)
    }

    /// Whole chunks of the data segment, to its last page.
    fn umem_len(&self) -> u64 {
        u64::from(self.pool.count()) * u64::from(self.pool.chunk())
    }

    /// A socket with its four rings still to be bound.
    fn socket(&self) -> Result<OwnedFd, PortError> {
        let fd =
            socket(libc::AF_XDP, 0).map_err(|error| self.refused("socket(AF_XDP)", 0, error))?;
        // More than `wmem_max` only with CAP_NET_ADMIN: without, as much as the machine grants.
        let (level, value) = (libc::SOL_SOCKET, &SEND_BUFFER);
        if set_option(fd.as_fd(), level, libc::SO_SNDBUFFORCE, value).is_err() {
            set_option(fd.as_fd(), level, libc::SO_SNDBUF, value)
                .map_err(|error| self.refused("SO_SNDBUF", 0, error))?;
        }
        Ok(fd)
    }

    fn rings(&self, fd: BorrowedFd<'_>) -> Result<(), PortError> {
        let (rxd, txd) = (self.spec.rxd, self.spec.txd);
        for (name, entries, op) in [
            (XDP_UMEM_FILL_RING, rxd, "XDP_UMEM_FILL_RING"),
            (XDP_UMEM_COMPLETION_RING, txd, "XDP_UMEM_COMPLETION_RING"),
            (XDP_RX_RING, rxd, "XDP_RX_RING"),
            (XDP_TX_RING, txd, "XDP_TX_RING"),
        ] {
            set_option(fd, SOL_XDP, name, &entries).map_err(|error| self.refused(op, 0, error))?;
        }
        Ok(())
    }

    fn bind(
        &self,
        fd: BorrowedFd<'_>,
        queue: u16,
        flags: u16,
        shared_umem_fd: i32,
    ) -> Result<(), PortError> {
        self.rings(fd)?;
        let queue = u32::from(self.spec.start_queue) + u32::from(queue);
        let address = XdpAddress {
            family: libc::AF_XDP as u16,
            flags,
            ifindex: self.ifindex,
            queue,
            shared_umem_fd,
        };
        let deadline = Instant::now() + BUSY_PATIENCE;
        loop {
            match bind(fd, &address) {
                Ok(()) => return Ok(()),
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY)
                        && flags & XDP_ZEROCOPY == 0
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(self.refused("bind(AF_XDP)", queue, error)),
            }
        }
    }

    fn refused(&self, op: &'static str, queue: u32, source: io::Error) -> PortError {
        let iface = self.iface.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM) if !netif::has_capability(CAP_NET_RAW) => {
                PortError::MissingCapability {
                    iface,
                    op: "an AF_XDP socket",
                    capability: "CAP_NET_RAW",
                    remedy: "run it as root, or use net_af_packet or net_tap in a user namespace",
                }
            }
            Some(libc::EBUSY) => PortError::QueueBusy { iface, queue },
            Some(libc::ENETDOWN) => PortError::InterfaceDown { iface },
            Some(libc::EAFNOSUPPORT) => PortError::Unsupported {
                iface,
                what: "AF_XDP".to_owned(),
                remedy: "use a kernel with CONFIG_XDP_SOCKETS, or net_af_packet",
            },
            _ => PortError::system(&iface, op, source),
        }
    }
}
