//! One queue of a packet-socket port as its owner polls it. Order of stores: see the module above.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use baton_shared_state::mbuf::{Packet, PartialCsum};
use baton_shared_state::mempool::Cache;
use baton_shared_state::place::{Holder, Place};
use baton_shared_state::sync::Ordering;

use super::rings::{Frames, KERNEL, Received, SEND_REQUEST, TX_ROOM};
use super::socket;
use crate::cursors::{Cursors, JOURNAL_LEN, add};
use crate::hand::{Hand, before};
use crate::port::{CsumSource, Port, Totals};
use crate::sys::netif;
use crate::sys::socket::wake_tx;
use crate::vnet::VnetHeader;

const READ: usize = 0;
const RETURNED: usize = 1;
const WRITTEN: usize = 2;

const RX_RING_FULL: usize = 0;
const GSO_DROPPED: usize = 1;
const OVERSIZED: usize = 2;
const RX_NO_MBUF: usize = 3;
const TX_RING_FULL: usize = 4;
const TX_DROPPED: usize = 5;
const TX_WAKE_FAILED: usize = 6;
const COUNTERS: [&str; 7] = [
    "rx_ring_full",
    "rx_gso_dropped",
    "rx_oversized",
    "rx_no_mbuf",
    "tx_ring_full",
    "tx_dropped",
    "tx_wake_failed",
];
/// Positions as they stand in `place` of received packets: 31 bits.
const POSITION: u32 = u32::MAX >> 1;

/// One tenant's view of a queue.
pub(super) struct PacketPort {
    pub(super) hand: Hand,
    pub(super) cursors: Cursors,
    pub(super) fd: OwnedFd,
    pub(super) rx: Frames,
    pub(super) tx: Frames,
    pub(super) iface: String,
}

impl PacketPort {
    #[inline]
    fn load(&self, cursor: usize) -> u32 {
        self.cursors.word(cursor).load(Ordering::Acquire) as u32
    }

    #[inline]
    fn store(&self, cursor: usize, position: u32) {
        self.cursors
            .word(cursor)
            .store(u64::from(position), Ordering::Release);
    }

    fn count(&self, counter: usize, n: u64) {
        add(self.cursors.counter(counter), n);
    }

    fn tx_holder(&self) -> Holder {
        Holder::tx(self.hand.port, self.hand.queue)
    }

    /// Why a received frame cannot go on, as a counter.
    #[inline]
    fn unfit(&self, received: &Received) -> Option<usize> {
        let tag = if received.vlan.is_some() { 4 } else { 0 };
        if received.vnet.is_gso() {
            return Some(GSO_DROPPED);
        }
        let fits = !received.cut && received.len >= 14 && received.len + tag <= self.hand.room();
        (!fits).then_some(OVERSIZED)
    }

    /// Copies a frame into a mbuf, with the VLAN tag back in its place; returns its length.
    #[inline]
    fn copy(&self, shard: u16, m: u32, received: &Received, position: u32) -> u16 {
        let pool = self.hand.pool;
        let tag = received.vlan.as_ref().map_or(0, |tag| tag.len());
        let at = (pool.headroom(), (received.len + tag) as u16);
        pool.set_packet(m, at.0, at.1);
        let mut packet = Packet::from_raw(m, pool);
        let bytes = packet.data_mut();
        match &received.vlan {
            None => self.rx.copy_out(received, 0, bytes),
            Some(vlan) => {
                self.rx.copy_out(received, 0, &mut bytes[..12]);
                bytes[12..16].copy_from_slice(vlan);
                self.rx.copy_out(received, 12, &mut bytes[16..]);
            }
        }
        packet.into_raw();
        let (flags, csum) = received.vnet.received(received.len);
        self.hand.received(shard, m, at, flags, position & POSITION);
        let moved = csum.map(|csum| PartialCsum {
            start: csum.start + tag as u16,
            ..csum
        });
        pool.line(m).set_csum_partial(moved);
        at.1
    }

    /// Writes a frame and publishes it; the position's cursor is the caller's.
    #[inline]
    fn publish(&self, m: u32, position: u32) {
        let packet = Packet::from_raw(m, self.hand.pool);
        let header = VnetHeader::for_sending(packet.line());
        self.tx.write(position, &header, packet.data());
        packet.into_raw();
        self.tx
            .status(position)
            .store(SEND_REQUEST, Ordering::Release);
    }

    /// Gives back the frames from cursor 1 up to `end`.
    fn give_back(&self, end: u32, only_journalled: bool) {
        let mut position = self.load(RETURNED);
        while position != end {
            let stamp = &self.cursors.journal()[position as usize % JOURNAL_LEN];
            let same = || {
                self.rx.is_received(position)
                    && self.rx.stamp(position) == stamp.load(Ordering::Relaxed)
            };
            if !only_journalled || same() {
                self.rx.status(position).store(KERNEL, Ordering::Release);
            }
            position = position.wrapping_add(1);
        }
        self.store(RETURNED, end);
    }
}

impl Port for PacketPort {
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize {
        let first = self.load(READ);
        let most = out.len().min(JOURNAL_LEN) as u32;
        let ready = (0..most)
            .take_while(|i| self.rx.is_received(first.wrapping_add(*i)))
            .count();
        if ready == 0 {
            self.kick(); // what the kernel had no room for
            return 0;
        }
        let have = cache.alloc_burst(&mut out[..ready]);
        if have < ready {
            self.count(RX_NO_MBUF, 1);
        }
        let (mut n, mut bytes) = (0, 0);
        for i in 0..have {
            let position = first.wrapping_add(i as u32);
            let received = self.rx.received(position);
            let journal = &self.cursors.journal()[position as usize % JOURNAL_LEN];
            journal.store(received.stamp, Ordering::Relaxed);
            if let Some(counter) = self.unfit(&received) {
                self.count(counter, 1);
                continue;
            }
            bytes += u64::from(self.copy(cache.shard(), out[n], &received, position));
            n += 1;
        }
        let next = first.wrapping_add(have as u32);
        self.store(READ, next);
        self.give_back(next, false);
        cache.free_burst(&out[n..have]);
        self.cursors.count_rx(n as u64, bytes);
        n
    }

    fn tx_burst(&mut self, cache: &mut Cache, mbufs: &[u32]) -> usize {
        let first = self.load(WRITTEN);
        let mut position = first;
        let (mut n, mut sent, mut bytes) = (0, 0, 0);
        for m in mbufs {
            let len = usize::from(self.hand.pool.packet(*m).1);
            if !(14..=TX_ROOM).contains(&len) {
                self.count(TX_DROPPED, 1);
                n += 1;
                continue;
            }
            if self.tx.status(position).load(Ordering::Acquire) != KERNEL {
                self.count(TX_RING_FULL, 1);
                break;
            }
            self.hand
                .pool
                .set_place(*m, Place::new(self.tx_holder(), position));
            self.publish(*m, position);
            position = position.wrapping_add(1);
            (n, sent, bytes) = (n + 1, sent + 1, bytes + len as u64);
        }
        if position != first {
            self.store(WRITTEN, position);
            self.cursors.count_tx(sent, bytes);
        }
        cache.free_burst(&mbufs[..n]);
        n
    }

    fn kick(&mut self) {
        let last = self.load(WRITTEN).wrapping_sub(1);
        if self.tx.status(last).load(Ordering::Relaxed) == SEND_REQUEST
            && let Err(error) = wake_tx(self.fd.as_fd())
            && error.raw_os_error() != Some(libc::EAGAIN)
        {
            self.count(TX_WAKE_FAILED, 1);
        }
    }

    fn release(&mut self, _cache: &mut Cache) {
        self.kick();
    }

    fn resume(&mut self, _cache: &mut Cache) {
        self.kick();
    }

    fn repair(&mut self, cache: &mut Cache, held: &mut Vec<u32>) {
        let read = self.load(READ);
        self.give_back(read, true);
        self.hand.settle(cache, read & POSITION, held);
        let written = self.load(WRITTEN);
        let mut next = written;
        for (position, m) in self.hand.placed(self.tx_holder(), written) {
            if !before(position, written) {
                if self.tx.status(position).load(Ordering::Acquire) == KERNEL {
                    self.publish(m, position);
                }
                next = position.wrapping_add(1);
                self.store(WRITTEN, next);
            }
            cache.free_burst(&[m]);
        }
        self.store(WRITTEN, next);
        self.kick();
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn ring_used(&self) -> (u32, u32) {
        let (first, entries) = (self.load(READ), self.rx.entries());
        let used = (0..entries).take_while(|i| self.rx.is_received(first.wrapping_add(*i)));
        (used.count() as u32, entries)
    }

    fn posted(&self) -> u32 {
        let (used, entries) = self.ring_used();
        entries - used
    }

    fn totals(&self) -> Totals {
        self.cursors.totals()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        // The kernel's count starts again whenever it is read: it is added up in shared memory.
        if let Ok(statistics) = socket::statistics(self.fd.as_fd()) {
            self.cursors
                .counter(RX_RING_FULL)
                .fetch_add(u64::from(statistics.drops), Ordering::Relaxed);
        }
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
        "tpacket-v2"
    }

    fn link_up(&self) -> bool {
        netif::is_running(&self.iface)
    }
}

#[cfg(test)]
mod tests;
