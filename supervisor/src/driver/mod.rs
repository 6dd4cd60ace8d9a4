//! The hands of the supervisor: it turns what happens in the world into events of
//! [`crate::state`], and that machine's actions into processes, messages and ledger words.
//!
//! One thread, one loop over `poll`; only copying and asking a candidate is done beside it.
//! Order: the machine's state is changed first, then its actions are done; what they cause comes
//! back as events of the next round.
//! Failure: tenants go on without it. What the next supervisor needs is in the ledger (owner
//! words, live generation, upgrade block), in `tenants.json`, and in the tenants' descriptors.

mod act;
mod boot;
mod clients;
mod facts;
mod handover;
mod host;
mod jobs;
mod lock;
mod measure;
mod messages;
mod notify;
mod record;
mod resume;
mod rollback;
mod tenant;
pub mod tenants;
mod told;
mod upkeep;
mod wait;
mod zones;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use baton_shared_state::arena::Arena;
use baton_shared_state::channel::Listener;
use baton_shared_state::directory::Directory;
use baton_shared_state::ledger::Ledger;
use baton_shared_state::paths::Paths;
use baton_shared_state::vault::Vault;

pub use boot::{DriverError, Settings};

use crate::binary::Binary;
use crate::config::Config;
use crate::exit::Exit;
use crate::history::History;
use crate::state::{Event, Machine, Outcome, Side, Wait};
use clients::Connection;
use handover::{Handover, Layout, Owner};
use jobs::{Job, Wake};
use measure::Measure;
use record::Record;
use tenant::Tenant;

/// Runs the supervisor of an instance until it is stopped or told to leave.
pub fn run(settings: Settings) -> Result<Exit, DriverError> {
    if let Err(error) = baton_shared_state::sys::set_dumpable(false) {
        tracing::warn!(error = %error, hint = "other processes of this user may reach the memory through /proc", "dumpable");
    }
    let (mut driver, first) = boot::boot(settings)?;
    driver.event(first);
    let exit = driver.serve();
    match (driver.outcome, driver.last_failure.take()) {
        (Some(Outcome::StartFailed), Some(why)) => Err(DriverError::Start {
            prefix: driver.paths.prefix.clone(),
            why,
            unfit: driver.unfit,
        }),
        _ => Ok(exit),
    }
}

/// What a newer tenant is started from.
#[derive(Debug)]
struct Candidate {
    binary: Binary,
    name: String,
    config: Config,
}

/// The tenants by the part they play.
#[derive(Debug, Default)]
struct Tenants {
    older: Option<Tenant>,
    newer: Option<Tenant>,
    retiring: Option<Tenant>,
}

/// A supervisor at work.
struct Driver {
    paths: Paths,
    config: Config,
    machine: Machine,
    layout: Layout,
    /// Held as long as the process: who has it is the supervisor of the prefix.
    _lock: lock::Lock,
    signals: notify::Signals,
    listener: Listener,
    wake: Wake,
    arena: Arena,
    ledger: Ledger,
    directory: Directory,
    vault: Vault,
    history: History,
    tenants: Tenants,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    queue: VecDeque<Event>,
    timer: Option<(Wait, Instant)>,
    handover: Option<Handover>,
    taking: Option<Side>,
    record: Option<Record>,
    closing: bool,
    jobs: Vec<Job>,
    measures: Vec<Measure>,
    next_number: u64,
    candidate: Option<Candidate>,
    /// The binary that forwards for good, and the generation set that is live.
    live: Option<Live>,
    /// Generation set of the newest tenant that was started.
    newer_generation: Option<u16>,
    last_generation: u16,
    /// What the older tenant shall write in an earlier layout: names and versions.
    exports: Vec<(String, u32)>,
    /// The generation set it does so for.
    exported: Option<u16>,
    /// The generation set that is retired once the older tenant has ended its export.
    ending_export: Option<u16>,
    /// Slots of dead tenants that an owner word still names.
    stale_slots: Vec<u16>,
    backoffs: u32,
    last_failure: Option<String>,
    /// Whether the first start failed over what the machine has or allows: interfaces, rights, memory.
    unfit: bool,
    /// The older tenant that died last, and how.
    buried: Option<(crate::receipt::Program, String)>,
    leaving: bool,
    watchdog: notify::Watchdog,
    outcome: Option<Outcome>,
    left: bool,
}

/// What forwards for good.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Live {
    sha256: String,
    generation: u16,
}

impl Tenants {
    fn get(&self, side: Side) -> Option<&Tenant> {
        match side {
            Side::Older => self.older.as_ref(),
            Side::Newer => self.newer.as_ref(),
            Side::Retiring => self.retiring.as_ref(),
        }
    }

    fn get_mut(&mut self, side: Side) -> Option<&mut Tenant> {
        self.slot(side).as_mut()
    }

    fn slot(&mut self, side: Side) -> &mut Option<Tenant> {
        match side {
            Side::Older => &mut self.older,
            Side::Newer => &mut self.newer,
            Side::Retiring => &mut self.retiring,
        }
    }

    fn all(&self) -> impl Iterator<Item = (Side, &Tenant)> {
        SIDES
            .into_iter()
            .filter_map(|side| self.get(side).map(|tenant| (side, tenant)))
    }

    fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }
}

const SIDES: [Side; 3] = [Side::Older, Side::Newer, Side::Retiring];

impl Driver {
    /// Until the end: waits, handles what is ready, then what time brings.
    fn serve(&mut self) -> Exit {
        loop {
            self.drain();
            if let Some(outcome) = self.outcome {
                return self.end(outcome);
            }
            if self.left {
                return self.leave();
            }
            for source in self.wait() {
                self.ready(source);
            }
            self.tick();
        }
    }

    /// Hands the machine one event, and all that follow from it.
    fn event(&mut self, event: Event) {
        self.queue.push_back(event);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.queue.pop_front() {
            self.step(event);
        }
    }

    /// The owner of the shards, as far as one party owns them all.
    fn serving(&self) -> Side {
        use crate::state::State;
        match self.machine.state {
            State::Soak | State::Commit { .. } | State::Starting(..) => Side::Newer,
            State::TakeBack { by, .. } => by,
            _ => Side::Older,
        }
    }

    fn owner(&self, side: Side) -> Option<Owner> {
        self.tenants.get(side).map(|tenant| Owner {
            slot: tenant.slot,
            generation: tenant.generation,
        })
    }

    fn live_generation(&self) -> Option<u16> {
        self.live.as_ref().map(|live| live.generation)
    }

    /// How long a wait may take.
    fn patience(&self, wait: Wait) -> Duration {
        let deadline = self.config.upgrade.deadline.0;
        match wait {
            Wait::Plan => Duration::from_secs(60),
            Wait::Spawn | Wait::Phase => deadline,
            Wait::Commit => deadline.min(Duration::from_secs(30)),
            Wait::Step => Duration::from_secs(2),
            Wait::Soak => self
                .record
                .as_ref()
                .map_or(self.config.upgrade.soak.0, |record| record.soak),
            Wait::Take | Wait::End => Duration::from_secs(5),
            Wait::Kill | Wait::Silent => Duration::from_secs(1),
            Wait::Backoff => Duration::from_millis(200 << self.backoffs.min(5)),
        }
    }
}
