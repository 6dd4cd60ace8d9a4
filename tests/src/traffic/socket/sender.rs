//! Sends whole batches of frames.

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{SocketError, bind, packet_socket, set};
use crate::traffic::frame::{CSUM_OFFSET, CSUM_START, Checksum};
use crate::traffic::pace::BATCH;

/// Sends frames in batches, past the interface's queueing discipline as any other program's packets: a veth whose
/// neighbour's 256 slots are full holds them there (since Linux 6.16) where it would otherwise drop them.
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
    pub fn open(interface: &str, checksum: Checksum) -> Result<Sender, SocketError> {
        let socket = packet_socket(interface)?;
        set(
            &socket,
            interface,
            libc::SOL_SOCKET,
            libc::SO_SNDBUF,
            "SO_SNDBUF",
            &(8 << 20),
        )?;
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
