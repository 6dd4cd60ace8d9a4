//! The plan's verdict and the words of each refusal.

use baton_schema::{Field, Kind, ZoneManifest};

use super::*;

fn schema(name: &str, version: u32, size: u32) -> Schema {
    let field = Field {
        name: format!("f{version}"),
        offset: 0,
        size,
        kind: Kind::Bytes,
        names: vec![],
        doc: String::new(),
    };
    Schema {
        name: name.into(),
        version,
        size,
        align: 8,
        fields: vec![field],
        doc: String::new(),
    }
}

fn zone(name: &str, policy: Policy, reads: &[u32]) -> ZoneManifest {
    let reads: Vec<Schema> = reads
        .iter()
        .map(|version| schema(name, *version, 48 + version * 16))
        .collect();
    ZoneManifest {
        name: name.into(),
        policy,
        writes: reads.last().expect("one").clone(),
        reads,
        losses_back: if policy == Policy::Migrate {
            vec!["qos_class".into()]
        } else {
            vec![]
        },
        parameters: None,
    }
}

fn live(name: &str, version: u32) -> LiveZone {
    let schema = schema(name, version, 48 + version * 16);
    LiveZone {
        name: name.into(),
        bytes: 1000 * u64::from(schema.size),
        records: 1000,
        schema,
    }
}

fn manifest(zones: Vec<ZoneManifest>) -> Manifest {
    Manifest {
        name: "gateway".into(),
        version: "1.5.0".into(),
        wire: 1,
        zones,
    }
}

fn facts<'a>(manifest: &'a Manifest, live: &'a [LiveZone], load: &'a [QueueLoad]) -> Facts<'a> {
    Facts {
        prefix: "edge1",
        from: Candidate {
            name: "gateway".into(),
            version: "1.4.2".into(),
            binary_sha256: "0b".into(),
        },
        to_sha256: "6f",
        manifest,
        running: None,
        config_error: None,
        instance_change: None,
        live,
        load,
        measured_stop_ns: None,
        free_bytes: None,
    }
}

fn queue(rate_pps: u64, ring_entries: u32, posted: u32) -> QueueLoad {
    QueueLoad {
        port: "inside".into(),
        queue: 0,
        rate_pps,
        ring_entries,
        posted,
    }
}

#[test]
fn each_zone_gets_its_policy_and_a_changed_record_is_migrated() {
    let candidate = manifest(vec![
        zone("mbuf", Policy::AllAtOnce, &[1]),
        zone("nat.session", Policy::Migrate, &[1, 2]),
        zone("route", Policy::Rebuild, &[1]),
        zone("nat.qos", Policy::Adopt, &[1]),
    ]);
    let live = [live("mbuf", 1), live("nat.session", 1), live("route", 1)];
    let load = [queue(710_000, 4096, 4096)];
    let plan = make(&facts(&candidate, &live, &load));
    assert!(plan.go, "{:?}", plan.refusals);
    let policies: Vec<Policy> = plan.zones.iter().map(|zone| zone.policy).collect();
    assert_eq!(
        policies,
        [
            Policy::Adopt,
            Policy::Migrate,
            Policy::Rebuild,
            Policy::Rebuild
        ]
    );
    let session = &plan.zones[1];
    assert_eq!((session.from_version, session.to_version), (Some(1), 2));
    assert_eq!(
        (session.bytes_before, session.bytes_new),
        (Some(64_000), Some(80_000))
    );
    assert_eq!(session.note.as_deref(), Some("back: loses qos_class"));
    assert_eq!(plan.losses_back, ["qos_class"]);
    assert_eq!(plan.swap.holds_ns, Some(4096 * 1_000_000_000 / 710_000));
}

#[test]
fn a_binary_without_a_path_is_refused_with_zone_both_versions_and_a_way_out() {
    let candidate = manifest(vec![zone("nat.session", Policy::Migrate, &[2, 3, 4])]);
    let live = [live("nat.session", 1)];
    let plan = make(&facts(&candidate, &live, &[]));
    assert!(!plan.go);
    assert_eq!(
        plan.refusals,
        ["zone nat.session v1 -> v4: no path: it reads v2, v3, v4; the arena holds v1"]
    );
    assert_eq!(
        plan.way_out.as_deref(),
        Some("upgrade first to a version that writes nat.session v2")
    );
}

#[test]
fn an_older_binary_does_not_read_what_a_newer_one_wrote() {
    let candidate = manifest(vec![zone("nat.session", Policy::Migrate, &[1])]);
    let live = [live("nat.session", 2)];
    let plan = make(&facts(&candidate, &live, &[]));
    assert_eq!(
        plan.way_out.as_deref(),
        Some("take a version that reads nat.session v2")
    );
}

#[test]
fn the_running_version_writes_the_layout_of_an_earlier_one() {
    let earlier = manifest(vec![
        zone("nat.session", Policy::Migrate, &[1]),
        zone("nat.key", Policy::Adopt, &[1]),
    ]);
    let running = manifest(vec![
        zone("nat.session", Policy::Migrate, &[1, 2]),
        zone("nat.key", Policy::Adopt, &[1]),
    ]);
    let live = [live("nat.session", 2), live("nat.key", 1)];
    let mut given = facts(&earlier, &live, &[]);
    given.running = Some(&running);
    let plan = make(&given);
    assert!(plan.go, "{:?}", plan.refusals);
    assert_eq!(plan.exports, [("nat.session".to_owned(), 1)]);
    assert_eq!(
        plan.zones[0].note.as_deref(),
        Some("back, by the running version: loses qos_class")
    );
    assert_eq!(
        (plan.zones[0].from_version, plan.zones[0].to_version),
        (Some(2), 1)
    );
}

#[test]
fn a_released_layout_that_was_changed_is_told_apart() {
    let candidate = manifest(vec![zone("nat.session", Policy::Migrate, &[1])]);
    let mut changed = live("nat.session", 1);
    changed.schema.fields[0].name = "other".into();
    let plan = make(&facts(&candidate, &[changed], &[]));
    assert!(
        plan.refusals[0].contains("a released layout was changed"),
        "{:?}",
        plan.refusals
    );
}

#[test]
fn a_stop_that_fills_half_the_ring_is_refused() {
    let candidate = manifest(vec![]);
    let at = |load: QueueLoad| make(&facts(&candidate, &[], &[load]));
    assert!(at(queue(100_000, 2048, 2048)).go);
    assert!(!at(queue(1_500_000, 256, 256)).go);
    assert!(
        !at(queue(1_500_000, 4096, 200)).go,
        "buffers posted count as the ring"
    );
    assert!(at(queue(0, 256, 256)).go, "no traffic, no loss");
    let plan = at(queue(1_500_000, 256, 256));
    assert!(
        plan.refusals[0].contains("half of the ring of 256 is the limit"),
        "{:?}",
        plan.refusals
    );
    let mut slow = facts(&candidate, &[], &[]);
    let load = [queue(100_000, 2048, 2048)];
    slow.load = &load;
    slow.measured_stop_ns = Some(20_000_000);
    assert!(!make(&slow).go, "the newest receipts tell of a longer stop");
}

#[test]
fn config_memory_and_instance_are_reasons_too() {
    let candidate = manifest(vec![zone("nat.session", Policy::Migrate, &[1, 2])]);
    let live = [live("nat.session", 1)];
    let mut given = facts(&candidate, &live, &[]);
    given.config_error = Some("line 3: unknown key".into());
    given.instance_change = Some("instance.shards changed from 1 to 2".into());
    given.free_bytes = Some(1_000);
    let plan = make(&given);
    assert_eq!(plan.refusals.len(), 3);
    assert!(
        plan.refusals[2].contains("79000 are missing"),
        "{:?}",
        plan.refusals
    );
}

#[test]
fn layouts_used_by_both_at_once_and_ports_are_refused_when_they_change() {
    let candidate = manifest(vec![
        zone("steering", Policy::AllAtOnce, &[1, 2]),
        zone("port.inside", Policy::Reopen, &[2]),
    ]);
    let live = [live("steering", 1), live("port.inside", 1)];
    let plan = make(&facts(&candidate, &live, &[]));
    assert_eq!(plan.refusals.len(), 2, "{:?}", plan.refusals);
}

proptest::proptest! {
    /// Whatever is compared, a plan says GO exactly when it names no reason against it.
    #[test]
    fn go_means_no_reason_against_it(versions in proptest::collection::vec((1u32..5, 1u32..5), 0..6), rate in 0u64..10_000_000) {
        let names: Vec<String> = (0..versions.len()).map(|n| format!("zone{n}")).collect();
        let zones = versions.iter().zip(&names).map(|((from, _), name)| {
            zone(name, Policy::Migrate, &(*from..=from + 1).collect::<Vec<_>>())
        }).collect();
        let candidate = manifest(zones);
        let live: Vec<LiveZone> = versions.iter().zip(&names).map(|((_, found), name)| live(name, *found)).collect();
        let load = [queue(rate, 1024, 1024)];
        let plan = make(&facts(&candidate, &live, &load));
        proptest::prop_assert_eq!(plan.go, plan.refusals.is_empty());
        proptest::prop_assert_eq!(plan.go, plan.way_out.is_none());
        let paths = versions.iter().all(|(from, found)| found == from || *found == from + 1);
        proptest::prop_assert!(paths || !plan.go);
    }
}
