//! What an upgrade would do, before anything happens: the policy table, the cost, whether the
//! rings bear the swap, and the verdict. Pure: it compares what others have read.

mod policy;
mod swap;
#[cfg(test)]
mod tests;

use baton_schema::{Manifest, Policy, Schema};
use serde::{Deserialize, Serialize};

use policy::{exports, refusal, row};
use swap::{swap, too_slow};

/// The schema of the plans this version prints.
pub const SCHEMA: &str = "baton.plan/1";

/// Records that a migration does a second, on a core it has to itself.
const MIGRATION_RATE: u64 = 5_000_000;

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`SCHEMA`].
    pub schema: String,
    /// The instance.
    pub prefix: String,
    /// Who forwards.
    pub from: Candidate,
    /// Who is to.
    pub to: Candidate,
    /// One row a zone.
    pub zones: Vec<ZonePlan>,
    /// Zones that the running version writes in the candidate's layout first: name and version.
    #[serde(default)]
    pub exports: Vec<(String, u32)>,
    /// What the candidate's parser says of the config; `null` = fine.
    pub config_error: Option<String>,
    /// What it costs.
    pub cost: Cost,
    /// Whether the rings bear it.
    pub swap: Swap,
    /// What a later way back loses.
    pub losses_back: Vec<String>,
    /// GO or not.
    pub go: bool,
    /// Why not.
    pub refusals: Vec<String>,
    /// What the operator can do about it.
    pub way_out: Option<String>,
}

/// A program in a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// As in its manifest.
    pub name: String,
    /// As in its manifest.
    pub version: String,
    /// Its content.
    pub binary_sha256: String,
}

/// One row of the policy table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ZonePlan {
    /// As in the directory.
    pub name: String,
    /// What will be done.
    pub policy: Policy,
    /// The live version; `null`: there is none.
    pub from_version: Option<u32>,
    /// What the candidate writes.
    pub to_version: u32,
    /// Records the zone has room for.
    pub records: Option<u64>,
    /// Bytes now.
    pub bytes_before: Option<u64>,
    /// Bytes of the second generation, if one is built.
    pub bytes_new: Option<u64>,
    /// A remark.
    pub note: Option<String>,
}

/// What an upgrade costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// While both generations live.
    pub memory_bytes: u64,
    /// Time to migrate.
    pub migration_ns: u64,
}

/// Whether the rings bear the swap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Swap {
    /// Estimated time without a poller.
    pub stop_ns: u64,
    /// Of the busiest queue; `null`: not measured.
    pub rate_pps: Option<u64>,
    /// The smaller of its receive ring and the buffers posted.
    pub ring: Option<u64>,
    /// How long that lasts.
    pub holds_ns: Option<u64>,
}

/// A zone as it stands in the directory.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveZone {
    /// Its name.
    pub name: String,
    /// Its layout.
    pub schema: Schema,
    /// Records it has room for.
    pub records: u64,
    /// Its bytes.
    pub bytes: u64,
}

/// The load of one queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueLoad {
    /// As in the config.
    pub port: String,
    /// Which queue.
    pub queue: u16,
    /// Packets a second, just measured.
    pub rate_pps: u64,
    /// Size of the receive ring.
    pub ring_entries: u32,
    /// Buffers posted for reception.
    pub posted: u32,
}

/// Everything a plan is made from.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The instance.
    pub prefix: &'a str,
    /// Who forwards.
    pub from: Candidate,
    /// The candidate's content.
    pub to_sha256: &'a str,
    /// What the candidate reads and writes.
    pub manifest: &'a Manifest,
    /// What the running version reads and writes.
    pub running: Option<&'a Manifest>,
    /// What the candidate's parser said of the config.
    pub config_error: Option<String>,
    /// A change of the instance that no upgrade can make.
    pub instance_change: Option<String>,
    /// The zones now in use.
    pub live: &'a [LiveZone],
    /// The queues now.
    pub load: &'a [QueueLoad],
    /// The usual stop in the newest receipts.
    pub measured_stop_ns: Option<u64>,
    /// Bytes left for zones; `None`: the arena grows.
    pub free_bytes: Option<u64>,
}

/// Makes the plan.
pub fn make(facts: &Facts<'_>) -> Plan {
    let zones: Vec<ZonePlan> = facts
        .manifest
        .zones
        .iter()
        .map(|zone| row(zone, facts))
        .collect();
    let memory_bytes = zones.iter().filter_map(|zone| zone.bytes_new).sum();
    let migrated: u64 = zones
        .iter()
        .filter(|zone| zone.policy == Policy::Migrate)
        .filter_map(|zone| zone.records)
        .sum();
    let swap = swap(facts, migrated);
    let mut refusals: Vec<String> = zones
        .iter()
        .filter_map(|zone| refusal(zone, facts))
        .collect();
    refusals.extend(
        facts
            .config_error
            .as_ref()
            .map(|error| format!("config: {error}")),
    );
    refusals.extend(facts.instance_change.clone());
    refusals.extend(too_slow(&swap));
    if let Some(free) = facts.free_bytes.filter(|free| *free < memory_bytes) {
        refusals.push(format!(
            "memory: the second generation takes {memory_bytes} bytes, {free} are free, {} are missing",
            memory_bytes - free
        ));
    }
    let go = refusals.is_empty();
    Plan {
        schema: SCHEMA.to_owned(),
        prefix: facts.prefix.to_owned(),
        from: facts.from.clone(),
        to: Candidate {
            name: facts.manifest.name.clone(),
            version: facts.manifest.version.clone(),
            binary_sha256: facts.to_sha256.to_owned(),
        },
        losses_back: losses_back(facts, &zones),
        exports: exports(facts, &zones),
        way_out: (!go).then(|| way_out(facts, &zones, &swap)),
        zones,
        config_error: facts.config_error.clone(),
        cost: Cost {
            memory_bytes,
            migration_ns: migrated * 1_000_000_000 / MIGRATION_RATE,
        },
        swap,
        go,
        refusals,
    }
}

fn losses_back(facts: &Facts<'_>, zones: &[ZonePlan]) -> Vec<String> {
    let mut losses: Vec<String> = Vec::new();
    for (zone, row) in facts.manifest.zones.iter().zip(zones) {
        if row.policy == Policy::Migrate {
            losses.extend(
                zone.losses_back
                    .iter()
                    .filter(|loss| !losses.contains(loss))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
    }
    losses
}

fn way_out(facts: &Facts<'_>, zones: &[ZonePlan], swap: &Swap) -> String {
    let refused = zones.iter().find(|zone| zone.policy == Policy::Refuse);
    if let Some(zone) = refused {
        let manifest = facts.manifest.zone(&zone.name);
        let oldest = manifest.and_then(|zone| zone.reads.iter().map(|schema| schema.version).min());
        return match oldest {
            Some(oldest) if zone.from_version.is_some_and(|from| from < oldest) => {
                format!(
                    "upgrade first to a version that writes {} v{oldest}",
                    zone.name
                )
            }
            _ => format!(
                "take a version that reads {} v{}",
                zone.name,
                zone.from_version.unwrap_or(0)
            ),
        };
    }
    if facts.config_error.is_some() {
        return "mend the config, then plan again".to_owned();
    }
    if too_slow(swap).is_some() {
        return "a larger rxd, or a quieter hour".to_owned();
    }
    if facts.instance_change.is_some() {
        return format!(
            "undo that change, or baton stop {0} and baton run {0}",
            facts.prefix
        );
    }
    "see above".to_owned()
}
