//! `bpf(2)` for the one program the AF_XDP driver needs: a map of sockets, five instructions that
//! redirect by queue, and a link that keeps them on the interface while its descriptor is held.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use super::socket::{check, own};

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_PROG_LOAD: i32 = 5;
const BPF_LINK_CREATE: i32 = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_FUNC_REDIRECT_MAP: i32 = 51;
const BPF_PSEUDO_MAP_FD: u8 = 1;
const XDP_PASS: i32 = 2;
/// Where `rx_queue_index` stands in `struct xdp_md`.
const XDP_MD_RX_QUEUE: i16 = 16;

/// `XDP_FLAGS_SKB_MODE`: the program runs on socket buffers, on any driver.
pub(crate) const XDP_SKB_MODE: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`: the program runs in the driver.
pub(crate) const XDP_DRV_MODE: u32 = 1 << 2;

/// `union bpf_attr` as 32-bit words; what a command does not use is zero.
#[repr(C, align(8))]
struct Attr([u32; 36]);

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Insn {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// A map from queue number to AF_XDP socket.
pub(crate) fn socket_map(entries: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr([0; 36]);
    attr.0[..4].copy_from_slice(&[BPF_MAP_TYPE_XSKMAP, 4, 4, entries]);
    attr.name(7, b"baton_xsks");
    attr.call_fd(BPF_MAP_CREATE)
}

/// Puts a socket under a queue number.
pub(crate) fn put_socket(
    map: BorrowedFd<'_>,
    queue: u32,
    socket: BorrowedFd<'_>,
) -> io::Result<()> {
    let (key, value) = (queue, socket.as_raw_fd());
    let mut attr = Attr([0; 36]);
    attr.0[0] = map.as_raw_fd() as u32;
    attr.pointer(2, (&raw const key).cast());
    attr.pointer(4, (&raw const value).cast());
    check(attr.call(BPF_MAP_UPDATE_ELEM))
}

/// Loads `return bpf_redirect_map(&map, ctx->rx_queue_index, XDP_PASS)`: a packet of a queue
/// without a socket goes to the kernel's stack.
pub(crate) fn load_redirect(map: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let insn = |code, dst: u8, src: u8, offset, immediate| Insn {
        code,
        registers: dst | src << 4,
        offset,
        immediate,
    };
    let program = [
        insn(0x61, 2, 1, XDP_MD_RX_QUEUE, 0), // r2 = ctx->rx_queue_index
        insn(0x18, 1, BPF_PSEUDO_MAP_FD, 0, map.as_raw_fd()), // r1 = map
        insn(0, 0, 0, 0, 0),                  //   (its upper half)
        insn(0xb7, 3, 0, 0, XDP_PASS),        // r3 = XDP_PASS
        insn(0x85, 0, 0, 0, BPF_FUNC_REDIRECT_MAP), // r0 = bpf_redirect_map(r1, r2, r3)
        insn(0x95, 0, 0, 0, 0),               // return r0
    ];
    let license = c"MIT";
    let mut attr = Attr([0; 36]);
    attr.0[0] = BPF_PROG_TYPE_XDP;
    attr.0[1] = program.len() as u32;
    attr.pointer(2, program.as_ptr().cast());
    attr.pointer(4, license.as_ptr().cast());
    attr.name(12, b"baton_redirect");
    attr.0[17] = BPF_XDP;
    attr.call_fd(BPF_PROG_LOAD)
}

/// Attaches a program to an interface by a link; the link's descriptor keeps it there.
pub(crate) fn attach_xdp(program: BorrowedFd<'_>, ifindex: u32, mode: u32) -> io::Result<OwnedFd> {
    let mut attr = Attr([0; 36]);
    attr.0[..4].copy_from_slice(&[program.as_raw_fd() as u32, ifindex, BPF_XDP, mode]);
    attr.call_fd(BPF_LINK_CREATE)
}

impl Attr {
    fn pointer(&mut self, word: usize, to: *const u8) {
        let address = to.addr() as u64;
        self.0[word] = address as u32;
        self.0[word + 1] = (address >> 32) as u32;
    }

    fn name(&mut self, word: usize, name: &[u8]) {
        for (i, byte) in name.iter().enumerate() {
            self.0[word + i / 4] |= u32::from(*byte) << (8 * (i % 4));
        }
    }

    fn call(&mut self, command: i32) -> i32 {
        // SAFETY: the attribute is as long as said; every pointer in it was taken from a value
        // that its maker keeps alive during the call, and the kernel only reads through them.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                std::ptr::from_mut(self),
                size_of::<Attr>(),
            )
        };
        result as i32
    }

    fn call_fd(&mut self, command: i32) -> io::Result<OwnedFd> {
        own(self.call(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_program_passes_the_verifier() {
        let map = match socket_map(64) {
            Ok(map) => map,
            Err(error) => {
                eprintln!("skipped: no right to load BPF programs ({error})");
                return;
            }
        };
        load_redirect(map.as_fd()).unwrap();
        let not_a_socket = std::fs::File::open("/dev/null").unwrap();
        assert!(put_socket(map.as_fd(), 0, not_a_socket.as_fd()).is_err());
    }
}
