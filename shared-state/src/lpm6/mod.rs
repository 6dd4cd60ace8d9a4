//! IPv6 routes: a table by the first 16 bits, then a compressed node for each further 8.
//!
//! Layout
//! ```text
//!   0 magic u32, lines u32, default u32: next hop + 1, 0 = none, rules u32    64 intent 4 x u64
//! 4096 tbl16: 2^16 x u32      -- then the RIB of the rules up to /16, for the writer --
//!      depth16: 2^16 x u8     rules of /1 to /16: u16 by a heap of 16 levels
//!      pool: lines x 64 bytes of nodes, and 21 lines that are only ever read by mistake
//! entry u32: 0 = as above | next hop + 1 | 0x8000_0000 + first line of a node
//! node, u32 words:
//!   0 bitmap, 256 bits: slot i begins a run of equal slots   8 bits before each 64 of them, 4 x u8
//!   9 own: the entry of the longest rule above this node, within its parent's 8 bits, or 0
//!  10 an entry for each run, then the number of rules and the rules that lie in this node:
//!     heap number (1 << level | bits) in the low half, next hop + 1 in the high one
//! ```
//! The nodes below tbl16 are wide: each slot is a run of its own, so that bursts find its entry
//! without the bitmap (there are few of them, and those of real tables are nearly full anyway).
//! Elsewhere a node that holds one /48 is one cache line; 200,000 routes are some 20 MiB. A lookup takes
//! from each node its bit's rank, hence its entry: two loads, mostly of one line. Entries do not
//! repeat what shorter rules say (0 is "as above"), so a change touches one node, and the word
//! `own` of those of its children that lie below the changed rule.
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
mod tree;
mod writer;

use thiserror::Error;

pub use crate::lpm::{NO_ROUTE, Path};
pub use layout::Lpm6Head;
pub use writer::Lpm6Writer;

use crate::region::{Region, RegionError};
use crate::sync::{AtomicU32, Ordering};

/// Largest next hop: an entry is one more and fits 16 bits, and [`NO_ROUTE`] is none.
pub const MAX_NEXT_HOP: u16 = u16::MAX - 2;

/// Most lines of a pool: 16 GiB.
pub const MAX_LINES: u32 = 1 << 28;

const NODE: u32 = 1 << 31;
const LINE_WORDS: usize = 16;
const COUNTS: usize = 8;
const OWN: usize = 9;
const RUNS: usize = 10;

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
    /// Bytes of a table with `lines` lines of 64 bytes for nodes. Two lines for each route are
    /// ample for a table like the Internet's.
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
        let words = (lines as usize + layout::SPARE_LINES) * LINE_WORDS;
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
        let mut entry = self.tbl16[top].load(Ordering::Acquire);
        let mut best = self.default.load(Ordering::Acquire);
        for byte in &address[2..] {
            if entry & NODE == 0 {
                break;
            }
            let (own, next) = self.step(entry, *byte);
            best = if own == 0 { best } else { own };
            entry = next;
        }
        best_of(entry, best).checked_sub(1).map(|hop| hop as u16)
    }

    /// Looks up many addresses (network byte order); [`NO_ROUTE`] where there is none. As many as
    /// the shorter slice has; best in bursts of 32.
    #[inline]
    pub fn lookup_burst(&self, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
        burst::lookup(self, addresses, next_hops);
    }

    /// Lines for nodes.
    pub fn lines(&self) -> u32 {
        (self.pool.len() / LINE_WORDS - layout::SPARE_LINES) as u32
    }

    /// From the node that `entry` names: its own entry, and that of a slot.
    #[inline(always)]
    fn step(&self, entry: u32, slot: u8) -> (u32, u32) {
        let node = self.node(entry);
        let own = self.pool[node + OWN].load(Ordering::Acquire);
        (own, self.pool[self.run(node, slot)].load(Ordering::Acquire))
    }

    /// The first word of a node; inside the pool whatever the entry is.
    #[inline(always)]
    fn node(&self, entry: u32) -> usize {
        (entry & !NODE).min(self.last_line) as usize * LINE_WORDS
    }

    /// The word of the entry of a slot.
    #[inline(always)]
    fn run(&self, node: usize, slot: u8) -> usize {
        let (word, bit) = (usize::from(slot >> 6), u32::from(slot & 63));
        let half = |at: usize| u64::from(self.pool[node + at].load(Ordering::Relaxed));
        let bits = half(2 * word) | half(2 * word + 1) << 32;
        let before = half(COUNTS) as u32 >> (8 * word) & 0xff;
        let rank = before + (bits << (63 - bit)).count_ones();
        // Rank 0 cannot be (slot 0 begins a run), and would read `own`.
        node + RUNS - 1 + rank as usize
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
    if path == Path::Avx512 && !is_x86_feature_detected!("avx512vpopcntdq") {
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
