//! Where the parts of an IPv6 route table lie.

use baton_schema::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a zone of IPv6 routes begins with: its stored schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "lpm6.head", version = 1)]
#[repr(C)]
pub struct Lpm6Head {
    /// `lp64`.
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

pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"lp64");
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
/// What a lookup may read past a line: a node's head and a rank of at most 64 + 255 (words) from wrong bytes.
pub(super) const SPARE_LINES: usize = 21;

pub(super) const fn end(lines: u32) -> usize {
    POOL_AT + (lines as usize + SPARE_LINES) * LINE
}

const _: () = assert!(POOL_AT.is_multiple_of(LINE));
