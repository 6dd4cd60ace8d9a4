//! Frames as hosts around the gateway send them, written and judged by a parser that is not ours.

use etherparse::{
    IcmpEchoHeader, Icmpv4Type, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket,
    TransportSlice,
};
use std::net::SocketAddrV4;

pub(crate) const SYN: u8 = 0x02;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const RST: u8 = 0x04;

/// From one station to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) from: [u8; 6],
    pub(crate) to: [u8; 6],
    pub(crate) ttl: u8,
}

/// `"10.0.0.7:5000"`.
pub(crate) fn at(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

impl Wire {
    fn ip(self, src: SocketAddrV4, dst: SocketAddrV4) -> PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ethernet2(self.from, self.to).ipv4(
            src.ip().octets(),
            dst.ip().octets(),
            self.ttl,
        )
    }

    pub(crate) fn udp(self, src: &str, dst: &str, data: &[u8]) -> Vec<u8> {
        let (src, dst) = (at(src), at(dst));
        let mut frame = Vec::new();
        let builder = self.ip(src, dst).udp(src.port(), dst.port());
        builder.write(&mut frame, data).unwrap();
        frame
    }

    pub(crate) fn tcp(self, src: &str, dst: &str, flags: u8) -> Vec<u8> {
        let (src, dst) = (at(src), at(dst));
        let mut builder = self.ip(src, dst).tcp(src.port(), dst.port(), 1, 1000);
        if flags & SYN != 0 {
            builder = builder.syn();
        }
        if flags & ACK != 0 {
            builder = builder.ack(1);
        }
        if flags & RST != 0 {
            builder = builder.rst();
        }
        let mut frame = Vec::new();
        builder.write(&mut frame, b"tcp data").unwrap();
        frame
    }

    /// An echo; the identifier is the port of its sender (request) or receiver (reply).
    pub(crate) fn echo(self, src: &str, dst: &str, reply: bool) -> Vec<u8> {
        let (src, dst) = (at(src), at(dst));
        let echo = |id| IcmpEchoHeader { id, seq: 1 };
        let kind = if reply {
            Icmpv4Type::EchoReply(echo(dst.port()))
        } else {
            Icmpv4Type::EchoRequest(echo(src.port()))
        };
        let mut frame = Vec::new();
        let builder = self.ip(src, dst).icmpv4(kind);
        builder.write(&mut frame, b"echo data").unwrap();
        frame
    }

    /// An ICMP error about `frame`.
    pub(crate) fn error(self, src: &str, dst: &str, kind: (u8, u8), about: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let kind = Icmpv4Type::Unknown {
            type_u8: kind.0,
            code_u8: kind.1,
            bytes5to8: [0; 4],
        };
        let builder = self.ip(at(src), at(dst)).icmpv4(kind);
        builder.write(&mut frame, &about[14..]).unwrap();
        frame
    }
}

/// What a received frame says, after all its checksums were found right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) wire: ([u8; 6], [u8; 6]),
    pub(crate) src: SocketAddrV4,
    pub(crate) dst: SocketAddrV4,
    pub(crate) ttl: u8,
    /// ICMP type and code, else zeros.
    pub(crate) icmp: (u8, u8),
    pub(crate) data: Vec<u8>,
}

/// Reads a frame; panics unless every checksum is right.
pub(crate) fn hear(frame: &[u8]) -> Heard {
    let sliced = SlicedPacket::from_ethernet(frame).expect("a whole packet");
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
        panic!("not IPv4: {sliced:?}")
    };
    let header = ip.header();
    let right = header.to_header().calc_header_checksum();
    assert_eq!(right, header.header_checksum(), "IPv4 checksum");
    let (src, dst) = (header.source(), header.destination());
    let (sport, dport, icmp, data) = match &sliced.transport {
        Some(TransportSlice::Udp(udp)) => {
            let right = udp
                .to_header()
                .calc_checksum_ipv4_raw(src, dst, udp.payload());
            assert_eq!(right.unwrap(), udp.checksum(), "UDP checksum");
            let ports = (udp.source_port(), udp.destination_port());
            (ports.0, ports.1, (0, 0), udp.payload())
        }
        Some(TransportSlice::Tcp(tcp)) => {
            let right = tcp.calc_checksum_ipv4(src, dst).unwrap();
            assert_eq!(right, tcp.checksum(), "TCP checksum");
            let ports = (tcp.source_port(), tcp.destination_port());
            (ports.0, ports.1, (0, 0), tcp.payload())
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            let right = icmp.header().icmp_type.calc_checksum(icmp.payload());
            assert_eq!(right, icmp.checksum(), "ICMP checksum");
            let (sport, dport) = match icmp.header().icmp_type {
                Icmpv4Type::EchoRequest(echo) => (echo.id, 0),
                Icmpv4Type::EchoReply(echo) => (0, echo.id),
                _ => (0, 0),
            };
            let kind = (icmp.type_u8(), icmp.code_u8());
            (sport, dport, kind, icmp.payload())
        }
        other => panic!("no transport: {other:?}"),
    };
    Heard {
        wire: (
            frame[6..12].try_into().unwrap(),
            frame[..6].try_into().unwrap(),
        ),
        src: SocketAddrV4::new(src.into(), sport),
        dst: SocketAddrV4::new(dst.into(), dport),
        ttl: header.ttl(),
        icmp,
        data: data.to_vec(),
    }
}

/// The packet that an ICMP error quotes, as (source, destination) in its own words.
pub(crate) fn quoted(error: &Heard) -> (SocketAddrV4, SocketAddrV4) {
    let q = &error.data;
    let ip = |at: usize| std::net::Ipv4Addr::new(q[at], q[at + 1], q[at + 2], q[at + 3]);
    let port = |at: usize| u16::from_be_bytes([q[at], q[at + 1]]);
    (
        SocketAddrV4::new(ip(12), port(20)),
        SocketAddrV4::new(ip(16), port(22)),
    )
}
