//! A burst: up to 32 packets on their way through one `Datapath::burst` call.

use baton_shared_state::BURST;
use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::Pool;
use core::ops::Range;

/// Up to [`BURST`] packets of one shard, in the order they arrived. Packets that are not taken
/// out go back to the pool.
#[derive(Debug)]
pub struct Burst {
    packets: [Option<Packet>; BURST],
    len: usize,
}

impl Default for Burst {
    fn default() -> Burst {
        Burst {
            packets: [const { None }; BURST],
            len: 0,
        }
    }
}

impl Burst {
    /// The packets of these buffers, whose bytes are on their way into the processor's cache; and how many
    /// bytes they have.
    #[inline]
    pub(crate) fn of(raw: &[u32], pool: Pool) -> (Burst, u64) {
        let mut burst = Burst::default();
        let bytes = Packet::arriving_in(&mut burst.packets, raw, pool);
        burst.len = raw.len().min(BURST);
        (burst, bytes)
    }

    /// Takes one packet out; the others keep their places.
    #[inline]
    pub fn take(&mut self, at: usize) -> Option<Packet> {
        self.packets.get_mut(at)?.take()
    }

    /// Adds a packet behind the others; gives it back when the burst is full.
    #[inline]
    pub fn push(&mut self, packet: Packet) -> Option<Packet> {
        match self.packets.get_mut(self.len) {
            Some(slot) => {
                *slot = Some(packet);
                self.len += 1;
                None
            }
            None => Some(packet),
        }
    }

    /// How many packets there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The places of some packets.
    #[inline]
    pub(crate) fn slots(&mut self, lanes: Range<usize>) -> &mut [Option<Packet>] {
        self.packets.get_mut(lanes).unwrap_or_default()
    }

    /// One packet, without taking it.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&Packet> {
        self.packets.get(at)?.as_ref()
    }

    /// The packets, without taking them.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = &Packet> {
        self.packets[..self.len].iter().flatten()
    }
}

impl IntoIterator for Burst {
    type Item = Packet;
    type IntoIter = core::iter::Flatten<core::array::IntoIter<Option<Packet>, BURST>>;

    #[inline]
    fn into_iter(self) -> Self::IntoIter {
        self.packets.into_iter().flatten()
    }
}

/// A burst whose lookups have been done: each packet with its key and what the table held for it.
#[derive(Debug)]
pub struct FoundBurst<K, V> {
    items: core::iter::Take<core::array::IntoIter<Option<Found<K, V>>, BURST>>,
}

/// One packet with its key (if it has one) and the value found for it.
pub type Found<K, V> = (Packet, Option<K>, Option<V>);

impl<K, V> FoundBurst<K, V> {
    pub(crate) fn new(found: [Option<Found<K, V>>; BURST], len: usize) -> FoundBurst<K, V> {
        FoundBurst {
            items: found.into_iter().take(len),
        }
    }
}

impl<K, V> Iterator for FoundBurst<K, V> {
    type Item = Found<K, V>;

    #[inline]
    fn next(&mut self) -> Option<Found<K, V>> {
        self.items.next().flatten()
    }
}
