//! What [`net_null`](super) receives: a template, and what the frames of each flow differ in.

/// The header's checksum, addresses, ports, length, UDP's checksum: what flows differ in.
pub(super) const VARIES: core::ops::Range<usize> = 24..42;
/// The bytes there.
pub(super) type Varies = [u8; VARIES.end - VARIES.start];
const SRC_AT: usize = 26;
/// Ethernet, IPv4 without options, UDP.
const UDP_AT: usize = 34;
const UDP_CSUM_AT: usize = 40;
/// Flows of one source address where they are spread.
const FLOWS_OF_HOST: usize = 1 << 13;

/// A UDP datagram 10.0.0.2:4096 -> 192.0.2.2:9 for the port, of `size` bytes (60 at least to hold
/// its headers; shorter sizes give the front of it).
pub(super) fn udp_frame(mac: [u8; 6], size: usize) -> Vec<u8> {
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
pub(super) fn flows(template: &[u8], n: usize, spread: bool) -> Vec<Varies> {
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

pub(super) fn udp_checksum(frame: &[u8]) -> u16 {
    let mut udp = frame[UDP_AT..].to_vec();
    udp[6..8].fill(0);
    let pseudo = u32::from(ones_sum(&frame[26..34], 0)) + 17 + udp.len() as u32;
    match !ones_sum(&udp, pseudo) {
        0 => 0xffff,
        csum => csum,
    }
}

pub(super) fn ones_sum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
