//! Putting the XDP program on the interface: native if the driver can, else generic; and checking
//! beforehand that the interface has the queues.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::error::PortError;
use crate::spec::PortSpec;
use crate::sys::bpf::{self, XDP_DRV_MODE, XDP_SKB_MODE};
use crate::sys::netif;

const CAP_NET_ADMIN: u32 = 12;
const CAP_BPF: u32 = 39;
const CAP_SYS_ADMIN: u32 = 21;
/// How long a link whose last holder has just gone may stay on the interface.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// The program on the interface.
#[derive(Debug)]
pub(super) struct Attached {
    /// Sockets by queue; empty so far, so every packet still goes to the kernel.
    pub(super) map: OwnedFd,
    /// Keeps the program there.
    pub(super) link: OwnedFd,
    /// Whether the program runs in the driver.
    pub(super) native: bool,
    /// What could be better.
    pub(super) warnings: Vec<String>,
}

/// Loads the program and attaches it.
pub(super) fn attach(spec: &PortSpec, iface: &str, ifindex: u32) -> Result<Attached, PortError> {
    let entries = u32::from(spec.start_queue) + u32::from(spec.queues);
    let map = bpf::socket_map(entries).map_err(|error| refused(iface, "BPF_MAP_CREATE", error))?;
    let program =
        bpf::load_redirect(map.as_fd()).map_err(|error| refused(iface, "BPF_PROG_LOAD", error))?;
    let mode = spec.param("mode").unwrap_or("auto");
    let mut warnings = Vec::new();
    if mode != "generic" {
        match link(&program, ifindex, XDP_DRV_MODE) {
            Ok(link) => return Ok(Attached { map, link, native: true, warnings }),
            Err(error) if mode == "native" || is_taken(&error) => {
                return Err(refused(iface, "attaching a native XDP program", error));
            }
            Err(error) => warnings.push(format!(
                "interface {iface}: native XDP was refused ({error}), generic XDP is used: slower{}",
                native_remedy(iface, &error)
            )),
        }
    }
    let link = link(&program, ifindex, XDP_SKB_MODE)
        .map_err(|error| refused(iface, "attaching a generic XDP program", error))?;
    Ok(Attached {
        map,
        link,
        native: false,
        warnings,
    })
}

/// Checks that the interface has the queues; returns a warning if it has more.
pub(super) fn check_queues(spec: &PortSpec, iface: &str) -> Result<Option<String>, PortError> {
    let Some(found) = netif::channels(iface) else {
        return Ok(None); // the driver does not say: bind will
    };
    let needed = u32::from(spec.start_queue) + u32::from(spec.queues);
    for (kind, have) in [("receive", found.rx), ("transmit", found.tx)] {
        if have < needed {
            return Err(PortError::TooFewQueues {
                iface: iface.to_owned(),
                kind,
                found: have,
                needed,
                remedy: more_queues(iface, needed),
            });
        }
    }
    Ok((found.rx > needed).then(|| {
        format!(
            "interface {iface} has {} receive queues, the port polls {needed}: what arrives on the others goes to the kernel; {}",
            found.rx,
            fewer_queues(iface, needed)
        )
    }))
}

fn more_queues(iface: &str, needed: u32) -> String {
    if netif::driver(iface) == "veth" {
        return format!(
            "run: ethtool -L {iface} rx {needed} tx {needed} (if veth refuses, make it with: ip link add {iface} numrxqueues {needed} numtxqueues {needed} type veth peer ...)"
        );
    }
    format!("run: ethtool -L {iface} combined {needed}")
}

fn fewer_queues(iface: &str, needed: u32) -> String {
    if netif::driver(iface) == "veth" {
        return format!("run: ethtool -L {iface} rx {needed} tx {needed}");
    }
    format!("run: ethtool -L {iface} combined {needed}, or raise queue_count=")
}

/// Attaches; somebody else's program may be one that is just going away.
fn link(program: &OwnedFd, ifindex: u32, mode: u32) -> io::Result<OwnedFd> {
    let deadline = Instant::now() + BUSY_PATIENCE;
    loop {
        match bpf::attach_xdp(program.as_fd(), ifindex, mode) {
            Err(error) if is_taken(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

/// veth says ENOSPC when its peer has more transmit queues than it has receive queues.
fn native_remedy(iface: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOSPC) => format!(
            "; {iface} needs as many receive queues as its peer has transmit queues (ethtool -L)"
        ),
        Some(libc::ERANGE | libc::EINVAL) => {
            format!("; the MTU of {iface} or its peer may be too large for native XDP")
        }
        _ => String::new(),
    }
}

fn refused(iface: &str, op: &'static str, source: io::Error) -> PortError {
    let name = iface.to_owned();
    match source.raw_os_error() {
        Some(libc::EPERM) => PortError::MissingCapability {
            iface: name,
            op,
            capability: missing(),
            remedy: "run it as root or grant it (setcap cap_net_admin,cap_net_raw,cap_bpf+ep); a user namespace does not count for BPF: there, use net_af_packet or net_tap",
        },
        Some(libc::EBUSY | libc::EEXIST) => PortError::XdpAttached { iface: name },
        Some(libc::EOPNOTSUPP) => PortError::Unsupported {
            iface: name,
            what: op.to_owned(),
            remedy: "leave mode= out (generic XDP works on any driver), or use net_af_packet",
        },
        _ => PortError::system(iface, op, source),
    }
}

/// Which capability the kernel missed: those of this process, in the order BPF asks for them.
fn missing() -> &'static str {
    let admin = netif::has_capability(CAP_SYS_ADMIN);
    if !admin && !netif::has_capability(CAP_BPF) {
        "CAP_BPF"
    } else if !admin && !netif::has_capability(CAP_NET_ADMIN) {
        "CAP_NET_ADMIN"
    } else {
        "CAP_BPF and CAP_NET_ADMIN in the first user namespace"
    }
}
