//! Routes beside DPDK's `rte_lpm`/`rte_fib` and `rte_lpm6`/`rte_fib6`: the same routes, addresses and lines.
//!
//! `cargo run --release -p baton-shared-state --example bench_lpm [v4|v6] [routes]`
//!
//! A line's `bench` and `params` are those of the DPDK structure it stands against, which is
//! `rte_fib`. Private memory on 2 MiB pages, as DPDK's.

mod peer;

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Instant;

use baton_shared_state::lpm::{Lpm, LpmWriter, Path};
use baton_shared_state::lpm6::{Lpm6, Lpm6Writer};
use peer::{emit, emit_value, measure, memory, placed, reps, sm64, zipf1};

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
    if family != "v4" {
        sizes([100_000, 200_000]).into_iter().for_each(v6);
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
        let addresses = placed(&addresses4(&routes, kind));
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
    for rep in 0..reps() {
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
    emit("fib.delete", &params, deletes);
    emit("fib.add", &params, adds);
}

#[derive(Clone, Copy)]
struct Route6 {
    prefix: [u8; 16],
    len: u8,
    hop: u16,
}

const LENGTHS6: [(u8, u64); 15] = [
    (48, 470),
    (32, 130),
    (44, 100),
    (40, 90),
    (36, 50),
    (29, 30),
    (46, 30),
    (47, 25),
    (42, 20),
    (38, 15),
    (33, 10),
    (34, 10),
    (56, 8),
    (64, 10),
    (128, 2),
];

/// The first 16 bits of allocations.
const TOPS6: [u16; 37] = [
    0x2001, 0x2400, 0x2401, 0x2402, 0x2403, 0x2404, 0x2405, 0x2406, 0x2407, 0x240e, 0x2600, 0x2602,
    0x2604, 0x2605, 0x2606, 0x2607, 0x2800, 0x2803, 0x2804, 0x2806, 0x2a00, 0x2a01, 0x2a02, 0x2a03,
    0x2a04, 0x2a06, 0x2a07, 0x2a09, 0x2a0a, 0x2a0b, 0x2a0c, 0x2a0d, 0x2a0e, 0x2a10, 0x2a12, 0x2a14,
    0x2c0f,
];

fn mask6(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

fn masked6(address: [u8; 16], len: u8) -> [u8; 16] {
    (u128::from_be_bytes(address) & mask6(len)).to_be_bytes()
}

fn routes6(n: usize) -> Vec<Route6> {
    const ALLOCATIONS: u64 = 20_000;
    let mut s = 43;
    let mut allocations = Vec::new();
    for _ in 0..ALLOCATIONS {
        let top = TOPS6[(sm64(&mut s) % TOPS6.len() as u64) as usize];
        allocations.push(u32::from(top) << 16 | (sm64(&mut s) & 0xffff) as u32);
    }
    let (mut seen, mut routes) = (HashSet::new(), Vec::with_capacity(n));
    while routes.len() < n {
        let len = length(&LENGTHS6, sm64(&mut s) % 1000);
        let hop = 1 + (sm64(&mut s) % 255) as u16;
        let high = allocations[(sm64(&mut s) % ALLOCATIONS) as usize];
        let (a, b) = (sm64(&mut s), sm64(&mut s));
        let mut prefix = [0; 16];
        prefix[..4].copy_from_slice(&high.to_be_bytes());
        prefix[4..12].copy_from_slice(&a.to_le_bytes());
        prefix[12..].copy_from_slice(&b.to_le_bytes()[..4]);
        let prefix = masked6(prefix, len);
        if seen.insert((prefix, len)) {
            routes.push(Route6 { prefix, len, hop });
        }
    }
    routes
}

const KINDS6: [&str; 2] = ["uniform over routes", "zipf(1) over 64k routes"];

fn addresses6(routes: &[Route6], kind: usize) -> Vec<[u8; 16]> {
    let (mut s, n) = (5 + kind as u64, routes.len() as u64);
    let mut draw = || {
        let at = match kind {
            0 => sm64(&mut s) % n,
            _ => zipf1(&mut s, n.min(65_536)) * 7919 % n,
        };
        let route = routes[at as usize];
        let mut host = [sm64(&mut s), sm64(&mut s)];
        if kind == 1 {
            let (fifth, sixth) = (u64::from(route.prefix[4]), u64::from(route.prefix[5]));
            let mut q = u64::from(route.hop) + sixth * 131 + fifth * 71;
            host = [sm64(&mut q), sm64(&mut q)];
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&host[0].to_le_bytes());
        bytes[8..].copy_from_slice(&host[1].to_le_bytes());
        let host = u128::from_be_bytes(bytes) & !mask6(route.len);
        (u128::from_be_bytes(route.prefix) | host).to_be_bytes()
    };
    (0..ADDRESSES).map(|_| draw()).collect()
}

fn v6(n: usize) {
    let routes = routes6(n);
    let lines = 4 * n as u32;
    let bytes = Lpm6::bytes_for(lines);
    let mut writer = Lpm6::create(memory(bytes), lines).expect("routes");
    let start = Instant::now();
    for route in &routes {
        writer
            .insert(route.prefix, route.len, route.hop)
            .expect("room");
        writer.quiesced();
    }
    let each = start.elapsed().as_nanos() as f64 / n as f64;
    let params = format!("rte_fib6 trie {n} routes, failed=0");
    emit_value("fib6.build", "ns/route", &params, each);
    let params = format!("rte_fib6 trie {n} routes, lines reserved={lines}");
    emit_value("fib6.memory", "MiB", &params, bytes as f64 / MIB);
    let used = f64::from(writer.used_lines()) * 64.0;
    let params = format!("rte_fib6 trie {n} routes, nodes in use");
    emit_value("fib6.used", "MiB", &params, used / MIB);
    churn6(&mut writer, &routes);
    for (kind, name) in KINDS6.iter().enumerate() {
        let addresses = placed(&addresses6(&routes, kind));
        for path in Path::ALL {
            let Some(table) = writer.reader().with_path(path) else {
                continue;
            };
            let path = path.name();
            let params = format!("rte_fib6 trie {path} bulk 32, {n} routes, {name}");
            let mut hops = [0; BURST];
            measure("fib6.lookup", &params, ADDRESSES, || {
                for burst in addresses.chunks_exact(BURST) {
                    table.lookup_burst(burst, &mut hops);
                    black_box(hops[0] ^ hops[31]);
                }
            });
        }
    }
}

/// DPDK measured this for `rte_lpm6` only, under whose names it is printed.
fn churn6(writer: &mut Lpm6Writer, routes: &[Route6]) {
    const CHANGES: usize = 200;
    let n = routes.len();
    let (mut deletes, mut adds) = (Vec::new(), Vec::new());
    for rep in 0..reps() {
        let mut s = 99 + rep as u64;
        let (mut delete, mut add) = (0, 0);
        for _ in 0..CHANGES {
            let Route6 { prefix, len, hop } = routes[(sm64(&mut s) % n as u64) as usize];
            let start = Instant::now();
            writer.delete(prefix, len).expect("room");
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
    let params = format!("rte_lpm6 {n} routes, one random route");
    emit("lpm6.delete", &params, deletes);
    emit("lpm6.add", &params, adds);
}
