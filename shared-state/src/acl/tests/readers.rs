//! Readers beside a writer: each burst is answered by one version that stood while it ran.

use std::thread;

use super::*;
use crate::sync::{AtomicU64, Ordering};

enum Change {
    Add(Rule),
    /// Of the rule with this priority.
    Remove(i32),
}

/// Changes, and what the probes should get after each number of them.
fn plan(probes: &[Probe], n: usize) -> (Vec<Change>, Vec<Vec<u32>>) {
    let mut random = SplitMix(11);
    let pool = sample::rules(40);
    let mut standing: Vec<(RuleId, Rule)> = Vec::new();
    let answers = |standing: &[(RuleId, Rule)]| -> Vec<u32> {
        probes
            .iter()
            .map(|probe| probe.linear(standing, 1)[0])
            .collect()
    };
    let (mut changes, mut expected) = (Vec::new(), vec![answers(&standing)]);
    for i in 0..n as u32 {
        if standing.len() > 12 || random.below(3) == 0 && !standing.is_empty() {
            let (_, gone) = standing.swap_remove(random.below(standing.len() as u64) as usize);
            changes.push(Change::Remove(gone.priority));
        } else {
            let priority = (random.draw() as i32 & !0xffff) | i as i32;
            let rule = Rule {
                priority,
                action: i + 1,
                ..pool[random.below(40) as usize]
            };
            standing.push((RuleId(i), rule));
            changes.push(Change::Add(rule));
        }
        expected.push(answers(&standing));
    }
    (changes, expected)
}

#[test]
fn a_burst_beside_changes_is_answered_by_one_version() {
    const CHANGES: usize = 1500;
    static BEGUN: AtomicU64 = AtomicU64::new(0);
    static DONE: AtomicU64 = AtomicU64::new(0);
    static BURSTS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
    let probes = probes_of(&sample::rules(40), Family::V4, 60, 1);
    let (changes, expected) = plan(&probes, CHANGES);
    let bytes = Acl::bytes_for(Family::V4, small()).unwrap();
    let region = Region::private(bytes);
    let mut writer = Acl::create(region, Family::V4, small()).unwrap();
    let reader = |n: usize, path: Path| {
        let (probes, expected) = (probes.clone(), expected.clone());
        move || {
            let acl = Acl::attach(region).unwrap();
            let acl = acl.with_path(path).unwrap_or(acl);
            let mut answers = std::collections::BTreeSet::new();
            while DONE.load(Ordering::Acquire) < CHANGES as u64 {
                let from = DONE.load(Ordering::Acquire) as usize;
                let actions = classify(&acl, &probes);
                let to = BEGUN.load(Ordering::Acquire) as usize;
                let version = (from..=to).find(|version| expected[*version] == actions);
                assert!(version.is_some(), "neither of versions {from} to {to}");
                answers.extend(version);
                BURSTS[n].fetch_add(1, Ordering::Release);
            }
            BURSTS[n].fetch_add(1 << 40, Ordering::Release);
            answers.len()
        }
    };
    let readers = [
        thread::spawn(reader(0, Path::Avx512)),
        thread::spawn(reader(1, Path::Scalar)),
    ];
    let grace = || {
        for bursts in &BURSTS {
            let before = bursts.load(Ordering::Acquire);
            while bursts.load(Ordering::Acquire) < before + 2 {
                thread::yield_now();
            }
        }
    };
    for (i, change) in changes.iter().enumerate() {
        BEGUN.store(i as u64 + 1, Ordering::SeqCst);
        match change {
            Change::Add(rule) => {
                writer.add_waiting(rule, grace).unwrap();
            }
            Change::Remove(priority) => {
                let mut rules = writer.rules();
                let id = rules
                    .find(|(_, rule)| rule.priority == *priority)
                    .unwrap()
                    .0;
                drop(rules);
                writer.remove_waiting(id, grace).unwrap();
            }
        }
        DONE.store(i as u64 + 1, Ordering::SeqCst);
    }
    assert_eq!(writer.audit(), 0);
    for reader in readers {
        let versions = reader.join().unwrap();
        assert!(versions > 10, "a reader saw {versions} versions only");
    }
}
