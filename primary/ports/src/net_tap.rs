//! `net_tap`: a TAP interface of this machine; the kernel's end is the neighbour.
//!
//! One descriptor a queue (multi-queue), non-blocking, each frame behind a vnet header; offloads
//! are off (`TUNSETOFFLOAD` 0), so the kernel finishes checksums and segments before it hands over.
//! The port's own address is kept in the cursors: the interface's belongs to the kernel's end.
//!
//! Cursors: 0 = packets read, 1 = packets taken for writing.
//!
//! Failure: nothing of a TAP is shared memory, so a death between a `read` and its mark loses that
//! packet, and of a packet between `write` and its free nobody knows whether it went: it is dropped
//! and counted (`tx_ambiguous`) rather than sent twice. A planned swap is exact.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use baton_shared_state::Region;
use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::{Holder, Place};
use baton_shared_state::sync::Ordering;
use nix::errno::Errno;
use nix::sys::uio::{readv, writev};
use zerocopy::IntoBytes;

use crate::cursors::{Cursors, Facts, add};
use crate::driver::{Created, FdSource, need_fd, queue_key};
use crate::error::PortError;
use crate::hand::Hand;
use crate::port::{CsumSource, Port, Totals};
use crate::spec::{PortSpec, parse_mac};
use crate::sys::{netif, tun};
use crate::vnet::{VNET_LEN, VnetHeader};

const READ: usize = 0;
const TAKEN: usize = 1;
const GSO_DROPPED: usize = 0;
const OVERSIZED: usize = 1;
const TX_DROPPED: usize = 2;
const TX_AMBIGUOUS: usize = 3;
const RX_NO_MBUF: usize = 4;
const COUNTERS: [&str; 5] = [
    "rx_gso_dropped",
    "rx_oversized",
    "tx_dropped",
    "tx_ambiguous",
    "rx_no_mbuf",
];

pub(crate) fn create(spec: &PortSpec, cursors: Region) -> Result<Vec<Created>, PortError> {
    let iface = spec.place();
    let mut created = Vec::new();
    for queue in 0..spec.queues {
        let fd = tun::open_queue(iface, spec.queues > 1)?;
        let mut made = Created::new(queue);
        made.fds.push((queue_key(spec, queue, "tap"), fd));
        created.push(made);
    }
    let kernel = netif::look(iface)?;
    netif::bring_up(iface, kernel.index, spec.rxd)?;
    let given = spec.param("mac").and_then(parse_mac);
    let facts = Facts {
        mac: given.unwrap_or_else(|| beside(kernel.mac)),
        mtu: kernel.mtu,
        mode: 0,
    };
    for queue in 0..spec.queues {
        Cursors::create(spec, queue, cursors, facts)?;
    }
    Ok(created)
}

pub(crate) fn adopt(
    spec: &PortSpec,
    queue: u16,
    fds: &FdSource<'_>,
    pool: &Pool,
    cursors: Region,
) -> Result<Box<dyn Port>, PortError> {
    Ok(Box::new(TapPort {
        hand: Hand {
            pool: *pool,
            port: spec.id,
            queue,
        },
        cursors: Cursors::open(spec, queue, cursors)?,
        fd: need_fd(spec, fds, &queue_key(spec, queue, "tap"))?,
        entries: spec.rxd,
    }))
}

/// An address for our end of the link: the kernel's, in the locally administered range, last bit
/// turned.
fn beside(kernel: [u8; 6]) -> [u8; 6] {
    let [a, b, c, d, e, f] = kernel;
    [(a | 2) & !1, b, c, d, e, f ^ 1]
}

struct TapPort {
    hand: Hand,
    cursors: Cursors,
    fd: OwnedFd,
    entries: u32,
}

/// What became of one read.
enum Read {
    Frame(VnetHeader, u16),
    Dropped(usize),
    Empty,
}

impl TapPort {
    fn count(&self, counter: usize) {
        add(self.cursors.counter(counter), 1);
    }

    /// Reads one frame into a mbuf.
    fn read(&self, m: u32) -> Read {
        let mut header = VnetHeader::default();
        let room = self.hand.room();
        let mut packet = Packet::fresh(m, self.hand.pool);
        packet.set_len(room);
        let mut parts = [
            IoSliceMut::new(header.as_mut_bytes()),
            IoSliceMut::new(packet.data_mut()),
        ];
        let got = readv(self.fd.as_fd(), &mut parts);
        packet.into_raw();
        match got {
            // A frame longer than the room is cut by the kernel; one that fills it may have been.
            Ok(n) if n >= VNET_LEN + room => Read::Dropped(if header.is_gso() {
                GSO_DROPPED
            } else {
                OVERSIZED
            }),
            Ok(_) if header.is_gso() => Read::Dropped(GSO_DROPPED),
            Ok(n) if n > VNET_LEN => Read::Frame(header, (n - VNET_LEN) as u16),
            _ => Read::Empty,
        }
    }

    /// Writes one mbuf; `WouldBlock` only when the kernel wants it later.
    fn write(&self, m: u32) -> io::Result<()> {
        let packet = Packet::from_raw(m, self.hand.pool);
        let header = VnetHeader::for_sending(packet.line());
        let parts = [IoSlice::new(header.as_bytes()), IoSlice::new(packet.data())];
        let sent = writev(self.fd.as_fd(), &parts);
        packet.into_raw();
        sent.map(drop).map_err(|errno| match errno {
            Errno::EAGAIN => io::ErrorKind::WouldBlock.into(),
            other => other.into(),
        })
    }

    fn tx_holder(&self) -> Holder {
        Holder::tx(self.hand.port, self.hand.queue)
    }
}

impl Port for TapPort {
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize {
        let (mut n, mut bytes) = (0, 0);
        let cursor = self.cursors.word(READ);
        for _ in 0..out.len() {
            let mut m = [0];
            if cache.alloc_burst(&mut m) == 0 {
                self.count(RX_NO_MBUF);
                break;
            }
            match self.read(m[0]) {
                Read::Frame(header, len) => {
                    let (flags, csum) = header.received(usize::from(len));
                    let position = cursor.load(Ordering::Relaxed);
                    let at = (self.hand.pool.headroom(), len);
                    let position31 = position as u32 & (u32::MAX >> 1);
                    self.hand
                        .received(cache.shard(), m[0], at, flags, position31);
                    self.hand.pool.line(m[0]).set_csum_partial(csum);
                    cursor.store(position.wrapping_add(1), Ordering::Release);
                    out[n] = m[0];
                    (n, bytes) = (n + 1, bytes + u64::from(len));
                }
                Read::Dropped(counter) => {
                    self.count(counter);
                    cache.free_burst(&m);
                }
                Read::Empty => {
                    cache.free_burst(&m);
                    break;
                }
            }
        }
        if n > 0 {
            self.cursors.count_rx(n as u64, bytes);
        }
        n
    }

    fn tx_burst(&mut self, cache: &mut Cache, mbufs: &[u32]) -> usize {
        let cursor = self.cursors.word(TAKEN);
        for (i, m) in mbufs.iter().enumerate() {
            let position = cursor.load(Ordering::Relaxed);
            let place = Place::new(self.tx_holder(), position as u32);
            self.hand.pool.set_place(*m, place);
            match self.write(*m) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // Not ours after all.
                    let app = Place::new(Holder::app(cache.shard()), 0);
                    self.hand.pool.set_place(*m, app);
                    return i;
                }
                Ok(()) => {
                    let bytes = u64::from(self.hand.pool.data_len(*m));
                    self.cursors.count_tx(1, bytes);
                }
                Err(_) => self.count(TX_DROPPED),
            }
            cursor.store(position.wrapping_add(1), Ordering::Release);
            cache.free_burst(&[*m]);
        }
        mbufs.len()
    }

    fn kick(&mut self) {}

    fn release(&mut self, _cache: &mut Cache) {}

    fn resume(&mut self, _cache: &mut Cache) {}

    fn repair(&mut self, cache: &mut Cache, held: &mut Vec<u32>) {
        // Reading consumes at once, so every marked packet is in hand, whatever the cursor says.
        let position = self.cursors.word(READ).load(Ordering::Acquire) as u32;
        let next = position.wrapping_add(1) & (u32::MAX >> 1);
        self.cursors
            .word(READ)
            .store(u64::from(next), Ordering::Release);
        self.hand.settle(cache, next, held);
        for (_, m) in self.hand.placed(self.tx_holder(), 0) {
            self.count(TX_AMBIGUOUS);
            cache.free_burst(&[m]);
        }
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn ring_used(&self) -> (u32, u32) {
        (0, self.entries) // the kernel does not say how many wait
    }

    fn posted(&self) -> u32 {
        self.entries
    }

    fn totals(&self) -> Totals {
        self.cursors.totals()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let load = |i: usize| self.cursors.counter(i).load(Ordering::Relaxed);
        COUNTERS
            .iter()
            .enumerate()
            .map(|(i, name)| (*name, load(i)))
            .collect()
    }

    fn windows(&self, _visit: &mut dyn FnMut(Holder, u32)) {}

    fn in_kernel(&self) -> u32 {
        0
    }

    fn mac(&self) -> [u8; 6] {
        self.cursors.facts().mac
    }

    fn mtu(&self) -> u16 {
        self.cursors.facts().mtu
    }

    fn csum(&self) -> CsumSource {
        CsumSource::Flagged
    }

    fn mode(&self) -> &'static str {
        "tap"
    }

    fn link_up(&self) -> bool {
        tun::is_attached(self.fd.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_end_has_an_address_of_its_own() {
        let ours = beside([0xde, 0xad, 0xbe, 0xef, 0, 6]);
        assert_eq!(ours, [0xde, 0xad, 0xbe, 0xef, 0, 7]);
        assert_eq!(beside([0, 1, 2, 3, 4, 5])[0], 2);
    }
}
