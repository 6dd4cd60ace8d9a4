//! Where the segments come from: a live instance, files that outlived all processes, or a saved image.
//!
//! Live: connect (as whoever called), become `--uid`, ask `Client::Attach`, map what arrives read-only.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_schema::control::{Client, Opening, ToClient};
use baton_shared_state::arena::{Access, Arena};
use baton_shared_state::channel::{Channel, ChannelError};
use baton_shared_state::paths::{self, Paths};

use crate::error::DumpError;
use crate::user::become_user;

/// How long the supervisor may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Where the files of `memory = "hugetlbfs"` are.
const HUGETLBFS: &str = "/dev/hugepages";

/// What a segment's descriptor is called in a message.
const SEGMENT: &str = "segment/";

/// Where to find an instance's memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A running supervisor hands it out.
    Live {
        /// The instance.
        prefix: String,
    },
    /// Files of a hugetlbfs mount, whoever is alive.
    Files {
        /// The instance.
        prefix: String,
        /// The mount.
        dir: PathBuf,
    },
    /// What `save` wrote.
    Image {
        /// Its folder.
        dir: PathBuf,
    },
}

impl Source {
    /// Whether processes may be writing at this moment.
    pub fn may_change(&self) -> bool {
        !matches!(self, Source::Image { .. })
    }

    /// Where else to look when nobody answers for a live instance: the files that it left, if it left any.
    pub fn left_behind(&self) -> Option<Source> {
        let Source::Live { prefix } = self else {
            return None;
        };
        let dir = PathBuf::from(HUGETLBFS);
        let ledger = dir.join(format!("baton.{prefix}.ledger"));
        let prefix = prefix.clone();
        ledger.exists().then_some(Source::Files { prefix, dir })
    }

    /// Maps the segments, read-only, as user `uid` if one is given.
    pub fn open(&self, uid: Option<u32>) -> Result<Arena, DumpError> {
        match self {
            Source::Live { prefix } => attach(&Paths::of(prefix), uid),
            Source::Files { prefix, dir } => Ok(Arena::open_files(dir, prefix, Access::ReadOnly)?),
            Source::Image { dir } => Ok(Arena::load_image(dir)?),
        }
    }
}

fn attach(paths: &Paths, uid: Option<u32>) -> Result<Arena, DumpError> {
    let channel = Channel::connect(&paths.socket()).map_err(|error| unreachable(paths, error))?;
    if let Some(uid) = uid {
        become_user(uid)?;
    }
    receive(&channel)
}

/// Asks at the other end of `channel` for the segments, and maps them read-only.
pub fn receive(channel: &Channel) -> Result<Arena, DumpError> {
    channel.send(&Opening::Client(Client::Attach), &[])?;
    let deadline = Instant::now() + ANSWER;
    let mut segments = Vec::new();
    loop {
        let Some((message, fds)) = channel.recv::<ToClient>(deadline)? else {
            return Err(DumpError::Channel(ChannelError::Closed));
        };
        let (keys, last) = match message {
            ToClient::Fds { keys, last } => (keys, last),
            ToClient::Refused { why } => return Err(DumpError::Refused { why }),
            ToClient::Line(_) | ToClient::End { .. } => {
                return Err(DumpError::Refused {
                    why: "an answer to another question arrived".to_owned(),
                });
            }
        };
        if keys.len() != fds.len() {
            let why = format!("it named {} descriptors and sent {}", keys.len(), fds.len());
            return Err(DumpError::Refused { why });
        }
        let named = keys.into_iter().zip(fds);
        segments.extend(
            named.filter_map(|(key, fd)| Some((key.strip_prefix(SEGMENT)?.to_owned(), fd))),
        );
        if last {
            return Ok(Arena::attach(segments, Access::ReadOnly)?);
        }
    }
}

fn unreachable(paths: &Paths, error: ChannelError) -> DumpError {
    let (prefix, socket) = (paths.prefix.clone(), paths.socket());
    let ChannelError::Connect { source, .. } = error else {
        return DumpError::Channel(error);
    };
    match source.kind() {
        io::ErrorKind::PermissionDenied => DumpError::NotAllowed { socket, source },
        _ if paths.tenants().exists() => DumpError::Headless {
            prefix,
            socket,
            source,
        },
        // A stop, and a start that failed, take the tenants' names away; the lock's file stays.
        _ if paths.lock().exists() => DumpError::Stopped { prefix },
        _ => {
            let found = paths::instances();
            let running = if found.is_empty() {
                "none".to_owned()
            } else {
                found.join(", ")
            };
            DumpError::NoInstance {
                prefix,
                socket,
                running,
            }
        }
    }
}
