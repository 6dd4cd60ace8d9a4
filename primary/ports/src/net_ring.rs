//! `net_ring`: a port made of two rings of mbufs in shared memory; the other end is a [`Peer`] over
//! the same pool (a test, a bench, a worker).
//!
//! Layout: one memfd a queue, `port -> peer` ring of txd entries, then `peer -> port` of rxd, each
//! on a page of its own ([`SpscRing`]).
//!
//! Order: the `place` of each mbuf, then the ring's position. A port's packets on their way out are
//! (tx port/queue, position), a peer's on their way in (rx port/queue, position).
//!
//! Failure: what was written and not published is published by the next owner; what was taken and
//! not given up is found by its mark. The rings themselves need no repair.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use baton_shared_state::Region;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::{Holder, Place};
use baton_shared_state::ring::{RingError, SpscRing};

use crate::cursors::{Cursors, Facts};
use crate::driver::{Created, FdSource, need_fd, queue_key};
use crate::error::PortError;
use crate::hand::{Hand, before};
use crate::net_null::own_mac;
use crate::port::{CsumSource, Port, Totals};
use crate::spec::PortSpec;
use crate::sys::socket::{file_len, map_shared, memfd};

const PAGE: usize = 4096;

/// The descriptor's name in its vault key.
const RINGS: &str = "rings";

pub(crate) fn create(spec: &PortSpec, cursors: Region) -> Result<Vec<Created>, PortError> {
    let facts = Facts {
        mac: own_mac(spec),
        mtu: 1500,
        mode: 0,
    };
    let (out, len) = layout(spec);
    (0..spec.queues)
        .map(|queue| {
            Cursors::create(spec, queue, cursors, facts)?;
            let fd = memfd(c"baton-net-ring", len)
                .map_err(|error| PortError::system(&spec.name, "memfd_create", error))?;
            let region = map(spec, fd.as_fd(), len)?;
            let made = SpscRing::create(region, spec.txd as usize)
                .and_then(|_| SpscRing::create(region.slice(out, len - out)?, spec.rxd as usize));
            made.map_err(|error| damaged(spec, queue, error))?;
            let mut created = Created::new(queue);
            created.fds.push((queue_key(spec, queue, RINGS), fd));
            Ok(created)
        })
        .collect()
}

pub(crate) fn adopt(
    spec: &PortSpec,
    queue: u16,
    fds: &FdSource<'_>,
    pool: &Pool,
    cursors: Region,
) -> Result<Box<dyn Port>, PortError> {
    let cursors = Cursors::open(spec, queue, cursors)?;
    let fd = need_fd(spec, fds, &queue_key(spec, queue, RINGS))?;
    let (tx, rx) = open(spec, queue, fd.as_fd())?;
    let hand = Hand {
        pool: *pool,
        port: spec.id,
        queue,
    };
    Ok(Box::new(RingPort {
        hand,
        cursors,
        tx,
        rx,
    }))
}

/// The end of a [`crate::Driver::Ring`] queue that is not the port: what it sends, the port receives.
#[derive(Debug)]
pub struct Peer {
    pool: Pool,
    holder: Holder,
    to_port: SpscRing,
    from_port: SpscRing,
}

impl Peer {
    /// Opens the other end of a queue from its descriptor (vault key `port/<name>/<queue>/rings`).
    ///
    /// # Errors
    /// When the memory behind the descriptor is not that queue's rings.
    pub fn open(spec: &PortSpec, queue: u16, fd: &OwnedFd, pool: &Pool) -> Result<Peer, PortError> {
        let (from_port, to_port) = open(spec, queue, fd.as_fd())?;
        let holder = Holder::rx(spec.id, queue);
        Ok(Peer {
            pool: *pool,
            holder,
            to_port,
            from_port,
        })
    }

    /// Hands mbufs to the port, as many as fit; the rest stay the caller's.
    pub fn send_burst(&mut self, mbufs: &[u32]) -> usize {
        publish(&self.to_port, self.pool, self.holder, mbufs).0
    }

    /// Takes what the port sent; the mbufs are the caller's.
    pub fn recv_burst(&mut self, out: &mut [u32]) -> usize {
        self.from_port.dequeue_burst(out)
    }
}

struct RingPort {
    hand: Hand,
    cursors: Cursors,
    tx: SpscRing,
    rx: SpscRing,
}

impl RingPort {
    fn tx_holder(&self) -> Holder {
        Holder::tx(self.hand.port, self.hand.queue)
    }

    /// The position of the oldest element of the receive ring.
    fn rx_position(&self) -> u32 {
        self.rx.next_position().wrapping_sub(self.rx.len() as u32)
    }
}

impl Port for RingPort {
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize {
        let n = self.rx.peek_burst(out);
        if n == 0 {
            return 0;
        }
        let position = self.rx_position();
        let shard = cache.shard();
        let bytes = self.hand.received_as_they_are(shard, &out[..n], position);
        self.rx.consume(n);
        self.cursors.count_rx(n as u64, bytes);
        n
    }

    fn tx_burst(&mut self, _cache: &mut Cache, mbufs: &[u32]) -> usize {
        let (n, bytes) = publish(&self.tx, self.hand.pool, self.tx_holder(), mbufs);
        self.cursors.count_tx(n as u64, bytes);
        n
    }

    fn kick(&mut self) {}

    fn release(&mut self, _cache: &mut Cache) {}

    fn resume(&mut self, _cache: &mut Cache) {}

    fn repair(&mut self, cache: &mut Cache, held: &mut Vec<u32>) {
        self.hand
            .settle(cache, self.rx_position() & (u32::MAX >> 1), held);
        let published = self.tx.next_position();
        let placed = self.hand.placed(self.tx_holder(), published);
        let missed: Vec<u32> = placed
            .into_iter()
            .filter(|(index, _)| !before(*index, published))
            .map(|(_, m)| m)
            .collect();
        publish(&self.tx, self.hand.pool, self.tx_holder(), &missed);
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn ring_used(&self) -> (u32, u32) {
        (self.rx.len() as u32, self.rx.capacity() as u32)
    }

    fn posted(&self) -> u32 {
        self.rx.free() as u32
    }

    fn totals(&self) -> Totals {
        self.cursors.totals()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn windows(&self, visit: &mut dyn FnMut(Holder, u32)) {
        let rx = Holder::rx(self.hand.port, self.hand.queue);
        self.rx.window(&mut |m| visit(rx, m));
        self.tx.window(&mut |m| visit(self.tx_holder(), m));
    }

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
        "ring"
    }

    fn link_up(&self) -> bool {
        true
    }
}

/// Stores the places of as many mbufs as fit, then publishes them; how many, and their bytes.
#[inline]
fn publish(ring: &SpscRing, pool: Pool, holder: Holder, mbufs: &[u32]) -> (usize, u64) {
    let fit = &mbufs[..mbufs.len().min(ring.free())];
    let first = ring.next_position();
    // Lengths now: a published mbuf is the peer's.
    let bytes = pool.set_places(fit, |i| Place::new(holder, first.wrapping_add(i)));
    (ring.enqueue_burst(fit), bytes)
}

/// Where the second ring starts, and the length of both.
fn layout(spec: &PortSpec) -> (usize, usize) {
    let out = SpscRing::bytes_for(spec.txd as usize).next_multiple_of(PAGE);
    let both = out + SpscRing::bytes_for(spec.rxd as usize).next_multiple_of(PAGE);
    (out, both)
}

fn map(spec: &PortSpec, fd: BorrowedFd<'_>, len: usize) -> Result<Region, PortError> {
    map_shared(fd, len, 0).map_err(|error| PortError::system(&spec.name, "mmap", error))
}

/// The rings `port -> peer` and `peer -> port` behind a descriptor.
fn open(
    spec: &PortSpec,
    queue: u16,
    fd: BorrowedFd<'_>,
) -> Result<(SpscRing, SpscRing), PortError> {
    let (out, len) = layout(spec);
    let have = file_len(fd).map_err(|error| PortError::system(&spec.name, "fstat", error))?;
    if have < len as u64 {
        return Err(PortError::BadCursors {
            port: spec.name.clone(),
            queue,
            why: format!("its rings are {have} bytes long, expected {len}"),
        });
    }
    let region = map(spec, fd, len)?;
    let rings = SpscRing::attach(region)
        .and_then(|first| Ok((first, SpscRing::attach(region.slice(out, len - out)?)?)));
    rings.map_err(|error| damaged(spec, queue, error))
}

fn damaged(spec: &PortSpec, queue: u16, error: RingError) -> PortError {
    PortError::BadCursors {
        port: spec.name.clone(),
        queue,
        why: error.to_string(),
    }
}
