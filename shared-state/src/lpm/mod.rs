//! IPv4 routes by DIR-24-8: one load for a prefix of up to 24 bits, two for a longer one.
//!
//! Layout
//! ```text
//!   0 magic u32, groups u32, default u32: next hop + 1, 0 = none      64 ... zero
//! 4096 tbl24: 2^24 x u16      then tbl8: groups x 256 x u16
//! entry: 0 = no route but the default | next hop + 1 | 0x8000 + group of tbl8
//! ```
//! Two entries share a 32-bit word, the only unit of access. The default route is a word of its
//! own, so that an instance with nothing else touches no page of the tables.
//!
//! [`Lpm`] is the readers' view: any number, any process, no locks. [`LpmWriter`] is the one
//! writer; it keeps the list of rules in private memory, so that a deleted prefix gives way to
//! the one that covered it. Routes are rebuilt from the config, hence the list need not outlive
//! its process.
//!
//! Order: a group of tbl8 is filled, then the entry of tbl24 that names it is stored (Release).
//! A change of one rule is one store for each address block it covers: a reader gets the old next
//! hop or the new one for each address, and never none in between. A group that is no longer
//! named rests until [`LpmWriter::quiesced`] says that no reader can still be inside it.
//!
//! Failure: a writer that dies leaves some blocks of its last change old and some new; the next
//! one makes the zone again.

mod writer;

use thiserror::Error;

pub use writer::LpmWriter;

use crate::region::{Region, RegionError};
use crate::sync::{AtomicU32, Ordering};
use crate::table::prefetch;

/// No route, in the result of [`Lpm::lookup_burst`].
pub const NO_ROUTE: u16 = u16::MAX;

/// Largest next hop: 15 bits less the two values with a meaning of their own.
pub const MAX_NEXT_HOP: u16 = EXTENDED as u16 - 2;

/// Most groups of 256 addresses with prefixes longer than 24 bits.
pub const MAX_GROUPS: u32 = EXTENDED - 1;

const MAGIC: u32 = u32::from_le_bytes(*b"lpm4");
const GROUPS_AT: usize = 4;
const DEFAULT_AT: usize = 8;
const TBL24_AT: usize = 4096;
const TBL24_ENTRIES: usize = 1 << 24;
const GROUP_ENTRIES: usize = 256;
const ENTRY_BYTES: usize = 2;
const EXTENDED: u32 = 0x8000;
const AHEAD: usize = 64;

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
    tbl24: &'static [AtomicU32],
    tbl8: &'static [AtomicU32],
}

impl Lpm {
    /// Bytes of a table with `groups` groups for prefixes longer than 24 bits.
    pub const fn bytes_for(groups: u32) -> usize {
        TBL24_AT + (TBL24_ENTRIES + groups as usize * GROUP_ENTRIES) * ENTRY_BYTES
    }

    /// Makes an empty table in a zeroed region nobody else uses yet.
    pub fn create(region: Region, groups: u32) -> Result<LpmWriter, LpmError> {
        check_groups(groups)?;
        region.slice(0, Self::bytes_for(groups))?;
        region.u32(GROUPS_AT).store(groups, Ordering::Relaxed);
        region.u32(DEFAULT_AT).store(0, Ordering::Relaxed);
        region.u32(0).store(MAGIC, Ordering::Release);
        Ok(LpmWriter::new(Self::attach(region)?))
    }

    /// Opens a table that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<Lpm, LpmError> {
        region.slice(0, TBL24_AT)?;
        let found = region.u32(0).load(Ordering::Acquire);
        if found != MAGIC {
            let wanted = MAGIC;
            return Err(LpmError::Kind { found, wanted });
        }
        let groups = region.u32(GROUPS_AT).load(Ordering::Relaxed);
        check_groups(groups)?;
        let region = region.slice(0, Self::bytes_for(groups))?;
        let tbl8_at = TBL24_AT + TBL24_ENTRIES * ENTRY_BYTES;
        Ok(Lpm {
            default: region.u32(DEFAULT_AT),
            tbl24: region.u32s(TBL24_AT, TBL24_ENTRIES / 2),
            tbl8: region.u32s(tbl8_at, groups as usize * GROUP_ENTRIES / 2),
        })
    }

    /// The next hop of the longest prefix that covers `address` (host byte order).
    #[inline]
    pub fn lookup(&self, address: u32) -> Option<u16> {
        let mut entry = half(self.tbl24, address as usize >> 8);
        if entry & EXTENDED != 0 {
            let at = (entry - EXTENDED) as usize * GROUP_ENTRIES + (address & 0xff) as usize;
            entry = half(self.tbl8, at);
        }
        if entry == 0 {
            entry = self.default.load(Ordering::Acquire);
        }
        entry.checked_sub(1).map(|next_hop| next_hop as u16)
    }

    /// Looks up many addresses; [`NO_ROUTE`] where there is none.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[u32], next_hops: &mut [u16]) {
        let parts = addresses.chunks(AHEAD).zip(next_hops.chunks_mut(AHEAD));
        for (addresses, next_hops) in parts {
            for address in addresses {
                prefetch(&raw const self.tbl24[*address as usize >> 9]);
            }
            for (address, next_hop) in addresses.iter().zip(next_hops) {
                *next_hop = self.lookup(*address).unwrap_or(NO_ROUTE);
            }
        }
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
mod tests;
