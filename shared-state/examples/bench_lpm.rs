//! Routes beside DPDK's `rte_lpm`/`rte_fib` and `rte_lpm6`/`rte_fib6`: the same routes, addresses and lines.
//!
//! `cargo run --release -p baton-shared-state --example bench_lpm [v4|v6] [routes]`
//!
//! A line's `bench` and `params` are those of the DPDK structure it stands against, which is
//! `rte_fib`. Private memory, 2 MiB pages where the kernel gives them.

mod routes_bench;

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

use baton_shared_state::lpm::{Lpm, LpmWriter, Path};
use routes_bench::{REPS, emit, emit_value, measure, memory, sm64, zipf1};

const ADDRESSES: usize = 1 << 20;
const BURST: usize = 32;
const MIB: f64 = 1_048_576.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let family = arguments.first().map_or("all", String::as_str);
    let asked = arguments.get(1).and_then(|n| n.parse().ok());
    let sizes = |all: [usize; 2]| asked.map_or(all.to_vec(), |n| vec![n]);
    if family != "v6" {
        sizes([100_000, 500_000]).into_iter().for_each(v4);
    }
}

#[derive(Clone, Copy)]
struct Route4 {
    prefix: u32,
    len: u8,
    hop: u16,
}

/// Prefix lengths by per mille, as in the global table of 2024.
const LENGTHS4: [(u8, u64); 23] = [
    (24, 580),
    (23, 100),
    (22, 120),
    (21, 50),
    (20, 45),
    (19, 26),
    (18, 14),
    (17, 8),
    (16, 14),
    (15, 3),
    (14, 3),
    (13, 2),
    (12, 2),
    (11, 1),
    (10, 1),
    (8, 1),
    (25, 6),
    (26, 6),
    (27, 5),
    (28, 5),
    (29, 4),
    (30, 2),
    (32, 2),
];

fn length(table: &[(u8, u64)], draw: u64) -> u8 {
    let mut sum = 0;
    for (len, share) in table {
        sum += share;
        if draw < sum {
            return *len;
        }
    }
    table[table.len() - 1].0
}

fn host4(len: u8) -> u32 {
    u32::MAX.checked_shr(len.into()).unwrap_or(0)
}

fn routes4(n: usize) -> Vec<Route4> {
    let (mut s, mut seen, mut routes) = (42, HashSet::new(), Vec::with_capacity(n));
    while routes.len() < n {
        let len = length(&LENGTHS4, sm64(&mut s) % 1000);
        let offset = sm64(&mut s) % (0xe000_0000 - 0x0100_0000);
        let prefix = (0x0100_0000 + offset as u32) & !host4(len);
        let hop = 1 + (sm64(&mut s) % 255) as u16;
        if seen.insert((prefix, len)) {
            routes.push(Route4 { prefix, len, hop });
        }
    }
    routes
}

const KINDS4: [&str; 3] = [
    "uniform 32-bit",
    "uniform over routes",
    "zipf(1) over 64k flows",
];

fn addresses4(routes: &[Route4], kind: usize) -> Vec<u32> {
    let mut s = 7 + kind as u64;
    let under = |s: &mut u64| {
        let route = routes[(sm64(s) % routes.len() as u64) as usize];
        // A host route draws nothing, as in the C program.
        let host = if route.len == 32 { 0 } else { sm64(s) as u32 };
        route.prefix | host & host4(route.len)
    };
    let flows: Vec<u32> = match kind {
        2 => (0..65_536).map(|_| under(&mut s)).collect(),
        _ => Vec::new(),
    };
    let draw = |_| match kind {
        0 => sm64(&mut s) as u32,
        1 => under(&mut s),
        _ => flows[zipf1(&mut s, 65_536) as usize],
    };
    (0..ADDRESSES).map(draw).collect()
}

fn v4(n: usize) {
    let routes = routes4(n);
    let groups = 32_767;
    let bytes = Lpm::bytes_for(groups);
    let mut writer = Lpm::create(memory(bytes), groups).expect("routes");
    let start = Instant::now();
    for route in &routes {
        writer
            .insert(route.prefix, route.len, route.hop)
            .expect("room");
    }
    let each = start.elapsed().as_nanos() as f64 / n as f64;
    let params = format!("rte_fib dir24_8 {n} routes, whole build, failed=0");
    emit_value("fib.build", "ns/route", &params, each);
    let params = format!("rte_fib dir24_8 4B next hops {n} routes (RIB included)");
    emit_value("fib.memory", "MiB", &params, bytes as f64 / MIB);
    churn4(&mut writer, &routes);
    for (kind, name) in KINDS4.iter().enumerate() {
        let addresses = addresses4(&routes, kind);
        for path in Path::ALL {
            let Some(table) = writer.reader().with_path(path) else {
                continue;
            };
            let params = format!(
                "rte_fib dir24_8 {} bulk 32, {n} routes, {name}",
                path.name()
            );
            let mut hops = [0; BURST];
            measure("fib.lookup", &params, ADDRESSES, || {
                for burst in addresses.chunks_exact(BURST) {
                    table.lookup_burst(burst, &mut hops);
                    black_box(hops[0] ^ hops[31]);
                }
            });
        }
    }
}

fn churn4(writer: &mut LpmWriter, routes: &[Route4]) {
    const CHANGES: usize = 2000;
    let n = routes.len();
    let (mut deletes, mut adds) = (Vec::new(), Vec::new());
    for rep in 0..REPS {
        let mut s = 99 + rep as u64;
        let (mut delete, mut add) = (0, 0);
        for _ in 0..CHANGES {
            let Route4 { prefix, len, hop } = routes[(sm64(&mut s) % n as u64) as usize];
            let start = Instant::now();
            writer.delete(prefix, len).expect("a length");
            let middle = Instant::now();
            writer.insert(prefix, len, hop).expect("room");
            let end = Instant::now();
            delete += (middle - start).as_nanos();
            add += (end - middle).as_nanos();
        }
        writer.quiesced();
        deletes.push(delete as f64 / CHANGES as f64);
        adds.push(add as f64 / CHANGES as f64);
    }
    let params = format!("rte_fib {n} routes, one random route");
    emit("fib.delete", &params, &mut deletes);
    emit("fib.add", &params, &mut adds);
}
