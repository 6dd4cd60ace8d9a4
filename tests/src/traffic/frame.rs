//! The bytes of a probe: Ethernet, IPv4, UDP and a sequenced payload.
//!
//! ```text
//! offset in the payload   0      4     5        8     12    20         28
//!                         magic  kind  padding  flow  seq   sent, ns   zeroes up to the wanted size
//! ```
//! All numbers are big-endian.

use std::net::Ipv4Addr;

/// First word of each payload.
pub const MAGIC: u32 = 0xba70_1001;
/// Ethernet, IPv4 and UDP headers together.
pub const HEADERS: usize = ETHERNET + IPV4 + UDP;
/// Smallest payload that holds a [`Probe`].
pub const MIN_PAYLOAD: usize = 28;
/// Where the UDP header starts in a frame, as the vnet header's `csum_start` wants it.
pub const CSUM_START: u16 = (ETHERNET + IPV4) as u16;
/// Where the checksum stands in the UDP header.
pub const CSUM_OFFSET: u16 = 6;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
const PROTOCOL_UDP: u8 = 17;

/// A link-layer address.
pub type Mac = [u8; 6];

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opens a flow; not sequenced.
    Hello,
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

/// The sequenced payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// What it is for.
    pub kind: Kind,
    /// Which flow.
    pub flow: u32,
    /// Number within the flow and direction.
    pub seq: u64,
    /// Wall clock at sending, in nanoseconds.
    pub sent_ns: u64,
}

/// Addresses of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Receiver on the link.
    pub dst_mac: Mac,
    /// Sender on the link.
    pub src_mac: Mac,
    /// IPv4 source.
    pub src: Ipv4Addr,
    /// IPv4 destination.
    pub dst: Ipv4Addr,
    /// UDP source port.
    pub src_port: u16,
    /// UDP destination port.
    pub dst_port: u16,
}

/// How much of the UDP checksum the sender computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// All of it.
    Complete,
    /// The pseudo-header only, as a kernel neighbour on veth leaves it.
    Unfinished,
}

/// A received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its addresses.
    pub header: Header,
    /// Its payload.
    pub probe: Probe,
    /// Whether IPv4 header and UDP checksum are right.
    pub sums: Sums,
}

/// Verdict on the checksums of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    /// Both complete and right.
    Right,
    /// The IPv4 header's is right; UDP's holds exactly the pseudo-header.
    Unfinished,
    /// The IPv4 header's is wrong.
    WrongIpv4,
    /// UDP's is neither.
    WrongUdp,
}

/// Writes a whole frame into `buffer`, whose length decides the payload's.
///
/// # Panics
/// If `buffer` is shorter than the headers and a probe: a bug of the caller.
pub fn write(buffer: &mut [u8], header: &Header, probe: &Probe, checksum: Checksum) {
    assert!(
        buffer.len() >= HEADERS + MIN_PAYLOAD,
        "a frame of {} bytes holds no probe",
        buffer.len()
    );
    let udp_len = (buffer.len() - ETHERNET - IPV4) as u16;
    buffer[0..6].copy_from_slice(&header.dst_mac);
    buffer[6..12].copy_from_slice(&header.src_mac);
    buffer[12..14].copy_from_slice(&[0x08, 0x00]);
    let (ip, udp) = buffer[ETHERNET..].split_at_mut(IPV4);
    ip[..4].copy_from_slice(&[0x45, 0, 0, 0]);
    ip[2..4].copy_from_slice(&(udp_len + IPV4 as u16).to_be_bytes());
    ip[4..8].copy_from_slice(&[0, 0, 0x40, 0]); // "do not fragment"
    ip[8..12].copy_from_slice(&[64, PROTOCOL_UDP, 0, 0]);
    ip[12..16].copy_from_slice(&header.src.octets());
    ip[16..20].copy_from_slice(&header.dst.octets());
    let sum = !fold(add(0, ip));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    udp[0..2].copy_from_slice(&header.src_port.to_be_bytes());
    udp[2..4].copy_from_slice(&header.dst_port.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_len.to_be_bytes());
    udp[6..8].copy_from_slice(&[0, 0]);
    write_probe(&mut udp[UDP..], probe);
    let pseudo = pseudo_header(header.src, header.dst, udp_len);
    let sum = match checksum {
        Checksum::Unfinished => fold(pseudo),
        Checksum::Complete => match !fold(add(pseudo, udp)) {
            0 => 0xffff,
            sum => sum,
        },
    };
    udp[6..8].copy_from_slice(&sum.to_be_bytes());
}

/// Reads a frame; `None` if it is none of ours.
pub fn read(frame: &[u8]) -> Option<Seen> {
    let ip = frame.get(ETHERNET..)?;
    if frame[12..14] != [0x08, 0x00] || ip.len() < IPV4 || ip[0] != 0x45 || ip[9] != PROTOCOL_UDP {
        return None;
    }
    let total = usize::from(u16_at(ip, 2));
    let udp = ip.get(IPV4..total)?;
    if udp.len() < UDP + MIN_PAYLOAD {
        return None;
    }
    let probe = read_probe(&udp[UDP..])?;
    let header = Header {
        dst_mac: mac_at(frame, 0),
        src_mac: mac_at(frame, 6),
        src: ip_at(ip, 12),
        dst: ip_at(ip, 16),
        src_port: u16_at(udp, 0),
        dst_port: u16_at(udp, 2),
    };
    Some(Seen {
        header,
        probe,
        sums: check(&ip[..IPV4], udp, &header),
    })
}

fn check(ip: &[u8], udp: &[u8], header: &Header) -> Sums {
    let pseudo = pseudo_header(header.src, header.dst, udp.len() as u16);
    if fold(add(0, ip)) != 0xffff {
        Sums::WrongIpv4
    } else if usize::from(u16_at(udp, 4)) == udp.len() && fold(add(pseudo, udp)) == 0xffff {
        Sums::Right
    } else if u16_at(udp, 6) == fold(pseudo) {
        Sums::Unfinished
    } else {
        Sums::WrongUdp
    }
}

fn write_probe(payload: &mut [u8], probe: &Probe) {
    payload[0..4].copy_from_slice(&MAGIC.to_be_bytes());
    payload[4] = match probe.kind {
        Kind::Hello => 0,
        Kind::Up => 1,
        Kind::Down => 2,
    };
    payload[5..8].fill(0);
    payload[8..12].copy_from_slice(&probe.flow.to_be_bytes());
    payload[12..20].copy_from_slice(&probe.seq.to_be_bytes());
    payload[20..28].copy_from_slice(&probe.sent_ns.to_be_bytes());
    payload[MIN_PAYLOAD..].fill(0);
}

fn read_probe(payload: &[u8]) -> Option<Probe> {
    let kind = match payload[4] {
        0 => Kind::Hello,
        1 => Kind::Up,
        2 => Kind::Down,
        _ => return None,
    };
    (u32_at(payload, 0) == MAGIC).then(|| Probe {
        kind,
        flow: u32_at(payload, 8),
        seq: u64_at(payload, 12),
        sent_ns: u64_at(payload, 20),
    })
}

fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, len: u16) -> u64 {
    add(
        add(u64::from(PROTOCOL_UDP) + u64::from(len), &src.octets()),
        &dst.octets(),
    )
}

fn add(sum: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let sum = words.by_ref().fold(sum, |sum, w| {
        sum + u64::from(u16::from_be_bytes([w[0], w[1]]))
    });
    words
        .remainder()
        .first()
        .map_or(sum, |&last| sum + (u64::from(last) << 8))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

fn mac_at(bytes: &[u8], at: usize) -> Mac {
    std::array::from_fn(|i| bytes[at + i])
}

fn ip_at(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32_at(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        dst_mac: [2, 0, 0, 0, 0, 1],
        src_mac: [2, 0, 0, 0, 0, 2],
        src: Ipv4Addr::new(10, 1, 0, 1),
        dst: Ipv4Addr::new(198, 51, 100, 9),
        src_port: 20_000,
        dst_port: 9_000,
    };

    fn probe(seq: u64) -> Probe {
        Probe {
            kind: Kind::Up,
            flow: 7,
            seq,
            sent_ns: 1,
        }
    }

    fn frame(len: usize, seq: u64, checksum: Checksum) -> Vec<u8> {
        let mut bytes = vec![0xaa; len];
        write(&mut bytes, &HEADER, &probe(seq), checksum);
        bytes
    }

    #[test]
    fn what_was_written_is_read_back() {
        for len in [HEADERS + MIN_PAYLOAD, 101, 1_514] {
            let seen = read(&frame(len, 12, Checksum::Complete)).expect("one of ours");
            assert_eq!(
                seen,
                Seen {
                    header: HEADER,
                    probe: probe(12),
                    sums: Sums::Right
                }
            );
        }
    }

    #[test]
    fn an_unfinished_checksum_is_told_from_a_right_and_a_wrong_one() {
        let mut bytes = frame(100, 3, Checksum::Unfinished);
        assert_eq!(read(&bytes).expect("ours").sums, Sums::Unfinished);
        bytes[41] ^= 1;
        assert_eq!(read(&bytes).expect("ours").sums, Sums::WrongUdp);
        bytes[22] -= 1; // the time to live, without its checksum
        assert_eq!(read(&bytes).expect("ours").sums, Sums::WrongIpv4);
    }

    #[test]
    fn link_padding_is_no_part_of_the_datagram() {
        let mut bytes = frame(100, 3, Checksum::Complete);
        bytes.extend([0xee; 20]);
        assert_eq!(read(&bytes).expect("ours").sums, Sums::Right);
    }

    #[test]
    fn a_complete_checksum_is_never_zero() {
        for seq in 0..70_000 {
            let bytes = frame(HEADERS + MIN_PAYLOAD, seq, Checksum::Complete);
            assert_ne!(bytes[40..42], [0, 0], "seq {seq}");
        }
    }

    #[test]
    fn foreign_and_short_frames_are_not_ours() {
        let good = frame(100, 1, Checksum::Complete);
        for len in 0..good.len() {
            assert_eq!(read(&good[..len]), None, "cut to {len}");
        }
        let mut bytes = good.clone();
        bytes[HEADERS] ^= 0xff;
        assert_eq!(read(&bytes), None, "other magic");
        let mut bytes = good;
        bytes[23] = 6;
        assert_eq!(read(&bytes), None, "TCP");
    }
}
