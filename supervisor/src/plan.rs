//! What an upgrade would do, before anything happens: the policy table, the cost, whether the
//! rings bear the swap, and the verdict. Pure: it compares what others have read.

use baton_schema::{Manifest, Policy, Schema, ZoneManifest};
use serde::{Deserialize, Serialize};

/// The schema of the plans this version prints.
pub const SCHEMA: &str = "baton.plan/1";

/// Records that a migration does a second, on a core it has to itself.
const MIGRATION_RATE: u64 = 5_000_000;

/// A stop when no receipt tells of one: a futex wake on a shared core and its noise.
const USUAL_STOP_NS: u64 = 100_000;

/// Of the migrated records, how many may change while the last round is copied: one in so many.
const LAST_DELTA_SHARE: u64 = 1_000;

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

fn row(zone: &ZoneManifest, facts: &Facts<'_>) -> ZonePlan {
    let found = facts
        .live
        .iter()
        .find(|candidate| candidate.name == zone.name);
    let decided = zone.decide(found.map(|found| found.schema.fingerprint()));
    let down = found
        .and_then(|_| way_down(zone, facts))
        .filter(|_| decided == Policy::Refuse);
    let policy = down.map_or(decided, |running| running.policy);
    let from_version = found.map(|found| found.schema.version);
    let builds = matches!(policy, Policy::Migrate | Policy::Carry | Policy::Rebuild);
    let bytes_new = found.filter(|_| builds).map(|found| {
        let (old, new) = (
            u64::from(found.schema.size.max(1)),
            u64::from(zone.writes.size.max(1)),
        );
        if policy == Policy::Rebuild {
            found.bytes
        } else {
            found.bytes * new / old
        }
    });
    let note = match policy {
        _ if down.is_some() => down.map(|running| match running.losses_back.as_slice() {
            [] => "back, by the running version".to_owned(),
            losses => format!("back, by the running version: loses {}", losses.join(", ")),
        }),
        Policy::Refuse => Some(no_path(zone, from_version)),
        Policy::Migrate | Policy::Carry if !zone.losses_back.is_empty() => {
            Some(format!("back: loses {}", zone.losses_back.join(", ")))
        }
        _ if found.is_none() => Some("new".to_owned()),
        _ => None,
    };
    ZonePlan {
        name: zone.name.clone(),
        policy,
        from_version,
        to_version: zone.writes.version,
        records: found.map(|found| found.records),
        bytes_before: found.map(|found| found.bytes),
        bytes_new,
        note,
    }
}

/// The running version's zone, if it can write the layout that an earlier version wrote.
fn way_down<'a>(zone: &ZoneManifest, facts: &Facts<'a>) -> Option<&'a ZoneManifest> {
    let running = facts.running?.zone(&zone.name)?;
    let movable = matches!(running.policy, Policy::Migrate | Policy::Carry);
    (movable && running.reads(zone.writes.fingerprint())).then_some(running)
}

/// The rows whose live version is later than what the candidate writes.
fn exports(facts: &Facts<'_>, zones: &[ZonePlan]) -> Vec<(String, u32)> {
    let rows = facts.manifest.zones.iter().zip(zones);
    let down = rows.filter(|(zone, row)| {
        row.from_version.is_some_and(|from| from > row.to_version)
            && way_down(zone, facts).is_some()
    });
    down.map(|(zone, row)| (zone.name.clone(), row.to_version))
        .collect()
}

fn no_path(zone: &ZoneManifest, from_version: Option<u32>) -> String {
    let reads: Vec<String> = zone
        .reads
        .iter()
        .map(|schema| format!("v{}", schema.version))
        .collect();
    let holds = from_version.map_or("nothing".to_owned(), |version| format!("v{version}"));
    let same = zone
        .reads
        .iter()
        .any(|schema| Some(schema.version) == from_version);
    if same {
        return format!(
            "{holds} here is another layout than the candidate's {holds}: a released layout was changed"
        );
    }
    if zone.policy == Policy::Adopt {
        return format!(
            "no path: declared adopt, but the layout changed from {holds} to v{}",
            zone.writes.version
        );
    }
    format!(
        "no path: it reads {}; the arena holds {holds}",
        reads.join(", ")
    )
}

fn refusal(zone: &ZonePlan, facts: &Facts<'_>) -> Option<String> {
    let versions = || {
        let from = zone
            .from_version
            .map_or("nothing".to_owned(), |version| format!("v{version}"));
        format!("{} {from} -> v{}", zone.name, zone.to_version)
    };
    match zone.policy {
        Policy::Refuse => Some(format!(
            "zone {}: {}",
            versions(),
            zone.note.as_deref().unwrap_or("no path")
        )),
        Policy::Reopen => Some(format!(
            "zone {}: its port would have to be opened anew, with its link down",
            versions()
        )),
        // Built when a layout that both generations touch at once really changes.
        Policy::AllAtOnce if facts.live.iter().any(|live| live.name == zone.name) => Some(format!(
            "zone {}: both generations use it at once, and moving all lcores in one step is not built",
            versions()
        )),
        _ => None,
    }
}

fn swap(facts: &Facts<'_>, migrated: u64) -> Swap {
    let stop_ns = facts.measured_stop_ns.unwrap_or(0).max(USUAL_STOP_NS)
        + migrated / LAST_DELTA_SHARE * 1_000_000_000 / MIGRATION_RATE;
    let holds = |queue: &QueueLoad| {
        let ring = u64::from(queue.ring_entries.min(queue.posted));
        (ring > 0 && queue.rate_pps > 0)
            .then(|| (ring * 1_000_000_000 / queue.rate_pps, ring, queue.rate_pps))
    };
    let tightest = facts.load.iter().filter_map(holds).min();
    Swap {
        stop_ns,
        rate_pps: tightest
            .map(|(_, _, rate)| rate)
            .or_else(|| (!facts.load.is_empty()).then_some(0)),
        ring: tightest.map(|(_, ring, _)| ring),
        holds_ns: tightest.map(|(holds, _, _)| holds),
    }
}

/// An estimated stop that fills more than half of the ring is refused.
fn too_slow(swap: &Swap) -> Option<String> {
    let (holds, ring, rate) = (swap.holds_ns?, swap.ring?, swap.rate_pps?);
    (swap.stop_ns > holds / 2).then(|| {
        format!(
            "swap: a stop of about {} us at {rate} packets/s brings {} packets, and half of the ring of {ring} is the limit",
            swap.stop_ns / 1_000,
            u128::from(swap.stop_ns) * u128::from(rate) / 1_000_000_000
        )
    })
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

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
