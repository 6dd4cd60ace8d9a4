//! What: one pass over a frame's headers, with every bound checked, and the reason by name for
//! what this gateway does not carry.
//!
//! Layout of what is understood:
//!
//! ```text
//! Ethernet II (14) | IPv4 with options (20..60) | TCP | UDP | ICMP | other
//!                  | ARP for IPv4 over Ethernet (28)
//! ```
//!
//! Invariants:
//!
//! - I1 after `Parsed::Ipv4(h)`: `14 = l3 < l4 <= end <= frame.len()`, and behind `l4` stand the
//!   header bytes that `h.l4` promises (TCP 20, UDP 8, ICMP 8) inside `end`;
//! - I2 `end` follows IPv4's total length, so Ethernet padding is never taken for data.

use crate::arp::Arp;
use crate::checksum;
use std::fmt;
use std::net::Ipv4Addr;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4: usize = 20;
/// IP protocol numbers (IANA).
pub const ICMP: u8 = 1;
/// See [`ICMP`].
pub const TCP: u8 = 6;
/// See [`ICMP`].
pub const UDP: u8 = 17;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// True for a group address, the broadcast address included.
    #[must_use]
    pub fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Why a frame is not carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Neither IPv4 nor ARP (nor one of those named below).
    NotIp,
    /// IPv6: recognised, not built.
    Ipv6NotBuilt,
    /// A VLAN tag: recognised, not built.
    VlanNotBuilt,
    /// A fragment, first or later: recognised, not built.
    FragmentNotBuilt,
    /// Shorter than its headers say, a length that contradicts another, or a wrong version.
    BadHeader,
    /// The IPv4 header's checksum is wrong.
    BadChecksum,
}

/// What stands behind the IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// TCP, with its flag byte.
    Tcp(u8),
    /// UDP.
    Udp,
    /// ICMP echo request; `src_port` holds the identifier.
    EchoRequest,
    /// ICMP echo reply; `dst_port` holds the identifier.
    EchoReply,
    /// An ICMP message that quotes the packet it is about.
    IcmpError,
    /// Any other ICMP message.
    IcmpOther,
    /// Any other protocol.
    Other,
}

/// Where an IPv4 packet's headers stand and what the datapath asks of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// TCP or UDP source port; the identifier of an echo request; else 0.
    pub src_port: u16,
    /// TCP or UDP destination port; the identifier of an echo reply; else 0.
    pub dst_port: u16,
    /// What stands behind the IPv4 header.
    pub l4: L4,
    /// IP protocol number.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Differentiated services code point.
    pub dscp: u8,
    /// Don't fragment.
    pub dont_fragment: bool,
    /// Offset of the TCP, UDP or ICMP header.
    pub l4_at: u16,
    /// End of the IPv4 packet.
    pub end: u16,
}

impl Headers {
    /// Offset of the IPv4 header.
    pub const L3: usize = ETHERNET;

    /// Length of the IPv4 packet.
    #[must_use]
    pub fn ip_len(&self) -> usize {
        usize::from(self.end) - Self::L3
    }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// An IPv4 packet.
    Ipv4(Headers),
    /// ARP for IPv4.
    Arp(Arp),
    /// Not carried, and why.
    Refused(Refused),
}

/// Parses one frame. Never panics, whatever the bytes.
#[inline]
#[must_use]
pub fn parse(frame: &[u8]) -> Parsed {
    let Some((header, payload)) = frame.split_at_checked(ETHERNET) else {
        return Parsed::Refused(Refused::BadHeader);
    };
    let refused = match be16(header, 12) {
        ETHERTYPE_IPV4 => match ipv4(payload) {
            Ok(headers) => return Parsed::Ipv4(headers),
            Err(why) => why,
        },
        ETHERTYPE_ARP => match Arp::read(payload) {
            Some(arp) => return Parsed::Arp(arp),
            None => Refused::BadHeader,
        },
        ETHERTYPE_VLAN | ETHERTYPE_QINQ => Refused::VlanNotBuilt,
        ETHERTYPE_IPV6 => Refused::Ipv6NotBuilt,
        _ => Refused::NotIp,
    };
    Parsed::Refused(refused)
}

/// Source address of a frame that has an Ethernet header; zeros for one that has none.
#[inline]
#[must_use]
pub fn source_mac(frame: &[u8]) -> Mac {
    mac_at(frame, 6)
}

/// Destination address of a frame that has an Ethernet header; zeros for one that has none.
#[inline]
#[must_use]
pub fn destination_mac(frame: &[u8]) -> Mac {
    mac_at(frame, 0)
}

/// Writes both Ethernet addresses. A frame without an Ethernet header stays as it is.
#[inline]
pub fn set_macs(frame: &mut [u8], dst: Mac, src: Mac) {
    if let Some(header) = frame.first_chunk_mut::<12>() {
        header[..6].copy_from_slice(&dst.0);
        header[6..].copy_from_slice(&src.0);
    }
}

#[inline]
fn mac_at(frame: &[u8], at: usize) -> Mac {
    let bytes = frame.get(at..).and_then(|rest| rest.first_chunk::<6>());
    Mac(bytes.copied().unwrap_or_default())
}

#[inline]
fn ipv4(packet: &[u8]) -> Result<Headers, Refused> {
    let fixed = packet.first_chunk::<IPV4>().ok_or(Refused::BadHeader)?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if fixed[0] >> 4 != 4 || header_len < IPV4 || total < header_len {
        return Err(Refused::BadHeader);
    }
    let packet = packet.get(..total).ok_or(Refused::BadHeader)?;
    let (header, payload) = packet.split_at(header_len);
    if checksum::of(header) != 0 {
        return Err(Refused::BadChecksum);
    }
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]);
    if fragment & 0x3fff != 0 {
        return Err(Refused::FragmentNotBuilt); // more fragments, or an offset
    }
    let protocol = fixed[9];
    let (l4, src_port, dst_port) = transport(protocol, payload)?;
    let end = u16::try_from(ETHERNET + total).map_err(|_| Refused::BadHeader)?;
    Ok(Headers {
        src: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
        dst: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
        src_port,
        dst_port,
        l4,
        protocol,
        ttl: fixed[8],
        dscp: fixed[1] >> 2,
        dont_fragment: fragment & 0x4000 != 0,
        l4_at: (ETHERNET + header_len) as u16, // at most 14 + 60
        end,
    })
}

/// The kind of transport header, with its two ports, after its own lengths were checked.
#[inline]
pub(crate) fn transport(protocol: u8, payload: &[u8]) -> Result<(L4, u16, u16), Refused> {
    match protocol {
        TCP => {
            let header = payload.first_chunk::<20>().ok_or(Refused::BadHeader)?;
            let len = usize::from(header[12] >> 4) * 4;
            if len < 20 || len > payload.len() {
                return Err(Refused::BadHeader);
            }
            Ok((L4::Tcp(header[13]), be16(header, 0), be16(header, 2)))
        }
        UDP => {
            let header = payload.first_chunk::<8>().ok_or(Refused::BadHeader)?;
            let len = usize::from(be16(header, 4));
            if len < 8 || len > payload.len() {
                return Err(Refused::BadHeader);
            }
            Ok((L4::Udp, be16(header, 0), be16(header, 2)))
        }
        ICMP => {
            let header = payload.first_chunk::<8>().ok_or(Refused::BadHeader)?;
            Ok(match header[0] {
                8 => (L4::EchoRequest, be16(header, 4), 0),
                0 => (L4::EchoReply, 0, be16(header, 4)),
                3 | 4 | 11 | 12 => (L4::IcmpError, 0, 0),
                _ => (L4::IcmpOther, 0, 0),
            })
        }
        _ => Ok((L4::Other, 0, 0)),
    }
}

/// Two bytes as a number; the caller has checked that they are there.
#[inline]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Stores a number in two bytes; the caller has checked that they are there.
#[inline]
pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use proptest::prelude::*;

    fn refused(frame: &[u8]) -> Refused {
        match parse(frame) {
            Parsed::Refused(why) => why,
            other => panic!("carried: {other:?}"),
        }
    }

    #[test]
    fn udp_is_read_as_an_independent_writer_wrote_it() {
        let frame = frames::udp([10, 0, 0, 7], 5000, [198, 51, 100, 9], 443, b"hello");
        let Parsed::Ipv4(h) = parse(&frame) else {
            panic!("refused")
        };
        assert_eq!((h.src, h.src_port), (Ipv4Addr::new(10, 0, 0, 7), 5000));
        assert_eq!((h.dst, h.dst_port), (Ipv4Addr::new(198, 51, 100, 9), 443));
        assert_eq!((h.l4, h.ttl, h.l4_at), (L4::Udp, 64, 34));
        assert_eq!(usize::from(h.end), frame.len());
    }

    #[test]
    fn tcp_flags_and_ip_options_are_read() {
        let frame = frames::tcp_with_options(frames::SYN);
        let Parsed::Ipv4(h) = parse(&frame) else {
            panic!("refused")
        };
        assert_eq!(h.l4, L4::Tcp(0x02));
        assert_eq!(h.l4_at, 14 + 24);
    }

    #[test]
    fn padding_is_not_data() {
        let mut frame = frames::udp([10, 0, 0, 7], 1, [10, 0, 0, 8], 2, b"x");
        let end = frame.len();
        frame.resize(60, 0xaa);
        let Parsed::Ipv4(h) = parse(&frame) else {
            panic!("refused")
        };
        assert_eq!(usize::from(h.end), end);
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let mut frame = frames::udp([10, 0, 0, 7], 1, [10, 0, 0, 8], 2, b"x");
        for (ethertype, why) in [
            (0x86ddu16, Refused::Ipv6NotBuilt),
            (0x8100, Refused::VlanNotBuilt),
            (0x88cc, Refused::NotIp),
        ] {
            put16(&mut frame, 12, ethertype);
            assert_eq!(refused(&frame), why);
        }
    }

    #[test]
    fn a_fragment_is_refused_by_name_and_dont_fragment_is_not() {
        let mut frame = frames::udp([10, 0, 0, 7], 1, [10, 0, 0, 8], 2, b"x");
        put16(&mut frame, 20, 0x2000);
        frames::fix_ip_checksum(&mut frame);
        assert_eq!(refused(&frame), Refused::FragmentNotBuilt);
        put16(&mut frame, 20, 0x4000);
        frames::fix_ip_checksum(&mut frame);
        assert!(matches!(parse(&frame), Parsed::Ipv4(h) if h.dont_fragment));
    }

    #[test]
    fn a_wrong_header_checksum_is_refused() {
        let mut frame = frames::udp([10, 0, 0, 7], 1, [10, 0, 0, 8], 2, b"x");
        frame[22] ^= 1;
        assert_eq!(refused(&frame), Refused::BadChecksum);
    }

    #[test]
    fn every_truncation_is_refused() {
        let frame = frames::tcp([10, 0, 0, 7], 1, [10, 0, 0, 8], 2, frames::ACK, b"data");
        for len in 0..frame.len() {
            assert_eq!(refused(&frame[..len]), Refused::BadHeader, "at {len}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_offsets_hold(mut bytes in prop::collection::vec(any::<u8>(), 0..128), force in any::<bool>()) {
            if force && bytes.len() > 34 {
                put16(&mut bytes, 12, ETHERTYPE_IPV4);
                bytes[14] = 0x45 + (bytes[14] & 3);
                put16(&mut bytes, 20, 0);
                bytes[16] = 0;
                bytes[23] = [ICMP, TCP, UDP][usize::from(bytes[23] % 3)];
                frames::fix_ip_checksum(&mut bytes);
            }
            if let Parsed::Ipv4(h) = parse(&bytes) {
                prop_assert!(h.l4_at >= 34 && h.l4_at <= h.end && usize::from(h.end) <= bytes.len());
            }
        }
    }
}
