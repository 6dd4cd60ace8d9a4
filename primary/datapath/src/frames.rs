//! Frames for tests, written and checked by a parser that is not ours.

use crate::checksum;
use etherparse::{
    IcmpEchoHeader, Icmpv4Type, Ipv4Header, NetSlice, PacketBuilder, SlicedPacket, TransportSlice,
};

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;

const CLIENT: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];

pub(crate) fn udp(src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ethernet2(CLIENT, GATEWAY)
        .ipv4(src, dst, 64)
        .udp(sport, dport)
        .write(&mut out, data)
        .unwrap();
    out
}

pub(crate) fn tcp(
    src: [u8; 4],
    sport: u16,
    dst: [u8; 4],
    dport: u16,
    flags: u8,
    data: &[u8],
) -> Vec<u8> {
    let mut builder = PacketBuilder::ethernet2(CLIENT, GATEWAY)
        .ipv4(src, dst, 64)
        .tcp(sport, dport, 1000, 4096);
    if flags & SYN != 0 {
        builder = builder.syn();
    }
    if flags & ACK != 0 {
        builder = builder.ack(7);
    }
    let mut out = Vec::new();
    builder.write(&mut out, data).unwrap();
    out
}

pub(crate) fn tcp_with_options(flags: u8) -> Vec<u8> {
    let mut header = Ipv4Header::new(
        0,
        64,
        etherparse::IpNumber::TCP,
        [10, 0, 0, 7],
        [9, 9, 9, 9],
    )
    .unwrap();
    header.options = [1, 1, 1, 0].into();
    let mut out = Vec::new();
    let mut builder = PacketBuilder::ethernet2(CLIENT, GATEWAY)
        .ip(etherparse::IpHeaders::Ipv4(header, Default::default()))
        .tcp(1, 2, 3, 4);
    if flags & SYN != 0 {
        builder = builder.syn();
    }
    builder.write(&mut out, b"options").unwrap();
    out
}

pub(crate) fn echo(src: [u8; 4], dst: [u8; 4], id: u16, reply: bool) -> Vec<u8> {
    let echo = IcmpEchoHeader { id, seq: 1 };
    let kind = if reply {
        Icmpv4Type::EchoReply(echo)
    } else {
        Icmpv4Type::EchoRequest(echo)
    };
    let mut out = Vec::new();
    PacketBuilder::ethernet2(CLIENT, GATEWAY)
        .ipv4(src, dst, 64)
        .icmpv4(kind)
        .write(&mut out, b"ping data")
        .unwrap();
    out
}

/// An ICMP error of (`kind`, `code`) from `src` to `dst` that quotes `quoted` (from its IPv4
/// header on).
pub(crate) fn icmp_error(src: [u8; 4], dst: [u8; 4], kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = Icmpv4Type::Unknown {
        type_u8: kind,
        code_u8: code,
        bytes5to8: [0; 4],
    };
    PacketBuilder::ethernet2(CLIENT, GATEWAY)
        .ipv4(src, dst, 64)
        .icmpv4(kind)
        .write(&mut out, quoted)
        .unwrap();
    out
}

/// Makes the checksum of the IPv4 header right, as far as there is one.
pub(crate) fn fix_ip_checksum(frame: &mut [u8]) {
    let len = usize::from(frame[14] & 15) * 4;
    let Some(header) = frame.get_mut(14..14 + len) else {
        return;
    };
    header[10..12].fill(0);
    let sum = checksum::of(header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// Leaves TCP's or UDP's checksum as a kernel neighbour with offloads does: the pseudo header's
/// sum alone.
pub(crate) fn unfinish(frame: &mut [u8]) {
    let (protocol, len) = (frame[23], frame.len() - 34);
    let mut sum = u32::from(protocol) + len as u32;
    for pair in frame[26..34].chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let at = if protocol == 6 { 34 + 16 } else { 34 + 6 };
    frame[at..at + 2].copy_from_slice(&(sum as u16).to_be_bytes());
}

/// Asserts, by the independent parser, that every checksum in the frame is right.
pub(crate) fn assert_checksums(frame: &[u8]) {
    let sliced = SlicedPacket::from_ethernet(frame).expect("a whole packet");
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
        panic!("not IPv4: {sliced:?}")
    };
    let header = ip.header();
    assert_eq!(
        header.to_header().calc_header_checksum(),
        header.header_checksum(),
        "IPv4"
    );
    let (src, dst) = (header.source(), header.destination());
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => assert_eq!(
            tcp.calc_checksum_ipv4(src, dst).unwrap(),
            tcp.checksum(),
            "TCP"
        ),
        Some(TransportSlice::Udp(udp)) if udp.checksum() != 0 => assert_eq!(
            udp.to_header()
                .calc_checksum_ipv4_raw(src, dst, udp.payload())
                .unwrap(),
            udp.checksum(),
            "UDP"
        ),
        Some(TransportSlice::Icmpv4(icmp)) => assert_eq!(
            icmp.header().icmp_type.calc_checksum(icmp.payload()),
            icmp.checksum(),
            "ICMP"
        ),
        _ => {}
    }
}
