//! The gateway's path in one thread: nanoseconds and, under callgrind, instructions a packet, over
//! `net_null` and `net_ring`, with what makes it replaceable in the loop and without.
//!
//! Only the gateway's rounds are timed: what the far ends of a `net_ring` do is done in between, a
//! thousand packets at once. `--sessions N --routes N` say how much it has to look up; with more than
//! one route each session has another destination, and packets come in no order that helps.
//!
//! `scripts/bench forward` runs it. With `--packets N --mode full|bare --port net_null|net_ring` it
//! does that many packets of one kind and prints nothing else: what callgrind counts.

#![forbid(unsafe_code)]

use baton::bench::Bench;
use baton::prelude::{Mac, PortId};
use baton_primary::Gateway;
use baton_primary::session::SessionV2;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Rounds of one measured slice: so short that both kinds see the same machine, and that most slices
/// end before the scheduler takes the CPU away.
const SLICE: u32 = 64;
/// Slices of each kind.
const SLICES: usize = 4_001;
/// Packets of a burst.
const BURST: usize = 32;
/// What a round takes where instructions are counted: about what it does take.
const ROUND_NS: u64 = 2_500;
/// Bursts that the far end of a ring offers at once.
const AHEAD: u32 = 32;
/// Routers on the outside link that many routes lead to.
const ROUTERS: u8 = 64;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        args.iter()
            .position(|arg| arg == name)
            .and_then(|at| args.get(at + 1))
    };
    let number = |name: &str, default| {
        let found = value(name).and_then(|text| text.parse::<u32>().ok());
        found.unwrap_or(default)
    };
    let load = Load {
        sessions: number("--sessions", 1_000),
        routes: number("--routes", 1),
    };
    if let Some(packets) = value("--packets").and_then(|text| text.parse::<u32>().ok()) {
        let rounds = packets / BURST as u32;
        let mut loops = Loops::new(value("--port").map_or("net_null", String::as_str), load);
        loops.bench.pretend(ROUND_NS);
        loops.warm();
        let bare = value("--mode").is_some_and(|mode| mode == "bare");
        let slice = if bare {
            loops.bare(rounds)
        } else {
            loops.full(rounds)
        };
        println!("{}", slice.packets);
        return;
    }
    println!(
        "forward: {} sessions, {} routes, bursts of {BURST}, one thread, UDP of 64 bytes, medians of {SLICES} slices in turns",
        load.sessions, load.routes
    );
    println!(
        "{:<10} {:>12} {:>12} {:>10}",
        "port", "with, ns/pkt", "without", "ratio"
    );
    for port in ["net_null", "net_ring"] {
        let mut loops = Loops::new(port, load);
        loops.warm();
        let (full, bare) = measure(&mut loops);
        println!("{port:<10} {full:>12.2} {bare:>12.2} {:>10.4}", full / bare);
    }
}

/// Medians of nanoseconds a packet, both kinds in turns.
fn measure(loops: &mut Loops) -> (f64, f64) {
    let (mut full, mut bare) = (Vec::new(), Vec::new());
    for slice in 0..SLICES {
        // Each goes first in every other turn, so that neither inherits the other's cache always.
        for turn in 0..2 {
            let is_full = (slice + turn) % 2 == 0;
            let slice = if is_full {
                loops.full(SLICE)
            } else {
                loops.bare(SLICE)
            };
            let ns = slice.spent.as_nanos() as f64 / slice.packets.max(1) as f64;
            if is_full {
                full.push(ns)
            } else {
                bare.push(ns)
            }
        }
    }
    (median(full), median(bare))
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// How much there is to look up.
#[derive(Clone, Copy)]
struct Load {
    sessions: u32,
    routes: u32,
}

/// What a number of rounds met, and the time they took.
struct Slice {
    packets: usize,
    spent: Duration,
}

/// A gateway whose loop is in our hand, and the far end of its rings, if it has rings.
struct Loops {
    bench: Bench<Gateway<SessionV2>>,
    ends: Option<[baton::bench::End; 2]>,
    load: Load,
}

impl Loops {
    fn new(port: &str, load: Load) -> Loops {
        let rings = port == "net_ring";
        let (inside, outside) = if rings {
            ("net_ring0".to_owned(), "net_ring1".to_owned())
        } else {
            (
                format!(
                    "net_null0,flows={},spread={},template={}",
                    load.sessions,
                    u8::from(load.routes > 1),
                    hex(&frame(0, false))
                ),
                "net_null1,no-rx=1".to_owned(),
            )
        };
        let toml = format!(
            "[instance]\nfile-prefix = \"bench\"\nlcores = \"0\"\nidle = \"spin\"\n\
             [[port]]\nname = \"inside\"\nvdev = \"{inside}\"\naddress = [\"10.0.0.1/16\"]\n\
             [[port]]\nname = \"outside\"\nvdev = \"{outside}\"\naddress = [\"203.0.113.2/24\"]\n\
             {}\
             [gateway.nat]\ninside = [\"inside\"]\noutside = \"outside\"\npool = [\"203.0.113.16/28\"]\nsessions = {}\nper-source = 1000000\n",
            routes(load.routes),
            (load.sessions * 2).max(4096)
        );
        let bench =
            Bench::new(&toml).unwrap_or_else(|why| panic!("the bench did not start: {why}"));
        for router in (1..2).chain(64..64 + ROUTERS) {
            let address = Ipv4Addr::new(203, 0, 113, router);
            bench.learn(PortId(1), address, Mac([2, 0, 0, 0, 0, router]));
        }
        let ends = rings.then(|| [bench.end(0), bench.end(1)]);
        Loops { bench, ends, load }
    }

    /// Makes every session, and shows that packets go through.
    fn warm(&mut self) {
        let Load { sessions, routes } = self.load;
        let rounds = (sessions as usize / BURST + 2) as u32 * 2;
        if let Some([inside, _]) = &mut self.ends {
            inside.prepare(sessions, |flow| frame(flow, routes > 1));
        }
        // The burst met at the start came before the neighbour was known.
        let before = self.bench.drops();
        let slice = self.full(rounds);
        let after = self.bench.drops();
        assert!(
            slice.packets > 0 && before == after,
            "{} packets met, dropped: {after:?}",
            slice.packets
        );
        if let (Some([inside, _]), true) = (&mut self.ends, routes > 1) {
            inside.scatter();
        }
    }

    fn full(&mut self, rounds: u32) -> Slice {
        self.run(rounds, Bench::rounds)
    }

    fn bare(&mut self, rounds: u32) -> Slice {
        self.run(rounds, Bench::bare_rounds)
    }

    fn run(
        &mut self,
        rounds: u32,
        round: impl Fn(&mut Bench<Gateway<SessionV2>>, u32) -> usize,
    ) -> Slice {
        let mut slice = Slice {
            packets: 0,
            spent: Duration::ZERO,
        };
        let mut timed = |bench: &mut Bench<Gateway<SessionV2>>, rounds| {
            let start = Instant::now();
            slice.packets += round(bench, rounds);
            slice.spent += start.elapsed();
        };
        let Some([inside, outside]) = &mut self.ends else {
            timed(&mut self.bench, rounds);
            return slice;
        };
        let mut left = rounds;
        while left > 0 {
            let now = left.min(AHEAD);
            (0..now).for_each(|_| inside.offer(BURST));
            timed(&mut self.bench, now);
            outside.drain();
            left -= now;
        }
        slice
    }
}

/// One default route, or as many of 16 to 24 bits as asked for, each to one of the routers.
fn routes(count: u32) -> String {
    let mut all = "[[route]]\nprefix = \"0.0.0.0/0\"\nvia = \"203.0.113.1\"\n".to_owned();
    let mut state = 4242u64;
    for _ in 1..count {
        let len = 16 + splitmix(&mut state) as u32 % 9;
        let address = 0x1000_0000 + splitmix(&mut state) as u32 % 0xb000_0000;
        let prefix = Ipv4Addr::from(address & (u32::MAX << (32 - len)));
        let router = 64 + splitmix(&mut state) as u8 % ROUTERS;
        all += &format!("[[route]]\nprefix = \"{prefix}/{len}\"\nvia = \"203.0.113.{router}\"\n");
    }
    all
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A UDP packet of 64 bytes (with the frame check sequence that nobody sees) from an inside host:
/// flow number `flow`, with a destination of its own where they are spread.
fn frame(flow: u32, spread: bool) -> [u8; 60] {
    let source_port = 1024 + (flow % 50_000) as u16;
    let mut seed = 1_000_003 * u64::from(flow);
    let destination = match spread {
        true => 0x1000_0000 + splitmix(&mut seed) as u32 % 0xb000_0000,
        false => u32::from(Ipv4Addr::new(198, 51, 100, 7)),
    };
    let mut frame = [0u8; 60];
    frame[..6].copy_from_slice(&[0x02, 0xba, 0x70, 0, 0, 0]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&46u16.to_be_bytes());
    frame[22] = 64;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&[10, 0, 1, 1 + (flow / 50_000) as u8]);
    frame[30..34].copy_from_slice(&destination.to_be_bytes());
    frame[34..36].copy_from_slice(&source_port.to_be_bytes());
    frame[36..38].copy_from_slice(&53u16.to_be_bytes());
    frame[38..40].copy_from_slice(&26u16.to_be_bytes());
    let sum = checksum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
