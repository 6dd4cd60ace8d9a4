//! Packet sockets of one end: a sender of whole batches and a sink with a ring shared with the kernel.
//!
//! The sink is TPACKET version 2: a slot a packet, no block timeout, and nothing to wake while nobody polls.
//!
//! - I1 The ring's mapping lives as long as its [`Sink`]; `frames * frame_size` is its length.
//! - I2 A slot belongs to us while its status word has `TP_STATUS_USER`, else to the kernel, which then writes it.
//! - I3 A slot starts with a `tpacket2_hdr`; `mac + snaplen` ends within the slot (checked before use).

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::traffic::frame::{CSUM_OFFSET, CSUM_START, Checksum, MAGIC, Mac};
use crate::traffic::pace::BATCH;

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

/// Whether a packet passes the interface's queueing discipline (and its choice of a queue by flow hash).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qdisc {
    /// Straight to the driver; all on one queue.
    Bypass,
    /// As any other program's packets.
    Pass,
}

/// Sends frames in batches.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
    vnet: Option<VnetHeader>,
}

/// `struct virtio_net_hdr`, as PACKET_VNET_HDR wants it.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct VnetHeader {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

impl Sender {
    /// Opens a sender on `interface` of the calling thread's network namespace.
    pub fn open(interface: &str, checksum: Checksum, qdisc: Qdisc) -> Result<Sender, SocketError> {
        let socket = packet_socket(interface)?;
        set(
            &socket,
            interface,
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            "SO_SNDBUF",
            &(8 << 20),
        )?;
        if qdisc == Qdisc::Bypass {
            set(
                &socket,
                interface,
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                "PACKET_QDISC_BYPASS",
                &1,
            )?;
        }
        let vnet = (checksum == Checksum::Unfinished).then_some(VnetHeader {
            flags: 1, // VIRTIO_NET_HDR_F_NEEDS_CSUM
            gso_type: 0,
            hdr_len: 0,
            gso_size: 0,
            csum_start: CSUM_START,
            csum_offset: CSUM_OFFSET,
        });
        if vnet.is_some() {
            set(
                &socket,
                interface,
                libc::SOL_PACKET,
                libc::PACKET_VNET_HDR,
                "PACKET_VNET_HDR",
                &1,
            )?;
        }
        bind(&socket, interface, 0)?;
        Ok(Sender { socket, vnet })
    }

    /// Hands the frames to the kernel, in order; returns how many it refused (those are gone).
    pub fn send(&mut self, frames: &mut [Vec<u8>]) -> io::Result<u64> {
        assert!(frames.len() <= BATCH, "a batch is at most {BATCH} frames");
        let mut head = self.vnet;
        let head_part = head.as_mut().map(|head| libc::iovec {
            iov_base: std::ptr::from_mut(head).cast::<c_void>(),
            iov_len: size_of::<VnetHeader>(),
        });
        let mut parts: [[libc::iovec; 2]; BATCH] = [[libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; 2]; BATCH];
        // SAFETY: `mmsghdr` is plain data for which all zeroes is a valid, empty message.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        for ((frame, part), message) in frames.iter_mut().zip(&mut parts).zip(&mut messages) {
            let body = libc::iovec {
                iov_base: frame.as_mut_ptr().cast::<c_void>(),
                iov_len: frame.len(),
            };
            *part = [head_part.unwrap_or(body), body];
            message.msg_hdr.msg_iov = part.as_mut_ptr();
            message.msg_hdr.msg_iovlen = if head_part.is_some() { 2 } else { 1 };
        }
        self.send_all(&mut messages[..frames.len()])
    }

    fn send_all(&self, mut messages: &mut [libc::mmsghdr]) -> io::Result<u64> {
        let mut refused = 0;
        while !messages.is_empty() {
            // SAFETY: the messages point at `iovec`s and frames that live until the call returns.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    messages.as_mut_ptr(),
                    messages.len() as u32,
                    0,
                )
            };
            let done = match sent {
                ..0 => {
                    let error = io::Error::last_os_error();
                    match error.raw_os_error() {
                        Some(libc::EINTR) => continue,
                        Some(libc::ENOBUFS | libc::EAGAIN | libc::ENOMEM) => 0,
                        _ => return Err(error),
                    }
                }
                _ => sent as usize,
            };
            // The kernel stops at the first message that failed, and has dropped that packet.
            let failed = usize::from(done < messages.len());
            refused += failed as u64;
            messages = &mut messages[done + failed..];
        }
        Ok(refused)
    }
}

/// A packet in the sink's ring.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The frame from its Ethernet header on.
    pub bytes: &'a [u8],
    /// Wall clock at which the kernel put it into the ring.
    pub at_ns: u64,
    /// The kernel says that the transport checksum is still to be computed.
    pub unfinished: bool,
}

/// Receives our probes from one interface into a ring of several megabytes.
#[derive(Debug)]
pub struct Sink {
    socket: OwnedFd,
    ring: NonNull<c_void>,
    len: NonZeroUsize,
    frame_size: usize,
    frames: usize,
    next: usize,
    drops: u64,
}

impl Sink {
    /// Opens a sink on `interface` of the calling thread's network namespace: `mib` MiB for packets of `packet` bytes.
    pub fn open(interface: &str, mib: usize, packet: usize) -> Result<Sink, SocketError> {
        let socket = packet_socket(interface)?;
        set(
            &socket,
            interface,
            libc::SOL_PACKET,
            libc::PACKET_VERSION,
            "PACKET_VERSION",
            &1,
        )?; // TPACKET_V2
        let frame_size = (packet + SLOT_OVERHEAD).next_power_of_two();
        let blocks = (mib << 20) / BLOCK;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: blocks as u32,
            tp_frame_size: frame_size as u32,
            tp_frame_nr: (blocks * (BLOCK / frame_size)) as u32,
        };
        set(
            &socket,
            interface,
            libc::SOL_PACKET,
            libc::PACKET_RX_RING,
            "PACKET_RX_RING",
            &request,
        )?;
        let len = NonZeroUsize::new(blocks * BLOCK).expect("a ring of at least one MiB");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping at an address the kernel picks; nothing else knows it.
        let ring = unsafe {
            mmap(
                None,
                len,
                access,
                MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE,
                &socket,
                0,
            )
        };
        let ring = ring.map_err(|e| failed(interface, "mmap of the ring")(e.into()))?;
        let mut sink = Sink {
            socket,
            ring,
            len,
            frame_size,
            frames: len.get() / frame_size,
            next: 0,
            drops: 0,
        };
        sink.filter(interface)?;
        bind(&sink.socket, interface, libc::ETH_P_IP as u16)?;
        sink.drops(); // whatever came before the filter and the bind
        sink.drops = 0;
        Ok(sink)
    }

    /// Visits at most `most` packets, in order of arrival; returns how many there were.
    pub fn drain(&mut self, most: usize, mut visit: impl FnMut(Received<'_>)) -> usize {
        for n in 0..most {
            let at = self.next * self.frame_size;
            // SAFETY: I1: `at < len`, and the status word is the first of a slot, aligned to 16.
            let status: &AtomicU32 =
                unsafe { AtomicU32::from_ptr(self.ring.as_ptr().byte_add(at).cast::<u32>()) };
            let flags = status.load(Ordering::Acquire);
            if flags & libc::TP_STATUS_USER == 0 {
                return n;
            }
            // SAFETY: I2: the slot is ours until we store TP_STATUS_KERNEL below; I3.
            let packet = unsafe { self.packet(at, flags) };
            packet.into_iter().for_each(&mut visit);
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.next = (self.next + 1) % self.frames;
        }
        most
    }

    /// Packets that found no room in the ring so far.
    pub fn drops(&mut self) -> u64 {
        let mut stats = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        let out = std::ptr::from_mut(&mut stats).cast::<c_void>();
        let fd = self.socket.as_raw_fd();
        // SAFETY: `out` points at `len` writable bytes.
        let result = unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, out, &mut len)
        };
        if result == 0 {
            self.drops += u64::from(stats.tp_drops); // the kernel starts again from zero at each call
        }
        self.drops
    }

    /// # Safety
    /// - `at` is the start of a slot that belongs to us (I2), and stays ours while the result lives.
    unsafe fn packet(&self, at: usize, flags: u32) -> Option<Received<'_>> {
        // SAFETY: I1 and the caller: a slot of ours, at least as long as its header.
        let head = unsafe {
            self.ring
                .as_ptr()
                .byte_add(at)
                .cast::<libc::tpacket2_hdr>()
                .read()
        };
        let (mac, len) = (usize::from(head.tp_mac), head.tp_snaplen as usize);
        if mac + len > self.frame_size {
            return None;
        }
        // SAFETY: the range was checked to lie in the slot (I3), and the kernel does not write it (I2).
        let bytes = unsafe {
            std::slice::from_raw_parts(self.ring.as_ptr().cast::<u8>().add(at + mac), len)
        };
        let at_ns = u64::from(head.tp_sec) * 1_000_000_000 + u64::from(head.tp_nsec);
        Some(Received {
            bytes,
            at_ns,
            unfinished: flags & libc::TP_STATUS_CSUMNOTREADY != 0,
        })
    }

    /// Lets only unfragmented UDP with our magic through, so that TCP beside it costs no copy.
    fn filter(&self, interface: &str) -> Result<(), SocketError> {
        let op = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
        let mut program = [
            op(0x28, 12, 0, 0),       // ldh [12]: ethertype
            op(0x15, 0x0800, 0, 8),   // IPv4?
            op(0x30, 23, 0, 0),       // ldb [23]: protocol
            op(0x15, 17, 0, 6),       // UDP?
            op(0x28, 20, 0, 0),       // ldh [20]: fragment offset
            op(0x45, 0x1fff, 4, 0),   // none?
            op(0xb1, 14, 0, 0),       // x = length of the IPv4 header
            op(0x40, 14 + 8, 0, 0),   // ld [x + 22]: first word of the payload
            op(0x15, MAGIC, 0, 1),    // ours?
            op(0x06, u32::MAX, 0, 0), // take it
            op(0x06, 0, 0, 0),        // leave it
        ];
        let program = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        set(
            &self.socket,
            interface,
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            "SO_ATTACH_FILTER",
            &program,
        )
    }
}

// SAFETY: the mapping is reached only through its `Sink`, needs no thread of its own, and `&mut self` guards each slot.
unsafe impl Send for Sink {}

impl Drop for Sink {
    fn drop(&mut self) {
        // SAFETY: I1: our own mapping, not used after this.
        let _ = unsafe { munmap(self.ring, self.len.get()) };
    }
}

/// The link-layer address of `interface`.
pub fn mac_of(interface: &str) -> Result<Mac, SocketError> {
    let addresses =
        nix::ifaddrs::getifaddrs().map_err(|e| failed(interface, "getifaddrs")(e.into()))?;
    addresses
        .filter(|a| a.interface_name == interface)
        .find_map(|a| a.address?.as_link_addr()?.addr())
        .ok_or_else(|| SocketError::NoMac {
            interface: interface.into(),
        })
}

/// The link-layer address of a neighbour: asks the kernel to send to it and reads its ARP table.
pub fn neighbour(interface: &str, address: Ipv4Addr, wait: Duration) -> Result<Mac, SocketError> {
    let ask = || {
        UdpSocket::bind("0.0.0.0:0")?
            .send_to(&[0], (address, 9))
            .map(drop)
    };
    let started = Instant::now();
    while started.elapsed() < wait {
        let _ = ask(); // "no route" passes as soon as the interface is up
        let table = std::fs::read_to_string("/proc/thread-self/net/arp");
        let table = table.map_err(failed(interface, "/proc/thread-self/net/arp"))?;
        if let Some(mac) = table.lines().find_map(|line| arp_entry(line, address)) {
            return Ok(mac);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(SocketError::NoNeighbour {
        interface: interface.into(),
        address,
        waited: wait,
    })
}

/// `10.0.0.1  0x1  0x2  02:00:00:00:00:01  *  c0`; the third column has bit 2 once the entry is complete.
fn arp_entry(line: &str, address: Ipv4Addr) -> Option<Mac> {
    let mut columns = line.split_whitespace();
    let same = columns.next()?.parse() == Ok(address);
    let flags = columns.nth(1)?.strip_prefix("0x")?;
    let complete = u32::from_str_radix(flags, 16).ok()? & 2 != 0;
    let mut mac = Mac::default();
    let parts: Vec<&str> = columns.next()?.split(':').collect();
    for (byte, part) in mac.iter_mut().zip(&parts) {
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (same && complete && parts.len() == mac.len()).then_some(mac)
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

/// Bytes of one block of the ring; a slot never crosses it.
const BLOCK: usize = 1 << 20;
/// `tpacket2_hdr`, `sockaddr_ll` and the alignment between them and the frame.
const SLOT_OVERHEAD: usize = 82;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_arp_entry_is_read_and_an_incomplete_one_is_not() {
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let line = "10.0.0.1         0x1         0x2         02:ab:00:00:00:01     *        c0";
        assert_eq!(arp_entry(line, address), Some([2, 0xab, 0, 0, 0, 1]));
        assert_eq!(arp_entry(line, Ipv4Addr::new(10, 0, 0, 2)), None);
        assert_eq!(arp_entry(&line.replace("0x2", "0x0"), address), None);
        assert_eq!(
            arp_entry("IP address       HW type     Flags", address),
            None
        );
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = mac_of("baton-none0")
            .expect_err("no such interface")
            .to_string();
        assert!(error.starts_with("baton-none0: "), "{error}");
    }
}
