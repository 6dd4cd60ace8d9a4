//! IPv6 routes: a table by the first 16 bits, then nodes for 8, 8 and each further 16 bits.
//!
//! Layout, version 2 (magic `lp66`; version 1 had compressed nodes of 8 bits)
//! ```text
//!   0 magic u32, lines u32, default u32: next hop + 1, 0 = none, rules u32    64 intent 4 x u64
//! 4096 tbl16: 2^16 x u32      -- then the RIB of the rules up to /16, for the writer --
//!      depth16: 2^16 x u8     rules of /1 to /16: u16 by a heap of 16 levels
//!      pool: lines x 64 bytes of nodes, and 6146 lines that are only ever read by mistake
//! entry u32: 0 = as above | next hop + 1 | 0x8000_0000 + first line of a node
//! node, u32 words:
//!   0 own: the entry of the longest rule above this node, within its parent's slots, or 0
//!   1 count: 0 = a wide node, or the number n of its ranges
//!   wide: 256 entries       ranges: where each but the first begins, n - 1 x u16; n entries
//!   then the numbers of rules shorter than the slots of a range node, and as long; these rules:
//!   low 16 bits of the heap number (1 << length | bits), next hop + 1 in the high half
//! ```
//! Nodes of bits 16 to 32 are wide: there are few of them, and an entry is one load. Below, a node
//! says where the next hop changes among its 2^16 slots: routes below an allocation are few and
//! far apart, so a node of ten of them is two cache lines, and one comparison of 28 beginnings
//! replaces two further levels. What a lookup waits for, beyond what fits the caches, is one node.
//! Entries do not repeat what shorter rules say (0 is "as above"), so a change touches one node,
//! and the word `own` of those of its children that lie below the changed rule. A change writes its
//! node anew: 1 KiB, or 10 bytes for each of its ranges (at most 640 KiB, with 2^16 of them).
//!
//! The rules of a node lie in the node: tree and RIB are one thing, and change by one store.
//! Rules up to /16 are in arrays as in [`crate::lpm`].
//!
//! A tool shows [`Lpm6Head`], the zone's stored schema. The rules are no rows: they lie in the nodes;
//! [`Lpm6Writer::rules`] lists them.
//!
//! Order: a node is never changed but for `own`. A change builds a new one and stores its entry
//! where the old one was named (Release): a reader gets the old or the new next hop for each
//! address. Nodes that go away rest until a grace period of [`crate::rcu`] is over.
//!
//! Failure: a change begins with an intent (rule, new entry, number of rules afterwards) and ends
//! by clearing it. A writer that dies before the node is named leaves the old tree, one that dies
//! after it some words `own` old: [`Lpm6Writer::resume`] sets the rule again, which finds the
//! node done or not, and stores the words. What is free is not in shared memory: a successor
//! marks the nodes it finds from tbl16 and lets all other lines rest for one grace period.

mod alloc;
mod burst;
mod layout;
mod node;
#[cfg(target_arch = "x86_64")]
mod simd;
#[cfg(target_arch = "x86_64")]
mod simd256;
mod tree;
mod writer;

use thiserror::Error;

pub use crate::lpm::NO_ROUTE;
pub use crate::simd::Path;
pub use layout::Lpm6Head;
pub use writer::Lpm6Writer;

use layout::{LEVELS, WIDE_LEVELS, slot};

use crate::region::{Region, RegionError};
use crate::sync::{AtomicU32, Ordering};

/// Largest next hop: an entry is one more and fits 16 bits, and [`NO_ROUTE`] is none.
pub const MAX_NEXT_HOP: u16 = u16::MAX - 2;

/// Most lines of a pool: 4 GiB, so that 32 bits with a sign count its words.
pub const MAX_LINES: u32 = 1 << 26;

const NODE: u32 = 1 << 31;
const OWN: usize = 0;
const COUNT: usize = 1;
/// Entries of a wide node, beginnings of ranges of another.
const PARTS: usize = 2;

/// Why a route cannot be had.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum Lpm6Error {
    /// Not a table of IPv6 routes.
    #[error("IPv6 route table {wanted:#010x} expected, {found:#010x} found")]
    Kind {
        /// The magic number found.
        found: u32,
        /// The magic number of a route table.
        wanted: u32,
    },
    /// Too many lines.
    #[error("{lines} lines of nodes asked for, possible are {max}")]
    Lines {
        /// What was asked for, or found.
        lines: u32,
        /// The most possible.
        max: u32,
    },
    /// Longer than an address.
    #[error("prefix of {depth} bits, an IPv6 address has 128")]
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
    /// No run of lines is free that the node needs.
    #[error(
        "no {wanted} lines in a row left for a node: {free} of {lines} free, {resting} resting"
    )]
    Full {
        /// What the node needs.
        wanted: u32,
        /// Lines of the pool.
        lines: u32,
        /// Lines that are free.
        free: u32,
        /// Lines freed, but not yet out of every reader's sight.
        resting: u32,
    },
    /// The region is smaller than the table.
    #[error("region too small for routes: {0}")]
    Region(#[from] RegionError),
}

/// The readers' view of an IPv6 route table: any number, any process, no locks.
#[derive(Clone, Copy)]
pub struct Lpm6 {
    default: &'static AtomicU32,
    tbl16: &'static [AtomicU32],
    pool: &'static [AtomicU32],
    last_line: u32,
    path: Path,
}

impl Lpm6 {
    /// Bytes of a table with `lines` lines of 64 bytes for nodes. Four lines for each route are
    /// ample for a table like the Internet's; a route in a /24 of its own takes up to 20.
    pub const fn bytes_for(lines: u32) -> usize {
        layout::end(lines)
    }

    /// Makes an empty table in a zeroed region nobody else uses yet.
    pub fn create(region: Region, lines: u32) -> Result<Lpm6Writer, Lpm6Error> {
        check_lines(lines)?;
        region.slice(0, Self::bytes_for(lines))?;
        region.u32(layout::LINES_AT).store(lines, Ordering::Relaxed);
        region.u32(0).store(layout::MAGIC, Ordering::Release);
        Lpm6Writer::first(region)
    }

    /// Opens a table that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<Lpm6, Lpm6Error> {
        region.slice(0, layout::TBL16_AT)?;
        let found = region.u32(0).load(Ordering::Acquire);
        if found != layout::MAGIC {
            let wanted = layout::MAGIC;
            return Err(Lpm6Error::Kind { found, wanted });
        }
        let lines = region.u32(layout::LINES_AT).load(Ordering::Relaxed);
        check_lines(lines)?;
        let region = region.slice(0, Self::bytes_for(lines))?;
        let words = (lines as usize + layout::SPARE_LINES) * layout::LINE_WORDS;
        let best = Path::ALL.into_iter().rev().find(|path| has(*path));
        Ok(Lpm6 {
            default: region.u32(layout::DEFAULT_AT),
            tbl16: region.u32s(layout::TBL16_AT, layout::TOPS),
            pool: region.u32s(layout::POOL_AT, words),
            last_line: lines.saturating_sub(1),
            path: best.unwrap_or(Path::Scalar),
        })
    }

    /// The same table, looked up by another path; `None` where this machine does not have it.
    pub fn with_path(self, path: Path) -> Option<Lpm6> {
        has(path).then_some(Lpm6 { path, ..self })
    }

    /// The next hop of the longest prefix that covers `address` (network byte order).
    #[inline]
    pub fn lookup(&self, address: &[u8; 16]) -> Option<u16> {
        let top = usize::from(u16::from_be_bytes([address[0], address[1]]));
        let entry = self.tbl16[top].load(Ordering::Acquire);
        let default = self.default.load(Ordering::Acquire);
        let found = self.walk(address, 0, entry, default);
        found.checked_sub(1).map(|hop| hop as u16)
    }

    /// Looks up many addresses (network byte order); [`NO_ROUTE`] where there is none. As many as
    /// the shorter slice has; best in bursts of 32.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
        burst::lookup(self, addresses, next_hops);
    }

    /// Lines for nodes.
    pub fn lines(&self) -> u32 {
        (self.pool.len() / layout::LINE_WORDS - layout::SPARE_LINES) as u32
    }

    /// The way down from `entry`, at `level`, to what holds in the end.
    #[inline]
    fn walk(&self, address: &[u8; 16], level: usize, entry: u32, best: u32) -> u32 {
        let (mut entry, mut best) = (entry, best);
        for level in level..LEVELS {
            if entry & NODE == 0 {
                break;
            }
            let (own, next) = self.step(entry, level, slot(address, level));
            best = if own == 0 { best } else { own };
            entry = next;
        }
        best_of(entry, best)
    }

    /// From the node that `entry` names: its own entry, and that of a slot.
    #[inline(always)]
    fn step(&self, entry: u32, level: usize, slot: u16) -> (u32, u32) {
        let node = self.node(entry);
        let own = self.pool[node + OWN].load(Ordering::Acquire);
        let at = self.slot_at(node, level, slot);
        (own, self.pool[at].load(Ordering::Acquire))
    }

    /// The first word of a node; inside the pool whatever the entry is.
    #[inline(always)]
    fn node(&self, entry: u32) -> usize {
        (entry & !NODE).min(self.last_line) as usize * layout::LINE_WORDS
    }

    /// The word of the entry of a slot.
    #[inline(always)]
    fn slot_at(&self, node: usize, level: usize, slot: u16) -> usize {
        if level < WIDE_LEVELS {
            return node + PARTS + usize::from(slot);
        }
        let n = self.pool[node + COUNT].load(Ordering::Relaxed);
        self.range_at(node, n.min(1 << 16) as usize, slot)
    }

    /// The word of the entry of a slot in a node of `n` ranges, at most 65536.
    #[inline]
    fn range_at(&self, node: usize, n: usize, slot: u16) -> usize {
        let begins = &self.pool[node + PARTS..];
        let (mut from, mut len) = (0, n.saturating_sub(1));
        // How many ranges begin at or before the slot, the first one aside.
        while len > 0 {
            let at = from + len / 2;
            let begin = begins[at / 2].load(Ordering::Relaxed) >> (at % 2 * 16) & 0xffff;
            if begin <= u32::from(slot) {
                (from, len) = (at + 1, len - len / 2 - 1);
            } else {
                len /= 2;
            }
        }
        node + node::entries_at(n) + from
    }
}

impl core::fmt::Debug for Lpm6 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Lpm6({} lines, {})", self.lines(), self.path.name())
    }
}

/// The entry that holds when the way ended with `entry`.
#[inline(always)]
fn best_of(entry: u32, best: u32) -> u32 {
    if entry == 0 || entry & NODE != 0 {
        best
    } else {
        entry
    }
}

/// Whether this machine has a path, with the instructions needed here.
fn has(path: Path) -> bool {
    #[cfg(target_arch = "x86_64")]
    if path != Path::Scalar
        && !(is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("popcnt"))
    {
        return false;
    }
    path.is_available()
}

fn check_lines(lines: u32) -> Result<(), Lpm6Error> {
    let max = MAX_LINES;
    if (1..=max).contains(&lines) {
        return Ok(());
    }
    Err(Lpm6Error::Lines { lines, max })
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod tests;
