//! What can go wrong with a classifier.

use thiserror::Error;

use crate::region::RegionError;

/// Why a classifier or a rule cannot be had.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum AclError {
    /// Not a classifier, or one of another layout.
    #[error("classifier {wanted:#010x} expected, {found:#010x} found")]
    Kind {
        /// The magic number found.
        found: u32,
        /// The magic number of a classifier.
        wanted: u32,
    },
    /// A number in the header, or asked for, that cannot be.
    #[error("{what}: {found}, possible are {min} to {max}")]
    Size {
        /// What it counts.
        what: &'static str,
        /// What was asked for, or found.
        found: u64,
        /// The least possible.
        min: u64,
        /// The most possible.
        max: u64,
    },
    /// Longer than an address.
    #[error("prefix of {len} bits, an address has {bits}")]
    Prefix {
        /// What was asked for.
        len: u8,
        /// Bits of an address.
        bits: u8,
    },
    /// A range that ends before it begins.
    #[error("ports {low} to {high}: the range ends before it begins")]
    Ports {
        /// The first port.
        low: u16,
        /// The last port.
        high: u16,
    },
    /// A rule that takes part in nothing.
    #[error("rule without a category: it could never match")]
    Categories,
    /// Action 0 means no match.
    #[error("rule with action 0, which means no match: choose 1 or more")]
    Action,
    /// No such rule.
    #[error("no rule with id {id}")]
    NoRule {
        /// What was asked for.
        id: u32,
    },
    /// Something of a fixed number is used up.
    #[error(
        "no {what} left: {used} of {have} used, {resting} rest until the readers have moved on"
    )]
    Full {
        /// What is used up.
        what: &'static str,
        /// How many there are.
        have: u32,
        /// In use.
        used: u32,
        /// Free once every reader has been seen between two bursts.
        resting: u32,
    },
    /// Rules were added one by one before a build.
    #[error("build of a classifier that already has {rules} rules")]
    NotEmpty {
        /// Rules in it.
        rules: u32,
    },
    /// The published state names what cannot be; nobody but a writer of other rules made it.
    #[error("damaged classifier: {what} {number}")]
    Damaged {
        /// What was found.
        what: &'static str,
        /// Its number.
        number: u32,
    },
    /// The region is smaller than the classifier.
    #[error("region too small for a classifier: {0}")]
    Region(#[from] RegionError),
}
