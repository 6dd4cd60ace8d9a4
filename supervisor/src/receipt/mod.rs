//! The receipt: the record of one upgrade, as JSON. Units are in the names, times are UTC with
//! nanoseconds, durations are integers, and what was not measured is `null`, never 0.

mod loss;

use baton_schema::Policy;
use serde::{Deserialize, Serialize};

pub use loss::{device_counters, drops};

use crate::exit::Exit;
use crate::state::Verdict;

/// The schema of the receipts this version writes.
pub const SCHEMA: &str = "baton.receipt/1";

/// One upgrade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`SCHEMA`].
    pub schema: String,
    /// Counts from 1 in each instance.
    pub number: u64,
    /// The instance.
    pub prefix: String,
    /// `upgrade`, `rollback` or `takeover`.
    pub kind: String,
    /// Who asked; `null` when nobody did.
    pub asked_by: Option<AskedBy>,
    /// Where.
    pub host: Host,
    /// When it began.
    pub started: String,
    /// When it ended.
    pub ended: String,
    /// Who forwarded.
    pub from: Option<Program>,
    /// Who was to forward.
    pub to: Option<Program>,
    /// What happened, in order.
    pub phases: Vec<PhaseRecord>,
    /// What became of each zone.
    pub zones: Vec<ZoneRecord>,
    /// Each change of hands, the last one of each shard.
    pub shards: Vec<ShardRecord>,
    /// Counters of the devices.
    pub device_counters: Vec<DeviceCounter>,
    /// The program's own drop reasons.
    pub drops: Vec<Drops>,
    /// Where the packet buffers are at the end.
    pub mbufs: Option<Mbufs>,
    /// What the gate compared.
    pub gate: Vec<GateRow>,
    /// What was lost.
    pub loss: Loss,
    /// How it ended.
    pub verdict: Verdict,
    /// In which phase and why, unless it simply committed.
    pub reason: Option<String>,
    /// What `baton` ended with.
    pub exit_code: u8,
    /// SHA-256 of the previous receipt's file.
    pub previous_receipt_sha256: Option<String>,
}

/// Who asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedBy {
    /// By the socket's credentials.
    pub uid: u32,
    /// The uid's name.
    pub user: Option<String>,
    /// The command line.
    pub argv: Vec<String>,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Which boot.
    pub boot_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// Version of the supervisor.
    pub supervisor: String,
}

/// A tenant's program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// As in its manifest.
    pub name: Option<String>,
    /// As in its manifest.
    pub version: Option<String>,
    /// Its generation set.
    pub generation: Option<u16>,
    /// Its process.
    pub pid: Option<u32>,
    /// Its content.
    pub binary_sha256: String,
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// `plan`, `spawn`, ...
    pub name: String,
    /// Since the upgrade began.
    pub started_ns: u64,
    /// How long it took.
    pub duration_ns: u64,
    /// `ok`, `failed`, `deadline` or `ended`.
    pub result: String,
    /// Numbers the tenant reported.
    pub detail: serde_json::Map<String, serde_json::Value>,
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZoneRecord {
    /// As in the directory.
    pub name: String,
    /// What was done.
    pub policy: Policy,
    /// `null`: there was none.
    pub from_version: Option<u32>,
    /// What is used now.
    pub to_version: u32,
    /// Before the upgrade.
    pub records_before: Option<u64>,
    /// After the phase that built it.
    pub records_after: Option<u64>,
    /// Its size.
    pub bytes_after: Option<u64>,
    /// What the way up loses: nothing, by construction.
    pub losses_forward: Vec<String>,
    /// What the way back loses.
    pub losses_back: Vec<String>,
}

/// One change of hands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardRecord {
    /// Which shard; 63 is the control shard.
    pub shard: u16,
    /// `forward` or `back`.
    pub direction: String,
    /// Whether it went alone before the others.
    pub canary: bool,
    /// Index of the lcore that has it now.
    pub lcore: u16,
    /// How long its queues had no poller.
    pub gap_ns: Option<u64>,
    /// Owner word before.
    pub epoch_before: u32,
    /// Owner word after.
    pub epoch_after: u32,
    /// Copied while nobody polled.
    pub records_in_last_delta: Option<u64>,
    /// Its queues.
    pub queues: Vec<QueueRecord>,
}

/// One queue of a shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueRecord {
    /// As in the config.
    pub port: String,
    /// Which queue.
    pub queue: u16,
    /// Size of its receive ring.
    pub ring_entries: Option<u32>,
    /// Filled when the next tenant first looked (of the shard's fullest ring).
    pub ring_used_at_takeover: Option<u32>,
    /// Before the upgrade.
    pub rate_before_pps: Option<u64>,
    /// How long a gap the ring bears at that rate.
    pub absorbs_ns: Option<u64>,
}

/// One counter of a device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceCounter {
    /// As in the config.
    pub port: String,
    /// Which queue.
    pub queue: u16,
    /// As the device calls it.
    pub name: String,
    /// When the upgrade began.
    pub before: Option<u64>,
    /// When it ended.
    pub after: Option<u64>,
    /// The driver that read it.
    pub source: String,
}

/// One drop reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drops {
    /// Its name.
    pub reason: String,
    /// When the upgrade began.
    pub before: Option<u64>,
    /// When it ended.
    pub after: Option<u64>,
    /// Before the upgrade; not measured so far.
    pub baseline_per_s: Option<f64>,
}

/// The audit of packet buffers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mbufs {
    /// All.
    pub total: u64,
    /// Found exactly once.
    pub accounted: u64,
    /// Found nowhere.
    pub unaccounted: u64,
}

/// One comparison of the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRow {
    /// `heartbeat`, `rate` or `drops`.
    pub name: String,
    /// Before the swap.
    pub baseline: Option<u64>,
    /// In the soak.
    pub observed: Option<u64>,
    /// As configured.
    pub limit: String,
    /// `ok` or `breached`.
    pub result: String,
}

/// What was lost, and what says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// At the ports and in the gateway.
    pub packets: Option<u64>,
    /// Sessions the check of the new generation did not find.
    pub sessions: Option<u64>,
    /// Only a sequenced probe could tell.
    pub duplicated: Option<u64>,
    /// Only a sequenced probe could tell.
    pub reordered: Option<u64>,
    /// Where the numbers come from.
    pub derived_from: Vec<String>,
}

impl Receipt {
    /// The exit code of the verb that caused it.
    pub fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::Committed | Verdict::TookOver if self.lost() > 0 => Exit::Loss,
            Verdict::Committed | Verdict::TookOver => Exit::Done,
            // A rollback that was asked for by its own verb is that verb's success.
            Verdict::RolledBack if self.lost() > 0 => Exit::Loss,
            Verdict::RolledBack => Exit::RolledBack,
            Verdict::Refused => Exit::Refused,
            Verdict::Failed => Exit::Failed,
            Verdict::Interrupted => Exit::Failed,
        }
    }

    /// Packets and sessions known to be lost.
    pub fn lost(&self) -> u64 {
        self.loss.packets.unwrap_or(0) + self.loss.sessions.unwrap_or(0)
    }

    /// The longest gap of the receipt.
    pub fn gap_max_ns(&self) -> Option<u64> {
        self.shards.iter().filter_map(|shard| shard.gap_ns).max()
    }
}
