//! What is put in order when an instance comes to rest, and what the next supervisor finds.

use std::time::{Duration, Instant};

use baton_shared_state::ledger::UpgradeBlock;
use baton_shared_state::sys;

use super::tenants::TenantRecord;
use super::{Driver, Tenant};
use crate::binary;
use crate::exit::Exit;
use crate::receipt::Program;
use crate::state::{Cause, Outcome, Phase, Side, State, Verdict};

/// Receipts that are looked through for binaries to be kept.
const RECENT: usize = 16;

impl Driver {
    /// Everything owned by one tenant again: slots are freed, the receipt is closed.
    pub(super) fn at_rest(&mut self) {
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
        for number in self.history.numbers().into_iter().rev().take(RECENT) {
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
    pub(super) fn store_upgrade(&self) {
        let state = self.machine.state;
        let deadline = self.timer.map_or(0, |(_, at)| {
            let left = at.saturating_duration_since(Instant::now());
            sys::clock_boottime_ns().saturating_add(super::record::nanos(left))
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
            started_ns: self.record.as_ref().map_or(0, |record| {
                sys::clock_boottime_ns().saturating_sub(super::record::nanos(record.age()))
            }),
            phase_deadline_ns: deadline,
            soak_until_ns: if state == State::Soak { deadline } else { 0 },
            moved: 0,
            spare: [0; 5],
        };
        self.ledger.set_upgrade(&block);
    }

    /// The receipt that the last supervisor did not come to write: an upgrade was under way when it ended.
    /// `former` is the tenant that came to nothing with it, if it still lived.
    pub(super) fn note_cut_off(&mut self, former: Option<TenantRecord>) {
        let Some(block) = self
            .ledger
            .upgrade()
            .filter(|block| block.id == self.history.next_number())
        else {
            return;
        };
        let Some(phase) = block.phase.checked_sub(1).and_then(Phase::from_number) else {
            return;
        };
        self.open_record("upgrade", None, Vec::new());
        let Some(record) = &mut self.record else {
            return;
        };
        let other = former.map(|tenant| Program {
            name: None,
            version: None,
            generation: Some(tenant.generation),
            pid: Some(tenant.pid),
            binary_sha256: tenant.binary_sha256,
        });
        let serves = self.tenants.older.as_ref().map(|tenant| tenant.generation);
        let verdict = if serves == Some(block.newer_generation) {
            record.to = std::mem::replace(&mut record.from, other);
            Verdict::Committed
        } else {
            record.to = other;
            Verdict::Interrupted
        };
        // 0 was written by supervisors that did not say when.
        if block.started_ns != 0 {
            let age = sys::clock_boottime_ns().saturating_sub(block.started_ns);
            record.backdate(Duration::from_nanos(age));
        }
        record.why = Some("its supervisor ended; who owned the shards goes on".into());
        record.decide(verdict, Cause::Failed(phase));
        self.close(None);
    }

    /// The end of the supervisor after its machine stopped.
    pub(super) fn end(&mut self, outcome: Outcome) -> Exit {
        self.close(None);
        let (exit, text) = match outcome {
            Outcome::Stopped => (
                Exit::Done,
                format!("{} does not forward any more", self.paths.prefix),
            ),
            Outcome::StartFailed => {
                let usual = || "the first tenant did not start".to_owned();
                let why = self.last_failure.get_or_insert_with(usual).clone();
                let exit = if self.unfit {
                    Exit::Unfit
                } else {
                    Exit::Failed
                };
                (exit, why)
            }
        };
        self.answer_stop(exit, &text);
        let _ = std::fs::remove_file(self.paths.tenants());
        let _ = std::fs::remove_file(self.paths.socket());
        exit
    }

    /// The supervisor goes, forwarding stays: headless.
    pub(super) fn leave(&mut self) -> Exit {
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
        Exit::Done
    }
}
