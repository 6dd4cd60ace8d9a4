//! What can be wrong with a directory, each with a way out.

use baton_schema::schema::SchemaError;
use baton_schema::wire::WireError;
use thiserror::Error;

use super::ZoneState;
use crate::arena::ArenaError;

/// A directory that cannot be read, or will not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The arena lacks a segment, or a range lies in none.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// Something else lies there.
    #[error(
        "not an arena of baton: magic {found:#018x}, wanted {wanted:#018x}; \
         is this the right prefix or file?"
    )]
    Magic {
        /// What was found.
        found: u64,
        /// What was expected.
        wanted: u64,
    },
    /// Too short to hold what it must.
    #[error(
        "the ledger segment is truncated: {found} bytes, wanted {wanted}; restore it or start anew"
    )]
    Truncated {
        /// Bytes there are.
        found: usize,
        /// Bytes there must be.
        wanted: usize,
    },
    /// Written by a later version.
    #[error("{what}: layout v{found} found, this build reads v1..=v{reads}: use the newer baton")]
    FromTheFuture {
        /// Which part.
        what: &'static str,
        /// What was found.
        found: u32,
        /// The newest that is known.
        reads: u32,
    },
    /// Bytes that are not those that were stored.
    #[error(
        "{what} is corrupt: checksum {found:#018x} stored, {computed:#018x} computed; \
         start the instance anew, or read a saved image"
    )]
    Corrupt {
        /// Which part.
        what: String,
        /// As stored.
        found: u64,
        /// Over the bytes.
        computed: u64,
    },
    /// Bytes that no writer stores.
    #[error("{what} is corrupt: {why}; start the instance anew, or read a saved image")]
    Senseless {
        /// Which part.
        what: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A stored schema that does not decode.
    #[error("schema of zone \"{zone}\": {source}")]
    Schema {
        /// The zone.
        zone: String,
        /// Why not.
        source: WireError,
    },
    /// A schema that contradicts itself.
    #[error("schema of zone \"{zone}\": {source}")]
    SchemaSense {
        /// The zone.
        zone: String,
        /// Why not.
        source: SchemaError,
    },
    /// Only the writer may do this.
    #[error("this process does not own the zone directory: ask the supervisor for the zone")]
    NotWriter,
    /// A name or number that an entry cannot hold.
    #[error("zone {name:?} cannot be entered: {why}")]
    Spec {
        /// The zone's name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// There is one already.
    #[error("zone \"{name}\" of generation {generation} exists and is {state}")]
    Exists {
        /// The zone.
        name: String,
        /// Its generation.
        generation: u16,
        /// Its state.
        state: ZoneState,
    },
    /// No free range is that long.
    #[error(
        "no room for a zone of {wanted} bytes: the longest free range has {free}; \
         add a segment or start with a larger socket-mem"
    )]
    NoSpace {
        /// Bytes asked for.
        wanted: u64,
        /// Longest free range.
        free: u64,
    },
    /// No free entry.
    #[error(
        "all {entries} entries of the zone directory are taken: retire generations that nobody uses"
    )]
    Full {
        /// How many there are.
        entries: usize,
    },
    /// No room for another schema.
    #[error("no room for a schema of {wanted} bytes, {free} are left: restart the instance")]
    NoSchemaSpace {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes left.
        free: usize,
    },
    /// No such zone.
    #[error("no zone with id {id}: it was retired and its entry used again")]
    NoSuchZone {
        /// What was asked for.
        id: u32,
    },
    /// A zone that is not in the state that this step needs.
    #[error("zone \"{name}\" is {found}, wanted {wanted}")]
    State {
        /// The zone.
        name: String,
        /// Its state.
        found: ZoneState,
        /// The state it should have.
        wanted: ZoneState,
    },
}
