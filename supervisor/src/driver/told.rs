//! What clients are told: the status, the progress of an upgrade, its receipt, the end of a verb.

use std::time::Instant;

use baton_schema::control::{Stats, ToClient};
use baton_shared_state::ledger::tenant_of;
use baton_shared_state::sync::Ordering;
use baton_shared_state::{LCORES_PER_TENANT, sys};
use jiff::Timestamp;

use super::measure::Measured;
use super::record::{Forwards, nanos, stamp};
use super::{Driver, Tenant, host};
use crate::exit::Exit;
use crate::plan::Plan;
use crate::request::{Answer, Last, Progress, Running, Shard, Status};
use crate::state::{Side, State};

/// An lcore beats every few rounds, asleep at least each 50 ms.
const SILENT_NS: u64 = 1_000_000_000;

impl Driver {
    /// The numbers for a `status` are there, or will not come.
    pub(super) fn answer_status(&mut self, id: u64, measured: Measured) {
        let exit = match self.machine.state {
            State::Idle | State::Stopped => Exit::NotRunning,
            State::Starting(..) | State::Clearing { .. } | State::Stopping { .. } => Exit::Failed,
            _ => Exit::Done,
        };
        let status = self.status(measured);
        self.finish_client(id, exit, &Answer::Status(Box::new(status)));
    }

    fn status(&self, measured: Measured) -> Status {
        let Measured {
            before,
            now,
            interval,
        } = measured;
        let left = self
            .timer
            .map(|(_, at)| nanos(at.saturating_duration_since(Instant::now())));
        let last = self
            .history
            .numbers()
            .last()
            .and_then(|number| self.history.read(*number).ok());
        let shards: Vec<Shard> = self.layout.all().map(|shard| self.shard(shard)).collect();
        let mut warnings = self.arena.warnings();
        warnings.extend(silent(&shards, now.is_some()));
        warnings.extend(now.iter().flat_map(too_large));
        Status {
            schema: "baton.status/1".into(),
            prefix: self.paths.prefix.clone(),
            state: self.machine.state.word().into(),
            supervisor: env!("CARGO_PKG_VERSION").into(),
            supervisor_pid: std::process::id(),
            owner: self.tenants.get(self.serving()).map(Tenant::shown),
            next: self.tenants.get(other(self.serving())).map(Tenant::shown),
            shards,
            stats_interval_ns: before.as_ref().map(|_: &Stats| nanos(interval)),
            stats: now,
            stats_before: before,
            upgrade: self.record.as_ref().map(|record| Running {
                number: record.number,
                phase: self.phase_word().into(),
                left_ns: left,
            }),
            last: last.map(|entry| Last {
                number: entry.receipt.number,
                verdict: entry.receipt.verdict,
                lost: entry.receipt.loss.packets,
                ended: entry.receipt.ended,
            }),
            warnings,
            huge_pages: self.arena.huge_pages(),
        }
    }

    fn shard(&self, shard: usize) -> Shard {
        let word = self.ledger.owner_word(shard);
        let now = sys::clock_boottime_ns();
        let beat = word
            .lcore
            .map(|lcore| self.ledger.heartbeat(lcore).load(Ordering::Relaxed))
            .filter(|beat| *beat != 0);
        Shard {
            shard: u16::try_from(shard).unwrap_or(u16::MAX),
            tenant: word.lcore.map(tenant_of),
            lcore: word.lcore.map(|lcore| lcore % LCORES_PER_TENANT as u16),
            generation: word.generation,
            epoch: word.epoch,
            heartbeat_age_ns: beat.map(|beat| now.saturating_sub(beat)),
        }
    }

    /// One line of progress to everybody who watches the upgrade.
    pub(super) fn tell(&mut self, step: &str, duration_ns: Option<u64>, text: &str) {
        let Some(record) = &self.record else { return };
        let line = Progress {
            number: record.number,
            at: stamp(Timestamp::now()),
            step: step.to_owned(),
            duration_ns,
            text: text.to_owned(),
        };
        let message = ToClient::Line(serde_json::to_string(&line).unwrap_or_default());
        for id in record.watchers.clone() {
            self.send_to(id, &message, &[]);
        }
    }

    /// Writes the receipt of the upgrade that is over, and tells everybody who watched.
    pub(super) fn close(&mut self, after: Option<Stats>) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        self.closing = false;
        record.forwards = Some(self.forwards());
        let watchers = std::mem::take(&mut record.watchers);
        let refused: Option<Plan> = record.plan.take().filter(|plan| !plan.go);
        let mut receipt = record.finish(&self.paths.prefix, host::host(), after.as_ref());
        if let Err(error) = self.history.append(&mut receipt) {
            tracing::error!(prefix = self.paths.prefix, upgrade = receipt.number, error = %error, "receipt not written");
        }
        tracing::info!(prefix = self.paths.prefix, upgrade = receipt.number, verdict = ?receipt.verdict, error = receipt.reason, "receipt");
        let exit = Exit::from_code(receipt.exit_code);
        let answer = match refused {
            Some(plan) => Answer::Plan(Box::new(plan)),
            None => Answer::Receipt(Box::new(receipt)),
        };
        for id in watchers {
            self.finish_client(id, exit, &answer);
        }
    }

    fn forwards(&self) -> Forwards {
        let over = matches!(
            self.machine.state,
            State::Idle | State::Clearing { .. } | State::Stopping { .. } | State::Stopped
        );
        match self.tenants.get(self.serving()) {
            Some(tenant) if !over => Forwards::Binary(tenant.sha256.clone()),
            _ => Forwards::Nobody,
        }
    }

    /// Everybody who waits for the end of forwarding hears of it.
    pub(super) fn answer_stop(&mut self, exit: Exit, text: &str) {
        let waiting: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.stops)
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.say(id, exit, text.to_owned(), None);
        }
    }

    /// Ends a client's verb with a sentence.
    pub(super) fn say(&mut self, id: u64, exit: Exit, text: String, way_out: Option<String>) {
        self.finish_client(id, exit, &Answer::Said { text, way_out });
    }

    /// Ends a client's verb.
    pub(super) fn finish_client(&mut self, id: u64, exit: Exit, answer: &Answer) {
        let result = serde_json::to_string(answer).unwrap_or_default();
        self.send_to(
            id,
            &ToClient::End {
                code: exit.code(),
                result,
            },
            &[],
        );
        self.connections.remove(&id);
    }

    /// A client that went away, or does not read, is forgotten; nothing waits for it.
    pub(super) fn send_to(
        &mut self,
        id: u64,
        message: &ToClient,
        fds: &[std::os::fd::BorrowedFd<'_>],
    ) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        if let Err(error) = connection.channel.try_send(message, fds) {
            tracing::debug!(prefix = self.paths.prefix, pid = connection.peer.pid, error = %error, "client gone");
            self.connections.remove(&id);
        }
    }
}

/// What an owner that lives and does nothing looks like.
fn silent(shards: &[Shard], answered: bool) -> Vec<String> {
    let late = shards.iter().filter_map(|shard| {
        let age = shard.heartbeat_age_ns.filter(|age| *age > SILENT_NS)?;
        Some(format!(
            "shard {}: its lcore has not passed a burst boundary for {} s: it is stopped, or its CPU is taken; look at the process",
            shard.shard,
            age / 1_000_000_000
        ))
    });
    let mut said: Vec<String> = late.collect();
    if !answered && shards.iter().any(|shard| shard.tenant.is_some()) {
        said.push("the tenant does not answer: its counters are missing here".into());
    }
    said
}

/// Frames that a port cannot carry: what is behind a connection that hardly moves.
fn too_large(stats: &Stats) -> Vec<String> {
    let counted = |name: &str| {
        let of = move |port: &baton_schema::control::PortStats| {
            let found = port.device.iter().find(|(found, _)| found == name);
            found.map_or(0, |(_, count)| *count)
        };
        stats.ports.iter().map(of).sum::<u64>()
    };
    let kinds = [
        ("rx_gso_dropped", "frames of several segments (TSO, GSO)"),
        ("rx_oversized", "frames longer than a buffer"),
    ];
    let seen = kinds.iter().map(|(name, what)| (name, what, counted(name)));
    seen.filter(|(.., count)| *count > 0)
        .map(|(name, what, count)| {
            format!("{count} {what} were dropped ({name}): ethtool -K INTERFACE tso off gso off at the sender")
        })
        .collect()
}

fn other(side: Side) -> Side {
    if side == Side::Older {
        Side::Newer
    } else {
        Side::Older
    }
}

#[cfg(test)]
mod tests {
    use baton_schema::control::PortStats;

    use super::*;

    #[test]
    fn frames_that_no_port_carries_are_named() {
        let port = |count| PortStats {
            device: vec![("rx_gso_dropped".into(), count), ("rx_ring_full".into(), 3)],
            ..PortStats::default()
        };
        let stats = |counts: &[u64]| Stats {
            ports: counts.iter().map(|count| port(*count)).collect(),
            ..Stats::default()
        };
        assert!(too_large(&stats(&[0, 0])).is_empty());
        let said = too_large(&stats(&[400, 12]));
        assert!(
            said.len() == 1 && said[0].starts_with("412 frames of several segments"),
            "{said:?}"
        );
    }

    #[test]
    fn an_owner_without_a_heartbeat_is_named() {
        let shard = |age| Shard {
            shard: 2,
            tenant: Some(0),
            lcore: Some(0),
            generation: 1,
            epoch: 1,
            heartbeat_age_ns: Some(age),
        };
        assert!(silent(&[shard(SILENT_NS / 2)], true).is_empty());
        let said = silent(&[shard(5 * SILENT_NS)], false);
        assert!(said[0].starts_with("shard 2: its lcore has not passed a burst boundary for 5 s"));
        assert!(said[1].contains("does not answer"));
    }
}
