//! Where the parts of a route table lie.

use baton_schema::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::GROUP_ENTRIES;

/// What a zone of IPv4 routes begins with: its stored schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "lpm.head", version = 1)]
#[repr(C)]
pub struct LpmHead {
    /// `lp24`.
    #[field(kind = "text")]
    pub magic: [u8; 4],
    /// Groups of 256 addresses for prefixes longer than 24 bits.
    pub groups: u32,
    /// Next hop of the default route + 1, 0 = none.
    pub default: u32,
    /// Rules in the table.
    pub rules: u32,
    /// Zero.
    pub _pad: [u8; 48],
    /// The change that is under way: prefix, length and entry.
    pub change: u64,
    /// Its state: 0 = there is none.
    pub state: u64,
}

const _: () = assert!(core::mem::offset_of!(LpmHead, groups) == GROUPS_AT);
const _: () = assert!(core::mem::offset_of!(LpmHead, default) == DEFAULT_AT);
const _: () = assert!(core::mem::offset_of!(LpmHead, rules) == RULES_AT);
const _: () = assert!(core::mem::offset_of!(LpmHead, change) == INTENT_AT);

pub(super) const MAGIC: u32 = u32::from_le_bytes(*b"lp24");
pub(super) const GROUPS_AT: usize = 4;
pub(super) const DEFAULT_AT: usize = 8;
pub(super) const RULES_AT: usize = 12;
pub(super) const INTENT_AT: usize = 64;
/// In a line that nothing else lies in: readers look at it before each burst.
pub(super) const CHANGES_AT: usize = 128;
pub(super) const TBL24_AT: usize = 4096;
/// Blocks of 256 addresses.
pub(super) const BLOCKS: usize = 1 << 24;
pub(super) const TBL8_AT: usize = TBL24_AT + BLOCKS * ENTRY_BYTES;
/// Rules of one group: a heap of the levels 24 to 32.
pub(super) const GROUP_RULES: usize = 2 * GROUP_ENTRIES;
/// Rules of /1 to /23: a heap of 256 for each prefix of 0, 8 and 16 bits.
pub(super) const SHORT_RULES: usize = 256 * (1 + (1 << 8) + (1 << 16));

const ENTRY_BYTES: usize = 2;

pub(super) const fn depth24_at(groups: u32) -> usize {
    TBL8_AT + groups as usize * GROUP_ENTRIES * ENTRY_BYTES
}

pub(super) const fn short_at(groups: u32) -> usize {
    depth24_at(groups) + BLOCKS
}

pub(super) const fn group_rules_at(groups: u32) -> usize {
    short_at(groups) + SHORT_RULES * ENTRY_BYTES
}

pub(super) const fn group_depths_at(groups: u32) -> usize {
    group_rules_at(groups) + groups as usize * GROUP_RULES * ENTRY_BYTES
}

pub(super) const fn owners_at(groups: u32) -> usize {
    group_depths_at(groups) + groups as usize * GROUP_ENTRIES
}

pub(super) const fn end(groups: u32) -> usize {
    owners_at(groups) + groups as usize * size_of::<u32>()
}

const _: () = assert!(TBL8_AT.is_multiple_of(64) && short_at(1).is_multiple_of(64));
