//! What: the ICMP messages that a gateway writes itself: echo replies, and errors about packets
//! it cannot forward (RFC 792, RFC 1191, RFC 1812 §4.3).
//!
//! Layout of an error: a new frame of at most 590 bytes: Ethernet, IPv4 without options, ICMP,
//! and as much of the offending packet as fits into 576 bytes of IPv4.
//!
//! Invariants: I1 no error is written about an ICMP error, a group or broadcast frame, or a
//! source that is not one host ([`may_complain`]).

use crate::checksum;
use crate::parse::{
    ETHERNET, Headers, ICMP, IPV4, L4, be16, destination_mac, put16, set_macs, source_mac,
};
use std::net::Ipv4Addr;

/// The longest IPv4 packet that an error may be (RFC 1812 §4.3.2.3).
const LONGEST: usize = 576;
const TTL: u8 = 64;

/// Why a packet is not forwarded, as its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Its time to live ran out.
    TtlExceeded,
    /// It is too long for the next link and may not be fragmented.
    FragmentationNeeded {
        /// What the next link carries.
        mtu: u16,
    },
    /// No route leads there.
    NetUnreachable,
    /// Nobody answers for the address.
    HostUnreachable,
    /// Nobody listens on the port.
    PortUnreachable,
}

impl Complaint {
    fn type_code_mtu(self) -> (u8, u8, u16) {
        match self {
            Complaint::TtlExceeded => (11, 0, 0),
            Complaint::NetUnreachable => (3, 0, 0),
            Complaint::HostUnreachable => (3, 1, 0),
            Complaint::PortUnreachable => (3, 3, 0),
            Complaint::FragmentationNeeded { mtu } => (3, 4, mtu),
        }
    }
}

/// True if an error about this packet may be sent (RFC 1812 §4.3.2.7).
#[must_use]
pub fn may_complain(frame: &[u8], h: &Headers) -> bool {
    let host = |a: Ipv4Addr| {
        !(a.is_unspecified() || a.is_broadcast() || a.is_multicast() || a.is_loopback())
    };
    h.l4 != L4::IcmpError
        && !destination_mac(frame).is_group()
        && host(h.src)
        && !h.dst.is_multicast()
        && !h.dst.is_broadcast()
}

/// Writes the error `complaint` about `original` into `out`, from `from` back to the sender,
/// leaving by the way it came. Returns the frame's length, or 0 if `out` has no room.
pub fn error(
    out: &mut [u8],
    original: &[u8],
    h: &Headers,
    from: Ipv4Addr,
    complaint: Complaint,
) -> usize {
    let quote = h.ip_len().min(LONGEST - IPV4 - 8);
    let total = IPV4 + 8 + quote;
    let (Some(packet), Some(quoted)) = (
        out.get_mut(..ETHERNET + total),
        original.get(Headers::L3..Headers::L3 + quote),
    ) else {
        return 0;
    };
    packet.fill(0);
    set_macs(packet, source_mac(original), destination_mac(original));
    put16(packet, 12, 0x0800);
    write_ip(&mut packet[ETHERNET..], total, from, h.src);
    let message = &mut packet[ETHERNET + IPV4..];
    let (kind, code, mtu) = complaint.type_code_mtu();
    message[0] = kind;
    message[1] = code;
    put16(message, 6, mtu);
    message[8..].copy_from_slice(quoted);
    let sum = checksum::of(message);
    put16(message, 2, sum);
    ETHERNET + total
}

/// Turns an echo request into its reply, in place. Options are answered as they came.
pub fn echo_reply(frame: &mut [u8], h: &Headers) {
    if h.l4 != L4::EchoRequest || frame.len() < usize::from(h.end) {
        return;
    }
    let (to, from) = (source_mac(frame), destination_mac(frame));
    set_macs(frame, to, from);
    let ip = &mut frame[Headers::L3..usize::from(h.l4_at)];
    ip[8] = TTL;
    ip[12..16].copy_from_slice(&h.dst.octets());
    ip[16..20].copy_from_slice(&h.src.octets());
    put16(ip, 10, 0);
    let sum = checksum::of(ip);
    put16(ip, 10, sum);
    let message = &mut frame[usize::from(h.l4_at)..usize::from(h.end)];
    let delta = checksum::Delta::default().word(be16(message, 0), u16::from(message[1]));
    message[0] = 0;
    let sum = delta.apply(be16(message, 2));
    put16(message, 2, sum);
}

fn write_ip(ip: &mut [u8], total: usize, src: Ipv4Addr, dst: Ipv4Addr) {
    ip[0] = 0x45;
    put16(ip, 2, total as u16); // at most 576
    ip[8] = TTL;
    ip[9] = ICMP;
    ip[12..16].copy_from_slice(&src.octets());
    ip[16..20].copy_from_slice(&dst.octets());
    let sum = checksum::of(&ip[..IPV4]);
    put16(ip, 10, sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use crate::parse::{Parsed, parse};
    use etherparse::{Icmpv4Type, SlicedPacket, TransportSlice, icmpv4};

    const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn headers(frame: &[u8]) -> Headers {
        match parse(frame) {
            Parsed::Ipv4(h) => h,
            other => panic!("not IPv4: {other:?}"),
        }
    }

    fn icmp_type(frame: &[u8]) -> Icmpv4Type {
        match SlicedPacket::from_ethernet(frame).unwrap().transport {
            Some(TransportSlice::Icmpv4(icmp)) => icmp.header().icmp_type,
            other => panic!("not ICMP: {other:?}"),
        }
    }

    #[test]
    fn ttl_exceeded_goes_back_and_quotes_the_packet() {
        let packet = frames::udp([10, 0, 0, 7], 5000, [9, 9, 9, 9], 33_434, b"traceroute");
        let h = headers(&packet);
        let mut out = [0; 2048];
        let len = error(&mut out, &packet, &h, US, Complaint::TtlExceeded);
        let out = &out[..len];
        frames::assert_checksums(out);
        let back = headers(out);
        assert_eq!((back.src, back.dst), (US, h.src));
        assert_eq!(destination_mac(out), source_mac(&packet));
        assert_eq!(&out[42..], &packet[14..]);
        assert!(matches!(icmp_type(out), Icmpv4Type::TimeExceeded(_)));
    }

    #[test]
    fn fragmentation_needed_names_the_mtu_and_stays_under_576() {
        let packet = frames::udp([10, 0, 0, 7], 5000, [9, 9, 9, 9], 1, &[7; 1600]);
        let mut out = [0; 2048];
        let complaint = Complaint::FragmentationNeeded { mtu: 1400 };
        let len = error(&mut out, &packet, &headers(&packet), US, complaint);
        assert_eq!(len, 14 + 576);
        frames::assert_checksums(&out[..len]);
        let expected = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1400 };
        assert_eq!(
            icmp_type(&out[..len]),
            Icmpv4Type::DestinationUnreachable(expected)
        );
    }

    #[test]
    fn nobody_complains_about_an_error_a_group_or_nobody() {
        let packet = frames::udp([10, 0, 0, 7], 1, [9, 9, 9, 9], 2, b"");
        assert!(may_complain(&packet, &headers(&packet)));
        let about = frames::icmp_error([10, 0, 0, 7], [9, 9, 9, 9], 3, 3, &packet[14..]);
        assert!(!may_complain(&about, &headers(&about)));
        let mut to_all = packet.clone();
        to_all[..6].fill(0xff);
        assert!(!may_complain(&to_all, &headers(&to_all)));
        for src in [[0, 0, 0, 0], [255, 255, 255, 255], [224, 0, 0, 1]] {
            let packet = frames::udp(src, 1, [9, 9, 9, 9], 2, b"");
            assert!(!may_complain(&packet, &headers(&packet)));
        }
    }

    #[test]
    fn an_echo_is_answered_with_its_own_data() {
        let mut frame = frames::echo([10, 0, 0, 7], US.octets(), 77, false);
        let before = frame.clone();
        let h = headers(&frame);
        echo_reply(&mut frame, &h);
        frames::assert_checksums(&frame);
        let back = headers(&frame);
        assert_eq!((back.src, back.dst, back.dst_port), (US, h.src, 77));
        assert_eq!(back.l4, L4::EchoReply);
        assert_eq!(destination_mac(&frame), source_mac(&before));
        assert_eq!(frame[38..], before[38..]);
    }

    #[test]
    fn no_room_means_no_frame() {
        let packet = frames::udp([10, 0, 0, 7], 1, [9, 9, 9, 9], 2, b"data");
        let h = headers(&packet);
        assert_eq!(
            error(&mut [0; 60], &packet, &h, US, Complaint::HostUnreachable),
            0
        );
    }
}
