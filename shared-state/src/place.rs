//! Where a mbuf is: the word in its metadata that settles what no ring, cache or pool shows.
//!
//! Layout: `holder (high 32 bits) | index (low 32 bits)`; holder is `kind 8 | a 12 | b 12`.
//! Read by other versions of the program, hence the numbers of [`HolderKind`] are frozen.

use core::fmt;

/// Who may have a mbuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum HolderKind {
    /// The common ring of the pool.
    Pool = 0,
    /// The cache of a shard.
    Cache = 1,
    /// The hands of the lcore that owns a shard.
    App = 2,
    /// The receive ring of a port's queue.
    Rx = 3,
    /// Posted to a port's queue, to be filled.
    Fill = 4,
    /// The transmit ring of a port's queue.
    Tx = 5,
    /// The completion ring of a port's queue.
    Comp = 6,
    /// The steering ring from one shard to another.
    Steer = 7,
    /// Kept by a program for longer than a burst (an ARP queue, reassembly).
    Parked = 8,
    /// Hung on another mbuf, which `index` names, as a segment of its packet.
    Segment = 9,
    /// Held by nobody but the mbufs that are attached to its data.
    Shared = 10,
    /// Stands for memory outside of the pool that a shard lends.
    External = 11,
    /// A number this version does not know.
    Unknown = 255,
}

impl HolderKind {
    const ALL: [HolderKind; 12] = [
        HolderKind::Pool,
        HolderKind::Cache,
        HolderKind::App,
        HolderKind::Rx,
        HolderKind::Fill,
        HolderKind::Tx,
        HolderKind::Comp,
        HolderKind::Steer,
        HolderKind::Parked,
        HolderKind::Segment,
        HolderKind::Shared,
        HolderKind::External,
    ];

    fn from_number(number: u32) -> HolderKind {
        HolderKind::ALL
            .get(number as usize)
            .copied()
            .unwrap_or(HolderKind::Unknown)
    }

    /// Its name in an audit.
    pub fn name(self) -> &'static str {
        match self {
            HolderKind::Pool => "pool",
            HolderKind::Cache => "cache",
            HolderKind::App => "app",
            HolderKind::Rx => "rx",
            HolderKind::Fill => "fill",
            HolderKind::Tx => "tx",
            HolderKind::Comp => "comp",
            HolderKind::Steer => "steer",
            HolderKind::Parked => "parked",
            HolderKind::Segment => "segment",
            HolderKind::Shared => "shared",
            HolderKind::External => "external",
            HolderKind::Unknown => "unknown",
        }
    }
}

/// One holder: a kind and up to two small numbers (shard; port and queue; from and to).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Holder(u32);

const PART_BITS: u32 = 12;
const PART_MASK: u32 = (1 << PART_BITS) - 1;

impl Holder {
    /// The common ring of the pool.
    pub const POOL: Holder = Holder::new(HolderKind::Pool, 0, 0);

    /// The mbuf that comes before it in a packet; the index of the place names that one.
    pub const SEGMENT: Holder = Holder::new(HolderKind::Segment, 0, 0);

    /// The mbufs attached to it.
    pub const SHARED: Holder = Holder::new(HolderKind::Shared, 0, 0);

    /// A holder of any kind; numbers of 4,096 and above do not fit and are cut.
    pub const fn new(kind: HolderKind, a: u16, b: u16) -> Holder {
        let parts = (a as u32 & PART_MASK) << PART_BITS | (b as u32 & PART_MASK);
        Holder((kind as u32) << (2 * PART_BITS) | parts)
    }

    /// The cache of a shard.
    pub const fn cache(shard: u16) -> Holder {
        Holder::new(HolderKind::Cache, shard, 0)
    }

    /// The hands of a shard's lcore.
    pub const fn app(shard: u16) -> Holder {
        Holder::new(HolderKind::App, shard, 0)
    }

    /// The receive ring of a queue.
    pub const fn rx(port: u16, queue: u16) -> Holder {
        Holder::new(HolderKind::Rx, port, queue)
    }

    /// The buffers posted to a queue.
    pub const fn fill(port: u16, queue: u16) -> Holder {
        Holder::new(HolderKind::Fill, port, queue)
    }

    /// The transmit ring of a queue.
    pub const fn tx(port: u16, queue: u16) -> Holder {
        Holder::new(HolderKind::Tx, port, queue)
    }

    /// The completion ring of a queue.
    pub const fn comp(port: u16, queue: u16) -> Holder {
        Holder::new(HolderKind::Comp, port, queue)
    }

    /// The steering ring between two shards.
    pub const fn steer(from: u16, to: u16) -> Holder {
        Holder::new(HolderKind::Steer, from, to)
    }

    /// Something a shard's program keeps.
    pub const fn parked(shard: u16, what: u16) -> Holder {
        Holder::new(HolderKind::Parked, shard, what)
    }

    /// The shard that lends memory outside of the pool.
    pub const fn external(shard: u16) -> Holder {
        Holder::new(HolderKind::External, shard, 0)
    }

    /// As stored.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From what was stored.
    pub const fn from_bits(bits: u32) -> Holder {
        Holder(bits)
    }

    /// Its kind.
    pub fn kind(self) -> HolderKind {
        HolderKind::from_number(self.0 >> (2 * PART_BITS))
    }

    /// The first number: shard, port, or where it comes from.
    pub const fn a(self) -> u16 {
        (self.0 >> PART_BITS & PART_MASK) as u16
    }

    /// The second number: queue, or where it goes to.
    pub const fn b(self) -> u16 {
        (self.0 & PART_MASK) as u16
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, a, b) = (self.kind().name(), self.a(), self.b());
        match self.kind() {
            HolderKind::Pool | HolderKind::Segment | HolderKind::Shared => f.write_str(name),
            HolderKind::Cache | HolderKind::App | HolderKind::External => write!(f, "{name} {a}"),
            HolderKind::Unknown => write!(f, "{name} {:#010x}", self.0),
            _ => write!(f, "{name} {a}/{b}"),
        }
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Holder and position: one word, stored before the index that publishes the mbuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Who has it.
    pub holder: Holder,
    /// Free-running ring position, or slot, or 0, as the holder's own doc says.
    pub index: u32,
}

impl Place {
    /// A place.
    #[inline]
    pub const fn new(holder: Holder, index: u32) -> Place {
        Place { holder, index }
    }

    /// As stored.
    #[inline]
    pub const fn bits(self) -> u64 {
        (self.holder.0 as u64) << 32 | self.index as u64
    }

    /// From what was stored.
    #[inline]
    pub const fn from_bits(bits: u64) -> Place {
        Place {
            holder: Holder((bits >> 32) as u32),
            index: bits as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_word_and_comes_back_from_it() {
        for kind in HolderKind::ALL {
            let place = Place::new(Holder::new(kind, 4095, 7), u32::MAX);
            let back = Place::from_bits(place.bits());
            assert_eq!(back, place);
            assert_eq!(
                (back.holder.kind(), back.holder.a(), back.holder.b()),
                (kind, 4095, 7)
            );
        }
        assert_eq!(Place::from_bits(0).holder, Holder::POOL);
    }

    #[test]
    fn a_holder_names_itself_and_a_strange_one_shows_its_bits() {
        assert_eq!(Holder::POOL.to_string(), "pool");
        assert_eq!(Holder::cache(3).to_string(), "cache 3");
        assert_eq!(Holder::tx(1, 2).to_string(), "tx 1/2");
        assert_eq!(
            Holder::from_bits(0xee00_0001).to_string(),
            "unknown 0xee000001"
        );
    }

    #[test]
    fn the_numbers_of_kinds_are_frozen() {
        let numbers: Vec<u8> = HolderKind::ALL.iter().map(|kind| *kind as u8).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    }
}
