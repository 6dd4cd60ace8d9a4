//! Neighbours: the Ethernet address behind each IPv4 address of a link, in a memzone that every
//! generation adopts.
//!
//! ```text
//!   slot   | port + 1 : 16 | 0 : 16 | address : 32 |   mac : 48 in the low bits   |   last seen, s   |
//! ```
//! Order: a new neighbour's mac is stored before the word that names it; a changed mac is one store.
//! One writer (the owner of shard 0), any number of readers. Failure: a writer that dies between the
//! two stores leaves an empty slot whose mac nobody reads.

use crate::setup::{Mac, PortId};
use crate::zone::{Declare, Init, Live, Opener, Size, Zone, ZoneError, ZoneSize};
use baton_schema::{Policy, Record};
use baton_shared_state::Region;
use baton_shared_state::sync::Ordering;
use std::net::Ipv4Addr;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// One neighbour as it is stored.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, Record)]
#[record(name = "neighbour", version = 1)]
#[repr(C)]
pub struct Neighbour {
    /// Port number + 1 in the high 16 bits, the address (host order) in the low 32; 0 = free.
    pub key: u64,
    /// The Ethernet address in the low 48 bits, first byte highest.
    pub mac: u64,
    /// Seconds since boot at which it was last heard.
    pub seen: u64,
}

const SLOTS: usize = 4096;
const STRIDE: usize = core::mem::size_of::<Neighbour>();
/// Slots looked at before a full neighbourhood gives one up.
const PROBES: usize = 16;

/// A view of all neighbours.
#[derive(Clone, Copy, Debug)]
pub struct Neighbours {
    region: Region,
}

impl Neighbours {
    /// The Ethernet address of a neighbour.
    #[inline]
    pub fn get(&self, port: PortId, address: Ipv4Addr) -> Option<Mac> {
        let key = key(port, address);
        let slot = (0..PROBES)
            .map(|probe| slot(key, probe))
            .find(|&slot| self.word(slot, 0) == key)?;
        let [_, _, mac @ ..] = self.word(slot, 8).to_be_bytes();
        Some(Mac(mac))
    }

    /// Learns or refreshes a neighbour. Only shard 0's owner may.
    pub fn learn(&self, port: PortId, address: Ipv4Addr, mac: Mac, now_s: u32) {
        let key = key(port, address);
        let mine = (0..PROBES)
            .map(|probe| slot(key, probe))
            .find(|&slot| self.word(slot, 0) == key);
        let slot = mine.unwrap_or_else(|| self.make_room(key));
        let [a, b, c, d, e, f] = mac.0;
        self.store(slot, 8, u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        self.store(slot, 16, u64::from(now_s));
        self.store(slot, 0, key);
    }

    /// A free slot for `key`, or the one that was silent longest, emptied.
    fn make_room(&self, key: u64) -> usize {
        let slots = || (0..PROBES).map(|probe| slot(key, probe));
        let free = slots().find(|&slot| self.word(slot, 0) == 0);
        free.unwrap_or_else(|| {
            let oldest = slots()
                .min_by_key(|&slot| self.word(slot, 16))
                .unwrap_or_default();
            self.store(oldest, 0, 0);
            oldest
        })
    }

    fn word(&self, slot: usize, offset: usize) -> u64 {
        self.region
            .u64(slot * STRIDE + offset)
            .load(Ordering::Acquire)
    }

    fn store(&self, slot: usize, offset: usize, value: u64) {
        self.region
            .u64(slot * STRIDE + offset)
            .store(value, Ordering::Release);
    }

    /// A view over a zone's bytes.
    pub(crate) fn over(region: Region) -> Neighbours {
        Neighbours { region }
    }

    /// A view over private memory, for tests.
    pub fn private() -> Neighbours {
        Neighbours {
            region: Region::private(SLOTS * STRIDE),
        }
    }
}

fn key(port: PortId, address: Ipv4Addr) -> u64 {
    (u64::from(port.0) + 1) << 48 | u64::from(u32::from(address))
}

fn slot(key: u64, probe: usize) -> usize {
    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (hash as usize + probe) % SLOTS
}

impl Live for Neighbours {}

impl Zone for Neighbours {
    fn declare(_field: &'static str, policy: Policy, declare: &mut Declare) {
        const SIZE: Size = |_, _| ZoneSize {
            len: (SLOTS * STRIDE) as u64,
            count: SLOTS as u64,
            stride: STRIDE as u32,
        };
        const INIT: Init = |_, _, _| {};
        declare.zone::<Neighbour>("neighbour", "neighbour", policy, SIZE, INIT);
    }

    fn open(
        _field: &'static str,
        _policy: Policy,
        opener: &mut Opener<'_>,
    ) -> Result<Neighbours, ZoneError> {
        Ok(Neighbours {
            region: opener.zone("neighbour")?.region,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_is_found_on_its_own_link_only_and_moves_with_its_mac() {
        let all = Neighbours::private();
        let (lan, wan) = (PortId(0), PortId(1));
        let address = Ipv4Addr::new(10, 0, 0, 7);
        all.learn(lan, address, Mac([2, 0, 0, 0, 0, 7]), 1);
        assert_eq!(all.get(lan, address), Some(Mac([2, 0, 0, 0, 0, 7])));
        assert_eq!(all.get(wan, address), None);
        all.learn(lan, address, Mac([2, 0, 0, 0, 0, 8]), 2);
        assert_eq!(all.get(lan, address), Some(Mac([2, 0, 0, 0, 0, 8])));
    }

    #[test]
    fn a_full_table_gives_up_the_silent_ones_and_keeps_the_newest() {
        let all = Neighbours::private();
        for n in 0..20_000u32 {
            all.learn(
                PortId(0),
                Ipv4Addr::from(n),
                Mac([2, 0, 0, 0, 0, n as u8]),
                n,
            );
            assert!(
                all.get(PortId(0), Ipv4Addr::from(n)).is_some(),
                "neighbour {n} was not kept"
            );
        }
    }
}
