//! What is done with each zone, or why nothing can be.

use baton_schema::{Policy, ZoneManifest};

use super::{Facts, ZonePlan};

pub(super) fn row(zone: &ZoneManifest, facts: &Facts<'_>) -> ZonePlan {
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
pub(super) fn exports(facts: &Facts<'_>, zones: &[ZonePlan]) -> Vec<(String, u32)> {
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

pub(super) fn refusal(zone: &ZonePlan, facts: &Facts<'_>) -> Option<String> {
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
