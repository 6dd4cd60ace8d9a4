//! Where the parts of a classifier lie in its region.

use baton_schema::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::rule::{Family, RuleRecord};
use super::{AclError, MAGIC};
use crate::region::Region;
use crate::sync::Ordering;

/// How much room a classifier has. What runs out is named by [`AclError::Full`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Rules, those that rest included.
    pub rules: u32,
    /// Classes of field values: about one for each distinct prefix and each end of a port range.
    pub classes: u32,
    /// Trie nodes of 256 cells, for source and destination each.
    pub big_nodes: u32,
    /// Trie nodes of 16 cells, for source and destination each.
    pub small_nodes: u32,
    /// Blocks of up to 512 rules. A change takes one or two new ones, and the old ones rest.
    pub blocks: u32,
    /// Versions of the list of blocks. A change takes one.
    pub versions: u32,
}

impl Sizes {
    /// Room for `rules` rules whose addresses lie in up to a few hundred sites, and for about ten
    /// changes between two rests.
    pub const fn for_rules(rules: u32, family: Family) -> Sizes {
        let narrow = matches!(family, Family::V4);
        let (big, small) = if narrow {
            (rules / 4, rules * 2)
        } else {
            (rules, rules * 8)
        };
        Sizes {
            rules: rules + 32,
            classes: least(3 * rules + 600, MAX_CLASSES),
            big_nodes: least(big + 256, max_nodes(family)),
            small_nodes: least(small + 64, max_nodes(family)),
            blocks: least(2 * rules / MERGE_AT as u32 + 16, MAX_BLOCKS),
            versions: 16,
        }
    }

    fn check(&self, family: Family) -> Result<(), AclError> {
        let nodes = max_nodes(family);
        let limits = [
            ("rules", self.rules, 1, MAX_RULES),
            ("classes", self.classes, ROOTS, MAX_CLASSES),
            ("big nodes", self.big_nodes, 1, nodes),
            ("small nodes", self.small_nodes, 1, nodes),
            ("blocks", self.blocks, 3, MAX_BLOCKS),
            ("versions", self.versions, 2, 1 << 16),
        ];
        for (what, found, min, max) in limits {
            if !(min..=max).contains(&found) {
                let (found, min, max) = (found.into(), min.into(), max.into());
                return Err(AclError::Size {
                    what,
                    found,
                    min,
                    max,
                });
            }
        }
        Ok(())
    }
}

/// What a zone of a classifier begins with: its stored schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "acl.head", version = 1)]
#[repr(C)]
pub struct AclHead {
    /// `acl1`.
    #[field(kind = "text")]
    pub magic: [u8; 4],
    /// 4 or 6.
    pub family: u32,
    /// Room for rules.
    pub rules: u32,
    /// Room for classes.
    pub classes: u32,
    /// Room for trie nodes of 256 cells, in each of two tries.
    pub big_nodes: u32,
    /// Room for trie nodes of 16 cells, in each of two tries.
    pub small_nodes: u32,
    /// Room for blocks of 512 rules.
    pub blocks: u32,
    /// Room for versions.
    pub versions: u32,
    /// Zero.
    pub _pad: [u8; 32],
    /// The published version + 1, 0 = no rule.
    pub root: u32,
}

const _: () = assert!(core::mem::offset_of!(AclHead, family) == 4);
const _: () = assert!(core::mem::offset_of!(AclHead, root) == ROOT_AT);

/// Offsets of all parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) family: Family,
    pub(super) sizes: Sizes,
    pub(super) proto: usize,
    /// Source ports, destination ports.
    pub(super) ports: [usize; 2],
    /// Source addresses, destination addresses.
    pub(super) tries: [usize; 2],
    pub(super) classes: usize,
    pub(super) rules: usize,
    pub(super) versions: usize,
    pub(super) blocks: usize,
    pub(super) block_bytes: usize,
    pub(super) end: usize,
}

impl Layout {
    pub(super) fn new(family: Family, sizes: Sizes) -> Result<Layout, AclError> {
        sizes.check(family)?;
        let mut end = HEADER_BYTES;
        let mut part = |bytes: usize| {
            let at = end;
            end = (at + bytes).next_multiple_of(LINE);
            at
        };
        let ports_bytes = PORTS * 2;
        let trie_bytes = trie_cells(&sizes) * cell_bytes(family);
        let block_bytes = block_bytes(&sizes);
        Ok(Layout {
            family,
            sizes,
            proto: part(PROTOS * 2),
            ports: [part(ports_bytes), part(ports_bytes)],
            tries: [part(trie_bytes), part(trie_bytes)],
            classes: part(sizes.classes as usize * CLASS_BYTES),
            rules: part(sizes.rules as usize * size_of::<RuleRecord>()),
            versions: part(sizes.versions as usize * VERSION_BYTES),
            blocks: part(sizes.blocks as usize * block_bytes),
            block_bytes,
            end,
        })
    }

    /// Writes the header; the magic number last.
    pub(super) fn store(&self, region: Region) {
        for (i, word) in self.words().into_iter().enumerate() {
            region.u32(4 + 4 * i).store(word, Ordering::Relaxed);
        }
        region.u32(0).store(MAGIC, Ordering::Release);
    }

    /// Reads the header of a region that another process wrote.
    pub(super) fn load(region: Region) -> Result<Layout, AclError> {
        region.slice(0, HEADER_BYTES)?;
        let found = region.u32(0).load(Ordering::Acquire);
        if found != MAGIC {
            let wanted = MAGIC;
            return Err(AclError::Kind { found, wanted });
        }
        let word = |i: usize| region.u32(4 + 4 * i).load(Ordering::Relaxed);
        let family = match word(0) {
            4 => Family::V4,
            6 => Family::V6,
            other => {
                let (what, found) = ("address family", other.into());
                return Err(AclError::Size {
                    what,
                    found,
                    min: 4,
                    max: 6,
                });
            }
        };
        let sizes = Sizes {
            rules: word(1),
            classes: word(2),
            big_nodes: word(3),
            small_nodes: word(4),
            blocks: word(5),
            versions: word(6),
        };
        let layout = Layout::new(family, sizes)?;
        region.slice(0, layout.end)?;
        Ok(layout)
    }

    /// Where block `n` begins.
    pub(super) fn block(&self, n: u32) -> usize {
        self.blocks + n as usize * self.block_bytes
    }

    /// Where the map from classes to rows begins in a block.
    pub(super) fn index(&self) -> usize {
        ROWS_AT + local_rows(&self.sizes) * ROW_BYTES
    }

    /// Rows of 512 bits in a block.
    pub(super) fn local_rows(&self) -> usize {
        local_rows(&self.sizes)
    }

    /// Where version `n` begins.
    pub(super) fn version(&self, n: u32) -> usize {
        self.versions + n as usize * VERSION_BYTES
    }

    /// Where rule `n` is stored.
    pub(super) fn rule(&self, n: u32) -> usize {
        self.rules + n as usize * size_of::<RuleRecord>()
    }

    /// Where the record of class `n` is stored.
    pub(super) fn class(&self, n: u32) -> usize {
        self.classes + n as usize * CLASS_BYTES
    }

    fn words(&self) -> [u32; 7] {
        let s = &self.sizes;
        let family = self.family as u32;
        [
            family,
            s.rules,
            s.classes,
            s.big_nodes,
            s.small_nodes,
            s.blocks,
            s.versions,
        ]
    }
}

/// Bits of an address below its first 16, by node: 8 for a big one, 4 for a small one.
pub(super) const fn levels(family: Family) -> &'static [u8] {
    const V6: [u8; 24] = {
        let mut levels = [4; 24];
        (levels[0], levels[1], levels[2], levels[3]) = (8, 8, 8, 8);
        levels
    };
    match family {
        Family::V4 => &[8, 4, 4],
        Family::V6 => &V6,
    }
}

/// Cells of a trie: the first level, big nodes, small nodes.
pub(super) const fn trie_cells(sizes: &Sizes) -> usize {
    FIRST_CELLS + sizes.big_nodes as usize * 256 + sizes.small_nodes as usize * 16
}

/// 16 bits for IPv4, so that the tables stay in the caches; 32 for IPv6, whose tries are deep.
pub(super) const fn cell_bytes(family: Family) -> usize {
    match family {
        Family::V4 => 2,
        Family::V6 => 4,
    }
}

const fn max_nodes(family: Family) -> u32 {
    match family {
        Family::V4 => (1 << 15) - 1,
        Family::V6 => 1 << 20,
    }
}

const fn block_bytes(sizes: &Sizes) -> usize {
    let index = sizes.classes as usize * 2 + 2;
    (ROWS_AT + local_rows(sizes) * ROW_BYTES + index).next_multiple_of(LINE)
}

/// No block has more distinct rows: each prefix of a rule makes one more than there were, each
/// port range two, protocols 256 at most, and one is all zeros.
const fn local_rows(sizes: &Sizes) -> usize {
    let most = 2 * (BLOCK_RULES + 1) + 2 * (2 * BLOCK_RULES + 1) + PROTOS + 1;
    let classes = sizes.classes as usize + 1;
    if classes < most { classes } else { most }
}

const fn least(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

/// Rules in a block: the bits of one AVX-512 register.
pub(super) const BLOCK_RULES: usize = 512;
/// Neighbouring blocks with no more rules than this together become one.
pub(super) const MERGE_AT: usize = 384;
/// Categories of a classifier.
pub const MAX_CATEGORIES: usize = 16;
/// Most rules: the bits of the blocks of a version.
pub const MAX_RULES: u32 = 1 << 15;
/// Most classes: 15 bits of a cell.
pub const MAX_CLASSES: u32 = (1 << 15) - 1;
/// Most blocks, and most of them in a version.
pub(super) const MAX_BLOCKS: u32 = 256;
/// Classes that always are: any source, any destination, any port twice, any protocol.
pub(super) const ROOTS: u32 = 5;

pub(super) const ROOT_AT: usize = 64;
pub(super) const PROTOS: usize = 256;
pub(super) const PORTS: usize = 1 << 16;
pub(super) const FIRST_CELLS: usize = 1 << 16;
pub(super) const CLASS_BYTES: usize = 24;
pub(super) const ROW_BYTES: usize = BLOCK_RULES / 8;

// A block: number of rules, number of rows; then
pub(super) const CATEGORIES_AT: usize = LINE;
pub(super) const ACTIONS_AT: usize = CATEGORIES_AT + MAX_CATEGORIES * ROW_BYTES;
pub(super) const RULES_AT: usize = ACTIONS_AT + ACTIONS * 4;
pub(super) const ROWS_AT: usize = RULES_AT + BLOCK_RULES * 4;
/// One more than rules: the last ones stay 0, the result of no match.
pub(super) const ACTIONS: usize = BLOCK_RULES + 16;

const _: () = assert!(ROWS_AT.is_multiple_of(LINE));

const HEADER_BYTES: usize = 4096;
const VERSION_BYTES: usize = LINE + MAX_BLOCKS as usize * 4;
const LINE: usize = 64;
