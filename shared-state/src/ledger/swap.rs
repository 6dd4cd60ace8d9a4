//! The swap record of a shard: what its last change of owner took, in words that the old owner,
//! the new owner and the supervisor each store their part of.

use crate::sync::{AtomicU64, Ordering};

use super::{Ledger, layout};

/// The words of one shard's swap record. Each has one writer at a time: the owner that stops
/// stores `stopped_ns` and the ring's state before it hands over, the owner that begins the rest.
#[derive(Debug, Clone, Copy)]
pub struct SwapWords {
    words: &'static [AtomicU64],
}

/// A copy of the words. Times are `CLOCK_BOOTTIME`, zero where nothing was stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwapRecord {
    /// End of the older owner's last poll.
    pub stopped_ns: u64,
    /// The newer owner found itself in the owner word.
    pub taken_ns: u64,
    /// Beginning of its first poll.
    pub first_poll_ns: u64,
    /// Its first packet went out.
    pub first_tx_ns: u64,
    /// Packets that waited in the receive rings at the first poll.
    pub ring_used: u64,
    /// Entries of the smallest of these rings.
    pub ring_entries: u64,
    /// Records that were copied while nobody polled.
    pub delta_records: u64,
    /// Epoch of the owner word that was replaced.
    pub from_epoch: u64,
}

impl SwapWords {
    /// End of the older owner's last poll.
    pub fn stopped_ns(&self) -> &'static AtomicU64 {
        &self.words[0]
    }

    /// The newer owner found itself in the owner word.
    pub fn taken_ns(&self) -> &'static AtomicU64 {
        &self.words[1]
    }

    /// Beginning of its first poll.
    pub fn first_poll_ns(&self) -> &'static AtomicU64 {
        &self.words[2]
    }

    /// Its first packet went out.
    pub fn first_tx_ns(&self) -> &'static AtomicU64 {
        &self.words[3]
    }

    /// Packets that waited in the receive rings at the first poll.
    pub fn ring_used(&self) -> &'static AtomicU64 {
        &self.words[4]
    }

    /// Entries of the smallest of these rings.
    pub fn ring_entries(&self) -> &'static AtomicU64 {
        &self.words[5]
    }

    /// Records that were copied while nobody polled.
    pub fn delta_records(&self) -> &'static AtomicU64 {
        &self.words[6]
    }

    /// Epoch of the owner word that was replaced.
    pub fn from_epoch(&self) -> &'static AtomicU64 {
        &self.words[7]
    }

    /// All words as they stand; complete once the supervisor saw `first_poll_ns` (stored last).
    pub fn read(&self) -> SwapRecord {
        let first_poll_ns = self.words[2].load(Ordering::Acquire);
        let word = |i: usize| self.words[i].load(Ordering::Relaxed);
        SwapRecord {
            stopped_ns: word(0),
            taken_ns: word(1),
            first_poll_ns,
            first_tx_ns: word(3),
            ring_used: word(4),
            ring_entries: word(5),
            delta_records: word(6),
            from_epoch: word(7),
        }
    }

    /// Zeroes the record, before a shard is asked for.
    pub fn clear(&self) {
        for word in self.words {
            word.store(0, Ordering::Relaxed);
        }
    }
}

impl Ledger {
    /// The swap record of a shard.
    pub fn swap(&self, shard: usize) -> SwapWords {
        let at = self.shard_at(shard) + layout::SWAP;
        SwapWords {
            words: self.region.u64s(at, layout::SWAP_WORDS),
        }
    }
}
