//! The four rings of an AF_XDP socket, as its mappings show them.
//!
//! ```text
//! fill        we produce addresses            -> the kernel consumes
//! receive     the kernel produces descriptors -> we consume
//! transmit    we produce descriptors          -> the kernel consumes
//! completion  the kernel produces addresses   -> we consume
//! descriptor: address u64, length u32, options u32
//! ```
//!
//! Invariants
//! - I1 The published indices (`producer`, `consumer`, free-running u32) are the truth; nothing
//!   of ours is kept beside them, so whoever maps the ring goes on where the last one stopped.
//! - I2 The owner of the queue alone stores our index of each ring.
//!
//! Order: entries, then the producer (Release); the consumer is loaded with Acquire before an entry
//! is used again.

use std::io;
use std::os::fd::BorrowedFd;

use baton_shared_state::Region;
use baton_shared_state::sync::{AtomicU32, AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sys::socket::{get_option, map_shared};

pub(super) const SOL_XDP: i32 = 283;
const XDP_MMAP_OFFSETS: i32 = 1;
const PGOFF_RX: u64 = 0;
const PGOFF_TX: u64 = 0x8000_0000;
const PGOFF_FILL: u64 = 0x1_0000_0000;
const PGOFF_COMPLETION: u64 = 0x1_8000_0000;
const NEED_WAKEUP: u32 = 1;

/// `struct xdp_ring_offset`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct RingOffset {
    producer: u64,
    consumer: u64,
    desc: u64,
    flags: u64,
}

/// `struct xdp_mmap_offsets`.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
struct MmapOffsets {
    rx: RingOffset,
    tx: RingOffset,
    fill: RingOffset,
    completion: RingOffset,
}

/// One ring; `WORDS` 64-bit words an entry: 1 for addresses, 2 for descriptors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ring<const WORDS: usize> {
    producer: &'static AtomicU32,
    consumer: &'static AtomicU32,
    flags: &'static AtomicU32,
    entries: &'static [AtomicU64],
    mask: u32,
}

/// The rings of one socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rings {
    pub(super) fill: Ring<1>,
    pub(super) rx: Ring<2>,
    pub(super) tx: Ring<2>,
    pub(super) completion: Ring<1>,
}

impl Rings {
    /// Maps the rings of a socket that was given `rxd` fill and receive entries and `txd` transmit
    /// and completion entries.
    pub(super) fn map(fd: BorrowedFd<'_>, rxd: u32, txd: u32) -> io::Result<Rings> {
        let at: MmapOffsets = get_option(fd, SOL_XDP, XDP_MMAP_OFFSETS)?;
        Ok(Rings {
            fill: Ring::map(fd, PGOFF_FILL, at.fill, rxd)?,
            rx: Ring::map(fd, PGOFF_RX, at.rx, rxd)?,
            tx: Ring::map(fd, PGOFF_TX, at.tx, txd)?,
            completion: Ring::map(fd, PGOFF_COMPLETION, at.completion, txd)?,
        })
    }

    /// Rings that stand for those of an interface that went away, which the kernel does not map
    /// any more: nothing arrives, nothing can be posted or sent, no entry names a buffer.
    pub(super) fn gone(rxd: u32, txd: u32) -> Rings {
        let rings = Rings {
            fill: Ring::private(rxd),
            rx: Ring::private(rxd),
            tx: Ring::private(txd),
            completion: Ring::private(txd),
        };
        (0..rxd).for_each(|index| rings.fill.write(index, u64::MAX));
        (0..txd).for_each(|index| rings.tx.write(index, u64::MAX, 0));
        rings.fill.publish(rxd);
        rings.tx.publish(txd);
        rings
    }
}

impl<const WORDS: usize> Ring<WORDS> {
    fn map(fd: BorrowedFd<'_>, page: u64, at: RingOffset, entries: u32) -> io::Result<Self> {
        let words = entries as usize * WORDS;
        let region = map_shared(fd, at.desc as usize + words * size_of::<u64>(), page)?;
        Ok(Ring {
            producer: region.u32(at.producer as usize),
            consumer: region.u32(at.consumer as usize),
            flags: region.u32(at.flags as usize),
            entries: region.u64s(at.desc as usize, words),
            mask: entries - 1,
        })
    }

    /// A ring without a kernel behind it.
    pub(super) fn private(entries: u32) -> Self {
        let words = entries as usize * WORDS;
        let region = Region::private(192 + words * size_of::<u64>());
        Ring {
            producer: region.u32(0),
            consumer: region.u32(64),
            flags: region.u32(128),
            entries: region.u64s(192, words),
            mask: entries - 1,
        }
    }

    /// Entries of the ring.
    pub(super) fn size(&self) -> u32 {
        self.mask + 1
    }

    /// The index the next published entry will have, and the barrier before reading entries.
    #[inline]
    pub(super) fn produced(&self) -> u32 {
        self.producer.load(Ordering::Acquire)
    }

    /// The index of the oldest entry that was not consumed.
    #[inline]
    pub(super) fn consumed(&self) -> u32 {
        self.consumer.load(Ordering::Acquire)
    }

    /// Entries published and not consumed.
    #[inline]
    pub(super) fn used(&self) -> u32 {
        let consumed = self.consumed();
        self.produced().wrapping_sub(consumed).min(self.size())
    }

    /// Entries that can be published now.
    #[inline]
    pub(super) fn free(&self) -> u32 {
        self.size() - self.used()
    }

    /// Publishes what was written up to `index`.
    #[inline]
    pub(super) fn publish(&self, index: u32) {
        self.producer.store(index, Ordering::Release);
    }

    /// Gives consumed entries back up to `index`.
    #[inline]
    pub(super) fn consume(&self, index: u32) {
        self.consumer.store(index, Ordering::Release);
    }

    /// Whether the kernel asks to be woken for this ring.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    #[inline]
    fn entry(&self, index: u32, word: usize) -> &'static AtomicU64 {
        &self.entries[(index & self.mask) as usize * WORDS + word]
    }

    /// The address in an entry.
    #[inline]
    pub(super) fn address(&self, index: u32) -> u64 {
        self.entry(index, 0).load(Ordering::Relaxed)
    }

    /// Shows the address of every published entry, oldest first.
    pub(super) fn window(&self, visit: &mut dyn FnMut(u64)) {
        let first = self.consumed();
        for i in 0..self.used() {
            visit(self.address(first.wrapping_add(i)));
        }
    }
}

impl Ring<1> {
    /// Writes an address.
    #[inline]
    pub(super) fn write(&self, index: u32, address: u64) {
        self.entry(index, 0).store(address, Ordering::Relaxed);
    }
}

impl Ring<2> {
    /// The length in a descriptor.
    #[inline]
    pub(super) fn length(&self, index: u32) -> u32 {
        self.entry(index, 1).load(Ordering::Relaxed) as u32
    }

    /// Writes a descriptor without options.
    #[inline]
    pub(super) fn write(&self, index: u32, address: u64, length: u32) {
        self.entry(index, 0).store(address, Ordering::Relaxed);
        self.entry(index, 1)
            .store(u64::from(length), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring<const WORDS: usize>() -> Ring<WORDS> {
        Ring::private(8)
    }

    #[test]
    fn a_descriptor_has_two_words_and_indices_run_on() {
        let ring = ring::<2>();
        ring.publish(u32::MAX);
        ring.consume(u32::MAX);
        ring.write(u32::MAX, 4096, 60);
        ring.write(0, 8192, 70);
        ring.publish(1);
        assert_eq!((ring.used(), ring.free()), (2, 6));
        assert_eq!((ring.address(0), ring.length(0)), (8192, 70));
        let mut seen = Vec::new();
        ring.window(&mut |address| seen.push(address));
        assert_eq!(seen, [4096, 8192]);
        ring.consume(1);
        assert_eq!(ring.used(), 0);
    }

    #[test]
    fn the_kernel_asks_by_a_flag() {
        let ring = ring::<1>();
        assert!(!ring.needs_wakeup());
        ring.flags.store(NEED_WAKEUP, Ordering::Relaxed);
        assert!(ring.needs_wakeup());
        ring.write(8, 77);
        assert_eq!(ring.address(0), 77);
    }

    #[test]
    fn rings_of_what_went_away_take_and_give_nothing() {
        let rings = Rings::gone(64, 64);
        assert_eq!((rings.rx.used(), rings.completion.used()), (0, 0));
        assert_eq!((rings.fill.free(), rings.tx.free()), (0, 0));
        assert!(!rings.tx.needs_wakeup() && !rings.fill.needs_wakeup());
    }
}
