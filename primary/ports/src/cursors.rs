//! The 4 KiB beside each queue that outlive its poller: what the rings themselves do not say.
//!
//! ```text
//!    0  magic "BTNPORT1"      8  fingerprint of the fixed parameters      16  address, mtu, ready
//!   64  packets and bytes, received and sent (one line)
//!  128  named device counters of the driver, 16 words
//!  256  the driver's cursors, 16 words
//! 1024  the driver's journal, 128 words
//! ```
//!
//! Invariants
//! - I1 One writer: the owner of the queue's shard. Readers (tools, the audit) load single words.
//! - I2 `magic` is the last store of [`Cursors::create`].
//!
//! Order: a cursor is stored with Release after what it covers; the next owner loads it with
//! Acquire. Failure: a word is old or new, never torn; each driver says what that means.

use baton_shared_state::Region;
use baton_shared_state::sync::{AtomicU64, Ordering};

use crate::error::PortError;
use crate::params::Parameters;
use crate::port::Totals;
use crate::spec::PortSpec;

/// Bytes of the cursors zone for each queue.
pub const CURSORS_PER_QUEUE: usize = 4096;

const MAGIC: u64 = u64::from_le_bytes(*b"BTNPORT1");
const FINGERPRINT: usize = 8;
const MAC: usize = 16;
const MTU: usize = 24;
const MODE: usize = 32;
const TOTALS: usize = 64;
const COUNTERS: usize = 128;
const WORDS: usize = 256;
const JOURNAL: usize = 1024;
/// Entries of the journal.
pub(crate) const JOURNAL_LEN: usize = 128;

/// Bytes of cursors that a port of this specification needs.
pub fn cursors_bytes(spec: &PortSpec) -> usize {
    usize::from(spec.queues) * CURSORS_PER_QUEUE
}

/// What a driver found out when it made its kernel objects, for those who adopt them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The port's own Ethernet address.
    pub(crate) mac: [u8; 6],
    /// The largest IP packet.
    pub(crate) mtu: u16,
    /// The driver's mode, a number of its own.
    pub(crate) mode: u32,
}

/// One queue's view of its cursors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursors {
    region: Region,
}

impl Cursors {
    /// Lays fresh cursors for one queue of a port that is being made.
    pub(crate) fn create(
        spec: &PortSpec,
        queue: u16,
        zone: Region,
        facts: Facts,
    ) -> Result<Cursors, PortError> {
        let cursors = Cursors::at(spec, queue, zone)?;
        cursors.region.zero();
        let wanted = Parameters::of(spec).fingerprint();
        cursors
            .region
            .u64(FINGERPRINT)
            .store(wanted, Ordering::Relaxed);
        let mut mac = [0; 8];
        mac[..6].copy_from_slice(&facts.mac);
        cursors
            .region
            .u64(MAC)
            .store(u64::from_le_bytes(mac), Ordering::Relaxed);
        cursors
            .region
            .u64(MTU)
            .store(u64::from(facts.mtu), Ordering::Relaxed);
        cursors
            .region
            .u64(MODE)
            .store(u64::from(facts.mode), Ordering::Relaxed);
        cursors.region.u64(0).store(MAGIC, Ordering::Release);
        Ok(cursors)
    }

    /// The cursors of a queue that exists, made with the same fixed parameters.
    pub(crate) fn open(spec: &PortSpec, queue: u16, zone: Region) -> Result<Cursors, PortError> {
        let cursors = Cursors::at(spec, queue, zone)?;
        let magic = cursors.region.u64(0).load(Ordering::Acquire);
        if magic != MAGIC {
            return Err(PortError::BadCursors {
                port: spec.name.clone(),
                queue,
                why: format!("cursors begin with {magic:016x}, expected {MAGIC:016x}"),
            });
        }
        let parameters = Parameters::of(spec);
        let found = cursors.region.u64(FINGERPRINT).load(Ordering::Relaxed);
        if found != parameters.fingerprint() {
            return Err(PortError::ParametersDiffer {
                port: spec.name.clone(),
                queue,
                found,
                wanted: parameters.fingerprint(),
                parameters: parameters.to_string(),
            });
        }
        Ok(cursors)
    }

    fn at(spec: &PortSpec, queue: u16, zone: Region) -> Result<Cursors, PortError> {
        let offset = usize::from(queue) * CURSORS_PER_QUEUE;
        let region =
            zone.slice(offset, CURSORS_PER_QUEUE)
                .map_err(|error| PortError::BadCursors {
                    port: spec.name.clone(),
                    queue,
                    why: format!("{error}; the zone needs {} bytes", cursors_bytes(spec)),
                })?;
        Ok(Cursors { region })
    }

    /// What the maker found out.
    pub(crate) fn facts(&self) -> Facts {
        let mac = self.region.u64(MAC).load(Ordering::Relaxed).to_le_bytes();
        Facts {
            mac: std::array::from_fn(|i| mac[i]),
            mtu: self.region.u64(MTU).load(Ordering::Relaxed) as u16,
            mode: self.region.u64(MODE).load(Ordering::Relaxed) as u32,
        }
    }

    /// Counts received packets; the caller is the one writer (I1).
    #[inline]
    pub(crate) fn count_rx(&self, packets: u64, bytes: u64) {
        let words = self.region.u64s(TOTALS, 4);
        add(&words[0], packets);
        add(&words[1], bytes);
    }

    /// Counts sent packets.
    #[inline]
    pub(crate) fn count_tx(&self, packets: u64, bytes: u64) {
        let words = self.region.u64s(TOTALS, 4);
        add(&words[2], packets);
        add(&words[3], bytes);
    }

    /// Packets and bytes since the queue was made.
    pub(crate) fn totals(&self) -> Totals {
        let words = self.region.u64s(TOTALS, 4);
        let load = |i: usize| words[i].load(Ordering::Relaxed);
        Totals {
            rx_packets: load(0),
            rx_bytes: load(1),
            tx_packets: load(2),
            tx_bytes: load(3),
        }
    }

    /// The driver's counter `i` of 16.
    #[inline]
    pub(crate) fn counter(&self, i: usize) -> &'static AtomicU64 {
        &self.region.u64s(COUNTERS, 16)[i]
    }

    /// The driver's cursor `i` of 16.
    #[inline]
    pub(crate) fn word(&self, i: usize) -> &'static AtomicU64 {
        &self.region.u64s(WORDS, 16)[i]
    }

    /// The journal.
    #[inline]
    pub(crate) fn journal(&self) -> &'static [AtomicU64] {
        self.region.u64s(JOURNAL, JOURNAL_LEN)
    }
}

/// Adds to a word that has one writer: a load and a store, no locked instruction.
#[inline]
pub(crate) fn add(word: &AtomicU64, n: u64) {
    word.store(
        word.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        mac: [2, 0, 0, 0, 0, 9],
        mtu: 1500,
        mode: 3,
    };

    fn spec() -> PortSpec {
        PortSpec::parse_vdev("net_null0,queues=2").unwrap()
    }

    #[test]
    fn counts_and_facts_outlive_the_view() {
        let zone = Region::private(cursors_bytes(&spec()));
        for queue in 0..2 {
            Cursors::create(&spec(), queue, zone, FACTS).unwrap();
        }
        let first = Cursors::open(&spec(), 1, zone).unwrap();
        first.count_rx(3, 300);
        first.count_tx(2, 200);
        first.word(15).store(7, Ordering::Release);
        first.journal()[JOURNAL_LEN - 1].store(8, Ordering::Release);
        let next = Cursors::open(&spec(), 1, zone).unwrap();
        assert_eq!(next.facts(), FACTS);
        let totals = next.totals();
        assert_eq!((totals.rx_packets, totals.tx_bytes), (3, 200));
        assert_eq!(next.word(15).load(Ordering::Acquire), 7);
        assert_eq!(
            Cursors::open(&spec(), 0, zone).unwrap().totals(),
            Totals::default()
        );
    }

    #[test]
    fn other_parameters_are_refused_with_both_fingerprints() {
        let zone = Region::private(cursors_bytes(&spec()));
        Cursors::create(&spec(), 0, zone, FACTS).unwrap();
        let other = spec().with_rings(512, 512).unwrap();
        let said = Cursors::open(&other, 0, zone).unwrap_err().to_string();
        assert!(
            said.contains("--allow-reopen") && said.contains("rxd=512"),
            "{said}"
        );
    }

    #[test]
    fn empty_or_short_zones_are_refused() {
        let zone = Region::private(CURSORS_PER_QUEUE);
        let said = Cursors::open(&spec(), 0, zone).unwrap_err().to_string();
        assert!(said.contains("begin with 0000000000000000"), "{said}");
        let said = Cursors::create(&spec(), 1, zone, FACTS)
            .unwrap_err()
            .to_string();
        assert!(said.contains("the zone needs 8192 bytes"), "{said}");
    }
}
