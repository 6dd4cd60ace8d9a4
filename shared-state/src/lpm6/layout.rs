//! Where the parts of an IPv6 route table lie.

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
