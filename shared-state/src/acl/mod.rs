//! Packet classification by 5-tuple rules: address prefixes, port ranges, protocols, priorities
//! and categories, as `rte_acl` has them; but one rule is added or removed without a rebuild.
//!
//! # Choice
//!
//! Bit vectors (Lakshman and Stiliadis, SIGCOMM 1998), cut into blocks of 512 rules in order of
//! priority. Each field has a table that maps a value to a *class* (values that no rule tells
//! apart); each block maps a class to a row of 512 bits, one for each rule of the block that
//! accepts the class. Five rows ANDed in one AVX-512 register leave the rules that match; the first
//! bit is the answer, and only packets without one go on to the next block. Classes with equal rows
//! share one within a block, so a block is some 100 KB however many rules stand elsewhere.
//!
//! Why not the trees of `rte_acl`, HyperCuts or CutSplit: rules are replicated, a change has no
//! bound. Why not tuple space search or TupleMerge: changes are as cheap, but each distinct tuple
//! costs a hash probe, and the sets measured here have 5 × 4 × several of them.
//!
//! Worst case: a packet that matches late or never in `n` rules looks at `n / 512` blocks, five
//! rows each (a block in which one field's row is zero costs no row). Classes are at most 32767,
//! so a set has at most that many distinct prefixes and ends of ranges: about 15,000 rules of the
//! kind measured, fewer where all prefixes differ. Time and memory of a change grow with the number
//! of classes, 2 bytes each, not with the number of rules.
//!
//! # Layout
//! ```text
//!    0 magic u32, family u32, sizes 6 x u32
//!   64 root u32: published version + 1, 0 = no rule
//! 4096 protocols: 256 cells   source, destination ports: 65536 cells each
//!      source, destination addresses: a trie each    (cell: class | mark and node; 16 or 32 bits)
//!      classes: 24 bytes each, the prefix a class stands for     rules: `RuleRecord` each
//!      versions: count u32, at 64 the blocks u32 each
//!      blocks: count u32, rows u32; 64 category masks of 512 bits; actions u32; ids u32;
//!              rows of 512 bits; index: row u16 of each class
//! ```
//!
//! A tool shows [`AclHead`], the zone's stored schema. The rules are rows of a schema of their own ([`RuleRecord`]), but
//! do not begin the zone; [`AclWriter::rules`] lists those that stand. Classes, tries and blocks are no rows: they say
//! nothing that the rules do not.
//!
//! # Invariants
//! - I1 A version and its blocks do not change while a reader can be in them, except for the
//!   index of a class that no cell names yet.
//! - I2 Values of one class are told apart by no rule of any version that a reader can be in.
//! - I3 Whatever the bytes are, a lookup ends and stays inside the region.
//!
//! # Order
//! A change splits classes first: a new class gets the row of the old one in every block, then its
//! record, then cells name it (Release). No rule tells them apart, so it does not matter which
//! one a reader meets. Then the changed block is made beside the old one, and a version that lists
//! it; the store of the root (Release) publishes. A reader loads the root (Acquire) once for
//! each [`CHUNK`] headers, before it looks at any cell: so each lookup sees one version whole.
//! What is replaced rests until [`AclWriter::quiesced`] says that no reader can be in it.
//!
//! # Failure
//! A writer that dies before the store of the root leaves the old set, after it the new one;
//! readers notice nothing. [`AclWriter::recover`] finds rules, classes and blocks again from what is
//! published, ends a painting that was begun, and lets all that nothing names rest. Rules are
//! stored as [`RuleRecord`] rows; those that the root's version lists are the set.

mod cells;
mod classbench;
mod classes;
mod classify;
mod compile;
mod error;
mod image;
mod layout;
mod pool;
mod ports;
mod recover;
mod rule;
pub mod sample;
mod trie;
mod writer;

pub use classbench::{Filter, ImportError, import};
pub use classify::CHUNK;
pub use error::AclError;
pub use layout::{AclHead, MAX_CATEGORIES, MAX_CLASSES, MAX_RULES, Sizes};
pub use rule::{Family, Key4, Key6, Prefix, Rule, RuleId, RuleRecord};
pub use writer::AclWriter;

pub use crate::simd::Path;

use classify::Tables;
use layout::Layout;

use crate::region::Region;

/// The readers' view of a classifier: any number, any process, no locks.
#[derive(Clone, Copy)]
pub struct Acl {
    tables: Tables,
    path: Path,
}

impl Acl {
    /// Bytes of a classifier.
    pub fn bytes_for(family: Family, sizes: Sizes) -> Result<usize, AclError> {
        Ok(Layout::new(family, sizes)?.end)
    }

    /// Makes an empty classifier in a zeroed region nobody else uses yet.
    pub fn create(region: Region, family: Family, sizes: Sizes) -> Result<AclWriter, AclError> {
        let layout = Layout::new(family, sizes)?;
        region.slice(0, layout.end)?;
        AclWriter::create(region, layout)
    }

    /// Opens a classifier that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<Acl, AclError> {
        let layout = Layout::load(region)?;
        let tables = Tables::new(region, layout);
        Ok(Acl {
            tables,
            path: Path::best(),
        })
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.tables.layout.family
    }

    /// The same view with other instructions, if this processor has them.
    pub fn with_path(self, path: Path) -> Option<Acl> {
        path.is_available().then_some(Acl { path, ..self })
    }

    /// The action of the best rule of category 0 for each header; 0 where none matches.
    ///
    /// # Panics
    /// When the addresses are IPv6, or `actions` has another length than `keys`.
    pub fn classify4(&self, keys: &[Key4], actions: &mut [u32]) {
        assert_eq!(keys.len(), actions.len(), "one action for each header");
        assert_eq!(self.family(), Family::V4, "IPv4 headers");
        classify::classify(&self.tables, self.path, keys, actions);
    }

    /// As [`Acl::classify4`], for IPv6.
    ///
    /// # Panics
    /// When the addresses are IPv4, or `actions` has another length than `keys`.
    pub fn classify6(&self, keys: &[Key6], actions: &mut [u32]) {
        assert_eq!(keys.len(), actions.len(), "one action for each header");
        assert_eq!(self.family(), Family::V6, "IPv6 headers");
        classify::classify(&self.tables, self.path, keys, actions);
    }

    /// The actions of the best rule of each of the categories `0..categories`: those of header
    /// `i` begin at `i * categories`.
    ///
    /// # Panics
    /// As [`Acl::classify4`], and when there are not 1 to [`MAX_CATEGORIES`] categories.
    pub fn classify4_categories(&self, keys: &[Key4], categories: usize, actions: &mut [u32]) {
        check_categories(categories, keys.len(), actions.len());
        assert_eq!(self.family(), Family::V4, "IPv4 headers");
        classify::categories(&self.tables, self.path, keys, categories, actions);
    }

    /// As [`Acl::classify4_categories`], for IPv6.
    ///
    /// # Panics
    /// As [`Acl::classify6`], and when there are not 1 to [`MAX_CATEGORIES`] categories.
    pub fn classify6_categories(&self, keys: &[Key6], categories: usize, actions: &mut [u32]) {
        check_categories(categories, keys.len(), actions.len());
        assert_eq!(self.family(), Family::V6, "IPv6 headers");
        classify::categories(&self.tables, self.path, keys, categories, actions);
    }
}

impl core::fmt::Debug for Acl {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Acl({:?}, {:?})", self.family(), self.path)
    }
}

fn check_categories(categories: usize, keys: usize, actions: usize) {
    let possible = 1..=MAX_CATEGORIES;
    assert!(
        possible.contains(&categories),
        "{categories} categories, possible are {possible:?}"
    );
    assert_eq!(
        keys * categories,
        actions,
        "an action for each header and category"
    );
}

const MAGIC: u32 = u32::from_le_bytes(*b"acl1");

#[cfg(test)]
mod tests;
