//! What the kernel knows of a network interface: index, address, MTU, flags, queues.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use zerocopy::{Immutable, IntoBytes};

use super::socket::{check, control_socket, socket};
use crate::error::PortError;

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const RTM_SETLINK: u16 = 19;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const IFLA_TXQLEN: u16 = 13;

/// An interface as it stood when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Its index in this network namespace.
    pub(crate) index: u32,
    /// Its Ethernet address.
    pub(crate) mac: [u8; 6],
    /// Its MTU.
    pub(crate) mtu: u16,
    /// Whether it is administratively up.
    pub(crate) up: bool,
}

/// Queues in use, as `ethtool -l` shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Channels {
    /// Receive queues.
    pub(crate) rx: u32,
    /// Transmit queues.
    pub(crate) tx: u32,
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct EthtoolChannels {
    cmd: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct EthtoolDrvinfo {
    cmd: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// A netlink message: header, `struct ifinfomsg`, one attribute.
#[repr(C)]
#[derive(IntoBytes, Immutable)]
struct SetLink {
    len: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    sender: u32,
    family: u8,
    padding: u8,
    link_type: u16,
    index: u32,
    link_flags: u32,
    link_change: u32,
    attribute_len: u16,
    attribute: u16,
    queue_len: u32,
}

/// Looks an interface up by name.
pub(crate) fn look(iface: &str) -> Result<Interface, PortError> {
    let socket = control(iface)?;
    let mut request = named(iface);
    if let Err(error) = ioctl(socket.as_fd(), libc::SIOCGIFINDEX, &mut request) {
        if error.raw_os_error() == Some(libc::ENODEV) {
            return Err(PortError::UnknownInterface {
                iface: iface.to_owned(),
                known: names().join(", "),
            });
        }
        return Err(PortError::system(iface, "SIOCGIFINDEX", error));
    }
    // SAFETY: SIOCGIFINDEX filled this member.
    let index = unsafe { request.ifr_ifru.ifru_ifindex } as u32;
    Ok(Interface {
        index,
        mac: hardware_address(socket.as_fd(), iface)?,
        mtu: mtu(socket.as_fd(), iface)?,
        up: flags(socket.as_fd(), iface)? & libc::IFF_UP != 0,
    })
}

/// Whether the interface exists and has a carrier.
pub(crate) fn is_running(iface: &str) -> bool {
    let both = libc::IFF_UP | libc::IFF_RUNNING;
    control(iface)
        .and_then(|socket| flags(socket.as_fd(), iface))
        .is_ok_and(|flags| flags & both == both)
}

/// Brings an interface up and gives it a transmit queue of `queue_len` packets. By rtnetlink, which
/// asks for CAP_NET_ADMIN in the interface's own user namespace; the ioctl for the length does not.
pub(crate) fn bring_up(iface: &str, index: u32, queue_len: u32) -> Result<(), PortError> {
    let request = SetLink {
        len: size_of::<SetLink>() as u32,
        kind: RTM_SETLINK,
        flags: NLM_F_REQUEST | NLM_F_ACK,
        sequence: 1,
        sender: 0,
        family: 0,
        padding: 0,
        link_type: 0,
        index,
        link_flags: libc::IFF_UP as u32,
        link_change: libc::IFF_UP as u32,
        attribute_len: 8,
        attribute: IFLA_TXQLEN,
        queue_len,
    };
    let set = || -> io::Result<()> {
        let netlink = socket(libc::AF_NETLINK, libc::NETLINK_ROUTE)?;
        nix::unistd::write(&netlink, request.as_bytes())?;
        // The kernel has answered by the time the write returns: header, then the error number.
        let mut answer = [0; 256];
        let n = nix::unistd::read(&netlink, &mut answer)?;
        let error = <[u8; 4]>::try_from(&answer[16..20]).expect("four bytes");
        match i32::from_ne_bytes(error) {
            0 if n >= 20 => Ok(()),
            error => Err(io::Error::from_raw_os_error(-error)),
        }
    };
    set().map_err(|error| PortError::system(iface, "RTM_SETLINK (up, txqueuelen)", error))
}

/// The Ethernet address behind a handle: a control socket (by name) or a TAP's own descriptor.
pub(crate) fn hardware_address(handle: BorrowedFd<'_>, iface: &str) -> Result<[u8; 6], PortError> {
    let mut request = named(iface);
    ioctl(handle, libc::SIOCGIFHWADDR, &mut request)
        .map_err(|error| PortError::system(iface, "SIOCGIFHWADDR", error))?;
    // SAFETY: SIOCGIFHWADDR filled this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    Ok(std::array::from_fn(|i| address.sa_data[i] as u8))
}

/// The queues in use; `None` where the driver does not say.
pub(crate) fn channels(iface: &str) -> Option<Channels> {
    let mut channels = EthtoolChannels {
        cmd: ETHTOOL_GCHANNELS,
        ..EthtoolChannels::default()
    };
    ethtool(iface, (&raw mut channels).cast()).ok()?;
    Some(Channels {
        rx: channels.rx + channels.combined,
        tx: channels.tx + channels.combined,
    })
}

/// The kernel driver of an interface, empty where it does not say.
pub(crate) fn driver(iface: &str) -> String {
    let mut info = EthtoolDrvinfo {
        cmd: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    if ethtool(iface, (&raw mut info).cast()).is_err() {
        return String::new();
    }
    let end = info.driver.iter().position(|b| *b == 0).unwrap_or(32);
    String::from_utf8_lossy(&info.driver[..end]).into_owned()
}

/// The names of all interfaces of this network namespace.
pub(crate) fn names() -> Vec<String> {
    nix::net::if_::if_nameindex()
        .map(|list| {
            list.iter()
                .map(|interface| interface.name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default()
}

/// Whether the capability is in this thread's effective set.
pub(crate) fn has_capability(number: u32) -> bool {
    std::fs::read_to_string("/proc/thread-self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .is_some_and(|set| set >> number & 1 == 1)
}

/// An interface request that carries a name.
pub(crate) fn named(iface: &str) -> libc::ifreq {
    // SAFETY: all-zero bytes are an `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1]
        .iter_mut()
        .zip(iface.bytes())
    {
        *to = from as libc::c_char;
    }
    request
}

/// One interface ioctl.
pub(crate) fn ioctl(
    handle: BorrowedFd<'_>,
    code: libc::c_ulong,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    check(
        // SAFETY: every code used here takes a pointer to an `ifreq`, which this is.
        unsafe { libc::ioctl(handle.as_raw_fd(), code as _, std::ptr::from_mut(request)) },
    )
}

fn control(iface: &str) -> Result<OwnedFd, PortError> {
    control_socket().map_err(|error| PortError::system(iface, "socket", error))
}

fn flags(handle: BorrowedFd<'_>, iface: &str) -> Result<i32, PortError> {
    let mut request = named(iface);
    ioctl(handle, libc::SIOCGIFFLAGS, &mut request)
        .map_err(|error| PortError::system(iface, "SIOCGIFFLAGS", error))?;
    // SAFETY: SIOCGIFFLAGS filled this member.
    Ok(i32::from(unsafe { request.ifr_ifru.ifru_flags }))
}

fn mtu(handle: BorrowedFd<'_>, iface: &str) -> Result<u16, PortError> {
    let mut request = named(iface);
    ioctl(handle, libc::SIOCGIFMTU, &mut request)
        .map_err(|error| PortError::system(iface, "SIOCGIFMTU", error))?;
    // SAFETY: SIOCGIFMTU filled this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    Ok(mtu.clamp(0, i32::from(u16::MAX)) as u16)
}

fn ethtool(iface: &str, command: *mut libc::c_char) -> io::Result<()> {
    let socket = control_socket()?;
    let mut request = named(iface);
    request.ifr_ifru.ifru_data = command;
    ioctl(socket.as_fd(), SIOCETHTOOL, &mut request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_known() {
        let lo = look("lo").unwrap();
        assert_eq!((lo.index, lo.mac), (1, [0; 6]));
        assert!(names().contains(&"lo".to_owned()));
        assert_eq!(channels("lo"), None);
    }

    #[test]
    fn an_unknown_interface_is_an_error_that_lists_the_known_ones() {
        let said = look("no-such-iface").unwrap_err().to_string();
        assert!(said.contains("\"no-such-iface\" does not exist"), "{said}");
        assert!(said.contains("lo"), "{said}");
    }
}
