//! The gateway's path in one thread: nanoseconds and, under callgrind, instructions a packet, over
//! `net_null` and `net_ring`, with what makes it replaceable in the loop and without.
//!
//! `scripts/bench forward` runs it. With `--packets N --machinery with|without` it does that many packets of one
//! kind and prints nothing else: what callgrind counts.

#![forbid(unsafe_code)]

use baton::bench::Bench;
use baton::prelude::{Mac, PortId};
use baton_primary::Gateway;
use baton_primary::session::SessionV2;
use std::net::Ipv4Addr;
use std::time::Instant;

/// Rounds of one measured slice: short, so that full and bare see the same machine.
const SLICE: u32 = 2_000;
/// Slices of each kind.
const SLICES: usize = 201;
/// Packets of a burst.
const BURST: usize = 32;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        args.iter()
            .position(|arg| arg == name)
            .and_then(|at| args.get(at + 1))
    };
    let sessions: u32 = value("--sessions")
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000);
    if let Some(packets) = value("--packets").and_then(|text| text.parse::<u32>().ok()) {
        let rounds = packets / BURST as u32;
        let mut loops = Loops::new(value("--port").map_or("net_null", String::as_str), sessions);
        loops.warm(sessions);
        let bare = value("--mode").is_some_and(|mode| mode == "bare");
        let packets = if bare {
            loops.bare(rounds)
        } else {
            loops.full(rounds)
        };
        println!("{packets}");
        return;
    }
    println!(
        "forward: {sessions} sessions, bursts of {BURST}, one thread, UDP of 64 bytes, medians of {SLICES} slices in turns"
    );
    println!(
        "{:<10} {:>12} {:>12} {:>10}",
        "port", "with, ns/pkt", "without", "ratio"
    );
    for port in ["net_null", "net_ring"] {
        let mut loops = Loops::new(port, sessions);
        loops.warm(sessions);
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
            let start = Instant::now();
            let is_full = (slice + turn) % 2 == 0;
            let packets = if is_full {
                loops.full(SLICE)
            } else {
                loops.bare(SLICE)
            };
            let ns = start.elapsed().as_nanos() as f64 / packets.max(1) as f64;
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

/// A gateway whose loop is in our hand, and the far end of its rings, if it has rings.
struct Loops {
    bench: Bench<Gateway<SessionV2>>,
    ends: Option<[baton::bench::End; 2]>,
}

impl Loops {
    fn new(port: &str, sessions: u32) -> Loops {
        let rings = port == "net_ring";
        let (inside, outside) = if rings {
            ("net_ring0".to_owned(), "net_ring1".to_owned())
        } else {
            (
                format!(
                    "net_null0,flows={},template={}",
                    sessions,
                    hex(&frame(1024))
                ),
                "net_null1,no-rx=1".to_owned(),
            )
        };
        let toml = format!(
            "[instance]\nfile-prefix = \"bench\"\nlcores = \"0\"\nidle = \"spin\"\n\
             [[port]]\nname = \"inside\"\nvdev = \"{inside}\"\naddress = [\"10.0.0.1/16\"]\n\
             [[port]]\nname = \"outside\"\nvdev = \"{outside}\"\naddress = [\"203.0.113.2/24\"]\n\
             [[route]]\nprefix = \"0.0.0.0/0\"\nvia = \"203.0.113.1\"\n\
             [gateway.nat]\ninside = [\"inside\"]\noutside = \"outside\"\npool = [\"203.0.113.16/28\"]\nsessions = {}\nper-source = 1000000\n",
            (sessions * 2).max(4096)
        );
        let bench =
            Bench::new(&toml).unwrap_or_else(|why| panic!("the bench did not start: {why}"));
        bench.learn(
            PortId(1),
            Ipv4Addr::new(203, 0, 113, 1),
            Mac([2, 0, 0, 0, 0, 1]),
        );
        let ends = rings.then(|| [bench.end(0), bench.end(1)]);
        Loops { bench, ends }
    }

    /// Makes every session, and shows that packets go through.
    fn warm(&mut self, sessions: u32) {
        let rounds = (sessions as usize / BURST + 2) as u32 * 4;
        if let Some([inside, _]) = &mut self.ends {
            inside.prepare(sessions, |flow| frame(1024 + (flow % 60_000) as u16));
        }
        // The burst met at the start came before the neighbour was known.
        let before = self.bench.drops();
        let packets = self.full(rounds);
        let after = self.bench.drops();
        assert!(
            packets > 0 && before == after,
            "{packets} packets met, dropped: {after:?}"
        );
    }

    fn full(&mut self, rounds: u32) -> usize {
        self.run(rounds, Bench::rounds)
    }

    fn bare(&mut self, rounds: u32) -> usize {
        self.run(rounds, Bench::bare_rounds)
    }

    fn run(
        &mut self,
        rounds: u32,
        round: impl Fn(&mut Bench<Gateway<SessionV2>>, u32) -> usize,
    ) -> usize {
        let Some([inside, outside]) = &mut self.ends else {
            return round(&mut self.bench, rounds);
        };
        let mut packets = 0;
        for _ in 0..rounds {
            inside.offer(BURST);
            packets += round(&mut self.bench, 1);
            outside.drain();
        }
        packets
    }
}

/// A UDP packet of 64 bytes (with the frame check sequence that nobody sees) from an inside host.
fn frame(source_port: u16) -> [u8; 60] {
    let mut frame = [0u8; 60];
    frame[..6].copy_from_slice(&[0x02, 0xba, 0x70, 0, 0, 0]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&46u16.to_be_bytes());
    frame[22] = 64;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&[10, 0, 1, 1]);
    frame[30..34].copy_from_slice(&[198, 51, 100, 7]);
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
