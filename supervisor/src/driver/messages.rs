//! What tenants say.

use std::os::fd::OwnedFd;
use std::time::Instant;

use baton_schema::control::{FromPrimary, Phase, Report, ToPrimary};
use baton_shared_state::channel::ChannelError;

use super::{Driver, Tenant};
use crate::state::{Event, Side, State};

/// Messages of one tenant handled before the others get their turn.
const TURN: usize = 64;

impl Driver {
    /// Handles what a tenant has sent.
    pub(super) fn hear_tenant(&mut self, side: Side) {
        for _ in 0..TURN {
            let Some(channel) = self
                .tenants
                .get(side)
                .and_then(|tenant| tenant.channel.as_ref())
            else {
                return;
            };
            match channel.recv::<FromPrimary>(Instant::now()) {
                Ok(Some((message, fds))) => self.on_message(side, message, fds),
                Ok(None) => return self.hang_up(side, "it closed the connection"),
                Err(ChannelError::TimedOut) => return,
                Err(error) => return self.hang_up(side, &error.to_string()),
            }
        }
    }

    /// The connection is of no use any more; the process itself is watched by its pidfd.
    fn hang_up(&mut self, side: Side, why: &str) {
        let Some(tenant) = self.tenants.get_mut(side) else {
            return;
        };
        if side == Side::Retiring {
            tracing::debug!(
                prefix = self.paths.prefix,
                pid = tenant.pid,
                "control connection closed"
            );
        } else {
            tracing::warn!(
                prefix = self.paths.prefix,
                pid = tenant.pid,
                error = why,
                "control connection closed"
            );
        }
        tenant.channel = None;
        tenant.snapshots.clear();
    }

    fn on_message(&mut self, side: Side, message: FromPrimary, fds: Vec<OwnedFd>) {
        match message {
            FromPrimary::Acknowledged => self.acknowledged(side),
            FromPrimary::Deposit { keys } => self.deposit(side, keys, fds),
            FromPrimary::CreateZone {
                name,
                schema,
                generation,
                len,
                policy,
                count,
                stride,
            } => {
                let wanted = super::zones::Wanted {
                    name,
                    schema,
                    generation,
                    len,
                    policy,
                    count,
                    stride,
                };
                self.create_zone(side, &wanted);
            }
            FromPrimary::ZoneReady { id } => self.zone_ready(side, id),
            FromPrimary::RetireZone { id } => self.zone_unwanted(side, id),
            FromPrimary::Snapshot(stats) => self.snapshot(side, stats),
            FromPrimary::Done { phase, report } => self.done(side, phase, report),
            FromPrimary::Failed { phase, why } => {
                tracing::error!(prefix = self.paths.prefix, phase = %phase, error = why, "tenant failed");
                if let Some(record) = &mut self.record {
                    record.why.get_or_insert(why.clone());
                }
                self.last_failure.get_or_insert(why);
                self.unfit = self.live.is_none() && phase == Phase::Attach;
                self.queue.push_back(Event::Failed(side, phase));
            }
            FromPrimary::Hello { .. } => self.hang_up(side, "a second Hello on one connection"),
        }
        self.drain();
    }

    /// A batch of descriptors arrived there: the next one, or the phases begin.
    fn acknowledged(&mut self, side: Side) {
        let Some(tenant) = self.tenants.get_mut(side) else {
            return;
        };
        match tenant.send_batch(&self.vault) {
            Ok(true) => {}
            Ok(false) if !tenant.greeted => {
                tenant.greeted = true;
                self.queue.push_back(Event::Attached);
            }
            Ok(false) => {}
            Err(error) => self.hang_up(side, &error.to_string()),
        }
    }

    fn deposit(&mut self, side: Side, keys: Vec<String>, fds: Vec<OwnedFd>) {
        if keys.len() != fds.len() {
            let why = format!("{} keys came with {} descriptors", keys.len(), fds.len());
            return self.hang_up(side, &why);
        }
        for (key, fd) in keys.into_iter().zip(fds) {
            // A live port's descriptor is not replaced by one who may be ended again.
            let known = self.vault.get(&key).is_some();
            if known && key.starts_with("segment/") {
                continue;
            }
            if let Some(tenant) = self.tenants.get_mut(side).filter(|_| !known) {
                tenant.deposited.push(key.clone());
            }
            self.vault.put(key, fd);
        }
        self.answer(side, &ToPrimary::Acknowledged);
    }

    fn done(&mut self, side: Side, phase: Phase, report: Report) {
        let expected = self.machine.state.phase() == Some(phase)
            || matches!(self.machine.state, State::Prepare { .. });
        if expected && let Some(record) = &mut self.record {
            record.report(&report, |_| None);
            if let Some(to) = self.tenants.newer.as_ref().map(Tenant::program) {
                record.to = Some(to);
            }
        }
        for note in &report.notes {
            tracing::warn!(prefix = self.paths.prefix, phase = %phase, hint = note, "tenant says");
        }
        match (side, phase, self.machine.state) {
            (Side::Older, Phase::Migrate, State::Export) => {}
            (Side::Older, Phase::Migrate, _) => self.export_ended(),
            // The commit of a soak that the last supervisor did not see the end of.
            (Side::Older, Phase::Commit, State::Forwarding) => self.retire_zones(),
            _ => {}
        }
        self.queue.push_back(Event::Done(side, phase));
    }

    /// Answers a tenant; one that cannot be reached is found by its pidfd or a deadline.
    pub(super) fn answer(&mut self, side: Side, message: &ToPrimary) {
        if let Some(Err(error)) = self.tenants.get(side).map(|tenant| tenant.send(message)) {
            self.hang_up(side, &error.to_string());
        }
    }
}
