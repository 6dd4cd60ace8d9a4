//! What can go wrong in the dump tool: each with the exit code and a way out.

use std::io;
use std::path::PathBuf;

use baton_schema::schema::SchemaError;
use baton_shared_state::arena::ArenaError;
use baton_shared_state::channel::ChannelError;
use baton_shared_state::directory::DirectoryError;
use baton_shared_state::ledger::LedgerError;
use thiserror::Error;

use crate::exit::Exit;
use crate::filter::FilterError;

/// A verb that did not do what was asked.
#[derive(Debug, Error)]
pub enum DumpError {
    /// Nothing of that name runs here.
    #[error(
        "no instance \"{prefix}\": there is no {socket}. Running here: {running}. \
         (Another run directory? set BATON_RUN_DIR. All processes dead? --hugetlbfs DIR, or --image DIR for a saved one)"
    )]
    NoInstance {
        /// The name asked for.
        prefix: String,
        /// Where its socket would be.
        socket: PathBuf,
        /// The instances found.
        running: String,
    },
    /// It ran here, and was ended.
    #[error(
        "\"{prefix}\" is stopped: neither a supervisor nor a gateway of it runs. baton run {prefix} starts it; \
         an image that `save` wrote is read by --image DIR"
    )]
    Stopped {
        /// The instance.
        prefix: String,
    },
    /// Nobody answers, so nobody can hand out the memory.
    #[error(
        "the supervisor of \"{prefix}\" does not answer on {socket} ({source}); forwarding may well go on without it. \
         Start it again (`baton run {prefix}`): it finds its memory and hands it out; \
         with memory = \"hugetlbfs\" no process is needed: baton-dump {prefix} --hugetlbfs /dev/hugepages list"
    )]
    Headless {
        /// The instance.
        prefix: String,
        /// Its socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The socket belongs to another user.
    #[error(
        "{socket} is not ours to use ({source}): run this as root or as the user of the instance, and --uid to read as another one"
    )]
    NotAllowed {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The supervisor said no.
    #[error("the supervisor refused: {why}")]
    Refused {
        /// Its sentence.
        why: String,
    },
    /// The conversation with the supervisor failed.
    #[error("asking the supervisor for its segments: {0}; ask again, or look into its log")]
    Channel(#[from] ChannelError),
    /// The uid cannot be changed.
    #[error("changing to uid {uid}: {op}: {source}")]
    User {
        /// The uid asked for.
        uid: u32,
        /// What was tried.
        op: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Segments that cannot be mapped or are no arena.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// A directory that cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A ledger that cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No such zone.
    #[error("no zone \"{zone}\"{of}. There are: {known}")]
    NoZone {
        /// The name asked for.
        zone: String,
        /// The generation asked for, as text.
        of: String,
        /// The names there are.
        known: String,
    },
    /// A zone whose schema cannot be right.
    #[error("zone \"{zone}\" (generation {generation}): {source}; its bytes cannot be decoded")]
    Schema {
        /// The zone.
        zone: String,
        /// Its generation.
        generation: u16,
        /// What is wrong.
        source: SchemaError,
    },
    /// Numbers of a zone that contradict one another.
    #[error("zone \"{zone}\" (generation {generation}) is corrupt: {why}")]
    Corrupt {
        /// The zone.
        zone: String,
        /// Its generation.
        generation: u16,
        /// Expected and found.
        why: String,
    },
    /// The zone went away while it was read.
    #[error(
        "zone \"{zone}\" (generation {generation}) was retired while it was read: an upgrade has just ended; run this again"
    )]
    Retired {
        /// The zone.
        zone: String,
        /// Its generation.
        generation: u16,
    },
    /// The expression does not parse.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A file or stream.
    #[error("{op} {path}: {source}")]
    File {
        /// What was tried.
        op: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Wrong usage that the parser of the command line cannot see.
    #[error("{0}")]
    Usage(&'static str),
    /// `check` found something.
    #[error("{failed} of {checks} checks failed")]
    Checks {
        /// How many failed.
        failed: usize,
        /// How many there were.
        checks: usize,
    },
}

impl DumpError {
    /// The exit code of this error.
    pub fn exit(&self) -> Exit {
        match self {
            DumpError::NoInstance { .. }
            | DumpError::Stopped { .. }
            | DumpError::Headless { .. } => Exit::NotRunning,
            DumpError::Arena(error) => arena_exit(error),
            DumpError::NotAllowed { .. } | DumpError::User { .. } => Exit::Unfit,
            DumpError::Refused { .. } => Exit::Refused,
            DumpError::NoZone { .. } | DumpError::Filter(_) | DumpError::Usage(_) => Exit::Usage,
            DumpError::Channel(_) | DumpError::Retired { .. } | DumpError::File { .. } => {
                Exit::Failed
            }
            DumpError::Directory(_)
            | DumpError::Ledger(_)
            | DumpError::Schema { .. }
            | DumpError::Corrupt { .. }
            | DumpError::Checks { .. } => Exit::Corrupt,
        }
    }
}

fn arena_exit(error: &ArenaError) -> Exit {
    match error {
        ArenaError::NoFiles { .. } => Exit::NotRunning,
        ArenaError::Prefix { .. } => Exit::Usage,
        ArenaError::Reserve { .. } => Exit::Unfit,
        ArenaError::File { source, .. } => match source.kind() {
            io::ErrorKind::NotFound => Exit::NotRunning,
            io::ErrorKind::PermissionDenied => Exit::Unfit,
            io::ErrorKind::UnexpectedEof => Exit::Corrupt,
            _ => Exit::Failed,
        },
        ArenaError::Segment { .. } => Exit::Failed,
        _ => Exit::Corrupt,
    }
}
