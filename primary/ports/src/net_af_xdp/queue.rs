//! One queue of an AF_XDP port as its owner polls it. Order of stores: see the module above.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use baton_shared_state::limits::BURST;
use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::Cache;
use baton_shared_state::place::{Holder, Place};
use baton_shared_state::sync::Ordering;

use super::rings::Rings;
use super::{repair, socket};
use crate::cursors::{Cursors, add};
use crate::hand::{Hand, before};
use crate::port::{CsumSource, Port, Totals};
use crate::sys::netif;
use crate::sys::socket::{wake_rx, wake_tx};
use crate::vnet;

/// The cursor that says the interface went away.
const GONE: usize = 0;
const RX_NO_MBUF: usize = 0;
const RX_BAD_DESC: usize = 1;
const TX_RING_FULL: usize = 2;
const TX_DROPPED: usize = 3;
const TX_WAKE_FAILED: usize = 4;
const COUNTERS: [&str; 5] = [
    "rx_no_mbuf",
    "rx_bad_desc",
    "tx_ring_full",
    "tx_dropped",
    "tx_wake_failed",
];
const MODES: [&str; 4] = [
    "generic",
    "native",
    "generic, zero-copy",
    "native, zero-copy",
];
/// Descriptors that one wake-up sends in copy mode (`TX_BATCH_SIZE` in `net/xdp/xsk.c`).
const KICK_BATCH: u32 = 32;
/// Positions as they stand in `place` of received packets: 31 bits.
pub(super) const POSITION: u32 = u32::MAX >> 1;
/// The shortest frame there is: an Ethernet header.
const MIN_FRAME: u16 = 14;

/// One tenant's view of a queue.
pub(super) struct XdpPort {
    pub(super) hand: Hand,
    pub(super) cursors: Cursors,
    pub(super) rings: Rings,
    pub(super) fd: OwnedFd,
    pub(super) iface: String,
    /// The interface went away: the rings are stand-ins.
    pub(super) gone: bool,
}

impl XdpPort {
    fn count(&self, counter: usize, n: u64) {
        add(self.cursors.counter(counter), n);
    }

    pub(super) fn holder(&self, of: fn(u16, u16) -> Holder) -> Holder {
        of(self.hand.port, self.hand.queue)
    }

    /// Posts as many buffers as the fill ring takes, up to two bursts.
    #[inline]
    fn refill(&mut self, cache: &mut Cache) {
        let fill = &self.rings.fill;
        let mut mbufs = [0; 2 * BURST];
        let want = (fill.free() as usize).min(mbufs.len());
        if want < BURST {
            return;
        }
        let n = cache.alloc_burst(&mut mbufs[..want]);
        if n < want {
            self.count(RX_NO_MBUF, 1);
        }
        let first = fill.produced();
        let holder = self.holder(Holder::fill);
        for (i, m) in (0u32..).zip(&mbufs[..n]) {
            let index = first.wrapping_add(i);
            self.hand.pool.set_place(*m, Place::new(holder, index));
            fill.write(index, self.hand.pool.data_offset(*m));
        }
        fill.publish(first.wrapping_add(n as u32));
        if fill.needs_wakeup() {
            let _ = wake_rx(self.fd.as_fd()); // a wake-up that fails is asked for again next burst
        }
    }

    /// What cannot wait for the next packet: buffers that could not be had before, and packets that
    /// the kernel would not send because its completions stood unread.
    #[inline]
    fn idle(&mut self, cache: &mut Cache) {
        self.refill(cache);
        if self.rings.tx.used() > 0 {
            self.reap(cache);
            self.kick();
        }
    }

    /// Takes back every buffer of a queue whose interface went away: its socket is unbound, so the
    /// kernel touches none of them. Whoever mapped the real rings before learns it by the flag.
    fn reclaim_if_gone(&mut self, cache: &mut Cache) {
        let flag = self.cursors.word(GONE);
        if !self.gone && flag.load(Ordering::Acquire) == 0 {
            return;
        }
        if !self.gone {
            self.rings = Rings::gone(self.rings.rx.size(), self.rings.tx.size());
            self.gone = true;
        }
        flag.store(1, Ordering::Release);
        for of in [Holder::fill, Holder::tx, Holder::comp] {
            for (_, m) in self.hand.placed(self.holder(of), 0) {
                cache.free_burst(&[m]);
            }
        }
    }

    /// Frees what the kernel has sent, up to two bursts.
    #[inline]
    fn reap(&mut self, cache: &mut Cache) {
        let ring = &self.rings.completion;
        let first = ring.consumed();
        let mut mbufs = [0; 2 * BURST];
        let (mut n, done) = (0, ring.used().min(mbufs.len() as u32));
        let holder = self.holder(Holder::comp);
        for i in 0..done {
            let index = first.wrapping_add(i);
            if let Some(m) = self.hand.pool.mbuf_at(ring.address(index)) {
                self.hand.pool.set_place(m, Place::new(holder, index));
                mbufs[n] = m;
                n += 1;
            }
        }
        if done > 0 {
            ring.consume(first.wrapping_add(done));
            cache.free_burst(&mbufs[..n]);
        }
    }

    /// Writes the descriptor of a mbuf; the index that publishes it is the caller's.
    #[inline]
    pub(super) fn write(&self, m: u32, index: u32) {
        let pool = self.hand.pool;
        let (off, len) = pool.packet(m);
        pool.set_place(m, Place::new(self.holder(Holder::tx), index));
        self.rings
            .tx
            .write(index, pool.data_offset(m) + u64::from(off), u32::from(len));
    }

    /// Shows the buffers the kernel took from the fill ring and has not received into: a few of a
    /// device in copy mode, its whole ring in zero-copy mode.
    fn filling(&self, visit: &mut dyn FnMut(Holder, u32)) {
        let rings = &self.rings;
        let (taken, received) = (rings.fill.consumed(), rings.rx.produced());
        let most = taken.wrapping_sub(received) as usize;
        if most == 0 {
            return;
        }
        let pool = self.hand.pool;
        let mut waiting = HashSet::new();
        rings
            .rx
            .window(&mut |address| waiting.extend(pool.mbuf_at(address)));
        let holder = self.holder(Holder::fill);
        let placed = self.hand.placed(holder, taken);
        placed
            .into_iter()
            .filter(|(index, m)| before(*index, taken) && !waiting.contains(m))
            .take(most)
            .for_each(|(_, m)| visit(holder, m));
    }

    /// Finishes a checksum that another driver left to the device: AF_XDP has nobody to do it.
    #[inline]
    pub(super) fn finish_checksum(&self, m: u32) {
        if let Some(csum) = self.hand.pool.line(m).csum_partial() {
            let mut packet = Packet::from_raw(m, self.hand.pool);
            vnet::finish(packet.data_mut(), csum);
            packet.set_csum_partial(None);
            packet.into_raw();
        }
    }
}

impl Port for XdpPort {
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize {
        let ring = &self.rings.rx;
        let first = ring.consumed();
        let taken = ring.used().min(out.len() as u32);
        if taken == 0 {
            self.idle(cache);
            return 0;
        }
        let (mut n, mut bytes, mut bad) = (0, 0, 0);
        let (shard, pool) = (cache.shard(), self.hand.pool);
        for i in 0..taken {
            let index = first.wrapping_add(i);
            let (address, len) = (ring.address(index), ring.length(index));
            let off = address as u32 & (pool.chunk() - 1);
            let Some(m) = pool.mbuf_at(address) else {
                bad += 1;
                continue;
            };
            let fits = off + len <= pool.chunk();
            let at = if fits {
                (off as u16, len as u16)
            } else {
                (0, 0)
            };
            self.hand.received(shard, m, at, 0, index & POSITION);
            out[n] = m;
            (n, bytes) = (n + 1, bytes + u64::from(len));
        }
        ring.consume(first.wrapping_add(taken));
        if bad > 0 {
            self.count(RX_BAD_DESC, bad);
        }
        self.refill(cache);
        self.cursors.count_rx(n as u64, bytes);
        n
    }

    fn tx_burst(&mut self, cache: &mut Cache, mbufs: &[u32]) -> usize {
        self.reap(cache);
        let mut free = self.rings.tx.free();
        let first = self.rings.tx.produced();
        let (mut index, mut n, mut bytes) = (first, 0, 0);
        for m in mbufs {
            let len = self.hand.pool.packet(*m).1;
            if len < MIN_FRAME {
                self.count(TX_DROPPED, 1); // the kernel would take it and never give it back
                cache.free_packets(&[*m]); // what is no plain packet has no length here
                n += 1;
                continue;
            }
            if free == 0 {
                self.count(TX_RING_FULL, 1);
                break;
            }
            self.finish_checksum(*m);
            self.write(*m, index);
            index = index.wrapping_add(1);
            (free, n, bytes) = (free - 1, n + 1, bytes + u64::from(len));
        }
        if index != first {
            self.rings.tx.publish(index);
            self.cursors
                .count_tx(u64::from(index.wrapping_sub(first)), bytes);
        }
        n
    }

    fn kick(&mut self) {
        let ring = &self.rings.tx;
        if ring.used() == 0 || !ring.needs_wakeup() {
            return;
        }
        // Copy mode sends one batch a call and says EAGAIN if more wait, but also if the send
        // buffer or the completion ring is full: then nothing moves, and the next burst asks again.
        for _ in 0..=ring.size() / KICK_BATCH {
            let before = ring.consumed();
            match wake_tx(self.fd.as_fd()) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(_) => {
                    self.count(TX_WAKE_FAILED, 1);
                    return;
                }
            }
            if ring.used() == 0 || ring.consumed() == before {
                return;
            }
        }
    }

    fn release(&mut self, _cache: &mut Cache) {
        self.kick();
    }

    fn resume(&mut self, cache: &mut Cache) {
        self.reclaim_if_gone(cache);
        self.kick();
        // What the last owner left is plenty; the first packets' bursts fill it up.
        while self.rings.fill.used() < self.rings.fill.size() / 2 {
            let before = self.rings.fill.produced();
            self.refill(cache);
            if self.rings.fill.produced() == before {
                break;
            }
        }
    }

    fn repair(&mut self, cache: &mut Cache, held: &mut Vec<u32>) {
        self.reclaim_if_gone(cache);
        if self.gone {
            let in_hand = self.hand.find(cache.shard(), 0);
            held.extend(in_hand.into_iter().map(|(_, m)| m));
            return;
        }
        repair::settle(self, cache, held);
        self.resume(cache);
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn ring_used(&self) -> (u32, u32) {
        (self.rings.rx.used(), self.rings.rx.size())
    }

    fn posted(&self) -> u32 {
        self.rings.fill.used()
    }

    fn totals(&self) -> Totals {
        self.cursors.totals()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let load = |i: usize| self.cursors.counter(i).load(Ordering::Relaxed);
        let ours = COUNTERS
            .iter()
            .enumerate()
            .map(|(i, name)| (*name, load(i)));
        let Ok(kernel) = socket::statistics(self.fd.as_fd()) else {
            return ours.collect();
        };
        let theirs = [
            ("rx_ring_full", kernel.rx_ring_full),
            ("fill_empty", kernel.fill_empty),
            ("rx_dropped", kernel.rx_dropped),
            ("rx_invalid_descs", kernel.rx_invalid_descs),
            ("tx_invalid_descs", kernel.tx_invalid_descs),
            ("tx_empty", kernel.tx_empty),
        ];
        theirs.into_iter().chain(ours).collect()
    }

    fn windows(&self, visit: &mut dyn FnMut(Holder, u32)) {
        let pool = self.hand.pool;
        let mut show = |of: fn(u16, u16) -> Holder, address: u64| {
            if let Some(m) = pool.mbuf_at(address) {
                visit(self.holder(of), m);
            }
        };
        self.rings
            .fill
            .window(&mut |address| show(Holder::fill, address));
        self.rings
            .rx
            .window(&mut |address| show(Holder::rx, address));
        self.rings
            .tx
            .window(&mut |address| show(Holder::tx, address));
        self.rings
            .completion
            .window(&mut |address| show(Holder::comp, address));
        self.filling(visit);
    }

    fn in_kernel(&self) -> u32 {
        self.rings
            .tx
            .consumed()
            .wrapping_sub(self.rings.completion.produced())
    }

    fn mac(&self) -> [u8; 6] {
        self.cursors.facts().mac
    }

    fn mtu(&self) -> u16 {
        self.cursors.facts().mtu
    }

    fn csum(&self) -> CsumSource {
        CsumSource::Detect
    }

    fn mode(&self) -> &'static str {
        MODES[self.cursors.facts().mode as usize & 3]
    }

    fn link_up(&self) -> bool {
        netif::is_running(&self.iface)
    }
}
