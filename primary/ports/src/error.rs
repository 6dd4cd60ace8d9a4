//! What can go wrong with a port: each error names the interface or key, what was found, and the
//! way out.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A `vdev` string that cannot be used.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SpecError {
    /// The part before the first comma is no driver with a number.
    #[error(
        "vdev {vdev:?}: {found:?} is no driver of this build; expected one of {known}, each with a number, as in net_af_xdp0"
    )]
    UnknownDriver {
        /// The whole string.
        vdev: String,
        /// The part that was read as a driver.
        found: String,
        /// The drivers there are.
        known: String,
    },
    /// A part that is not `key=value`.
    #[error("vdev {vdev:?}: {part:?} is not key=value")]
    NotKeyValue {
        /// The whole string.
        vdev: String,
        /// The part in question.
        part: String,
    },
    /// A key that the driver does not know.
    #[error("vdev {vdev:?}: key {key:?} is unknown to {driver}; it takes {known}")]
    UnknownKey {
        /// The whole string.
        vdev: String,
        /// The driver's name.
        driver: &'static str,
        /// The key that was found.
        key: String,
        /// The keys there are.
        known: String,
    },
    /// The same key twice.
    #[error("vdev {vdev:?}: key {key:?} stands there twice; leave one")]
    DuplicateKey {
        /// The whole string.
        vdev: String,
        /// The key.
        key: String,
    },
    /// A key without which the driver cannot work.
    #[error("vdev {vdev:?}: key {key:?} is missing; add {key}={example}")]
    MissingKey {
        /// The whole string.
        vdev: String,
        /// The key.
        key: &'static str,
        /// A value as an example.
        example: &'static str,
    },
    /// A value outside what the key takes.
    #[error("vdev {vdev:?}: {key}={value:?}, expected {expected}")]
    BadValue {
        /// The whole string.
        vdev: String,
        /// The key.
        key: String,
        /// What was found.
        value: String,
        /// What would do.
        expected: String,
    },
}

/// A port that cannot be made or adopted.
#[derive(Debug, Error)]
pub enum PortError {
    /// The specification itself is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// No interface of that name in this network namespace.
    #[error(
        "interface {iface:?} does not exist in this network namespace, which has {known}; name one of these in the vdev's iface="
    )]
    UnknownInterface {
        /// The name that was asked for.
        iface: String,
        /// The interfaces there are.
        known: String,
    },
    /// The interface is administratively down.
    #[error("interface {iface} is down; bring it up with: ip link set {iface} up")]
    InterfaceDown {
        /// The interface.
        iface: String,
    },
    /// The interface has fewer queues than the port asks for.
    #[error("interface {iface} has {found} {kind} queues, the port needs {needed}; {remedy}")]
    TooFewQueues {
        /// The interface.
        iface: String,
        /// `receive` or `transmit`.
        kind: &'static str,
        /// Queues the interface has now.
        found: u32,
        /// Queues needed, first queue included.
        needed: u32,
        /// The command that gives more.
        remedy: String,
    },
    /// The process lacks a capability.
    #[error("interface {iface}: {op} needs {capability}, which this process lacks; {remedy}")]
    MissingCapability {
        /// The interface.
        iface: String,
        /// What was tried.
        op: &'static str,
        /// The capability's name.
        capability: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// Somebody else's XDP program is on the interface.
    #[error(
        "interface {iface} already carries an XDP program of another owner; see `bpftool net show dev {iface}`, end that program or detach it with: ip link set dev {iface} xdp off"
    )]
    XdpAttached {
        /// The interface.
        iface: String,
    },
    /// An AF_XDP socket of another owner holds the queue.
    #[error(
        "interface {iface} queue {queue} is bound to another AF_XDP socket; end the program that holds it (`ss --xdp` lists them) or choose another start_queue="
    )]
    QueueBusy {
        /// The interface.
        iface: String,
        /// The queue.
        queue: u32,
    },
    /// The limit of locked memory is too low for the packet buffers.
    #[error(
        "interface {iface}: registering {need} bytes of packet buffers exceeds the locked memory of this user (limit {limit} bytes, all sockets together); raise it (`ulimit -l`, LimitMEMLOCK=), lower mbufs, or use net_af_packet or net_tap"
    )]
    Memlock {
        /// The interface.
        iface: String,
        /// Bytes to be registered.
        need: u64,
        /// The limit found.
        limit: u64,
    },
    /// The kernel or the device cannot do what is asked.
    #[error("interface {iface}: {what} is not supported here; {remedy}")]
    Unsupported {
        /// The interface.
        iface: String,
        /// What was tried.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The vault has no descriptor under that key.
    #[error(
        "port {port}: no descriptor {key:?} was handed over; it was never made or its maker has not deposited it"
    )]
    MissingFd {
        /// The port.
        port: String,
        /// The key.
        key: String,
    },
    /// The kernel object was made with other parameters.
    #[error(
        "port {port} queue {queue} was made with other fixed parameters (fingerprint {found:016x}, this build asks for {wanted:016x}: {parameters}); it cannot be adopted: keep the parameters, or reopen it with --allow-reopen"
    )]
    ParametersDiffer {
        /// The port.
        port: String,
        /// The queue.
        queue: u16,
        /// The fingerprint beside the rings.
        found: u64,
        /// The fingerprint of this specification.
        wanted: u64,
        /// The parameters behind `wanted`.
        parameters: String,
    },
    /// The cursors do not look like a port's.
    #[error("port {port} queue {queue}: {why}")]
    BadCursors {
        /// The port.
        port: String,
        /// The queue.
        queue: u16,
        /// What was found and wanted.
        why: String,
    },
    /// Too few free buffers to post.
    #[error(
        "port {port} queue {queue}: {found} free mbufs, {needed} are needed to fill its receive ring; raise mbufs or lower rxd"
    )]
    TooFewMbufs {
        /// The port.
        port: String,
        /// The queue.
        queue: u16,
        /// Buffers that could be had.
        found: u32,
        /// Buffers wanted.
        needed: u32,
    },
    /// A template that no buffer has room for.
    #[error(
        "port {port}: frames of {found} bytes do not fit a buffer, which has room for {room}; give a shorter template= or size="
    )]
    TemplateTooLong {
        /// The port.
        port: String,
        /// Bytes of the template.
        found: usize,
        /// Bytes behind a buffer's headroom.
        room: usize,
    },
    /// A file that cannot be opened, read or written.
    #[error("file {path:?}: {op}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        op: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file that is no capture this driver reads.
    #[error(
        "file {path:?}: {found}, expected a classic pcap file of Ethernet frames (magic a1b2c3d4 or a1b23c4d); convert it with: editcap -F pcap"
    )]
    NotPcap {
        /// The file.
        path: PathBuf,
        /// What stood there.
        found: String,
    },
    /// Any other refusal of the kernel.
    #[error("interface {iface}: {op}: {source}")]
    System {
        /// The interface, or the port where there is none.
        iface: String,
        /// The call that failed.
        op: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl PortError {
    /// A refusal of the kernel with what was tried.
    pub(crate) fn system(iface: &str, op: &'static str, source: io::Error) -> PortError {
        PortError::System {
            iface: iface.to_owned(),
            op,
            source,
        }
    }
}
