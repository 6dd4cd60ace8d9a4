//! The upgrade that is under way, as far as its receipt will tell of it.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use baton_schema::control::{Report, Stats};
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::exit::Exit;
use crate::plan::{Plan, QueueLoad};
use crate::receipt::{
    self, AskedBy, GateRow, Host, Loss, Mbufs, PhaseRecord, Program, QueueRecord, Receipt,
    ShardRecord, ZoneRecord,
};
use crate::state::{Cause, Phase, Side, Verdict};

/// What a tenant calls the sessions that its check of the migrated zones did not find as they were.
const LOST_SESSIONS: [&str; 2] = ["lost_sessions", "differences"];

/// An upgrade, a rollback or a takeover on its way to a receipt.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: u64,
    pub(super) kind: &'static str,
    pub(super) asked_by: Option<AskedBy>,
    pub(super) from: Option<Program>,
    pub(super) to: Option<Program>,
    pub(super) zones: Vec<ZoneRecord>,
    pub(super) shards: Vec<ShardRecord>,
    pub(super) gate: Vec<GateRow>,
    pub(super) before: Option<Stats>,
    pub(super) loads: Vec<QueueLoad>,
    pub(super) soak: Duration,
    pub(super) plan: Option<Plan>,
    /// Another code than the verdict's.
    pub(super) exit: Option<Exit>,
    /// Who forwards at its end, where that is known.
    pub(super) forwards: Option<Forwards>,
    /// Clients that want to hear of it.
    pub(super) watchers: Vec<u64>,
    /// What the failing tenant said.
    pub(super) why: Option<String>,
    started: Timestamp,
    began: Instant,
    phases: Vec<PhaseRecord>,
    open: Option<OpenPhase>,
    decided: Option<(Verdict, Cause)>,
    lost_sessions: Option<u64>,
}

#[derive(Debug)]
struct OpenPhase {
    name: Phase,
    since: Instant,
    detail: Map<String, Value>,
    text: Vec<String>,
    result: &'static str,
}

/// Who forwards when a receipt is closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Forwards {
    Nobody,
    /// A tenant of this binary.
    Binary(String),
}

/// A phase that ended, for the progress shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) step: String,
    pub(super) duration_ns: u64,
    pub(super) text: String,
}

impl Record {
    pub(super) fn new(number: u64, kind: &'static str) -> Record {
        Record {
            number,
            kind,
            asked_by: None,
            from: None,
            to: None,
            zones: Vec::new(),
            shards: Vec::new(),
            gate: Vec::new(),
            before: None,
            loads: Vec::new(),
            soak: Duration::ZERO,
            plan: None,
            exit: None,
            forwards: None,
            watchers: Vec::new(),
            why: None,
            started: Timestamp::now(),
            began: Instant::now(),
            phases: Vec::new(),
            open: None,
            decided: None,
            lost_sessions: None,
        }
    }

    /// How long ago it began.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// It began so long ago, under another supervisor.
    pub(super) fn backdate(&mut self, age: Duration) {
        let now = Timestamp::now();
        self.started = now.checked_sub(age).unwrap_or(now);
        self.began = Instant::now().checked_sub(age).unwrap_or(self.began);
    }

    /// The first cause stands, a later verdict replaces an earlier one.
    pub(super) fn decide(&mut self, verdict: Verdict, cause: Cause) {
        let first = match self.decided {
            Some((_, first)) if first != Cause::None => first,
            _ => cause,
        };
        self.decided = Some((verdict, first));
        if let Some(open) = &mut self.open {
            open.result = match cause {
                Cause::None => "ok",
                Cause::Plan => "refused",
                Cause::Failed(_) => "failed",
                Cause::Deadline(_) => "deadline",
                Cause::Died(..) => "died",
                Cause::Gate => "breached",
                Cause::Operator => "ended",
            };
        }
    }

    /// The phase that now runs; gives back the one that ended, if another did.
    pub(super) fn phase(&mut self, now: Option<Phase>) -> Option<Ended> {
        if self.open.as_ref().map(|open| open.name) == now {
            return None;
        }
        let ended = self.open.take().map(|open| self.close(open));
        self.open = now.map(|name| OpenPhase {
            name,
            since: Instant::now(),
            detail: Map::new(),
            text: Vec::new(),
            result: "ok",
        });
        ended
    }

    fn close(&mut self, open: OpenPhase) -> Ended {
        let duration_ns = nanos(open.since.elapsed());
        let text = if open.text.is_empty() {
            open.result.to_owned()
        } else {
            open.text.join(", ")
        };
        self.phases.push(PhaseRecord {
            name: open.name.to_string(),
            started_ns: nanos(open.since.duration_since(self.began)),
            duration_ns,
            result: open.result.to_owned(),
            detail: open.detail,
        });
        Ended {
            step: open.name.to_string(),
            duration_ns,
            text,
        }
    }

    /// What the gate saw: the oldest heartbeat so far, and whether that is within the limit.
    pub(super) fn heartbeat(&mut self, age: Duration, limit: Duration) {
        let observed = Some(nanos(age));
        match self.gate.iter_mut().find(|row| row.name == "heartbeat") {
            Some(row) => row.observed = row.observed.max(observed),
            None => self.gate.push(GateRow {
                name: "heartbeat".to_owned(),
                baseline: None,
                observed,
                limit: format!("{} ms", limit.as_millis()),
                result: "ok".to_owned(),
            }),
        }
        if let Some(row) = self
            .gate
            .iter_mut()
            .find(|row| row.name == "heartbeat" && age > limit)
        {
            row.result = "breached".to_owned();
        }
    }

    /// A remark in the open phase.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        if let Some(open) = &mut self.open {
            open.text.push(text.into());
        }
    }

    /// What a tenant reported of a phase.
    pub(super) fn report(&mut self, report: &Report, bytes_before: impl Fn(&str) -> Option<u64>) {
        if let Some(open) = &mut self.open {
            for (name, value) in &report.counts {
                open.detail.insert(name.clone(), (*value).into());
                open.text.push(format!("{name} {value}"));
            }
            open.text.extend(report.notes.iter().cloned());
        }
        let counted = LOST_SESSIONS.iter().find_map(|name| report.count(name));
        self.lost_sessions = counted.or(self.lost_sessions);
        for zone in &report.zones {
            let row = ZoneRecord {
                name: zone.name.clone(),
                policy: zone.policy,
                from_version: (zone.from_version > 0).then_some(zone.from_version),
                to_version: zone.to_version,
                records_before: bytes_before(&zone.name),
                records_after: (zone.records > 0).then_some(zone.records),
                bytes_after: Some(zone.bytes),
                losses_forward: Vec::new(),
                losses_back: zone.losses_back.clone(),
            };
            match self.zones.iter_mut().find(|known| known.name == row.name) {
                Some(known) => *known = row,
                None => self.zones.push(row),
            }
        }
    }

    /// A shard changed hands; its queues get the rates of before.
    pub(super) fn moved(&mut self, mut shard: ShardRecord, ring: Option<(u32, u32)>) {
        let of_shard = self.loads.iter().filter(|load| load.queue == shard.shard);
        shard.queues = of_shard
            .map(|load| QueueRecord {
                port: load.port.clone(),
                queue: load.queue,
                ring_entries: Some(load.ring_entries),
                ring_used_at_takeover: ring.map(|(used, _)| used),
                rate_before_pps: Some(load.rate_pps),
                absorbs_ns: (u64::from(load.ring_entries) * 1_000_000_000)
                    .checked_div(load.rate_pps),
            })
            .collect();
        self.shards.push(shard);
    }

    /// The verdict, once there is one.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.decided.map(|(verdict, _)| verdict)
    }

    /// In which phase and why, unless it simply committed.
    fn reason(&self) -> Option<String> {
        let (_, cause) = self.decided?;
        let head = match cause {
            Cause::None => return None,
            Cause::Plan => "plan".to_owned(),
            Cause::Failed(phase) => format!("in {phase}"),
            Cause::Deadline(phase) => format!("in {phase}: not done before the deadline"),
            Cause::Died(side, phase) => format!("in {phase}: the {} tenant died", word(side)),
            Cause::Gate => "gate".to_owned(),
            Cause::Operator => "operator".to_owned(),
        };
        match &self.why {
            Some(why) => Some(format!("{head}: {}", why.trim_end())),
            None => Some(head),
        }
    }

    /// The receipt; `after` are the owner's numbers at the end.
    pub(super) fn finish(mut self, prefix: &str, host: Host, after: Option<&Stats>) -> Receipt {
        self.phase(None);
        let (verdict, _) = self
            .decided
            .unwrap_or((Verdict::Interrupted, Cause::Operator));
        let counters = receipt::device_counters(self.before.as_ref(), after);
        let mbufs = after
            .map(|stats| &stats.mbufs)
            .filter(|mbufs| mbufs.total > 0)
            .map(|mbufs| Mbufs {
                total: mbufs.total,
                accounted: mbufs.accounted,
                unaccounted: mbufs.unaccounted,
            });
        let drops = receipt::drops(self.before.as_ref(), after);
        let loss = Loss::derive(&counters, &drops, mbufs.as_ref(), self.lost_sessions);
        let mut receipt = Receipt {
            schema: receipt::SCHEMA.to_owned(),
            number: self.number,
            prefix: prefix.to_owned(),
            kind: self.kind.to_owned(),
            reason: self.reason(),
            drops,
            asked_by: self.asked_by,
            host,
            started: stamp(self.started),
            ended: stamp(Timestamp::now()),
            from: self.from,
            to: self.to,
            phases: self.phases,
            zones: self.zones,
            shards: self.shards,
            device_counters: counters,
            mbufs,
            gate: self.gate,
            loss,
            verdict,
            exit_code: 0,
            previous_receipt_sha256: None,
        };
        let forwards = self.forwards.as_ref();
        receipt.exit_code = self.exit.unwrap_or_else(|| exit(&receipt, forwards)).code();
        receipt
    }
}

/// The code of the verb that asked: what it asked for has to forward at the end, and somebody at all.
fn exit(receipt: &Receipt, forwards: Option<&Forwards>) -> Exit {
    match forwards {
        Some(Forwards::Nobody) => Exit::Failed,
        Some(Forwards::Binary(sha256))
            if receipt.verdict == Verdict::TookOver
                && receipt.asked_by.is_some()
                && receipt
                    .from
                    .as_ref()
                    .is_some_and(|from| from.binary_sha256 == *sha256) =>
        {
            Exit::RolledBack
        }
        _ => receipt.exit(),
    }
}

fn word(side: Side) -> &'static str {
    match side {
        Side::Older | Side::Retiring => "older",
        Side::Newer => "newer",
    }
}

/// RFC 3339 with nine digits of fraction, in UTC.
pub(super) fn stamp(at: Timestamp) -> String {
    format!("{at:.9}")
}

/// Nanoseconds that fit 64 bits for 584 years.
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
