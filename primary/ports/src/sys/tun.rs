//! `/dev/net/tun`: opening the queues of a TAP interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::netif::{has_capability, ioctl, named};
use super::socket::check;
use crate::error::PortError;

const IFF_TAP: i32 = 0x0002;
const IFF_NO_PI: i32 = 0x1000;
const IFF_VNET_HDR: i32 = 0x4000;
const IFF_MULTI_QUEUE: i32 = 0x0100;
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNGETIFF: libc::c_ulong = 0x8004_54d2;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const CAP_NET_ADMIN: u32 = 12;

/// Opens one queue of a TAP interface, making the interface with the first.
pub(crate) fn open_queue(iface: &str, multi: bool) -> Result<OwnedFd, PortError> {
    use std::os::unix::fs::OpenOptionsExt;
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .map_err(|source| refused(iface, "open /dev/net/tun", source))?;
    let device = OwnedFd::from(device);
    let mut request = named(iface);
    let multi = if multi { IFF_MULTI_QUEUE } else { 0 };
    let flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | multi;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    ioctl(device.as_fd(), TUNSETIFF, &mut request)
        .map_err(|source| refused(iface, "TUNSETIFF", source))?;
    check(
        // SAFETY: takes a number, no pointer.
        unsafe { libc::ioctl(device.as_raw_fd(), TUNSETOFFLOAD as _, 0) },
    )
    .map_err(|source| PortError::system(iface, "TUNSETOFFLOAD", source))?;
    Ok(device)
}

/// Whether a queue still belongs to an interface.
pub(crate) fn is_attached(fd: RawFd) -> bool {
    let mut request = named("");
    // SAFETY: TUNGETIFF takes a pointer to an `ifreq`, which this is.
    let result = unsafe { libc::ioctl(fd, TUNGETIFF as _, &raw mut request) };
    result >= 0
}

fn refused(iface: &str, op: &'static str, source: io::Error) -> PortError {
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if !has_capability(CAP_NET_ADMIN) => {
            PortError::MissingCapability {
                iface: iface.to_owned(),
                op: "making a TAP interface",
                capability: "CAP_NET_ADMIN",
                remedy: "run it as root, or in a user namespace of its own (unshare -rn)",
            }
        }
        Some(libc::EACCES) => PortError::Unsupported {
            iface: iface.to_owned(),
            what: "opening /dev/net/tun as this user".to_owned(),
            remedy: "the device's mode is narrower than usual: chmod 0666 /dev/net/tun (as root; CAP_NET_ADMIN still guards it), or use net_af_packet",
        },
        Some(libc::EBUSY) => PortError::Unsupported {
            iface: iface.to_owned(),
            what: "a second owner of a TAP queue".to_owned(),
            remedy: "end the program that holds it, or choose another iface=",
        },
        Some(libc::EINVAL) => PortError::Unsupported {
            iface: iface.to_owned(),
            what: "TAP with vnet header and these queues on an interface of another kind"
                .to_owned(),
            remedy: "let the port make the interface, or make it with: ip tuntap add mode tap vnet_hdr (and multi_queue for queues= above 1)",
        },
        Some(libc::ENOENT | libc::ENODEV) => PortError::Unsupported {
            iface: iface.to_owned(),
            what: "/dev/net/tun".to_owned(),
            remedy: "load the module: modprobe tun",
        },
        _ => PortError::system(iface, op, source),
    }
}
