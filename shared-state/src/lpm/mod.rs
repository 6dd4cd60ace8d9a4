//! IPv4 routes by DIR-24-8: one load for a prefix of up to 24 bits, two for a longer one.
//!
//! Layout (offsets by `layout`; the first three parts are all that readers touch)
//! ```text
//!   0 magic u32, groups u32, default u32: next hop + 1, 0 = none, rules u32     64 intent 2 x u64
//!  128 changes u32: how many were made, and are seen
//! 4096 tbl24: 2^24 x u16      tbl8: groups x 256 x u16
//!      entry: 0 = no route but the default | next hop + 1 | 0x8000 + group of tbl8
//!      -- the RIB, for the writer and whoever takes over from it --
//!      depth24: 2^24 x u8, the length of the rule an entry comes from (0x7f: see its group)
//!      rules of /1 to /23: u16 by a heap of 8 levels for each prefix of 0, 8 and 16 bits
//!      by group: owner u32 (block + 1), depth of each entry u8, rules of /24 to /32 (heap, u16)
//! ```
//! Two entries share a 32-bit word, the only unit of access. The default route is a word of its
//! own, so that an instance with nothing else touches no page of the tables. Next hops have 15
//! bits: u16 entries are half of DPDK's, and the table is what the cache must hold.
//!
//! A tool shows [`LpmHead`], the zone's stored schema. The rules are no rows: each lies where its prefix says, with
//! nothing beside it but its next hop; [`LpmWriter::rules`] lists them.
//!
//! [`Lpm`] is the readers' view: any number, any process, no locks. [`LpmWriter`] is the one
//! writer at a time.
//!
//! The RIB is arrays, not a tree: the rule that covers another is found by loads whose addresses
//! are known beforehand (5 cache lines at most, all at once). Depths say which entries a change
//! may paint: a new rule those of its own length and shorter, a withdrawal those of its own.
//!
//! Order: a group of tbl8 is filled, then the entry of tbl24 that names it is stored (Release).
//! A change of one rule is one store for each address block it covers: a reader gets the old next
//! hop or the new one for each address, and never none in between. An entry is stored before its
//! depth. What is looked up may be kept while the number of changes stays what it was before the lookup:
//! it is stored (Release) behind what it counts. A group that is no longer named rests until a grace period of [`crate::rcu`] is over.
//!
//! Failure: a change begins with an intent (rule, new entry, group it may take, number of rules
//! afterwards) and ends by counting itself and clearing it. A writer that dies in between leaves some blocks old and
//! some new, each address whole. [`LpmWriter::resume`] does the change again from the intent:
//! setting a rule twice, and painting what is painted, changes nothing; an entry whose depth was
//! not stored yet still has a depth that lets it be painted. Groups are in use when the entry of
//! their owner names them, so none is lost; all others rest for one grace period, because readers
//! may still be inside. A repair that dies is repaired the same way.

mod burst;
mod layout;
mod paint;
mod rib;
#[cfg(target_arch = "x86_64")]
mod simd;
mod writer;

pub use crate::simd::Path;
pub use layout::LpmHead;

use thiserror::Error;

pub use writer::LpmWriter;

use crate::region::{Region, RegionError};
use crate::simd::prefetch;
use crate::sync::{AtomicU32, Ordering};

/// No route, in the result of [`Lpm::lookup_burst`].
pub const NO_ROUTE: u16 = u16::MAX;

/// Largest next hop: 15 bits less the two values with a meaning of their own.
pub const MAX_NEXT_HOP: u16 = EXTENDED as u16 - 2;

/// Most groups of 256 addresses with prefixes longer than 24 bits.
pub const MAX_GROUPS: u32 = EXTENDED - 1;

const GROUP_ENTRIES: usize = 256;
const EXTENDED: u32 = 0x8000;

/// Why a route cannot be had.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum LpmError {
    /// Not a table of routes.
    #[error("route table {wanted:#010x} expected, {found:#010x} found")]
    Kind {
        /// The magic number found.
        found: u32,
        /// The magic number of a route table.
        wanted: u32,
    },
    /// Too many groups.
    #[error("{groups} groups of long prefixes asked for, possible are {max}")]
    Groups {
        /// What was asked for, or found.
        groups: u32,
        /// The most possible.
        max: u32,
    },
    /// Longer than an address.
    #[error("prefix of {depth} bits, an IPv4 address has 32")]
    Depth {
        /// What was asked for.
        depth: u8,
    },
    /// Does not fit an entry.
    #[error("next hop {next_hop}, possible are 0 to {max}")]
    NextHop {
        /// What was asked for.
        next_hop: u16,
        /// The largest possible.
        max: u16,
    },
    /// All groups of tbl8 are used, or rest until the readers have moved on.
    #[error(
        "no group left for prefixes longer than 24 bits: {used} of {groups} used, {resting} resting"
    )]
    Full {
        /// Groups in the table.
        groups: u32,
        /// Groups in use.
        used: u32,
        /// Groups freed, but not yet out of every reader's sight.
        resting: u32,
    },
    /// The region is smaller than the table.
    #[error("region too small for routes: {0}")]
    Region(#[from] RegionError),
}

/// The readers' view of a route table.
#[derive(Clone, Copy)]
pub struct Lpm {
    default: &'static AtomicU32,
    changes: &'static AtomicU32,
    tbl24: &'static [AtomicU32; layout::BLOCKS / 2],
    tbl8: &'static [AtomicU32],
    path: Path,
}

impl Lpm {
    /// Bytes of a table with `groups` groups for prefixes longer than 24 bits.
    pub const fn bytes_for(groups: u32) -> usize {
        layout::end(groups)
    }

    /// Makes an empty table in a zeroed region nobody else uses yet.
    pub fn create(region: Region, groups: u32) -> Result<LpmWriter, LpmError> {
        check_groups(groups)?;
        region.slice(0, Self::bytes_for(groups))?;
        region
            .u32(layout::GROUPS_AT)
            .store(groups, Ordering::Relaxed);
        region.u32(layout::DEFAULT_AT).store(0, Ordering::Relaxed);
        region.u32(0).store(layout::MAGIC, Ordering::Release);
        LpmWriter::first(region)
    }

    /// Opens a table that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<Lpm, LpmError> {
        region.slice(0, layout::TBL24_AT)?;
        let found = region.u32(0).load(Ordering::Acquire);
        if found != layout::MAGIC {
            let wanted = layout::MAGIC;
            return Err(LpmError::Kind { found, wanted });
        }
        let groups = region.u32(layout::GROUPS_AT).load(Ordering::Relaxed);
        check_groups(groups)?;
        let region = region.slice(0, Self::bytes_for(groups))?;
        let words = groups as usize * GROUP_ENTRIES / 2;
        let tbl24 = region.u32s(layout::TBL24_AT, layout::BLOCKS / 2);
        Ok(Lpm {
            default: region.u32(layout::DEFAULT_AT),
            changes: region.u32(layout::CHANGES_AT),
            tbl24: tbl24.try_into().expect("as many words as asked for"),
            tbl8: region.u32s(layout::TBL8_AT, words),
            path: Path::best(),
        })
    }

    /// The same table, looked up by another path; `None` where this machine does not have it.
    pub fn with_path(self, path: Path) -> Option<Lpm> {
        path.is_available().then_some(Lpm { path, ..self })
    }

    /// The next hop of the longest prefix that covers `address` (host byte order).
    #[inline]
    pub fn lookup(&self, address: u32) -> Option<u16> {
        let mut entry = half(self.tbl24, address as usize >> 8);
        if entry & EXTENDED != 0 && !self.tbl8.is_empty() {
            // Inside the table whatever the bytes are, as in a burst.
            let group = (entry - EXTENDED).min(self.groups() - 1);
            entry = half(
                self.tbl8,
                group as usize * GROUP_ENTRIES + (address & 0xff) as usize,
            );
        }
        if entry == 0 {
            entry = self.default.load(Ordering::Acquire);
        }
        entry.checked_sub(1).map(|next_hop| next_hop as u16)
    }

    /// A number that is another after each change: what was looked up since it was read is as good as a lookup now
    /// while it stays. It comes around after 2^32 changes.
    #[inline]
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }

    /// Brings the entry of an address (host byte order) into the processor's cache.
    #[inline]
    pub fn prefetch(&self, address: u32) {
        prefetch(&raw const self.tbl24[address as usize >> 9]);
    }

    /// Looks up many addresses (host byte order); [`NO_ROUTE`] where there is none. As many as the
    /// shorter slice has; best in bursts of 32.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[u32], next_hops: &mut [u16]) {
        burst::lookup(self, addresses, next_hops);
    }

    /// By the writer, after each change.
    fn count_change(&self) {
        let made = self.changes.load(Ordering::Relaxed);
        self.changes.store(made.wrapping_add(1), Ordering::Release);
    }

    /// Groups for prefixes longer than 24 bits.
    pub fn groups(&self) -> u32 {
        (self.tbl8.len() * 2 / GROUP_ENTRIES) as u32
    }
}

impl core::fmt::Debug for Lpm {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Lpm({} groups)", self.groups())
    }
}

fn check_groups(groups: u32) -> Result<(), LpmError> {
    let max = MAX_GROUPS;
    if groups <= max {
        return Ok(());
    }
    Err(LpmError::Groups { groups, max })
}

/// Entry `at` of a table whose words hold two.
#[inline]
fn half(table: &[AtomicU32], at: usize) -> u32 {
    let word = table[at / 2].load(Ordering::Acquire);
    word >> (at % 2 * 16) & 0xffff
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod watch;
