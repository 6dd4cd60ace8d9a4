//! What: ICMP errors that cross the translation (RFC 5508 §4): the message quotes a packet, and
//! the quoted packet's addresses, ports and checksums must read as the receiver once sent it.
//!
//! Layout:
//!
//! ```text
//! Ethernet | IPv4 (outer) | ICMP 8 | IPv4 (quoted) | at least 8 bytes of TCP, UDP or echo
//! ```
//!
//! Invariants: I1 an error whose own checksum is wrong is refused (REQ-3), as the checksum is
//! computed anew afterwards; I2 a quoted checksum is changed only if the quotation reaches it.

use crate::checksum::{self, Delta};
use crate::parse::{Headers, ICMP, IPV4, L4, TCP, UDP, be16, put16};
use crate::rewrite::End;
use std::net::Ipv4Addr;

/// The packet that an ICMP error quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Who sent it.
    pub src: End,
    /// Whom it was for.
    pub dst: End,
    /// Its protocol: TCP, UDP or ICMP (echo).
    pub protocol: u8,
    /// An echo reply: its identifier belongs to `dst`, otherwise to `src`.
    reply: bool,
    l3_at: u16,
    l4_at: u16,
}

/// Which end of the quoted packet is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Its source: the error travels outside → inside.
    Source,
    /// Its destination: the error travels inside → outside.
    Destination,
}

/// Reads the quotation of the ICMP error `h`. `None` if it is too short, is itself about a later
/// fragment, quotes what is not translated, or if the error's checksum is wrong.
#[must_use]
pub fn quoted(frame: &[u8], h: &Headers) -> Option<Quoted> {
    if h.l4 != L4::IcmpError {
        return None;
    }
    let message = frame.get(usize::from(h.l4_at)..usize::from(h.end))?;
    if checksum::of(message) != 0 {
        return None;
    }
    let ip = message.get(8..)?;
    let fixed = ip.first_chunk::<IPV4>()?;
    let header_len = usize::from(fixed[0] & 15) * 4;
    let fragment_offset = be16(fixed, 6) & 0x1fff;
    if fixed[0] >> 4 != 4 || header_len < IPV4 || fragment_offset != 0 {
        return None;
    }
    let l4 = ip.get(header_len..)?.first_chunk::<8>()?;
    let (src_port, dst_port, reply) = match (fixed[9], l4[0]) {
        (TCP | UDP, _) => (be16(l4, 0), be16(l4, 2), false),
        (ICMP, 8) => (be16(l4, 4), 0, false),
        (ICMP, 0) => (0, be16(l4, 4), true),
        _ => return None,
    };
    let l3_at = h.l4_at + 8;
    Some(Quoted {
        src: End {
            address: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            port: src_port,
        },
        dst: End {
            address: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
            port: dst_port,
        },
        protocol: fixed[9],
        reply,
        l3_at,
        l4_at: l3_at + header_len as u16, // at most 60
    })
}

/// Translates the quotation: the end `which` of the quoted packet becomes `end`, and the error's
/// checksum is computed anew. The outer addresses are [`crate::rewrite::apply`]'s work.
pub fn translate(frame: &mut [u8], h: &Headers, quoted: &Quoted, which: Which, end: End) {
    let (l3, l4) = (usize::from(quoted.l3_at), usize::from(quoted.l4_at));
    if frame.len() < usize::from(h.end) || l4 + 8 > usize::from(h.end) {
        return; // not the frame that `h` and `quoted` were made from
    }
    let (old, at) = match which {
        Which::Source => (quoted.src, l3 + 12),
        Which::Destination => (quoted.dst, l3 + 16),
    };
    let address = Delta::default().address(old.address, end.address);
    frame[at..at + 4].copy_from_slice(&end.address.octets());
    let sum = address.apply(be16(frame, l3 + 10));
    put16(frame, l3 + 10, sum);
    translate_port(frame, h, quoted, which, end.port, address);
    let message = usize::from(h.l4_at)..usize::from(h.end);
    put16(frame, message.start + 2, 0);
    let sum = checksum::of(&frame[message.clone()]);
    put16(frame, message.start + 2, sum);
}

fn translate_port(
    frame: &mut [u8],
    h: &Headers,
    quoted: &Quoted,
    which: Which,
    port: u16,
    address: Delta,
) {
    let l4 = usize::from(quoted.l4_at);
    let source = which == Which::Source;
    let (at, field, delta) = match quoted.protocol {
        ICMP if quoted.reply == source => return, // this end has no identifier
        ICMP => (l4 + 4, l4 + 2, Delta::default()),
        UDP => (if source { l4 } else { l4 + 2 }, l4 + 6, address),
        _ => (if source { l4 } else { l4 + 2 }, l4 + 16, address),
    };
    let delta = delta.word(be16(frame, at), port);
    put16(frame, at, port);
    if field + 2 > usize::from(h.end) {
        return; // I2: TCP's checksum is often not quoted
    }
    let old = be16(frame, field);
    let new = if quoted.protocol == UDP {
        delta.apply_udp(old)
    } else {
        delta.apply(old)
    };
    put16(frame, field, new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use crate::parse::{Parsed, parse};
    use crate::rewrite::{L4Sum, Rewrite, apply};
    use proptest::prelude::*;

    const ROUTER: [u8; 4] = [192, 0, 2, 1];
    const REMOTE: [u8; 4] = [198, 51, 100, 9];
    const OUTSIDE: End = End {
        address: Ipv4Addr::new(203, 0, 113, 17),
        port: 40_213,
    };
    const INSIDE: End = End {
        address: Ipv4Addr::new(10, 0, 0, 7),
        port: 5_000,
    };

    fn headers(frame: &[u8]) -> Headers {
        match parse(frame) {
            Parsed::Ipv4(h) => h,
            other => panic!("not IPv4: {other:?}"),
        }
    }

    /// Sends `original` through the gateway's outbound translation, has a router complain about
    /// it, and translates the complaint; the quotation must be `original` again.
    fn round_trip(original: &[u8], quote: usize) {
        let mut sent = original.to_vec();
        let h = headers(&sent);
        let change = Rewrite {
            src: Some(OUTSIDE),
            ..Rewrite::default()
        };
        apply(&mut sent, &h, &change, L4Sum::Whole);
        let upto = sent.len().min(14 + quote);
        let mut error =
            frames::icmp_error(ROUTER, OUTSIDE.address.octets(), 11, 0, &sent[14..upto]);
        let h = headers(&error);
        let quoted = quoted(&error, &h).expect("a quotation");
        assert_eq!(quoted.src, OUTSIDE);
        translate(&mut error, &h, &quoted, Which::Source, INSIDE);
        frames::assert_checksums(&error);
        assert_eq!(&error[42..], &original[14..upto]);
    }

    #[test]
    fn the_sender_reads_its_own_packet_in_the_quotation() {
        let inside = INSIDE.address.octets();
        for quote in [28, 40, 1500] {
            round_trip(&frames::udp(inside, 5000, REMOTE, 53, b"a question"), quote);
            round_trip(
                &frames::tcp(inside, 5000, REMOTE, 80, frames::SYN, b""),
                quote,
            );
            round_trip(&frames::echo(inside, REMOTE, 5000, false), quote);
        }
    }

    #[test]
    fn an_error_from_inside_names_the_outside_end() {
        let inside = INSIDE.address.octets();
        let packet = frames::udp(REMOTE, 53, inside, 5000, b"an answer");
        let mut error = frames::icmp_error(inside, REMOTE, 3, 3, &packet[14..]);
        let h = headers(&error);
        let q = quoted(&error, &h).expect("a quotation");
        assert_eq!(q.dst, INSIDE);
        translate(&mut error, &h, &q, Which::Destination, OUTSIDE);
        frames::assert_checksums(&error);
        let q = quoted(&error, &headers(&error)).expect("still a quotation");
        assert_eq!((q.dst, q.src.port), (OUTSIDE, 53));
    }

    #[test]
    fn an_error_with_a_wrong_checksum_is_refused() {
        let packet = frames::udp(REMOTE, 53, [10, 0, 0, 7], 5000, b"x");
        let mut error = frames::icmp_error([10, 0, 0, 7], REMOTE, 3, 3, &packet[14..]);
        *error.last_mut().unwrap() ^= 1;
        assert_eq!(quoted(&error, &headers(&error)), None);
    }

    #[test]
    fn an_error_about_a_later_fragment_is_refused() {
        let mut packet = frames::udp(REMOTE, 53, [10, 0, 0, 7], 5000, b"x");
        put16(&mut packet, 20, 0x0010);
        let error = frames::icmp_error([10, 0, 0, 7], REMOTE, 3, 3, &packet[14..]);
        assert_eq!(quoted(&error, &headers(&error)), None);
    }

    proptest! {
        #[test]
        fn no_quotation_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), version in any::<bool>(), end in any::<(u32, u16)>()) {
            let mut bytes = bytes;
            if version && bytes.len() > 9 {
                bytes[0] = 0x45;
                bytes[6..8].fill(0);
                bytes[9] = [1, 6, 17][usize::from(bytes[9] % 3)];
            }
            let mut error = frames::icmp_error(ROUTER, REMOTE, 3, 1, &bytes);
            let h = headers(&error);
            if let Some(q) = quoted(&error, &h) {
                let end = End { address: end.0.into(), port: end.1 };
                translate(&mut error, &h, &q, Which::Source, end);
                translate(&mut error, &h, &q, Which::Destination, end);
                frames::assert_checksums(&error);
            }
        }
    }
}
