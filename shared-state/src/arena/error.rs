//! What can be wrong with an arena, each with a way out.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// An arena that could not be made, mapped, grown, saved or read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// A system call failed.
    #[error("{op} of segment \"{segment}\": {source}")]
    Segment {
        /// Which segment.
        segment: String,
        /// What was tried.
        op: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The range of addresses cannot be reserved.
    #[error(
        "cannot reserve {gib} GiB of addresses: {source}; raise the limit of address space (`ulimit -v`)"
    )]
    Reserve {
        /// How much was asked for.
        gib: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// No such segment.
    #[error("segment \"{name}\" is not one that this build knows: its offset is unknown")]
    UnknownSegment {
        /// What was found.
        name: String,
    },
    /// The same segment twice.
    #[error("segment \"{name}\" was given twice")]
    Twice {
        /// Which.
        name: String,
    },
    /// A segment that every arena has is missing.
    #[error("no segment \"{name}\": have {have:?}")]
    Missing {
        /// Which.
        name: &'static str,
        /// What is there.
        have: Vec<String>,
    },
    /// A file whose length cannot be right.
    #[error(
        "segment \"{segment}\" is truncated or foreign: {found} bytes, wanted {wanted}; \
         restore the file or start the instance anew"
    )]
    Length {
        /// Which segment.
        segment: String,
        /// Bytes of the file.
        found: u64,
        /// What would be right.
        wanted: String,
    },
    /// A file that may still shrink under us.
    #[error("segment \"{segment}\" is not sealed against shrinking: it was not made by baton")]
    Unsealed {
        /// Which segment.
        segment: String,
    },
    /// More memory asked for than the segment's place in the arena has.
    #[error("segment \"{segment}\" of {wanted} bytes exceeds its place of {limit} bytes")]
    TooLarge {
        /// Which segment.
        segment: String,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes there may be.
        limit: u64,
    },
    /// All places for growth are taken.
    #[error(
        "the tables have grown {grown} times already, the most there is room for: restart with a larger socket-mem"
    )]
    FullyGrown {
        /// Segments added so far.
        grown: u64,
    },
    /// A name that cannot be part of a file name.
    #[error("file prefix {prefix:?}: use 1 to 31 letters, digits, '-' or '_'")]
    Prefix {
        /// What was given.
        prefix: String,
    },
    /// Files of a running instance.
    #[error("{path} belongs to a running instance: stop it, or choose another --file-prefix")]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// No file where the arena should be.
    #[error("no files {path}.* there: is the prefix right, and is memory = \"hugetlbfs\"?")]
    NoFiles {
        /// Directory and beginning of the names.
        path: PathBuf,
    },
    /// A file or directory that cannot be used.
    #[error("{op} {path}: {source}")]
    File {
        /// What was tried.
        op: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory given for hugetlbfs has not got the pages.
    #[error(
        "{path} has no room for {wanted} bytes of huge pages (segment \"{segment}\"): \
         free pages with `sysctl vm.nr_hugepages={pages}`, or use memory = \"memfd\""
    )]
    NoHugePages {
        /// The hugetlbfs mount.
        path: PathBuf,
        /// Which segment.
        segment: String,
        /// Bytes asked for.
        wanted: u64,
        /// Pages of 2 MiB that the segment needs.
        pages: u64,
    },
    /// Offsets that lie in no segment.
    #[error("offsets {offset:#x}..{offset:#x}+{len} lie in no mapped segment")]
    NoSuchRange {
        /// First offset.
        offset: u64,
        /// Length.
        len: u64,
    },
}

impl ArenaError {
    pub(super) fn segment(segment: &str, op: &'static str) -> impl FnOnce(io::Error) -> Self {
        let segment = segment.to_owned();
        move |source| ArenaError::Segment {
            segment,
            op,
            source,
        }
    }

    pub(super) fn file(op: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| ArenaError::File { op, path, source }
    }
}
