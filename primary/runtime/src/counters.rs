//! The counters of a shard, in memory that outlives the process: `baton.shard` (the runtime's own)
//! and `<program>.drops` (one field a drop reason, in the zone's own schema).
//!
//! Order: each word has one writer, the shard's owner, and is stored relaxed; readers may see one
//! word a burst ahead of another. Failure: a dead writer leaves the last burst uncounted.

use crate::zone::{Declare, Init, Size, ZoneSize};
use baton_schema::{Policy, Record};
use baton_shared_state::Region;
use baton_shared_state::sync::{AtomicU64, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What the runtime counts for each shard.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, Record)]
#[record(name = "baton.shard", version = 1)]
#[repr(C)]
pub struct ShardCounters {
    /// Packets received on the shard's queues.
    pub rx_packets: u64,
    /// Bytes of them.
    pub rx_bytes: u64,
    /// Packets given to the ports.
    pub tx_packets: u64,
    /// Bytes of them.
    pub tx_bytes: u64,
    /// Bursts that held at least one packet.
    pub bursts: u64,
    /// Packets handed to another shard.
    pub steered_out: u64,
    /// Packets taken from another shard.
    pub steered_in: u64,
    /// Packets dropped because a port's transmit ring stayed full.
    pub tx_full: u64,
    /// Packets dropped because the way to another shard was full.
    pub steer_full: u64,
    /// Packets whose datapath did not take them.
    pub forgotten: u64,
    /// Nanoseconds spent on bursts.
    pub busy_ns: u64,
    /// Rounds of the polling loop.
    pub rounds: u64,
    /// Records in the first zone of the program's state.
    pub records: u64,
    /// Zero.
    pub reserved: [u64; 3],
}

/// The fields of [`ShardCounters`], as places of their words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the field of the same name")]
pub enum Count {
    RxPackets,
    RxBytes,
    TxPackets,
    TxBytes,
    Bursts,
    SteeredOut,
    SteeredIn,
    TxFull,
    SteerFull,
    Forgotten,
    BusyNs,
    Rounds,
    Records,
}

/// The memzone's name.
pub const SHARD_ZONE: &str = "baton.shard";

/// Bytes of one shard's record.
pub const STRIDE: u32 = core::mem::size_of::<ShardCounters>() as u32;

/// Declares the runtime's counters.
pub fn declare(declare: &mut Declare) {
    const SIZE: Size = |_, shards| ZoneSize {
        len: u64::from(shards) * u64::from(STRIDE),
        count: u64::from(shards),
        stride: STRIDE,
    };
    const INIT: Init = |_, _, _| {};
    declare.zone::<ShardCounters>(SHARD_ZONE, SHARD_ZONE, Policy::Adopt, SIZE, INIT);
}

/// A row of words with one writer.
#[derive(Clone, Copy, Debug)]
pub struct Words(&'static [AtomicU64]);

impl Words {
    /// `count` words from `offset` of a zone.
    pub fn at(region: &Region, offset: usize, count: usize) -> Words {
        Words(region.u64s(offset, count))
    }

    /// The counters of one shard in `baton.shard`.
    pub fn of_shard(region: &Region, shard: u16) -> Words {
        Words::at(
            region,
            usize::from(shard) * STRIDE as usize,
            STRIDE as usize / 8,
        )
    }

    /// Adds to a word; only its one writer may.
    #[inline]
    pub fn add(&self, index: usize, n: u64) {
        if let Some(word) = self.0.get(index) {
            word.store(
                word.load(Ordering::Relaxed).wrapping_add(n),
                Ordering::Relaxed,
            );
        }
    }

    /// Adds to one of the runtime's counters.
    #[inline]
    pub fn count(&self, which: Count, n: u64) {
        self.add(which as usize, n);
    }

    /// Sets a word.
    #[inline]
    pub fn set(&self, which: Count, value: u64) {
        if let Some(word) = self.0.get(which as usize) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Reads a word.
    pub fn get(&self, index: usize) -> u64 {
        self.0
            .get(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_places_of_the_words_are_those_of_the_record() {
        let region = Region::private(2 * STRIDE as usize);
        let words = Words::of_shard(&region, 1);
        words.count(Count::Records, 7);
        words.count(Count::RxPackets, 3);
        words.count(Count::RxPackets, 4);
        let record: ShardCounters = region.read(STRIDE as usize);
        assert_eq!((record.records, record.rx_packets), (7, 7));
        let other: ShardCounters = region.read(0);
        assert_eq!((other.records, other.rx_packets), (0, 0));
    }

    #[test]
    fn a_word_beyond_the_row_is_no_word() {
        let region = Region::private(64);
        let words = Words::at(&region, 0, 2);
        words.add(2, 1);
        assert_eq!((words.get(2), words.len()), (0, 2));
    }
}
