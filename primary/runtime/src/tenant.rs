//! A tenant: this process's part in an instance, from attach to exit. The control thread's side;
//! the lcores' is in `tenancy`.
//!
//! ```text
//!   attach -> (migrate) -> warm -> [ lcores own and lose shards by the ledger ] -> commit | rollback -> retire
//! ```
//! The states of its shards, and the copy of what changed layout, are in [`migrating`].

mod migrating;

use crate::config::Config;
use crate::counters::{SHARD_ZONE, Words};
use crate::datapath::{Datapath, Error};
use crate::drops;
use crate::lcore::Run;
use crate::mailbox::Mailbox;
use crate::open_ports::OpenPorts;
use crate::resolve::{Authority, Resolver, declared};
use crate::routes;
use crate::setup::Setup;
use crate::tenancy::Lcore;
use crate::transition::{Fold, Transition};
use crate::zone::Opened;
use baton_schema::control::{Report, ZoneReport};
use baton_shared_state::LCORES_PER_TENANT;
use baton_shared_state::arena::Arena;
use baton_shared_state::directory::Directory;
use baton_shared_state::ledger::{Ledger, tenant_of};
use baton_shared_state::lifeline::Lifelines;
use baton_shared_state::mempool::Pool;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Where a tenant stands in the instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) tenant: u16,
    pub(crate) generation: u16,
    pub(crate) live: Option<u16>,
}

/// One lcore thread.
struct Thread {
    mailbox: Arc<Mailbox>,
    handle: JoinHandle<()>,
}

/// This process's part.
pub(crate) struct Tenant<D: Datapath> {
    pub(crate) config: Config<D::Config>,
    pub(crate) authority: Authority,
    pub(crate) arena: Arena,
    pub(crate) directory: Directory,
    pub(crate) ledger: Ledger,
    pub(crate) standing: Standing,
    pub(crate) shards: u16,
    pub(crate) cpus: Vec<usize>,
    pub(crate) fds: HashMap<String, OwnedFd>,
    pub(crate) transition: Arc<Transition>,
    pub(crate) attached: Option<Attached>,
    pub(crate) runs: Vec<Run<D>>,
    threads: Vec<Thread>,
}

/// What attaching found or made.
pub(crate) struct Attached {
    pub(crate) zones: HashMap<String, Opened>,
    pub(crate) reports: Vec<ZoneReport>,
    pub(crate) pool: Pool,
    pub(crate) ports: OpenPorts,
    pub(crate) setup: Setup,
    pub(crate) drops: Vec<Words>,
}

/// How long the owners may take to pass a burst boundary, or to fold their counters.
const OWNERS: Duration = Duration::from_secs(10);
/// The longest zone whose pages are mapped in warm.
const SMALL_ZONE: usize = 1 << 20;

impl<D: Datapath> Tenant<D> {
    pub(crate) fn new(
        config: Config<D::Config>,
        authority: Authority,
        arena: Arena,
        standing: Standing,
        fds: HashMap<String, OwnedFd>,
    ) -> Result<Tenant<D>, Error> {
        let cpus = config.cpus();
        let shards = config.shards()?;
        let named = |why: &dyn core::fmt::Display| {
            Error::new(format!(
                "arena of {:?}: {why}",
                config.instance.file_prefix.0
            ))
        };
        let directory = Directory::open(&arena).map_err(|why| named(&why))?;
        let ledger = Ledger::open(&arena).map_err(|why| named(&why))?;
        Ok(Tenant {
            config,
            authority,
            arena,
            directory,
            ledger,
            standing,
            shards,
            cpus,
            fds,
            transition: Arc::new(Transition::default()),
            attached: None,
            runs: Vec::new(),
            threads: Vec::new(),
        })
    }

    /// Zones, buffers and ports: adopted where they exist, made where they do not.
    pub(crate) fn attach(&mut self) -> Result<Report, Error> {
        let program = &self.config.program;
        let mut resolver = Resolver {
            arena: &self.arena,
            directory: &self.directory,
            authority: &mut self.authority,
            generation: self.standing.generation,
            live: self.standing.live,
            shards: self.shards,
        };
        let said = |why: &dyn core::fmt::Display| Error::new(why.to_string());
        let decls = declared::<D>();
        let groups = routes::groups_of(&self.config).map_err(|why| self.config.locate(why))?;
        let (zones, reports) = resolver
            .all(&decls, |group| match group {
                routes::ZONE => groups,
                _ => D::capacity(program, group),
            })
            .map_err(|why| said(&why))?;
        let drops = drops::open::<D>(&mut resolver).map_err(|why| said(&why))?;
        let running = zones[SHARD_ZONE].capacity;
        if self.standing.live.is_some() && running != u32::from(self.shards) {
            return Err(Error::new(format!(
                "instance.shards: {running} shards are running, the config asks for {}: set shards = {running}, or stop and start the instance",
                self.shards
            )));
        }
        let pool = pool(&self.arena, &self.standing, self.config.instance.mbufs)?;
        let ports = OpenPorts::open(
            &self.config.ports,
            self.shards,
            &pool,
            &mut resolver,
            &mut self.fds,
        )?;
        let routes = self.config.route_configs()?;
        let setup = Setup::new(ports.infos(), routes, 0, self.shards);
        D::check_config(&self.config.program, &setup).map_err(|why| self.config.locate(why))?;
        let report = Report {
            counts: vec![
                ("lcores".into(), self.cpus.len() as u64),
                ("shards".into(), u64::from(self.shards)),
                ("mbufs".into(), u64::from(pool.count())),
                ("fds".into(), self.fds.len() as u64),
            ],
            zones: reports.clone(),
            notes: ports.warnings.clone(),
        };
        self.attached = Some(Attached {
            zones,
            reports,
            pool,
            ports,
            setup,
            drops,
        });
        Ok(report)
    }

    pub(crate) fn attached(&self) -> Result<&Attached, Error> {
        self.attached.as_ref().ok_or_else(|| {
            Error::new("asked to go on before attach: the supervisor's messages are out of order")
        })
    }

    /// Maps the pages that the lcores use before their first poll, so that none is missing in the gap.
    /// Large arrays are left to the packets that need them: warm must not grow with the tables.
    fn touch(&self) {
        let Some(attached) = &self.attached else {
            return;
        };
        let small = attached
            .zones
            .values()
            .filter(|zone| zone.region.len() <= SMALL_ZONE);
        small.for_each(|zone| zone.region.touch());
        for name in ["ledger", "lifelines", "meta"] {
            if let Some(segment) = self.arena.segment(name) {
                segment.touch();
            }
        }
    }

    /// Starts the lcores; each holds its lifeline when this returns.
    pub(crate) fn warm(&mut self) -> Result<Report, Error> {
        self.prepare()?;
        self.touch();
        let mut by_lcore: Vec<Vec<Run<D>>> = self.cpus.iter().map(|_| Vec::new()).collect();
        for run in self.runs.drain(..) {
            let lcore = usize::from(run.shard.index()) % self.cpus.len();
            by_lcore[lcore].push(run);
        }
        let lifelines = Lifelines::open(&self.arena).map_err(|why| Error::new(why.to_string()))?;
        let (ready, readied) = channel();
        for (index, runs) in by_lcore.into_iter().enumerate() {
            let mailbox = Arc::new(Mailbox::default());
            let slot = self.standing.tenant * LCORES_PER_TENANT as u16 + index as u16;
            let lcore = Lcore::new(
                self.cpus[index],
                slot,
                self.standing.generation,
                self.arena.clone(),
                self.ledger,
                lifelines,
                mailbox.clone(),
                self.config.instance.idle,
                runs,
                index == 0,
            );
            let ready = ready.clone();
            let handle = std::thread::Builder::new()
                .name(format!("lcore-{index}"))
                .spawn(move || lcore.run(&ready))
                .map_err(|why| {
                    Error::new(format!(
                        "lcore {index}: no thread ({why}); raise the limit of tasks"
                    ))
                })?;
            self.threads.push(Thread { mailbox, handle });
        }
        for _ in &self.threads {
            match readied.recv_timeout(OWNERS) {
                Ok(Ok(())) => {}
                Ok(Err(why)) => return Err(Error::new(why)),
                Err(_) => {
                    return Err(Error::new(format!(
                        "an lcore was not ready within {} s",
                        OWNERS.as_secs()
                    )));
                }
            }
        }
        Ok(Report {
            counts: vec![("lcores".into(), self.threads.len() as u64)],
            ..Report::default()
        })
    }

    /// The older generation is not needed any more: its counters are folded in.
    pub(crate) fn commit(&mut self) -> Result<Report, Error> {
        self.transition.write_through(false);
        self.fold(Fold::Up)?;
        // A tick that still folds up lets go of the older generation, also of one exported later.
        self.transition.ask_fold(Fold::No);
        self.standing.live = Some(self.standing.generation);
        Ok(Report::default())
    }

    /// The shards are about to go back: counters are folded; what is counted from here on, as each leaves.
    pub(crate) fn prepare_rollback(&mut self) -> Result<Report, Error> {
        self.fold(Fold::Back)?;
        Ok(Report::default())
    }

    /// Has the lcores fold the carried counters of the shards that this tenant owns.
    pub(crate) fn fold(&self, way: Fold) -> Result<(), Error> {
        self.transition.ask_fold(way);
        let deadline = Instant::now() + OWNERS;
        for shard in 0..self.shards {
            let ours = || {
                let owner = self.ledger.owner_word(usize::from(shard)).lcore;
                owner.is_some_and(|slot| tenant_of(slot) == self.standing.tenant)
            };
            while ours() && !self.transition.folded(shard) {
                if Instant::now() > deadline {
                    return Err(Error::new(format!(
                        "shard {shard}: carried counters were not folded within {} s",
                        OWNERS.as_secs()
                    )));
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// The lcores' mailboxes, by index.
    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.threads.iter().map(|thread| &thread.mailbox)
    }

    /// Whether an lcore ended without being told to.
    pub(crate) fn lcore_died(&self) -> bool {
        self.threads
            .iter()
            .any(|thread| thread.handle.is_finished())
    }

    /// Ends the lcores; shards still owned are released.
    pub(crate) fn stop(&mut self) {
        self.threads.iter().for_each(|thread| thread.mailbox.stop());
        for thread in self.threads.drain(..) {
            let _ = thread.handle.join();
        }
    }
}

/// The packet buffers: made by the first tenant, opened by every other.
fn pool(arena: &Arena, standing: &Standing, mbufs: u32) -> Result<Pool, Error> {
    let segment = |name: &str| {
        arena.segment(name).ok_or_else(|| {
            Error::new(format!(
                "the arena has no segment {name:?}: it was made by another program"
            ))
        })
    };
    let (meta, data) = (segment("meta")?, segment("data")?);
    let pool = match standing.live {
        None => Pool::create_with(meta, data, baton_shared_state::CHUNK, mbufs),
        Some(_) => Pool::attach(meta, data),
    };
    pool.map_err(|why| Error::new(format!("packet buffers: {why}")))
}
