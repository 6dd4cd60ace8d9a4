//! Packets by chance: most of them belong to a session, and are a little or quite unusual.

use super::super::frames::{ACK, RST, SYN};
use super::super::*;
use baton_datapath::checksum;

/// xorshift64 (Marsaglia, 2003).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A packet from inside: few hosts, ports and servers, so that most belong to a session.
pub(super) fn from_inside(random: &mut Random) -> Vec<u8> {
    let host = ["10.0.0.7", "10.0.0.8", "10.0.0.7", "10.0.0.66"][random.below(4)];
    let src = format!("{host}:{}", [5000, 5001, 8443, 1][random.below(4)]);
    let servers = [
        "198.51.100.9:443",
        "198.51.100.9:443",
        "8.8.8.8:53",
        "203.0.113.2:443",
        "203.0.113.1:80",
        "10.0.0.1:9",
        "10.0.0.8:8443",
        "203.0.113.16:1030",
    ];
    let dst = servers[random.below(8)];
    packet(random, FROM_HOST, &src, dst)
}

pub(super) fn packet(random: &mut Random, wire: Wire, src: &str, dst: &str) -> Vec<u8> {
    let flags = [SYN, ACK, SYN | ACK, RST | ACK, 0x11, ACK][random.below(6)];
    match random.below(8) {
        0 => wire.echo(src, dst, false),
        1 => wire.echo(src, dst, true),
        2..5 => wire.udp(src, dst, &[7; 40][..random.below(40)]),
        _ => wire.tcp(src, dst, flags),
    }
}

/// The answer to a frame that left: its ends the other way round, which changes no checksum.
pub(super) fn answer(frame: &[u8], wire: Wire) -> Vec<u8> {
    let mut answer = frame.to_vec();
    answer[..6].copy_from_slice(&wire.to);
    answer[6..12].copy_from_slice(&wire.from);
    if frame.len() >= 42 && frame[12..14] == [8, 0] {
        answer[26..30].copy_from_slice(&frame[30..34]);
        answer[30..34].copy_from_slice(&frame[26..30]);
        answer[34..36].copy_from_slice(&frame[36..38]);
        answer[36..38].copy_from_slice(&frame[34..36]);
    }
    answer
}

/// Makes most packets a little or quite unusual.
pub(super) fn spoil(random: &mut Random, frame: &mut Vec<u8>) -> bool {
    match random.below(16) {
        0 => frame.truncate(random.below(frame.len())),
        1 => frame.resize(frame.len() + 1 + random.below(20), 0xaa),
        2 if frame.len() > 42 => {
            frame[22] = [0, 1, 2][random.below(3)];
            fix(frame);
        }
        3 if frame.len() > 42 && frame[23] == 17 => {
            let sum = [[0, 0], [0xff, 0xff]][random.below(2)];
            frame[40..42].copy_from_slice(&sum);
        }
        4 | 5 => {
            for _ in 0..=random.below(3) {
                let at = random.below(frame.len().min(56));
                frame[at] = random.below(256) as u8;
            }
            if random.one_in(2) {
                fix(frame);
            }
        }
        6 if frame.len() > 42 => {
            frame[20] = [0x20, 0x40, 0x00][random.below(3)];
            frame[21] = random.below(2) as u8;
            fix(frame);
        }
        7 if frame.len() > 42 => {
            // Four bytes of options.
            frame.splice(34..34, [1, 1, 1, 0]);
            frame[14] = 0x46;
            let total = u16::from_be_bytes([frame[16], frame[17]]).wrapping_add(4);
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            fix(frame);
        }
        8 if frame.len() > 54 && matches!(frame[23], 6 | 17) => return true,
        _ => {}
    }
    false
}

/// Makes the IPv4 header's checksum right.
fn fix(frame: &mut [u8]) {
    let len = usize::from(frame.get(14).map_or(0, |byte| byte & 15)) * 4;
    if len >= 20 && frame.len() >= 14 + len {
        frame[24..26].fill(0);
        let sum = checksum::of(&frame[14..14 + len]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}
