//! Packet classification: build, memory, lookup, and the change of one rule, as JSON lines.
//!
//! `cargo run --release -p baton-shared-state --example bench_acl`
//!
//! Rules, headers, names and parameters are those of our program for `rte_acl`, so that a harness
//! can put both side by side; `acl.add` and `acl.remove` have no counterpart there but a build.
//! Lookups in private memory on 2 MiB pages, as DPDK's. Headers are an array of 16 bytes each in
//! host byte order, as a parser leaves them; `rte_acl` gets pointers to headers in network byte order.

mod peer;

use std::hint::black_box;
use std::time::Instant;

use baton_shared_state::acl::{Acl, AclWriter, Family, Key4, Path, Rule, Sizes, sample};
use baton_shared_state::region::Region;
use peer::{emit, emit_value, measure_as, memory, reps};

const HEADERS: usize = 1 << 16;

fn main() {
    let most = std::env::var("PEER_ACL_MAX").ok();
    let most = most.and_then(|most| most.parse().ok()).unwrap_or(10_000);
    for n in [100, 1000, 10_000] {
        if n <= most {
            one(n);
        }
    }
}

fn one(n: u32) {
    let rules = sample::rules(n);
    let keys = sample::headers(&rules, HEADERS);
    let sizes = Sizes::for_rules(n, Family::V4);
    let bytes = Acl::bytes_for(Family::V4, sizes).expect("sizes that can be");
    let builds = if n >= 10_000 { 5 } else { reps() };
    let build = |region| {
        let mut built = Acl::create(region, Family::V4, sizes).expect("room");
        built.build(&rules).expect("room");
        built
    };
    let times = (0..builds).map(|_| {
        let region = Region::private(bytes);
        let start = Instant::now();
        let built = build(region);
        let taken = start.elapsed().as_nanos() as f64;
        drop(built);
        taken
    });
    emit("acl.build", &format!("{n} rules"), times.collect());
    let mut writer = build(memory(bytes));
    let mib = |bytes: usize| bytes as f64 / 1_048_576.0;
    emit_value(
        "acl.memory",
        "MiB",
        &format!("{n} rules"),
        mib(writer.used_bytes()),
    );
    emit_value("acl.reserved", "MiB", &format!("{n} rules"), mib(bytes));
    check(&writer.reader(), &rules, &keys, n);
    for path in Path::ALL {
        if let Some(acl) = writer.reader().with_path(path) {
            classify(&acl, &keys, n, path.name());
        }
    }
    changes(&mut writer, &rules, n);
}

fn classify(acl: &Acl, keys: &[Key4], n: u32, name: &str) {
    // DPDK's best has another name than ours: the same line under both.
    let names: &[&str] = if name == "avx512" {
        &["avx512x16", "avx512x32"]
    } else {
        &[name]
    };
    let mut actions = vec![0; keys.len()];
    for batch in [1, 32, 256] {
        let params = names
            .iter()
            .map(|name| format!("{n} rules, {name}, batch {batch}, uniform over rules"));
        let params: Vec<String> = params.collect();
        measure_as("acl.classify", &params, keys.len(), || {
            for (keys, actions) in keys.chunks(batch).zip(actions.chunks_mut(batch)) {
                acl.classify4(keys, actions);
            }
            black_box(&mut actions);
        });
    }
}

/// Removes and adds rules anywhere; readers are seen between any two changes.
fn changes(writer: &mut AclWriter, rules: &[Rule], n: u32) {
    let mut random = sample::SplitMix(77);
    let mut ids: Vec<_> = writer.rules().map(|(id, rule)| (id, *rule)).collect();
    let (mut adds, mut removes, mut rests) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..200 {
        let at = random.below(rules.len() as u64) as usize;
        let (id, rule) = ids[at];
        removes.push(time(|| writer.remove(id).map(drop)));
        rests.push(time(|| writer.quiesced()));
        let mut new = id;
        adds.push(time(|| writer.add(&rule).map(|id| new = id)));
        rests.push(time(|| writer.quiesced()));
        ids[at] = (new, rule);
    }
    emit_value(
        "acl.change",
        "ns, slowest of 400",
        &format!("{n} rules"),
        max(&adds).max(max(&removes)),
    );
    emit(
        "acl.remove",
        &format!("{n} rules, one random rule"),
        removes,
    );
    emit("acl.add", &format!("{n} rules, one random rule"), adds);
    emit(
        "acl.quiesced",
        &format!("{n} rules, after each change"),
        rests,
    );
    emit_value(
        "acl.audit",
        "rows wrong after 400 changes",
        &format!("{n} rules"),
        writer.audit() as f64,
    );
}

fn max(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

fn time<E: std::fmt::Debug>(change: impl FnOnce() -> Result<(), E>) -> f64 {
    let start = Instant::now();
    change().expect("room");
    start.elapsed().as_nanos() as f64
}

/// The share of headers that agree with a linear search.
fn check(acl: &Acl, rules: &[Rule], keys: &[Key4], n: u32) {
    let mut actions = vec![0; keys.len()];
    acl.classify4(keys, &mut actions);
    let linear = |key: &Key4| {
        let (src, dst) = (u128::from(key.src) << 96, u128::from(key.dst) << 96);
        let best = rules
            .iter()
            .find(|r| r.matches(src, dst, key.sport, key.dport, key.proto));
        best.map_or(0, |rule| rule.action)
    };
    let agree = keys[..512]
        .iter()
        .zip(&actions)
        .filter(|(key, action)| linear(key) == **action);
    let agree = agree.count() as f64;
    let hits = actions.iter().filter(|action| **action != 0).count() as f64;
    let params = format!("{n} rules, matched share {:.3}", hits / keys.len() as f64);
    emit_value("acl.check", "of 512 agree with linear scan", &params, agree);
}
