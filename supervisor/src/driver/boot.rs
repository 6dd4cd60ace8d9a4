//! How a supervisor begins: alone on its prefix, with a fresh arena, or with that of a headless
//! tenant which brings it back.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use baton_shared_state::CHUNK;
use baton_shared_state::arena::{Arena, ArenaError, ArenaSpec, Memory};
use baton_shared_state::channel::{ChannelError, Listener};
use baton_shared_state::directory::{Directory, DirectoryError};
use baton_shared_state::ledger::{Ledger, LedgerError};
use baton_shared_state::mempool::Pool;
use baton_shared_state::paths::Paths;
use baton_shared_state::vault::Vault;

use super::handover::Layout;
use super::jobs::{self, Source, Wake};
use super::lock::Lock;
use super::notify::{Signals, Watchdog};
use super::{Candidate, Driver, Tenants, resume, tenants};
use crate::binary::BinaryError;
use crate::config::{self, Config};
use crate::exit::Exit;
use crate::history::History;
use crate::state::{Event, Machine};

/// What `baton run` was given.
#[derive(Debug)]
pub struct Settings {
    /// The instance's files.
    pub paths: Paths,
    /// Its config.
    pub config: Config,
}

/// The supervisor cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// Another one is there.
    #[error("{prefix} runs already: its supervisor is pid {pid}")]
    Running {
        /// The prefix.
        prefix: String,
        /// As in the lock file.
        pid: String,
    },
    /// The kernel refused.
    #[error("{}: cannot {op}: {source}", path.display())]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The binary of the config cannot be used.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// The binary's parser refuses the config.
    #[error("{message}")]
    Config {
        /// What it said.
        message: String,
        /// Whether the config is good and this machine is not fit for it.
        unfit: bool,
    },
    /// No memory.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// No directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// No ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No control socket.
    #[error("control socket: {0}")]
    Channel(#[from] ChannelError),
    /// The first tenant did not come to forward.
    #[error("{why}")]
    Start {
        /// The prefix.
        prefix: String,
        /// What it said, or how it ended.
        why: String,
        /// Whether it failed over what the machine has or allows.
        unfit: bool,
    },
    /// A headless tenant did not bring what is needed.
    #[error("{prefix} is headless (pid {pid} forwards) and {why}")]
    Headless {
        /// The prefix.
        prefix: String,
        /// Who forwards.
        pid: u32,
        /// What is missing.
        why: String,
    },
}

impl DriverError {
    /// The code `baton run` ends with.
    pub fn exit(&self) -> Exit {
        match self {
            DriverError::Running { .. } | DriverError::Headless { .. } => Exit::Busy,
            DriverError::Config { unfit: true, .. } => Exit::Unfit,
            DriverError::Binary(_) | DriverError::Config { .. } => Exit::Usage,
            DriverError::Directory(_) | DriverError::Ledger(_) => Exit::Corrupt,
            DriverError::Arena(_) | DriverError::Start { unfit: true, .. } => Exit::Unfit,
            DriverError::Start { unfit: false, .. } => Exit::Failed,
            DriverError::Channel(_) | DriverError::Io { .. } => Exit::Failed,
        }
    }

    /// What the operator can do.
    pub fn way_out(&self) -> Option<String> {
        Some(match self {
            DriverError::Running { prefix, .. } => {
                format!("baton status {prefix}, or another --file-prefix")
            }
            DriverError::Headless { prefix, .. } => {
                format!("baton stop {prefix} ends forwarding; then baton run {prefix}")
            }
            DriverError::Binary(_) => {
                "name a binary in instance.binary, or with --binary".to_owned()
            }
            DriverError::Config { .. } => "mend it; nothing was started".to_owned(),
            DriverError::Start { prefix, .. } => {
                format!("mend it, then baton run {prefix}; nothing forwards")
            }
            DriverError::Arena(ArenaError::File { .. } | ArenaError::NoHugePages { .. }) => {
                "instance.memory = \"memfd\", or pages and a place for them: sysctl vm.nr_hugepages=N; \
                 mkdir -p /dev/hugepages; mount -t hugetlbfs none /dev/hugepages"
                    .to_owned()
            }
            DriverError::Arena(_) => {
                "fewer instance.mbufs or socket-mem, or more memory".to_owned()
            }
            DriverError::Io { .. } => {
                "run it as root, or set BATON_RUN_DIR and BATON_STATE_DIR".to_owned()
            }
            _ => return None,
        })
    }
}

/// Everything up to the first event, and that event.
pub(super) fn boot(settings: Settings) -> Result<(Driver, Event), DriverError> {
    let Settings { paths, config } = settings;
    for folder in [&paths.run, &paths.state] {
        make_folder(folder)?;
    }
    let lock = Lock::take(&paths.lock(), &paths.prefix)?;
    let signals = Signals::new().map_err(|source| DriverError::Io {
        op: "watch signals for",
        path: paths.run.clone(),
        source,
    })?;
    let wake = Wake::new().map_err(|source| DriverError::Io {
        op: "make a pipe for",
        path: paths.run.clone(),
        source,
    })?;
    let alive = tenants::alive(&paths.tenants());
    let back = match alive.is_empty() {
        true => None,
        false => resume::await_tenants(&paths, &alive)?,
    };
    if let Some(back) = back {
        return resume::resume(paths, config, lock, signals, wake, &alive, back);
    }
    let world = fresh(&paths, &config)?;
    Ok((
        assemble(paths, config, lock, signals, wake, world),
        Event::Start,
    ))
}

/// What an instance consists of.
pub(super) struct World {
    pub(super) listener: Listener,
    pub(super) arena: Arena,
    pub(super) ledger: Ledger,
    pub(super) directory: Directory,
    pub(super) vault: Vault,
    pub(super) candidate: Option<Candidate>,
    pub(super) layout: Layout,
}

/// A new instance: the binary is examined first, so that a mistake costs nothing.
fn fresh(paths: &Paths, config: &Config) -> Result<World, DriverError> {
    let path = config.binary.clone();
    let file = File::open(&path).map_err(|source| {
        DriverError::Binary(BinaryError::Io {
            op: "open",
            path: path.clone(),
            source,
        })
    })?;
    let name = path.file_name().map_or_else(
        || "baton-primary".into(),
        |name| name.to_string_lossy().into_owned(),
    );
    let prepared = jobs::prepare(
        Source::File(file),
        &path.display().to_string(),
        &paths.binaries(),
        &config.path,
        &paths.prefix,
    )?;
    if let Some(message) = prepared.config_error {
        let unfit = prepared.unfit;
        return Err(DriverError::Config { message, unfit });
    }
    let arena = Arena::create(&spec(paths, config))?;
    for warning in arena.warnings() {
        tracing::warn!(prefix = paths.prefix, hint = warning, "memory");
    }
    let ledger = Ledger::create(&arena, usize::from(config.shards()))?;
    let directory = Directory::create(&arena)?;
    let mut vault = Vault::new();
    for (name, fd) in arena.fds()? {
        vault.put(format!("segment/{name}"), fd);
    }
    let listener = Listener::bind(&paths.socket())?;
    let candidate = Some(Candidate {
        binary: prepared.binary,
        name,
        config: config.clone(),
    });
    let layout = Layout {
        shards: config.shards(),
        lcores: config.lcores(),
    };
    Ok(World {
        listener,
        arena,
        ledger,
        directory,
        vault,
        candidate,
        layout,
    })
}

pub(super) fn assemble(
    paths: Paths,
    config: Config,
    lock: Lock,
    signals: Signals,
    wake: Wake,
    world: World,
) -> Driver {
    let World {
        listener,
        arena,
        ledger,
        directory,
        vault,
        candidate,
        layout,
    } = world;
    Driver {
        history: History::new(paths.history()),
        machine: Machine::new(layout.lcores),
        paths,
        config,
        layout,
        _lock: lock,
        signals,
        listener,
        wake,
        arena,
        ledger,
        directory,
        vault,
        tenants: Tenants::default(),
        connections: BTreeMap::new(),
        next_connection: 0,
        queue: VecDeque::new(),
        timer: None,
        handover: None,
        taking: None,
        record: None,
        closing: false,
        jobs: Vec::new(),
        measures: Vec::new(),
        next_number: 1,
        candidate,
        live: None,
        newer_generation: None,
        last_generation: 0,
        exports: Vec::new(),
        exported: None,
        ending_export: None,
        stale_slots: Vec::new(),
        backoffs: 0,
        last_failure: None,
        unfit: false,
        buried: None,
        leaving: false,
        watchdog: Watchdog::new(),
        outcome: None,
        left: false,
    }
}

fn spec(paths: &Paths, config: &Config) -> ArenaSpec {
    let instance = &config.instance;
    let mbufs = instance.mbufs;
    let packets = Pool::meta_bytes(mbufs) as u64 + u64::from(mbufs) * u64::from(CHUNK);
    ArenaSpec {
        prefix: paths.prefix.clone(),
        tables_bytes: instance.tables_bytes(packets),
        mbufs,
        chunk: CHUNK,
        memory: match instance.memory {
            config::Memory::Memfd => Memory::Memfd,
            config::Memory::Hugetlbfs => Memory::Hugetlbfs(PathBuf::from("/dev/hugepages")),
        },
    }
}

fn make_folder(path: &Path) -> Result<(), DriverError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
        .map_err(|source| DriverError::Io {
            op: "create",
            path: path.to_owned(),
            source,
        })
}
