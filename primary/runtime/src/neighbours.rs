//! Neighbours: the Ethernet address behind each IPv4 address of a link, in a memzone that every
//! generation adopts.
//!
//! ```text
//!   slot   | port + 1 : 16 | 0 : 16 | address : 32 |   mac : 48 in the low bits   |   last seen, s   |
//! ```
//! Order: a slot that changes hands is emptied, then a new neighbour's mac is stored, then the word that names
//! it; a changed mac is one store. Readers look at that word again after the mac: a slot that changes hands
//! twice in between, back to the same neighbour, is not noticed, and one lookup then has the other's mac.
//! One writer (the owner of shard 0), any number of readers. Failure: a writer that dies between the
//! two stores leaves an empty slot whose mac nobody reads.

use crate::setup::{Mac, PortId};
use crate::zone::{Declare, Init, Live, Opener, Size, Zone, ZoneError, ZoneSize};
use baton_schema::{Policy, Record};
use baton_shared_state::Region;
use baton_shared_state::sync::{AtomicU64, Ordering};
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
const WORDS: usize = STRIDE / size_of::<u64>();
/// Words of a slot.
const KEY: usize = 0;
const MAC: usize = 1;
const SEEN: usize = 2;
/// Slots looked at before a full neighbourhood gives one up.
const PROBES: usize = 16;

/// A view of all neighbours.
#[derive(Clone, Copy)]
pub struct Neighbours {
    slots: &'static [[AtomicU64; WORDS]; SLOTS],
}

impl core::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Neighbours({SLOTS} slots)")
    }
}

/// A neighbour that is asked for often, and where it is looked for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    key: u64,
    home: u16,
    /// The port whose link it is on.
    pub port: PortId,
}

impl Asked {
    /// One on the link of `port`.
    #[inline]
    #[must_use]
    pub fn new(port: PortId, address: Ipv4Addr) -> Asked {
        let key = key(port, address);
        let home = slot(key, 0) as u16;
        Asked { key, home, port }
    }
}

impl Neighbours {
    /// The Ethernet address of a neighbour.
    #[inline]
    pub fn get(&self, port: PortId, address: Ipv4Addr) -> Option<Mac> {
        let [_, _, mac @ ..] = self.get_word(port, address)?.to_be_bytes();
        Some(Mac(mac))
    }

    /// The Ethernet address of a neighbour as a number of 48 bits, its first byte the highest.
    #[inline]
    pub fn get_word(&self, port: PortId, address: Ipv4Addr) -> Option<u64> {
        self.get_asked(&Asked::new(port, address))
    }

    /// The same for one whose place is known.
    #[inline]
    pub fn get_asked(&self, &Asked { key, home, .. }: &Asked) -> Option<u64> {
        let home = usize::from(home) % SLOTS;
        let at = match self.word(home, KEY) == key {
            true => home,
            false => self.find_further(key)?,
        };
        let mac = self.word(at, MAC);
        // The slot may have become another's between the two loads.
        (self.word(at, KEY) == key).then_some(mac)
    }

    /// The slot of a neighbour that is not in its first one.
    #[cold]
    fn find_further(&self, key: u64) -> Option<usize> {
        let mut further = (1..PROBES).map(|probe| slot(key, probe));
        further.find(|&slot| self.word(slot, KEY) == key)
    }

    /// Learns or refreshes a neighbour. Only shard 0's owner may.
    pub fn learn(&self, port: PortId, address: Ipv4Addr, mac: Mac, now_s: u32) {
        let key = key(port, address);
        let mine = (0..PROBES)
            .map(|probe| slot(key, probe))
            .find(|&slot| self.word(slot, KEY) == key);
        let slot = mine.unwrap_or_else(|| self.make_room(key));
        let [a, b, c, d, e, f] = mac.0;
        self.store(slot, MAC, u64::from_be_bytes([0, 0, a, b, c, d, e, f]));
        self.store(slot, SEEN, u64::from(now_s));
        self.store(slot, KEY, key);
    }

    /// A free slot for `key`, or the one that was silent longest, emptied.
    fn make_room(&self, key: u64) -> usize {
        let slots = || (0..PROBES).map(|probe| slot(key, probe));
        let free = slots().find(|&slot| self.word(slot, KEY) == 0);
        free.unwrap_or_else(|| {
            let oldest = slots()
                .min_by_key(|&slot| self.word(slot, SEEN))
                .unwrap_or_default();
            self.store(oldest, KEY, 0);
            oldest
        })
    }

    #[inline]
    fn word(&self, slot: usize, word: usize) -> u64 {
        self.slots[slot][word].load(Ordering::Acquire)
    }

    fn store(&self, slot: usize, word: usize, value: u64) {
        self.slots[slot][word].store(value, Ordering::Release);
    }

    /// A view over a zone's bytes.
    pub(crate) fn over(region: Region) -> Neighbours {
        let (slots, _) = region.u64s(0, SLOTS * WORDS).as_chunks();
        let slots = slots.first_chunk();
        Neighbours {
            slots: slots.expect("as many as were asked for"),
        }
    }

    /// A view over private memory, for tests.
    pub fn private() -> Neighbours {
        Neighbours::over(Region::private(SLOTS * STRIDE))
    }
}

#[inline]
fn key(port: PortId, address: Ipv4Addr) -> u64 {
    (u64::from(port.0) + 1) << 48 | u64::from(u32::from(address))
}

#[inline]
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
        let region = opener.zone("neighbour")?.region;
        match region.slice(0, SLOTS * STRIDE) {
            Ok(region) => Ok(Neighbours::over(region)),
            Err(why) => Err(ZoneError::Corrupt {
                name: "neighbour".into(),
                why: why.to_string(),
            }),
        }
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
        let word = |asked| all.get_asked(&asked);
        assert_eq!(word(Asked::new(lan, address)), Some(0x0200_0000_0008));
        assert_eq!(word(Asked::new(wan, address)), None);
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
            assert_eq!(
                all.get(PortId(0), Ipv4Addr::from(n)),
                Some(Mac([2, 0, 0, 0, 0, n as u8])),
                "neighbour {n} was not kept"
            );
        }
    }
}
