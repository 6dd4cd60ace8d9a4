//! Doing what the machine decided.

use std::time::Instant;

use baton_schema::control::ToPrimary;

use super::tenant::Tenant;
use super::{Candidate, Driver, Live};
use crate::binary::Binary;
use crate::receipt::ShardRecord;
use crate::state::{Action, Cause, Event, Notice, Phase, Side, Start, State, Verdict, Wait};

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
            Action::Export => self.export(),
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
        let generation = self.exported.unwrap_or_else(|| self.new_generation());
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

    fn new_generation(&mut self) -> u16 {
        self.last_generation += 1;
        self.newer_generation = Some(self.last_generation);
        self.last_generation
    }

    /// The older tenant is to write the candidate's layouts beside its own, as the generation
    /// that the candidate will find.
    fn export(&mut self) {
        let generation = self.new_generation();
        self.exported = Some(generation);
        let zones = std::mem::take(&mut self.exports);
        self.answer(Side::Older, &ToPrimary::Export { generation, zones });
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
        let name = self.config.binary.file_name();
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
        self.exported = None;
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
}
