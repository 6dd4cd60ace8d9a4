//! The classifier against a linear scan, through changes, deaths, readers and damage.

mod crash;
mod inputs;
mod readers;
mod refusals;

use proptest::prelude::*;

use super::sample::SplitMix;
use super::*;
use inputs::{Probe, rule};

/// The same view by each path that this processor has.
fn by_each_path(acl: Acl) -> impl Iterator<Item = (Path, Acl)> {
    let paths = Path::ALL.into_iter();
    paths.filter_map(move |path| Some((path, acl.with_path(path)?)))
}

fn classify(acl: &Acl, probes: &[Probe]) -> Vec<u32> {
    let mut actions = vec![u32::MAX; probes.len()];
    match acl.family() {
        Family::V4 => acl.classify4(
            &probes.iter().map(Probe::key4).collect::<Vec<_>>(),
            &mut actions,
        ),
        Family::V6 => acl.classify6(
            &probes.iter().map(Probe::key6).collect::<Vec<_>>(),
            &mut actions,
        ),
    }
    actions
}

fn classify_categories(acl: &Acl, probes: &[Probe], n: usize) -> Vec<u32> {
    let mut actions = vec![u32::MAX; probes.len() * n];
    match acl.family() {
        Family::V4 => {
            let keys: Vec<_> = probes.iter().map(Probe::key4).collect();
            acl.classify4_categories(&keys, n, &mut actions);
        }
        Family::V6 => {
            let keys: Vec<_> = probes.iter().map(Probe::key6).collect();
            acl.classify6_categories(&keys, n, &mut actions);
        }
    }
    actions
}

fn agrees(writer: &AclWriter, probes: &[Probe], categories: usize) {
    let rules: Vec<_> = writer.rules().map(|(id, rule)| (id, *rule)).collect();
    let want: Vec<_> = probes
        .iter()
        .map(|probe| probe.linear(&rules, categories))
        .collect();
    for (path, acl) in by_each_path(writer.reader()) {
        let first: Vec<_> = want.iter().map(|want| want[0]).collect();
        assert_eq!(classify(&acl, probes), first, "{path:?}");
        // Small calls have a room of their own.
        for n in [1, 15, 16, 17, 31, 32, 33] {
            let (probes, first) = (
                &probes[..n.min(probes.len())],
                &first[..n.min(probes.len())],
            );
            assert_eq!(classify(&acl, probes), first, "{path:?}, {n} headers");
        }
        let all = classify_categories(&acl, probes, categories);
        assert_eq!(all, want.concat(), "{path:?}, {categories} categories");
    }
}

fn empty(family: Family, rules: u32) -> AclWriter {
    let sizes = Sizes::for_rules(rules, family);
    let bytes = Acl::bytes_for(family, sizes).unwrap();
    Acl::create(Region::private(bytes), family, sizes).unwrap()
}

fn small() -> Sizes {
    Sizes {
        rules: 64,
        classes: 700,
        big_nodes: 64,
        small_nodes: 900,
        blocks: 10,
        versions: 10,
    }
}

fn probes_of(rules: &[Rule], family: Family, n: usize, seed: u64) -> Vec<Probe> {
    let mut random = SplitMix(seed);
    let one = |_| {
        let rule = &rules[random.below(rules.len() as u64) as usize];
        Probe::near(&mut random, rule, family)
    };
    (0..n).map(one).collect()
}

#[test]
fn the_rules_of_the_sample_are_those_of_the_program_for_rte_acl() {
    let mut hash = 0u64;
    for rule in sample::rules(1000) {
        let (src, dst) = ((rule.src.addr >> 96) as u64, (rule.dst.addr >> 96) as u64);
        let ports = [rule.sport.0, rule.sport.1, rule.dport.0, rule.dport.1].map(u64::from);
        let lens = [rule.src.len, rule.dst.len].map(u64::from);
        let proto = [rule.proto, rule.proto_mask].map(u64::from);
        for number in [src, dst].into_iter().chain(lens).chain(ports).chain(proto) {
            hash = hash.wrapping_mul(31).wrapping_add(number);
        }
    }
    assert_eq!(
        hash, 0x54bf_a8f5_6198_5435,
        "printed by the generator in C, built by gcc 12"
    );
}

#[test]
fn generated_sets_are_classified_as_a_linear_scan_does() {
    for n in [1, 100, 1500] {
        let rules = sample::rules(n);
        let mut writer = empty(Family::V4, n);
        writer.build(&rules).unwrap();
        assert_eq!((writer.len(), writer.audit()), (n as usize, 0));
        let trace = sample::headers(&rules, 1000).into_iter().map(|key| Probe {
            src: u128::from(key.src) << 96,
            dst: u128::from(key.dst) << 96,
            sport: key.sport,
            dport: key.dport,
            proto: key.proto,
        });
        let mut probes: Vec<_> = trace.collect();
        probes.extend(probes_of(&rules, Family::V4, 500, n.into()));
        agrees(&writer, &probes, 1);
    }
}

#[test]
fn rules_added_and_removed_one_by_one_split_and_merge_blocks() {
    let rules = sample::rules(1300);
    let mut writer = empty(Family::V4, 1300);
    let mut ids = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        ids.push(writer.add(rule).unwrap());
        if i % 7 == 0 {
            writer.quiesced().unwrap();
        }
    }
    let probes = probes_of(&rules, Family::V4, 600, 5);
    agrees(&writer, &probes, 1);
    assert_eq!(writer.audit(), 0);
    let blocks = writer.list.len();
    let mut random = SplitMix(9);
    for i in 0..1250 {
        let id = ids.swap_remove(random.below(ids.len() as u64) as usize);
        writer.remove_waiting(id, || ()).unwrap();
        if i % 300 == 299 {
            agrees(&writer, &probes, 1);
            assert_eq!(writer.audit(), 0);
        }
    }
    assert!(
        blocks > 2 && writer.list.len() == 1,
        "{blocks}, then {}",
        writer.list.len()
    );
    for id in ids {
        writer.remove_waiting(id, || ()).unwrap();
    }
    nothing_leaked(&mut writer);
}

/// An empty classifier has given everything back but the classes of protocols.
fn nothing_leaked(writer: &mut AclWriter) {
    for id in writer.rules().map(|(id, _)| id).collect::<Vec<_>>() {
        writer.remove_waiting(id, || ()).unwrap();
    }
    (0..3).for_each(|_| writer.quiesced().unwrap());
    let used = [writer.blocks.used(), writer.ids.used()];
    assert_eq!(
        (used, writer.versions.used()),
        ([0; 2], u32::from(writer.version.is_some()))
    );
    let protos = writer.protos.inside(0, 0).count() as u32;
    assert_eq!(writer.classes.pool.used(), 4 + protos, "classes");
    let root = layout::FIRST_CELLS * layout::cell_bytes(writer.layout.family);
    assert_eq!(
        [0, 1].map(|f| writer.addresses[f].trie.used_bytes()),
        [root; 2],
        "nodes"
    );
}

/// Rules that overlap as much as they can, changes in any order, rests in between.
fn behaves_like_a_linear_scan(family: Family, steps: &[(Rule, u8)], seed: u64) {
    let bytes = Acl::bytes_for(family, small()).unwrap();
    let mut writer = Acl::create(Region::private(bytes), family, small()).unwrap();
    let rules: Vec<_> = steps.iter().map(|(rule, _)| *rule).collect();
    let probes = probes_of(&rules, family, 120, seed);
    let half = rules.len() / 2;
    let mut ids = writer.build(&rules[..half]).unwrap();
    for (rule, action) in &steps[half..] {
        if *action < 90 && !ids.is_empty() {
            let id = ids.swap_remove(*action as usize % ids.len());
            writer.remove_waiting(id, || ()).unwrap();
        } else {
            ids.push(writer.add_waiting(rule, || ()).unwrap());
        }
        if action % 5 == 0 {
            writer.quiesced().unwrap();
        }
        if action % 3 == 0 {
            agrees(&writer, &probes[..40], 2);
        }
    }
    agrees(&writer, &probes, 4);
    assert_eq!(writer.audit(), 0);
    let mut heir = AclWriter::recover(writer.region).unwrap();
    agrees(&heir, &probes, 4);
    assert_eq!(heir.len(), writer.len());
    heir.quiesced().unwrap();
    nothing_leaked(&mut heir);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn ipv4_behaves_like_a_linear_scan(
        steps in prop::collection::vec((rule(Family::V4), any::<u8>()), 2..60), seed in any::<u64>()
    ) {
        behaves_like_a_linear_scan(Family::V4, &steps, seed);
    }

    #[test]
    fn ipv6_behaves_like_a_linear_scan(
        steps in prop::collection::vec((rule(Family::V6), any::<u8>()), 2..40), seed in any::<u64>()
    ) {
        behaves_like_a_linear_scan(Family::V6, &steps, seed);
    }
}

/// All ways on the same headers, half of them inside rules.
fn simds_agree(headers: usize) {
    for family in [Family::V4, Family::V6] {
        let rules = match family {
            Family::V4 => sample::rules(1200),
            Family::V6 => (0..1200).map(rule6).collect(),
        };
        let mut writer = empty(family, 1200);
        writer.build(&rules).unwrap();
        for part in 0..headers.div_ceil(10_000) as u64 {
            let mut probes = probes_of(&rules, family, 5_000, part);
            let mut random = SplitMix(!part);
            let mut address = || u128::from(random.draw()) << 64 | u128::from(random.draw());
            probes.extend((0..5_000).map(|i: u32| Probe {
                src: address(),
                dst: address(),
                sport: i.wrapping_mul(40_503) as u16,
                dport: i as u16,
                proto: i as u8,
            }));
            let by_scalar = writer.reader().with_path(Path::Scalar).unwrap();
            let scalar = classify(&by_scalar, &probes);
            for (path, acl) in by_each_path(by_scalar) {
                // A length that is no multiple of anything.
                let cut = probes.len() - part as usize % 40;
                assert_eq!(
                    classify(&acl, &probes[..cut]),
                    scalar[..cut],
                    "{family:?} {path:?}"
                );
            }
            assert!(scalar.iter().filter(|action| **action != 0).count() > 100);
        }
    }
}

/// As the sample's, under a /32 or a /48 of documentation addresses.
fn rule6(i: u32) -> Rule {
    let mut random = SplitMix(i.into());
    let mut prefix = || {
        let site = 0x2001_0db8u128 << 96 | u128::from(random.below(40)) << 80;
        let len = [0, 32, 48, 56, 64, 128][random.below(6) as usize];
        Prefix::v6(site | u128::from(random.draw()), len)
    };
    let (src, dst) = (prefix(), prefix());
    Rule {
        src,
        dst,
        priority: -(i as i32),
        action: i + 1,
        ..sample::rules(1200)[i as usize % 50]
    }
}

#[test]
fn every_way_of_looking_up_gives_the_same() {
    simds_agree(100_000);
}

#[test]
#[ignore = "long: ten million headers of each family"]
fn every_way_of_looking_up_gives_the_same_for_ten_million() {
    simds_agree(10_000_000);
}

#[test]
fn whatever_the_bytes_are_a_lookup_ends_inside_the_region() {
    for family in [Family::V4, Family::V6] {
        let bytes = Acl::bytes_for(family, small()).unwrap();
        let region = Region::private(bytes);
        let mut writer = Acl::create(region, family, small()).unwrap();
        let rules: Vec<Rule> = (0..60)
            .map(rule6)
            .map(|rule| Rule {
                src: Prefix::aligned(rule.src.addr, rule.src.len.min(family.bits())),
                dst: Prefix::aligned(rule.dst.addr, rule.dst.len.min(family.bits())),
                ..rule
            })
            .collect();
        writer.build(&rules).unwrap();
        let probes = probes_of(&rules, family, 300, 3);
        let mut random = SplitMix(4);
        for round in 0..40 {
            for _ in 0..bytes / 64 {
                let at = 64 + random.below(bytes as u64 / 8 - 8) as usize * 8;
                // Sometimes plausible, sometimes all ones.
                let word = random.draw()
                    | if round % 2 == 0 {
                        0x8000_8000_8000_8000
                    } else {
                        0
                    };
                region.copy_in(at, &word.to_le_bytes());
            }
            region.copy_in(64, &(1 + round as u32 % 12).to_le_bytes());
            for (_, acl) in by_each_path(writer.reader()) {
                classify(&acl, &probes);
                classify_categories(&acl, &probes, 16);
            }
            let _ = AclWriter::recover(region);
        }
    }
}
