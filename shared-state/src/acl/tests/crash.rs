//! A writer that dies before any of its stores: the old set or the new one, and no leak.

use super::*;
use crate::sync::crash::{die_at, stores};

/// What a writer was about.
#[derive(Debug, Clone, Copy)]
enum Doing {
    Add,
    /// Into a block that is full: two new ones.
    AddToFull,
    Remove,
    /// The last rule of all.
    RemoveLast,
    Rest,
    Build,
}

impl Doing {
    /// The rules that stand before.
    fn before(self) -> Vec<Rule> {
        let n = match self {
            Doing::Build => 0,
            Doing::RemoveLast => 1,
            Doing::AddToFull => 512,
            _ => 12,
        };
        (0..n).map(standing).collect()
    }

    fn run(self, writer: &mut AclWriter) -> Result<(), AclError> {
        match self {
            Doing::Add | Doing::AddToFull => writer.add(&extra()).map(drop),
            Doing::Remove | Doing::RemoveLast => writer.remove(RuleId(0)).map(drop),
            Doing::Rest => writer.quiesced(),
            Doing::Build => writer.build(&[standing(0), extra()]).map(drop),
        }
    }
}

/// Neighbouring prefixes and ports, so that classes are many and stores few.
fn standing(i: u32) -> Rule {
    let src = Prefix::v4(0x0a00_0000 | ((i % 4) << 3), 29);
    let dst = Prefix::v4(0x0a01_0000 | ((i % 8) << 4), 28);
    let dport = (i as u16 % 20, i as u16 % 20 + 2);
    let priority = (i * 37 % 512) as i32;
    Rule {
        src,
        dst,
        dport,
        proto: 6,
        proto_mask: 0xff,
        priority,
        action: i + 1,
        ..Rule::ANY
    }
}

fn extra() -> Rule {
    let (src, dst) = (Prefix::v4(0x0a00_0008, 30), Prefix::v4(0x0b00_0000, 18));
    Rule {
        src,
        dst,
        dport: (3, 9),
        proto: 4,
        proto_mask: 0x0c,
        priority: 256,
        action: 999,
        ..Rule::ANY
    }
}

fn sizes() -> Sizes {
    Sizes {
        rules: 520,
        classes: 80,
        big_nodes: 4,
        small_nodes: 20,
        blocks: 5,
        versions: 3,
    }
}

struct Bench {
    region: Region,
    before: Vec<u8>,
    probes: Vec<Probe>,
    old: Vec<u32>,
}

impl Bench {
    fn new(doing: Doing) -> Bench {
        let region = Region::private(Acl::bytes_for(Family::V4, sizes()).unwrap());
        let mut writer = Acl::create(region, Family::V4, sizes()).unwrap();
        let rules = doing.before();
        for rules in [rules.as_slice()]
            .into_iter()
            .filter(|rules| !rules.is_empty())
        {
            // All in one block, however full.
            let (first, rest) = rules.split_at(rules.len().min(480));
            writer.build(first).unwrap();
            for rule in rest {
                writer.add_waiting(rule, || ()).unwrap();
            }
        }
        if matches!(doing, Doing::Rest) {
            writer.remove(RuleId(3)).unwrap();
            writer.remove(RuleId(4)).unwrap();
        }
        let probes = probes_of(
            &[rules, vec![extra(), standing(5)]].concat(),
            Family::V4,
            80,
            2,
        );
        let old = classify(&writer.reader(), &probes);
        let before = region.to_vec(0, region.len());
        Bench {
            region,
            before,
            probes,
            old,
        }
    }

    /// A writer of the state before.
    fn writer(&self, doing: Doing) -> AclWriter {
        self.region.copy_in(0, &self.before);
        let mut writer = AclWriter::recover(self.region).unwrap();
        if !matches!(doing, Doing::Rest) {
            writer.quiesced().unwrap();
        }
        writer
    }

    /// Everything that must hold once somebody has repaired.
    fn check(&self, mut heir: AclWriter, new: &[u32], what: &str) {
        let now = classify(&heir.reader(), &self.probes);
        assert!(
            now == self.old || now == new,
            "neither old nor new after {what}"
        );
        assert_eq!(heir.audit(), 0, "{what}");
        agrees(&heir, &self.probes, 1);
        heir.quiesced().unwrap();
        agrees(&heir, &self.probes, 1);
        // Never has a category but the second: what category 0 gets stays as it was.
        let id = heir
            .add(&Rule {
                categories: 2,
                ..extra()
            })
            .unwrap();
        agrees(&heir, &self.probes, 2);
        heir.remove(id).unwrap();
        if heir.len() < 100 {
            nothing_leaked(&mut heir);
        }
    }
}

/// Tries every `step`th store of what a writer does, and the last ones all.
fn die_everywhere(doing: Doing, step: u64) -> u64 {
    let bench = Bench::new(doing);
    let mut writer = bench.writer(doing);
    let stores = stores(|| doing.run(&mut writer).unwrap());
    let new = classify(&writer.reader(), &bench.probes);
    bench.check(writer, &new, "no death");
    let mut tried = 0;
    for n in (0..stores).filter(|n| n % step == 0 || n + 16 > stores) {
        let mut writer = bench.writer(doing);
        let what = format!("{doing:?}, death before store {n} of {stores}");
        assert!(die_at(n + 1, || doing.run(&mut writer).unwrap()), "{what}");
        let seen = classify(&writer.reader(), &bench.probes);
        assert!(
            seen == bench.old || seen == new,
            "readers see neither after {what}"
        );
        drop(writer);
        // The heir dies as well, wherever it stores something, and has an heir.
        let dead = bench.region.to_vec(0, bench.region.len());
        for k in 0.. {
            bench.region.copy_in(0, &dead);
            if !die_at(k + 1, || drop(AclWriter::recover(bench.region).unwrap())) {
                break;
            }
            let heir = AclWriter::recover(bench.region).unwrap();
            bench.check(heir, &new, &format!("{what}, heir dead before store {k}"));
            tried += 1;
        }
        bench.region.copy_in(0, &dead);
        bench.check(AclWriter::recover(bench.region).unwrap(), &new, &what);
        tried += 1;
    }
    assert!(tried > 0, "{doing:?} has no store");
    tried
}

const ALL: [Doing; 6] = [
    Doing::Add,
    Doing::AddToFull,
    Doing::Remove,
    Doing::RemoveLast,
    Doing::Rest,
    Doing::Build,
];

#[test]
fn a_writer_that_dies_leaves_the_old_set_or_the_new_one() {
    let tried: u64 = ALL.into_iter().map(|doing| die_everywhere(doing, 97)).sum();
    println!("{tried} deaths tried");
}

#[test]
fn nodes_and_classes_of_a_set_that_was_never_published_come_back() {
    let (doing, bench) = (Doing::Build, Bench::new(Doing::Build));
    let mut writer = bench.writer(doing);
    let stores = stores(|| doing.run(&mut writer).unwrap());
    // The last one publishes.
    for n in (0..stores - 1).step_by(5) {
        let mut writer = bench.writer(doing);
        assert!(die_at(n + 1, || doing.run(&mut writer).unwrap()));
        drop(writer);
        nothing_leaked(&mut AclWriter::recover(bench.region).unwrap());
    }
}

#[test]
#[ignore = "long: every single store"]
fn a_writer_that_dies_before_any_store_leaves_the_old_set_or_the_new_one() {
    for doing in ALL {
        println!("{doing:?}: {} deaths tried", die_everywhere(doing, 1));
    }
}
