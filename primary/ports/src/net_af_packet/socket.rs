//! Making the packet sockets of a port: rings, vnet header, fanout, and what may stand in the way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::rings::FRAME;
use crate::error::PortError;
use crate::spec::PortSpec;
use crate::sys::netif::{self, Interface};
use crate::sys::socket::{bind, get_option, set_option, socket};

const SOL_PACKET: i32 = 263;
const PACKET_RX_RING: i32 = 5;
const PACKET_STATISTICS: i32 = 6;
const PACKET_VERSION: i32 = 10;
const PACKET_TX_RING: i32 = 13;
const PACKET_LOSS: i32 = 14;
const PACKET_VNET_HDR: i32 = 15;
const PACKET_FANOUT: i32 = 18;
const PACKET_QDISC_BYPASS: i32 = 20;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const TPACKET_V2: i32 = 1;
const FANOUT_HASH: u32 = 0;
const FANOUT_FLAG_UNIQUEID: u32 = 0x2000;
const FANOUT_FLAG_IGNORE_OUTGOING: u32 = 0x4000;
const CAP_NET_RAW: u32 = 13;
/// Bytes of one block of ring memory; frames do not straddle blocks.
const BLOCK: u32 = 64 * 1024;
/// Bytes that may be under way in the kernel: as many as a full transmit ring.
const SEND_BUFFER: i32 = 8 << 20;

/// `struct tpacket_req`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct RingRequest {
    block_size: u32,
    block_nr: u32,
    frame_size: u32,
    frame_nr: u32,
}

/// `struct sockaddr_ll`.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    ifindex: u32,
    hatype: u16,
    pkttype: u8,
    halen: u8,
    addr: [u8; 8],
}

/// `struct tpacket_stats`.
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable)]
pub(super) struct Statistics {
    packets: u32,
    /// Packets the receive ring had no frame for.
    pub(super) drops: u32,
}

/// The sockets of all queues, bound and with their rings, in the order of the queues.
pub(super) fn open(
    spec: &PortSpec,
    iface: &str,
    interface: &Interface,
) -> Result<Vec<OwnedFd>, PortError> {
    let sockets: Vec<OwnedFd> = (0..spec.queues)
        .map(|_| queue_socket(spec, iface))
        .collect::<Result<_, _>>()?;
    for fd in &sockets {
        let address = LinkAddress {
            family: libc::AF_PACKET as u16,
            protocol: (libc::ETH_P_ALL as u16).to_be(),
            ifindex: interface.index,
            hatype: 0,
            pkttype: 0,
            halen: 0,
            addr: [0; 8],
        };
        bind(fd.as_fd(), &address).map_err(|error| refused(iface, "bind", error))?;
    }
    if sockets.len() > 1 {
        fan_out(iface, &sockets)?;
    }
    Ok(sockets)
}

/// Statistics of a socket since they were last asked for.
pub(super) fn statistics(fd: BorrowedFd<'_>) -> io::Result<Statistics> {
    get_option(fd, SOL_PACKET, PACKET_STATISTICS)
}

/// A socket with its two rings. Protocol 0: it receives nothing until it is bound.
fn queue_socket(spec: &PortSpec, iface: &str) -> Result<OwnedFd, PortError> {
    let fd = socket(libc::AF_PACKET, 0).map_err(|error| refused(iface, "socket", error))?;
    let set = |name: i32, value: i32, op: &'static str| {
        set_option(fd.as_fd(), SOL_PACKET, name, &value).map_err(|error| refused(iface, op, error))
    };
    set(PACKET_VERSION, TPACKET_V2, "PACKET_VERSION")?;
    set(PACKET_VNET_HDR, 1, "PACKET_VNET_HDR")?;
    set(PACKET_LOSS, 1, "PACKET_LOSS")?;
    set(PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING")?;
    if spec.param("qdisc_bypass") != Some("0") {
        set(PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS")?;
    }
    let socket_level = libc::SOL_SOCKET;
    // More than `wmem_max` only with CAP_NET_ADMIN: without, as much as the machine grants.
    if set_option(fd.as_fd(), socket_level, libc::SO_SNDBUFFORCE, &SEND_BUFFER).is_err() {
        set_option(fd.as_fd(), socket_level, libc::SO_SNDBUF, &SEND_BUFFER)
            .map_err(|error| refused(iface, "SO_SNDBUF", error))?;
    }
    let ring = |name: i32, entries: u32, op: &'static str| {
        let request = RingRequest {
            block_size: BLOCK,
            block_nr: (entries * FRAME as u32).div_ceil(BLOCK),
            frame_size: FRAME as u32,
            frame_nr: entries,
        };
        set_option(fd.as_fd(), SOL_PACKET, name, &request)
            .map_err(|error| refused(iface, op, error))
    };
    ring(PACKET_RX_RING, spec.rxd, "PACKET_RX_RING")?;
    ring(PACKET_TX_RING, spec.txd, "PACKET_TX_RING")?;
    Ok(fd)
}

/// Spreads what arrives over the sockets by flow, under a group number of the kernel's choice.
fn fan_out(iface: &str, sockets: &[OwnedFd]) -> Result<(), PortError> {
    let mode = FANOUT_HASH | FANOUT_FLAG_IGNORE_OUTGOING;
    let join = |fd: &OwnedFd, value: u32| {
        set_option(fd.as_fd(), SOL_PACKET, PACKET_FANOUT, &value)
            .map_err(|error| refused(iface, "PACKET_FANOUT", error))
    };
    join(&sockets[0], (mode | FANOUT_FLAG_UNIQUEID) << 16)?;
    let group = get_option::<u32>(sockets[0].as_fd(), SOL_PACKET, PACKET_FANOUT)
        .map_err(|error| refused(iface, "PACKET_FANOUT", error))?;
    for fd in &sockets[1..] {
        join(fd, mode << 16 | (group & 0xffff))?;
    }
    Ok(())
}

fn refused(iface: &str, op: &'static str, source: io::Error) -> PortError {
    match source.raw_os_error() {
        Some(libc::EPERM) if !netif::has_capability(CAP_NET_RAW) => PortError::MissingCapability {
            iface: iface.to_owned(),
            op: "a packet socket",
            capability: "CAP_NET_RAW",
            remedy: "run it as root, grant it (setcap cap_net_raw+ep), or use a user namespace of its own (unshare -rn)",
        },
        Some(libc::ENETDOWN) => PortError::InterfaceDown {
            iface: iface.to_owned(),
        },
        Some(libc::ENOMEM) => PortError::Unsupported {
            iface: iface.to_owned(),
            what: format!("{op}: kernel memory for the rings"),
            remedy: "lower rxd and txd",
        },
        _ => PortError::system(iface, op, source),
    }
}
