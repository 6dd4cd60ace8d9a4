//! A sink with a ring shared with the kernel: TPACKET version 2, a slot a packet, no block timeout, and nothing to wake
//! while nobody polls.
//!
//! - I1 The ring's mapping lives as long as its [`Sink`]; `frames * frame_size` is its length.
//! - I2 A slot belongs to us while its status word has `TP_STATUS_USER`, else to the kernel, which then writes it.
//! - I3 A slot starts with a `tpacket2_hdr`; `mac + snaplen` ends within the slot (checked before use).

use std::ffi::c_void;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::{SocketError, bind, failed, packet_socket, set};
use crate::traffic::frame::MAGIC;

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

/// Bytes of one block of the ring; a slot never crosses it.
const BLOCK: usize = 1 << 20;
/// `tpacket2_hdr`, `sockaddr_ll` and the alignment between them and the frame.
const SLOT_OVERHEAD: usize = 82;
