//! `net_null`: received packets come from a template, what is sent is freed. For benches.
//!
//! Keys: `size` (bytes, 64), `template` (a frame in hexadecimal), `flows` (the UDP source port runs
//! through that many values), `no-rx=1`, `queues`, `mac`.
//!
//! Cursor 0: packets made. Failure: packets in hand are found by their mark; nothing else exists.

use std::os::fd::BorrowedFd;

use baton_shared_state::Region;
use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::Holder;
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
/// Ethernet, IPv4 without options, UDP.
const UDP_AT: usize = 34;
const UDP_CSUM_AT: usize = 40;

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
    Ok(Box::new(NullPort {
        hand: Hand {
            pool: *pool,
            port: spec.id,
            queue,
        },
        cursors,
        flows: flows(&template, number(spec, "flows", 1)),
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
    /// Source port and checksum, four bytes, of each flow; empty when nothing varies.
    flows: Vec<[[u8; 2]; 2]>,
    silent: bool,
}

impl Port for NullPort {
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize {
        if self.silent {
            return 0;
        }
        let n = cache.alloc_burst(out);
        let cursor = self.cursors.word(MADE);
        let made = cursor.load(Ordering::Relaxed);
        for (i, m) in out[..n].iter().enumerate() {
            let at = made.wrapping_add(i as u64);
            self.hand
                .copied(cache.shard(), *m, &self.template, at as u32);
            if !self.flows.is_empty() {
                let [port, csum] = self.flows[(at % self.flows.len() as u64) as usize];
                let mut packet = Packet::from_raw(*m, self.hand.pool);
                packet.data_mut()[UDP_AT..UDP_AT + 2].copy_from_slice(&port);
                packet.data_mut()[UDP_CSUM_AT..UDP_CSUM_AT + 2].copy_from_slice(&csum);
                packet.into_raw();
            }
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

/// Source port and checksum of each flow, if the template is IPv4 without options and UDP.
fn flows(template: &[u8], n: usize) -> Vec<[[u8; 2]; 2]> {
    let udp = template.len() > UDP_CSUM_AT + 1
        && template[12..15] == [0x08, 0x00, 0x45]
        && template[23] == 17;
    if n < 2 || !udp {
        return Vec::new();
    }
    let mut frame = template.to_vec();
    let first = u16::from_be_bytes([frame[UDP_AT], frame[UDP_AT + 1]]);
    (0..n)
        .map(|i| {
            let port = first.wrapping_add(i as u16).to_be_bytes();
            frame[UDP_AT..UDP_AT + 2].copy_from_slice(&port);
            [port, udp_checksum(&frame).to_be_bytes()]
        })
        .collect()
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
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_datagram_whose_checksums_are_right() {
        let frame = udp_frame([2, 0, 0, 0, 0, 1], 100);
        assert_eq!(frame.len(), 100);
        assert_eq!(ones_sum(&frame[14..34], 0), 0xffff);
        let pseudo = u32::from(ones_sum(&frame[26..34], 0)) + 17 + 66;
        assert_eq!(ones_sum(&frame[34..], pseudo), 0xffff);
    }

    #[test]
    fn each_flow_has_its_own_port_and_checksum() {
        let frame = udp_frame([2, 0, 0, 0, 0, 1], 64);
        let flows = flows(&frame, 1000);
        assert_eq!(flows.len(), 1000);
        assert_eq!(flows[5][0], 0x1005u16.to_be_bytes());
        assert_eq!(flows[0][1], frame[40..42]);
        assert!(
            super::flows(&[0; 60], 9).is_empty(),
            "no UDP, nothing varies"
        );
    }

    #[test]
    fn a_size_below_the_headers_gives_the_front_of_a_frame() {
        assert_eq!(udp_frame([0; 6], 14).len(), 14);
    }
}
