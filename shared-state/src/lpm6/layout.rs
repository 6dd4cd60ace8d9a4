//! Where the parts of an IPv6 route table lie, and which bits of an address each level takes.

use baton_schema::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a zone of IPv6 routes begins with: its stored schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "lpm6.head", version = 1)]
#[repr(C)]
pub struct Lpm6Head {
    /// `lp66`.
    #[field(kind = "text")]
    pub magic: [u8; 4],
    /// Lines of 64 bytes for nodes.
    pub lines: u32,
    /// Next hop of the default route + 1, 0 = none.
    pub default: u32,
    /// Rules in the table.
    pub rules: u32,
    /// Zero.
    pub _pad: [u8; 48],
    /// Prefix of the change that is under way, high half and low.
    pub prefix: [u64; 2],
    /// Its length and entry.
    pub change: u64,
    /// Its state: 0 = there is none.
    pub state: u64,
}

const _: () = assert!(core::mem::offset_of!(Lpm6Head, lines) == LINES_AT);
const _: () = assert!(core::mem::offset_of!(Lpm6Head, default) == DEFAULT_AT);
const _: () = assert!(core::mem::offset_of!(Lpm6Head, rules) == RULES_AT);
const _: () = assert!(core::mem::offset_of!(Lpm6Head, prefix) == INTENT_AT);

pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"lp66");
pub(super) const LINES_AT: usize = 4;
pub(super) const DEFAULT_AT: usize = 8;
pub(super) const RULES_AT: usize = 12;
pub(super) const INTENT_AT: usize = 64;
pub(super) const TBL16_AT: usize = 4096;
/// Entries of tbl16.
pub(super) const TOPS: usize = 1 << 16;
pub(super) const DEPTH16_AT: usize = TBL16_AT + TOPS * 4;
pub(super) const SHORT_AT: usize = DEPTH16_AT + TOPS;
/// Rules of /1 to /16, two in a word.
pub(super) const SHORT_RULES: usize = 1 << 17;
pub(super) const POOL_AT: usize = SHORT_AT + SHORT_RULES * 2;
pub(super) const LINE: usize = 64;
pub(super) const LINE_WORDS: usize = 16;
/// What a lookup may read past a line: a node of 65536 ranges, from wrong bytes.
pub(super) const SPARE_LINES: usize = (2 + (1 << 15) + (1 << 16)) / LINE_WORDS + 2;

/// Levels of nodes: 8, 8, then 16 bits each.
pub(super) const LEVELS: usize = 8;
/// Those whose nodes are wide.
pub(super) const WIDE_LEVELS: usize = 2;
/// Slots of a wide node.
pub(super) const SLOTS: usize = 256;

/// Bits that a node at `level` takes.
#[inline(always)]
pub(super) const fn width(level: usize) -> u32 {
    if level < WIDE_LEVELS { 8 } else { 16 }
}

/// Bits of an address above a node at `level`.
#[inline(always)]
pub(super) const fn above(level: usize) -> u32 {
    if level < WIDE_LEVELS {
        16 + 8 * level as u32
    } else {
        16 * level as u32
    }
}

/// The slot of an address in a node at `level`.
#[inline(always)]
pub(super) const fn slot(address: &[u8; 16], level: usize) -> u16 {
    if level < WIDE_LEVELS {
        address[2 + level] as u16
    } else {
        u16::from_be_bytes([address[2 * level], address[2 * level + 1]])
    }
}

pub(super) const fn end(lines: u32) -> usize {
    POOL_AT + (lines as usize + SPARE_LINES) * LINE
}

const _: () = assert!(POOL_AT.is_multiple_of(LINE));
const _: () = assert!(above(LEVELS - 1) + width(LEVELS - 1) == 128);
