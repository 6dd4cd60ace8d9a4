//! The parts of a table whose rows outlive the processes that use them.
//!
//! ```text
//! key --hash--> Index --> id --+--> Keys     the key, and whether the row is live
//!                              +--> Records  what the program stores for it
//!                              +--> Hot      counters and last-seen
//!               IdSpace hands out ids         Dirty names the ids that changed
//! ```
//!
//! A row has an **id**, stable for its life and over every generation; everything but the index
//! is an array by id. Each shard owns extents of ids, and its own sub-table of the index: one
//! writer for each byte, any number of readers, no locks. The publishing word of a row is its
//! state in [`Keys`]; the order of a new row is record, hot words, key, state, index entry, and
//! the other way round when it goes. So an entry of the index names a live row while nobody changes it: the
//! owner compares keys alone ([`Keys::holds`]), readers beside it check the key's state ([`Keys::is`]). A
//! death between two stores leaves either an id that no index entry names (found again by
//! [`IdShard::rebuild`] or [`IndexShard::rebuild`]) or nothing.

mod burst;
mod dirty;
mod find_keys;
mod fold;
mod hash;
#[cfg(target_arch = "x86_64")]
mod hash_column;
mod hot;
mod ids;
mod index;
mod keys;
mod likely;
mod line;
mod rebuild;
mod records;
mod words;

pub use dirty::Dirty;
pub use hash::{hash_bytes, mix};
pub use hot::{FRESH, Hot, Hot32, Hot64, HotWords, Width};
pub use ids::{IdPlan, IdShard, IdSpace};
pub use index::{Full, Index, IndexShard};
pub use keys::Keys;
pub use records::{RawRecords, Records};

use thiserror::Error;

use crate::region::RegionError;

/// No id.
pub const NO_ID: u32 = u32::MAX;

/// Why a region is not the part of a table it should be.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum TableError {
    /// Another kind of part, or none.
    #[error("table part {wanted:#010x} expected, {found:#010x} found")]
    Kind {
        /// The magic number found.
        found: u32,
        /// The magic number of this kind.
        wanted: u32,
    },
    /// Numbers that cannot be.
    #[error("{what}: {found} found, possible is {least} to {most}")]
    Number {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The least possible.
        least: u64,
        /// The most possible.
        most: u64,
    },
    /// The region is smaller than the part.
    #[error("region too small for the table: {0}")]
    Region(#[from] RegionError),
}

/// Checks a number that was asked for or read from shared memory.
fn check_number(what: &'static str, found: u64, least: u64, most: u64) -> Result<u64, TableError> {
    if (least..=most).contains(&found) {
        return Ok(found);
    }
    Err(TableError::Number {
        what,
        found,
        least,
        most,
    })
}

#[cfg(test)]
mod tests;
