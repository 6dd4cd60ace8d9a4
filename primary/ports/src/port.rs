//! One queue of one port, as the lcore that polls it sees it.
//!
//! A port queue is not a process's: its kernel objects are held by descriptor in the vault, its
//! positions are in shared memory. A [`Port`] is one tenant's view of it.
//!
//! ```text
//!   create (once) -> fds -> vault       adopt (each tenant) -> Port: asleep
//!   asleep --resume--> polling --release--> asleep         (planned, the owner word moves between)
//!   polling --death--> (another tenant's Port) --repair--> polling
//! ```
//!
//! Invariants
//! - I1 Between `release` and `resume` no method but the reading ones (`totals`, `ring_used`,
//!   `windows`, ...) is called.
//! - I2 A mbuf that `tx_burst` took is the port's: it comes back through the cache of a later call.
//! - I3 The `place` of a mbuf is stored before the ring index that publishes it.
//! - I4 A port sends plain mbufs: one segment, in its own chunk, nobody else's. Of a chain or a clone it would see an
//!   empty packet; whoever sends one brings it into that form (`Shard::transmit_chain` of the runtime).

use std::os::fd::BorrowedFd;

use baton_shared_state::mempool::Cache;
use baton_shared_state::place::Holder;

/// Packets and bytes through a queue since its kernel objects were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets handed to the datapath.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets taken for sending.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
}

/// How the transport checksum of received packets is to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CsumSource {
    /// The driver flags each packet whose checksum holds only the pseudo-header sum.
    Flagged,
    /// The driver cannot tell: compare the field with the folded pseudo-header sum.
    Detect,
}

/// One queue of one port; see the module for its states.
pub trait Port: Send {
    /// Takes up to `out.len()` received packets, oldest first: data offset, length, port, queue and
    /// flags set, `place` = in this shard's hand. Buffers given to the device come from `cache`.
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize;

    /// Takes the first `n` of `mbufs` for sending and returns `n`; fewer than all when the transmit
    /// ring is full. Frees what has been sent into `cache`.
    fn tx_burst(&mut self, cache: &mut Cache, mbufs: &[u32]) -> usize;

    /// Wakes the kernel if anything waits for it; once a burst.
    fn kick(&mut self);

    /// The last call before the queue changes hands: everything published, kicked, cursors stored.
    /// Waits for nothing.
    fn release(&mut self, cache: &mut Cache);

    /// Posts buffers and sends what waits, once after the queue was gained: from an owner that released it or
    /// from nobody, after the first [`Port::rx_burst`], which needs nothing of it; or after [`Port::repair`].
    fn resume(&mut self, cache: &mut Cache);

    /// The first call after the queue was taken from an owner that died: settles its half-done
    /// steps. Received packets that it had in hand are appended to `held`, oldest first, and are
    /// the caller's; what it had handed over for sending is sent.
    fn repair(&mut self, cache: &mut Cache, held: &mut Vec<u32>);

    /// The descriptor that becomes readable when packets arrive, for an idle lcore.
    fn poll_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Received packets that wait for us, and how many the ring can hold.
    fn ring_used(&self) -> (u32, u32);

    /// Buffers the device may still fill before it must drop.
    fn posted(&self) -> u32;

    /// Packets and bytes since the queue was made.
    fn totals(&self) -> Totals;

    /// What the device and the driver counted besides, by name.
    fn counters(&self) -> Vec<(&'static str, u64)>;

    /// Every mbuf that stands published in a ring of this queue, with who holds it there, and
    /// those the kernel has taken for receiving and not yet filled.
    fn windows(&self, visit: &mut dyn FnMut(Holder, u32));

    /// Mbufs that the kernel holds for sending and that stand in no ring (AF_XDP: sent, not yet
    /// completed); their `place` says tx of this queue.
    fn in_kernel(&self) -> u32;

    /// The port's own Ethernet address.
    fn mac(&self) -> [u8; 6];

    /// The largest IP packet.
    fn mtu(&self) -> u16;

    /// Whether unfinished checksums are flagged or must be detected.
    fn csum(&self) -> CsumSource;

    /// How the driver works: `native`, `generic`, `zero-copy`, `tpacket-v2`, ...
    fn mode(&self) -> &'static str;

    /// Whether the interface is there and has a carrier.
    fn link_up(&self) -> bool;
}
