//! `net_null`: received packets come from a template, what is sent is freed. For benches.
//!
//! Keys: `size` (bytes, 64), `template` (a frame in hexadecimal), `flows` (the UDP source port runs
//! through that many values), `spread=1` (the flows differ in source and destination address, too,
//! and come in their order once, then by strides that no prefetcher foresees), `no-rx=1`, `queues`,
//! `mac`.
//!
//! Cursor 0: packets made. Failure: packets in hand are found by their mark; nothing else exists.

use std::os::fd::BorrowedFd;

use baton_shared_state::Region;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::Holder;
use baton_shared_state::simd::prefetch;
use baton_shared_state::sync::Ordering;

use crate::cursors::{Cursors, Facts};
use crate::driver::Created;
use crate::error::PortError;
use crate::hand::Hand;
use crate::port::{CsumSource, Port, Totals};
use crate::spec::{PortSpec, parse_hex, parse_mac};

const DEFAULT_SIZE: usize = 64;
/// The cursor of packets made.
const MADE: usize = 0;
/// The header's checksum, addresses, ports, length, UDP's checksum: what flows differ in.
const VARIES: core::ops::Range<usize> = 24..42;
const SRC_AT: usize = 26;
/// Ethernet, IPv4 without options, UDP.
const UDP_AT: usize = 34;
const UDP_CSUM_AT: usize = 40;
/// Frames that are brought into the cache before their turn.
const AHEAD: usize = 16;
/// Flows of one source address where they are spread.
const FLOWS_OF_HOST: usize = 1 << 13;

pub(crate) fn create(spec: &PortSpec, cursors: Region) -> Result<Vec<Created>, PortError> {
    let facts = Facts {
        mac: own_mac(spec),
        mtu: 1500,
        mode: 0,
    };
    (0..spec.queues)
        .map(|queue| {
            Cursors::create(spec, queue, cursors, facts)?;
            Ok(Created::new(queue))
        })
        .collect()
}

pub(crate) fn adopt(
    spec: &PortSpec,
    queue: u16,
    pool: &Pool,
    cursors: Region,
) -> Result<Box<dyn Port>, PortError> {
    let cursors = Cursors::open(spec, queue, cursors)?;
    let template = match spec.param("template").and_then(parse_hex) {
        Some(frame) => frame,
        None => udp_frame(own_mac(spec), number(spec, "size", DEFAULT_SIZE)),
    };
    let flows = flows(&template, number(spec, "flows", 1), spec.switch("spread"));
    Ok(Box::new(NullPort {
        hand: Hand {
            pool: *pool,
            port: spec.id,
            queue,
        },
        cursors,
        stride: match spec.switch("spread") {
            true => stride(flows.len()),
            false => 1,
        },
        flows,
        template,
        silent: spec.switch("no-rx"),
    }))
}

/// The address of a port without an interface: the key `mac`, or one made of its device's number.
pub(crate) fn own_mac(spec: &PortSpec) -> [u8; 6] {
    let given = spec.param("mac").and_then(parse_mac);
    given.unwrap_or([0x02, 0xba, 0x70, 0x00, 0x00, spec.id as u8])
}

struct NullPort {
    hand: Hand,
    cursors: Cursors,
    template: Vec<u8>,
    /// What the frames of each flow differ in; empty when nothing varies.
    flows: Vec<[u8; VARIES.end - VARIES.start]>,
    stride: usize,
    silent: bool,
}

impl NullPort {
    /// The flow of packet number `made`, and the way to the next ones of its burst.
    fn flow_at(&self, made: u64) -> (usize, usize) {
        let all = self.flows.len().max(1);
        let (round, at) = (made / all as u64, (made % all as u64) as usize);
        let step = if round == 0 { 1 } else { self.stride };
        ((at as u64 * step as u64 % all as u64) as usize, step)
    }

    /// The flow a step further.
    #[inline]
    fn next(&self, flow: usize, step: usize) -> usize {
        let (next, all) = (flow + step, self.flows.len());
        next - if next >= all { all } else { 0 }
    }
}

impl Port for NullPort {
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize {
        if self.silent {
            return 0;
        }
        let n = cache.alloc_burst(out);
        let cursor = self.cursors.word(MADE);
        let made = cursor.load(Ordering::Relaxed);
        let (mut flow, step) = self.flow_at(made);
        let mut ahead = self.next(flow, step * AHEAD % self.flows.len().max(1));
        for (i, m) in out[..n].iter().enumerate() {
            // As the network card of a machine does that it is in: what has arrived is in the cache.
            if let Some(flow) = self.flows.get(ahead) {
                prefetch(flow);
            }
            ahead = self.next(ahead, step);
            let at = made.wrapping_add(i as u64);
            let varies = self.flows.get(flow);
            let (shard, len) = (cache.shard(), self.template.len());
            self.hand.filled(shard, *m, len, at as u32, |bytes| {
                copy(bytes, &self.template);
                if let (Some(varies), Some(rest)) = (varies, bytes.get_mut(VARIES.start..))
                    && let Some(place) = rest.first_chunk_mut()
                {
                    *place = *varies;
                }
            });
            flow = self.next(flow, step);
        }
        cursor.store(made.wrapping_add(n as u64), Ordering::Release);
        self.cursors
            .count_rx(n as u64, (n * self.template.len()) as u64);
        n
    }

    fn tx_burst(&mut self, cache: &mut Cache, mbufs: &[u32]) -> usize {
        let lengths = mbufs.iter().map(|m| u64::from(self.hand.pool.data_len(*m)));
        self.cursors.count_tx(mbufs.len() as u64, lengths.sum());
        cache.free_burst(mbufs);
        mbufs.len()
    }

    fn kick(&mut self) {}

    fn release(&mut self, _cache: &mut Cache) {}

    fn resume(&mut self, _cache: &mut Cache) {}

    fn repair(&mut self, cache: &mut Cache, held: &mut Vec<u32>) {
        let made = self.cursors.word(MADE).load(Ordering::Acquire);
        self.hand.settle(cache, made as u32, held);
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn ring_used(&self) -> (u32, u32) {
        (0, 0)
    }

    fn posted(&self) -> u32 {
        0
    }

    fn totals(&self) -> Totals {
        self.cursors.totals()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn windows(&self, _visit: &mut dyn FnMut(Holder, u32)) {}

    fn in_kernel(&self) -> u32 {
        0
    }

    fn mac(&self) -> [u8; 6] {
        self.cursors.facts().mac
    }

    fn mtu(&self) -> u16 {
        self.cursors.facts().mtu
    }

    fn csum(&self) -> CsumSource {
        CsumSource::Flagged
    }

    fn mode(&self) -> &'static str {
        "template"
    }

    fn link_up(&self) -> bool {
        true
    }
}

/// Copies a whole frame; a short one by halves of a fixed size that may overlap.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    const HALF: usize = 32;
    let halves = (from.first_chunk::<HALF>(), from.last_chunk::<HALF>());
    if let (Some(first), Some(last)) = halves
        && from.len() <= 2 * HALF
        && to.len() == from.len()
        && to.len() >= HALF
    {
        if let Some(place) = to.first_chunk_mut() {
            *place = *first;
        }
        if let Some(place) = to.last_chunk_mut() {
            *place = *last;
        }
    } else {
        to.copy_from_slice(from);
    }
}

fn number(spec: &PortSpec, key: &str, default: usize) -> usize {
    spec.param(key)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A UDP datagram 10.0.0.2:4096 -> 192.0.2.2:9 for the port, of `size` bytes (60 at least to hold
/// its headers; shorter sizes give the front of it).
fn udp_frame(mac: [u8; 6], size: usize) -> Vec<u8> {
    let mut frame = vec![0; size.max(60)];
    let ip_len = (frame.len() - 14) as u16;
    frame[..6].copy_from_slice(&mac);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 0xfe]);
    frame[12..16].copy_from_slice(&[0x08, 0x00, 0x45, 0x00]);
    frame[16..18].copy_from_slice(&ip_len.to_be_bytes());
    frame[20..24].copy_from_slice(&[0x40, 0x00, 64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 2, 192, 0, 2, 2]);
    let sum = !ones_sum(&frame[14..34], 0);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[34..38].copy_from_slice(&[0x10, 0x00, 0x00, 9]);
    frame[38..40].copy_from_slice(&(ip_len - 20).to_be_bytes());
    let csum = udp_checksum(&frame);
    frame[UDP_CSUM_AT..UDP_CSUM_AT + 2].copy_from_slice(&csum.to_be_bytes());
    frame.truncate(size);
    frame
}

/// What each flow's frames differ in, if the template is IPv4 without options and UDP.
fn flows(template: &[u8], n: usize, spread: bool) -> Vec<[u8; VARIES.end - VARIES.start]> {
    let udp = template.len() >= VARIES.end
        && template[12..15] == [0x08, 0x00, 0x45]
        && template[23] == 17;
    if n < 2 || !udp {
        return Vec::new();
    }
    let mut frame = template.to_vec();
    let number = |at: usize| u16::from_be_bytes([template[at], template[at + 1]]);
    let (first, host) = (number(UDP_AT), number(SRC_AT + 2));
    (0..n)
        .map(|i| {
            let (hosts, port) = if spread {
                (i / FLOWS_OF_HOST, i % FLOWS_OF_HOST)
            } else {
                (0, i)
            };
            let port = first.wrapping_add(port as u16).to_be_bytes();
            frame[UDP_AT..UDP_AT + 2].copy_from_slice(&port);
            if spread {
                let host = host.wrapping_add(hosts as u16).to_be_bytes();
                frame[SRC_AT + 2..SRC_AT + 4].copy_from_slice(&host);
                frame[SRC_AT + 4..SRC_AT + 8].copy_from_slice(&destination(i).to_be_bytes());
                frame[24..26].fill(0);
                let sum = !ones_sum(&frame[14..34], 0);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            let csum = udp_checksum(&frame).to_be_bytes();
            frame[UDP_CSUM_AT..UDP_CSUM_AT + 2].copy_from_slice(&csum);
            let mut varies = [0; VARIES.end - VARIES.start];
            varies.copy_from_slice(&frame[VARIES]);
            varies
        })
        .collect()
}

/// From one of `n` flows to the next after the first time round: each once, neighbours far apart, about
/// the golden part of all of them.
#[must_use]
pub fn stride(n: usize) -> usize {
    let coprime = |step: &usize| {
        let (mut a, mut b) = (n, *step);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a == 1
    };
    let golden = (n as f64 * 0.618_033_988_75) as usize;
    (golden.max(1)..).find(coprime).unwrap_or(1) % n.max(1)
}

/// Where spread flow number `i` goes: anywhere in 16.0.0.0 to 191.255.255.255, by splitmix64.
fn destination(i: usize) -> u32 {
    let z = (1_000_003 * i as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    0x1000_0000 + (z ^ (z >> 31)) as u32 % 0xb000_0000
}

fn udp_checksum(frame: &[u8]) -> u16 {
    let mut udp = frame[UDP_AT..].to_vec();
    udp[6..8].fill(0);
    let pseudo = u32::from(ones_sum(&frame[26..34], 0)) + 17 + udp.len() as u32;
    match !ones_sum(&udp, pseudo) {
        0 => 0xffff,
        csum => csum,
    }
}

fn ones_sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests;
