//! A primary without a supervisor: it makes the arena, holds its own vault, and owns every shard.
//! Tools attach to it as to a supervised one.

use crate::args::Args;
use crate::check::{self, Refused};
use crate::config::{self, Config, Port};
use crate::datapath::{Datapath, Error};
use crate::resolve::Authority;
use crate::start;
use crate::tenant::{Standing, Tenant};
use baton_schema::control::{Client, MAX_FDS, Opening, ToClient};
use baton_shared_state::arena::{Arena, ArenaSpec, Memory};
use baton_shared_state::channel::{Channel, Listener};
use baton_shared_state::directory::Directory;
use baton_shared_state::ledger::{Ledger, TenantName};
use baton_shared_state::{CHUNK, CONTROL_SHARD, LCORES_PER_TENANT, paths::Paths, sys};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the control thread looks for signals, dead lcores and tools.
const LOOK: Duration = Duration::from_millis(50);
/// How long a tool may take to say what it wants.
const CLIENT: Duration = Duration::from_secs(1);
/// Ten steps to forwarding, then until told to stop.
pub(crate) fn run<D: Datapath>(
    config: Config<D::Config>,
    term: &Arc<AtomicBool>,
) -> Result<ExitCode, Error> {
    let mut steps = Steps::default();
    let prefix = config.instance.file_prefix.0.clone();
    steps.say("config", &prefix);
    let limit = sys::memory::raise_memlock_limit().ok().flatten();
    steps.say(
        "limits",
        &limit.map_or("no limit of locked memory".into(), |bytes| {
            format!("{} MiB of locked memory", bytes >> 20)
        }),
    );
    let paths = Paths::of(&prefix);
    let listener = listen(&paths)?;
    steps.say("control socket", &paths.socket().display().to_string());
    let arena = Arena::create(&arena_spec(&config)).map_err(|why| Error::new(why.to_string()))?;
    arena
        .warnings()
        .iter()
        .for_each(|warning| tracing::warn!("{warning}"));
    steps.say(
        "arena",
        if arena.huge_pages() {
            "2 MiB pages"
        } else {
            "4 KiB pages"
        },
    );
    let directory = Directory::create(&arena).map_err(|why| Error::new(why.to_string()))?;
    let ledger = Ledger::create(&arena, usize::from(config.shards()?))
        .map_err(|why| Error::new(why.to_string()))?;
    let tenant = ledger
        .claim_tenant(&myself())
        .map_err(|why| Error::new(why.to_string()))?;
    steps.say("ledger", &format!("tenant {tenant}"));
    let standing = Standing {
        tenant,
        generation: 1,
        live: None,
    };
    let mut tenant = Tenant::<D>::new(
        config,
        Authority::Own(directory),
        arena.clone(),
        standing,
        HashMap::new(),
    )?;
    let report = tenant.attach()?;
    report
        .notes
        .iter()
        .for_each(|note| tracing::warn!("{note}"));
    steps.say("zones and ports", &format!("{} zones", report.zones.len()));
    tenant.warm()?;
    steps.say(
        "lcores",
        &format!("{} on CPUs {:?}", tenant.cpus.len(), tenant.cpus),
    );
    for shard in (0..usize::from(tenant.shards)).chain([CONTROL_SHARD]) {
        let lcore = if shard == CONTROL_SHARD {
            0
        } else {
            shard % tenant.cpus.len()
        };
        let slot = standing.tenant * LCORES_PER_TENANT as u16 + lcore as u16;
        ledger
            .claim_first(shard, slot, standing.generation)
            .map_err(|why| Error::new(why.to_string()))?;
    }
    steps.say("shards", &format!("{}", tenant.shards));
    steps.say("forwarding", &format!("{} {}", D::name(), D::version()));
    while !term.load(Ordering::Relaxed) {
        if tenant.lcore_died() {
            return Err(Error::new(
                "an lcore ended by itself; nothing forwards any more",
            ));
        }
        if let Ok(client) = listener.accept(Instant::now() + LOOK) {
            serve(&client, &arena);
        }
    }
    tenant.stop();
    steps.say("stopped", &prefix);
    Ok(ExitCode::SUCCESS)
}

/// This process, as the ledger knows a tenant.
fn myself() -> TenantName {
    let pid = std::process::id();
    let start_time = sys::process_start_time(pid).unwrap_or_default();
    TenantName {
        pid,
        start_time,
        generation: 1,
        binary_hash: [0; 32],
    }
}

/// The start-up log: numbered steps, each with the milliseconds it took.
struct Steps {
    number: u32,
    since: Instant,
}

impl Default for Steps {
    fn default() -> Steps {
        Steps {
            number: 0,
            since: Instant::now(),
        }
    }
}

impl Steps {
    fn say(&mut self, what: &str, detail: &str) {
        self.number += 1;
        tracing::info!(
            step = self.number,
            ms = self.since.elapsed().as_millis() as u64,
            "{what}: {detail}"
        );
        self.since = Instant::now();
    }
}

/// The config file with the flags over it, checked; without a file, the flags alone.
pub(crate) fn configured<D: Datapath>(args: &Args) -> Result<Config<D::Config>, Refused> {
    let config = with_flags::<D>(args).map_err(Refused::Config)?;
    check::check::<D>(&config)?;
    Ok(config)
}

fn with_flags<D: Datapath>(args: &Args) -> Result<Config<D::Config>, Error> {
    if let Some(device) = args.allow.first() {
        return Err(Error::new(format!(
            "--allow {device}: this build has no driver for PCI devices; use --vdev net_af_xdp0,iface=..."
        )));
    }
    let mut config = match &args.config {
        Some(path) => start::read::<D>(path)?,
        None => {
            let prefix = args.file_prefix.as_ref();
            let prefix = prefix.map_or("rte", |prefix| prefix.0.as_str());
            let text = format!("[instance]\nfile-prefix = {prefix:?}\n");
            config::parse::<D::Config>(&text, "the command line", &D::name())?
        }
    };
    let instance = &mut config.instance;
    if let Some(prefix) = &args.file_prefix {
        instance.file_prefix = prefix.clone();
    }
    instance.lcores = args.lcores.clone().or(instance.lcores.take());
    instance.socket_mem = args.socket_mem.clone().or(instance.socket_mem.take());
    for (at, vdev) in args.vdev.iter().enumerate() {
        match config.ports.get_mut(at) {
            Some(port) => {
                port.vdev = Some(vdev.clone());
                port.allow = None;
            }
            None => config.ports.push(Port::of_vdev(&format!("port{at}"), vdev)),
        }
    }
    Ok(config)
}

fn arena_spec<C>(config: &Config<C>) -> ArenaSpec {
    let instance = &config.instance;
    ArenaSpec {
        prefix: instance.file_prefix.0.clone(),
        tables_bytes: instance.tables_bytes(check::packet_bytes(instance.mbufs)),
        mbufs: instance.mbufs,
        chunk: CHUNK,
        memory: match instance.memory {
            config::Memory::Memfd => Memory::Memfd,
            config::Memory::Hugetlbfs => Memory::Hugetlbfs("/dev/hugepages".into()),
        },
    }
}

fn listen(paths: &Paths) -> Result<Listener, Error> {
    let run = paths.run.display();
    std::fs::create_dir_all(&paths.run).map_err(|why| {
        Error::new(format!(
            "{run}: {why}; set BATON_RUN_DIR to a folder of yours"
        ))
    })?;
    Listener::bind(&paths.socket()).map_err(|why| {
        Error::new(format!(
            "{why}; another instance may have the file-prefix {:?}",
            paths.prefix
        ))
    })
}

/// Answers a tool: the segments, read-only; verbs need a supervisor.
fn serve(client: &Channel, arena: &Arena) {
    let Ok(Some((opening, _))) = client.recv::<Opening>(Instant::now() + CLIENT) else {
        return;
    };
    let refuse = |why: &str| {
        let _ = client.send(&ToClient::Refused { why: why.into() }, &[]);
    };
    match opening {
        Opening::Client(Client::Attach) => match arena.read_only_fds() {
            Ok(fds) => {
                let (keys, fds): (Vec<_>, Vec<_>) = fds
                    .into_iter()
                    .take(MAX_FDS)
                    .map(|(name, fd)| (format!("segment/{name}"), fd))
                    .unzip();
                let borrowed: Vec<_> = fds.iter().map(|fd| fd.as_fd()).collect();
                let _ = client.send(&ToClient::Fds { keys, last: true }, &borrowed);
            }
            Err(why) => refuse(&why.to_string()),
        },
        _ => refuse(
            "this instance runs without a supervisor: only tools that read can attach; start it with baton run to upgrade it",
        ),
    }
}
