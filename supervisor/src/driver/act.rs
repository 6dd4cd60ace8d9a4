//! Doing what the machine decided.

use std::time::Instant;

use baton_schema::control::ToPrimary;
use baton_shared_state::ledger::UpgradeBlock;
use baton_shared_state::sys;

use super::tenant::Tenant;
use super::{Candidate, Driver, Live};
use crate::binary::{self, Binary};
use crate::receipt::ShardRecord;
use crate::state::{
    Action, Cause, Event, Notice, Outcome, Phase, Side, Start, State, Verdict, Wait,
};

impl Driver {
    /// One event: the decision, then its actions, then what follows from both.
    pub(super) fn step(&mut self, event: Event) {
        let before = self.machine.state;
        if let (Event::Deadline, State::Starting(Start::First, _), Some(phase)) =
            (event, before, before.phase())
        {
            self.last_failure
                .get_or_insert_with(|| format!("in {phase}: not done before the deadline"));
        }
        let actions = self.machine.step(event);
        let now = self.machine.state;
        if now != before {
            tracing::info!(prefix = self.paths.prefix, phase = now.word(), upgrade = self.record.as_ref().map(|r| r.number), event = ?event, "state");
            self.handover = None;
            self.taking = None;
        }
        for action in &actions {
            if let Action::Decide(verdict, cause) = action {
                self.decide(*verdict, *cause);
            }
        }
        if now != before {
            self.enter(now);
        }
        for action in actions {
            self.act(action);
        }
        self.store_upgrade();
        match now {
            State::Clearing { .. } | State::Stopping { .. } if self.tenants.is_empty() => {
                self.queue.push_back(Event::NobodyLeft);
            }
            State::Forwarding if now != before => self.at_rest(),
            State::Stopped => self.close(None),
            _ => {}
        }
    }

    fn decide(&mut self, verdict: Verdict, cause: Cause) {
        self.open_record_of_death(cause);
        if let Some(record) = &mut self.record {
            record.decide(verdict, cause);
        }
    }

    /// An owner's death while no upgrade runs gets a receipt too.
    fn open_record_of_death(&mut self, cause: Cause) {
        if self.record.is_none() && matches!(cause, Cause::Died(..)) {
            self.open_record("takeover", None, Vec::new());
            if let (Some(record), Some((program, how))) = (&mut self.record, self.buried.take()) {
                record.from = Some(program);
                record.why = Some(how);
            }
        }
    }

    /// The phase changed: the record, the operator and the service manager hear of it.
    fn enter(&mut self, now: State) {
        if let Some(record) = &mut self.record
            && let Some(ended) = record.phase(now.phase())
            && ended.step != Phase::Swap.to_string()
        {
            self.tell(&ended.step, Some(ended.duration_ns), &ended.text);
        }
        self.notify_state();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Plan => self.start_upgrade_job(),
            Action::Spawn(start) => self.spawn(start),
            Action::Go(side, phase) => self.go(side, phase),
            Action::Claim => self.claim(),
            Action::Take(side) => self.taking = Some(side),
            Action::Ask(step, side) => self.ask(step, side),
            Action::Withdraw(_) => self.withdraw(),
            Action::End(side) => {
                if let Some(tenant) = self.tenants.get(side) {
                    tenant.end();
                }
            }
            Action::Kill(side) => {
                if let Some(tenant) = self.tenants.get(side) {
                    tracing::warn!(
                        prefix = self.paths.prefix,
                        pid = tenant.pid,
                        generation = tenant.generation,
                        "tenant killed"
                    );
                    tenant.kill();
                }
            }
            Action::Promote => self.promote(),
            Action::FreeZones => self.free_zones(),
            Action::RetireZones => self.retire_zones(),
            Action::Decide(..) => {}
            Action::Report(notice) => self.report(notice),
            Action::Arm(wait) => {
                self.timer = Some((wait, Instant::now() + self.patience(wait)));
                if wait == Wait::Backoff {
                    self.backoffs += 1;
                }
            }
            Action::Disarm => self.timer = None,
            Action::Exit(outcome) => self.outcome = Some(outcome),
        }
    }

    fn spawn(&mut self, start: Start) {
        let candidate = match start {
            Start::Orphan => self.last_good(),
            Start::First | Start::Upgrade => self.candidate.take(),
        };
        let Some(candidate) = candidate else {
            self.failed_to_start("there is no binary to start".to_owned());
            return;
        };
        self.last_generation += 1;
        let generation = self.last_generation;
        self.newer_generation = Some(generation);
        let Candidate {
            binary,
            name,
            config,
        } = candidate;
        match Tenant::spawn(
            &binary,
            &name,
            &self.paths,
            &self.ledger,
            generation,
            config.text.clone(),
        ) {
            Ok(tenant) => {
                tracing::info!(
                    prefix = self.paths.prefix,
                    pid = tenant.pid,
                    generation,
                    "tenant started"
                );
                if let Some(record) = &mut self.record {
                    record.remark(format!("pid {}, generation {generation}", tenant.pid));
                    record.to = Some(tenant.program());
                }
                self.tenants.newer = Some(tenant);
                self.store_tenants();
            }
            Err(error) => self.failed_to_start(error.to_string()),
        }
    }

    fn failed_to_start(&mut self, why: String) {
        tracing::error!(
            prefix = self.paths.prefix,
            error = why,
            "tenant not started"
        );
        if let Some(record) = &mut self.record {
            record.why.get_or_insert(why.clone());
        }
        self.last_failure.get_or_insert(why);
        self.queue.push_back(Event::Died(Side::Newer));
    }

    fn last_good(&self) -> Option<Candidate> {
        let live = self.live.as_ref()?;
        let binary = Binary::open(&self.paths.binaries(), &live.sha256);
        match binary {
            Ok(binary) => Some(Candidate {
                binary,
                name: self.program_name(),
                config: self.config.clone(),
            }),
            Err(error) => {
                tracing::error!(prefix = self.paths.prefix, error = %error, "the last good binary is not there");
                None
            }
        }
    }

    /// What the processes are called in `ps`.
    pub(super) fn program_name(&self) -> String {
        let name = self.config.instance.binary.file_name();
        name.map_or_else(
            || "baton-primary".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
    }

    fn go(&mut self, side: Side, phase: Phase) {
        let Some(tenant) = self.tenants.get(side) else {
            return;
        };
        if let Err(error) = tenant.send(&ToPrimary::Go(phase)) {
            // Its death, or the deadline, leads on.
            tracing::warn!(prefix = self.paths.prefix, pid = tenant.pid, phase = %phase, error = %error, "message not sent");
        }
    }

    fn claim(&mut self) {
        let Some(owner) = self.owner(Side::Newer) else {
            return;
        };
        if let Err(error) = self.layout.claim(&self.ledger, owner) {
            tracing::error!(prefix = self.paths.prefix, error = ?error, "a shard of a fresh instance has an owner already");
        }
    }

    fn ask(&mut self, step: u16, side: Side) {
        let Some(owner) = self.owner(side) else {
            return;
        };
        let direction = if side == Side::Newer {
            "forward"
        } else {
            "back"
        };
        let (handover, refused) = self.layout.ask(&self.ledger, step, owner, direction);
        for (shard, error) in refused {
            tracing::error!(prefix = self.paths.prefix, shard, error = %error, "shard cannot be asked for");
        }
        self.handover = Some(handover);
    }

    fn withdraw(&mut self) {
        let taken_back = self.layout.withdraw(&self.ledger);
        tracing::info!(
            prefix = self.paths.prefix,
            shards = taken_back,
            "request withdrawn"
        );
    }

    /// Requests of a supervisor before this one; slots of tenants that are gone.
    pub(super) fn withdraw_leftovers(&mut self) {
        self.layout.withdraw(&self.ledger);
        let alive: Vec<u16> = self.tenants.all().map(|(_, tenant)| tenant.slot).collect();
        let gone = self
            .ledger
            .tenants()
            .into_iter()
            .map(|entry| entry.slot)
            .filter(|slot| !alive.contains(slot));
        self.stale_slots.extend(gone);
    }

    fn promote(&mut self) {
        self.tenants.retiring = self.tenants.older.take();
        self.tenants.older = self.tenants.newer.take();
        let Some(owner) = &mut self.tenants.older else {
            return;
        };
        owner.since = Instant::now();
        let (generation, sha256, config) =
            (owner.generation, owner.sha256.clone(), owner.config.clone());
        if !config.is_empty()
            && let Ok(config) = crate::config::Config::parse(&config, &self.config.path)
        {
            self.config = config;
        }
        self.set_live(sha256, generation);
        self.backoffs = 0;
        self.store_tenants();
    }

    fn set_live(&mut self, sha256: String, generation: u16) {
        self.ledger.set_live_generation(generation);
        self.live = Some(Live { sha256, generation });
    }

    fn report(&mut self, notice: Notice) {
        match notice {
            Notice::ForwardOnly => {
                if let Some(newer) = &self.tenants.newer {
                    let (sha256, generation) = (newer.sha256.clone(), newer.generation);
                    self.set_live(sha256, generation);
                }
                self.tell(
                    "forward",
                    None,
                    "the older tenant is gone: no way back by one swap",
                );
                tracing::error!(
                    prefix = self.paths.prefix,
                    "forward-only: the older tenant died"
                );
            }
            Notice::NoOwner => {
                self.open_record_of_death(Cause::Died(Side::Older, Phase::Swap));
                self.tell(
                    "no-owner",
                    None,
                    "nobody alive owns the shards: the last good binary is started",
                );
                tracing::error!(prefix = self.paths.prefix, "no owner");
            }
            Notice::Undead => {
                self.tell(
                    "undead",
                    None,
                    "a killed process is not dead yet; nothing is taken by time",
                );
                tracing::error!(
                    prefix = self.paths.prefix,
                    hint = "look at it with ps: state D, a frozen cgroup, a core dump",
                    "undead tenant"
                );
            }
        }
    }

    /// A shard changed hands: one line for the operator.
    pub(super) fn tell_moved(&mut self, shard: &ShardRecord, ring: Option<(u32, u32)>) {
        let name = match usize::from(shard.shard) {
            baton_shared_state::CONTROL_SHARD => "control".to_owned(),
            number => number.to_string(),
        };
        let step = if shard.direction == "forward" {
            format!("swap {name}")
        } else {
            format!("back {name}")
        };
        let text = ring.map_or(String::new(), |(used, entries)| {
            format!("ring {used} of {entries}")
        });
        tracing::info!(
            prefix = self.paths.prefix,
            shard = shard.shard,
            duration_ns = shard.gap_ns,
            "shard moved"
        );
        self.tell(&step, shard.gap_ns, &text);
    }

    /// Everything owned by one tenant again: slots are freed, the receipt is closed.
    fn at_rest(&mut self) {
        self.free_slots();
        self.notify_ready();
        if self.record.is_some() {
            self.closing = true;
            self.measure_after();
        }
        self.keep_binaries();
    }

    /// The newest binaries of the receipts and those that run are kept.
    fn keep_binaries(&self) {
        let mut wanted: Vec<String> = self
            .tenants
            .all()
            .map(|(_, tenant)| tenant.sha256.clone())
            .collect();
        wanted.extend(self.live.iter().map(|live| live.sha256.clone()));
        wanted.extend(
            self.candidate
                .iter()
                .map(|candidate| candidate.binary.sha256.clone()),
        );
        let mut former: Vec<String> = Vec::new();
        for number in self.history.numbers().into_iter().rev() {
            let Ok(entry) = self.history.read(number) else {
                continue;
            };
            for program in [entry.receipt.to, entry.receipt.from].into_iter().flatten() {
                if !former.contains(&program.binary_sha256) {
                    former.push(program.binary_sha256);
                }
            }
            if former.len() >= self.config.upgrade.keep.max(1) {
                break;
            }
        }
        wanted.extend(former.into_iter().take(self.config.upgrade.keep.max(1)));
        wanted.extend(
            self.record
                .iter()
                .filter_map(|record| record.from.as_ref())
                .map(|from| from.binary_sha256.clone()),
        );
        if self.jobs.is_empty() {
            binary::prune(&self.paths.binaries(), &wanted);
        }
    }

    /// What the next supervisor would need to finish or undo this.
    fn store_upgrade(&self) {
        let state = self.machine.state;
        let deadline = self.timer.map_or(0, |(_, at)| {
            let left = at.saturating_duration_since(Instant::now());
            sys::clock_boottime_ns() + super::record::nanos(left)
        });
        let slot = |side| {
            self.tenants
                .get(side)
                .map_or(u16::MAX, |tenant: &Tenant| tenant.slot)
        };
        let generation = |side| {
            self.tenants
                .get(side)
                .map_or(0, |tenant: &Tenant| tenant.generation)
        };
        let block = UpgradeBlock {
            id: self.record.as_ref().map_or(0, |record| record.number),
            phase: state.phase().map_or(0, |phase| phase as u32 + 1),
            direction: match state {
                State::Prepare { .. }
                | State::Back(_)
                | State::Leaving { .. }
                | State::Ending { .. } => 2,
                _ => u32::from(state.upgrading()),
            },
            older: slot(Side::Older),
            newer: slot(Side::Newer),
            older_generation: generation(Side::Older),
            newer_generation: generation(Side::Newer),
            started_ns: 0,
            phase_deadline_ns: deadline,
            soak_until_ns: if state == State::Soak { deadline } else { 0 },
            moved: 0,
            spare: [0; 5],
        };
        self.ledger.set_upgrade(&block);
    }

    /// The end of the supervisor after its machine stopped.
    pub(super) fn end(&mut self, outcome: Outcome) -> crate::exit::Exit {
        use crate::exit::Exit;
        self.close(None);
        let (exit, text) = match outcome {
            Outcome::Stopped => (
                Exit::Done,
                format!("{} does not forward any more", self.paths.prefix),
            ),
            Outcome::StartFailed => {
                let why = self
                    .last_failure
                    .clone()
                    .unwrap_or_else(|| "the first tenant did not start".to_owned());
                tracing::error!(
                    prefix = self.paths.prefix,
                    error = why,
                    "start failed; nothing forwards"
                );
                (Exit::Failed, why)
            }
        };
        self.answer_stop(exit, &text);
        let _ = std::fs::remove_file(self.paths.tenants());
        let _ = std::fs::remove_file(self.paths.socket());
        exit
    }

    /// The supervisor goes, forwarding stays: headless.
    pub(super) fn leave(&mut self) -> crate::exit::Exit {
        self.store_tenants();
        self.notify_stopping();
        tracing::info!(
            prefix = self.paths.prefix,
            hint = format!(
                "baton run {0} takes it up, baton stop {0} ends it",
                self.paths.prefix
            ),
            "supervisor ends; forwarding goes on, headless"
        );
        let _ = std::fs::remove_file(self.paths.socket());
        crate::exit::Exit::Done
    }
}
