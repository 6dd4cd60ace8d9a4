//! Packet classification: build, memory, lookup, and the change of one rule, as JSON lines.
//!
//! `cargo run --release -p baton-shared-state --example bench_acl`
//!
//! Rules, headers, names and parameters are those of our program for `rte_acl`, so that a harness
//! can put both side by side; `acl.add` and `acl.remove` have no counterpart there but a build.
//! Private memory with 4 KiB pages. Headers are an array of 16 bytes each in host byte order, as
//! a parser leaves them; `rte_acl` gets pointers to headers in network byte order.

use std::hint::black_box;
use std::time::Instant;

use baton_shared_state::acl::{Acl, AclWriter, Family, Key4, Rule, Simd, Sizes, sample};
use baton_shared_state::region::Region;

const REPS: usize = 15;
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
    let builds = if n >= 10_000 { 5 } else { REPS };
    let mut times = Vec::new();
    let mut writer = None;
    for _ in 0..builds {
        let region = Region::private(bytes);
        let start = Instant::now();
        let mut built = Acl::create(region, Family::V4, sizes).expect("room");
        built.build(&rules).expect("room");
        times.push(start.elapsed().as_nanos() as f64);
        writer = Some(built);
    }
    emit("acl.build", &format!("{n} rules"), times);
    let mut writer = writer.expect("a build");
    let mib = |bytes: usize| bytes as f64 / 1_048_576.0;
    value(
        "acl.memory",
        "MiB",
        mib(writer.used_bytes()),
        &format!("{n} rules"),
    );
    value("acl.reserved", "MiB", mib(bytes), &format!("{n} rules"));
    check(&writer.reader(), &rules, &keys, n);
    for (simd, name) in [
        (Simd::Scalar, "scalar"),
        (Simd::Avx2, "avx2"),
        (Simd::Avx512, "avx512"),
    ] {
        let acl = writer.reader().with_simd(simd);
        if acl.simd() == simd {
            classify(&acl, &keys, n, name);
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
        let mut times = Vec::new();
        for rep in 0..=REPS {
            let start = Instant::now();
            for (keys, actions) in keys.chunks(batch).zip(actions.chunks_mut(batch)) {
                acl.classify4(keys, actions);
            }
            black_box(&mut actions);
            if rep > 0 {
                times.push(start.elapsed().as_nanos() as f64 / keys.len() as f64);
            }
        }
        for name in names {
            let params = format!("{n} rules, {name}, batch {batch}, uniform over rules");
            emit("acl.classify", &params, times.clone());
        }
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
    value(
        "acl.change",
        "ns, slowest of 400",
        max(&adds).max(max(&removes)),
        &format!("{n} rules"),
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
    value(
        "acl.audit",
        "rows wrong after 400 changes",
        writer.audit() as f64,
        &format!("{n} rules"),
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
    value("acl.check", "of 512 agree with linear scan", agree, &params);
}

fn emit(bench: &str, params: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let (median, n) = (times[times.len() / 2], times.len());
    println!(
        "{{\"bench\":\"{bench}\",\"params\":\"{params}\",\"ns_per_op\":{median:.4},\"min\":{:.4},\"max\":{:.4},\"reps\":{n}}}",
        times[0],
        times[n - 1]
    );
}

fn value(bench: &str, unit: &str, value: f64, params: &str) {
    println!(
        "{{\"bench\":\"{bench}\",\"params\":\"{params}\",\"value\":{value:.4},\"unit\":\"{unit}\"}}"
    );
}
