//! What a primary tells the supervisor about itself: the report of a phase, and live numbers.

use serde::{Deserialize, Serialize};

use crate::policy::Policy;

/// What a phase did, for the receipt.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Named numbers, for example `rounds`, `last_delta_records`.
    pub counts: Vec<(String, u64)>,
    /// One row a zone.
    pub zones: Vec<ZoneReport>,
    /// Sentences for the operator.
    pub notes: Vec<String>,
}

impl Report {
    /// The number with this name.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.counts
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, count)| *count)
    }
}

/// What was done with one zone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneReport {
    /// As in the directory.
    pub name: String,
    /// What was done (not what was declared).
    pub policy: Policy,
    /// The version found; 0 = there was none.
    pub from_version: u32,
    /// The version now used.
    pub to_version: u32,
    /// Records in use.
    pub records: u64,
    /// Bytes of the zone.
    pub bytes: u64,
    /// What going back loses.
    pub losses_back: Vec<String>,
}

/// Live numbers of one tenant.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {
    /// One row a shard.
    pub shards: Vec<ShardStats>,
    /// Counters of the program's own drop reasons, all shards together.
    pub drops: Vec<(String, u64)>,
    /// One row a queue.
    pub ports: Vec<PortStats>,
    /// Where the packet buffers are.
    pub mbufs: MbufStats,
    /// Numbers the program adds by itself, for example `nat_sessions_limit`.
    pub program: Vec<(String, u64)>,
}

/// Live numbers of one shard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ShardStats {
    /// Which shard.
    pub shard: u16,
    /// Lcore index within the tenant.
    pub lcore: u16,
    /// The CPU it is pinned to.
    pub cpu: u16,
    /// Whether this tenant owns the shard now.
    pub owned: bool,
    /// Live sessions.
    pub sessions: u64,
    /// Packets received by this shard.
    pub rx_packets: u64,
    /// Packets it sent.
    pub tx_packets: u64,
    /// `CLOCK_BOOTTIME` of the lcore's last loop.
    pub heartbeat_ns: u64,
    /// Share of the last second spent on packets.
    pub busy_permille: u32,
}

/// Live numbers of one queue of one port.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PortStats {
    /// As in the config.
    pub name: String,
    /// For example `net_af_xdp`.
    pub driver: String,
    /// Which queue.
    pub queue: u16,
    /// For example `native`, `generic`, `zero-copy`.
    pub mode: String,
    /// Link state.
    pub up: bool,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Size of the receive ring.
    pub rx_ring_entries: u32,
    /// Filled entries of it.
    pub rx_ring_used: u32,
    /// Buffers posted for reception.
    pub posted: u32,
    /// Counters of the device, by its names.
    pub device: Vec<(String, u64)>,
}

/// Where the packet buffers are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MbufStats {
    /// All of them.
    pub total: u64,
    /// In the pool and its caches.
    pub free: u64,
    /// Found exactly once.
    pub accounted: u64,
    /// Found nowhere.
    pub unaccounted: u64,
    /// Found more than once.
    pub doubled: u64,
    /// How many each holder has.
    pub holders: Vec<(String, u64)>,
}
