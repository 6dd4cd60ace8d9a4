//! What: the translation itself: another source, another destination, one hop less to live, with
//! every checksum following.
//!
//! Layout: only the changed fields are stored; the payload is read in one case alone, when a
//! neighbour left the TCP or UDP checksum unfinished.
//!
//! Invariants: I1 the whole change of a packet costs one fold for IPv4 and one for the transport;
//! I2 after [`apply`] no checksum is unfinished: the caller clears the packet's mark.

use crate::checksum::{self, Delta};
use crate::parse::{Headers, L4, be16, put16};
use std::net::Ipv4Addr;

/// Offsets in the IPv4 header.
const TTL: usize = Headers::L3 + 8;
const IP_CHECKSUM: usize = Headers::L3 + 10;
const SRC: usize = Headers::L3 + 12;
const DST: usize = Headers::L3 + 16;

/// An address and a port (or echo identifier).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct End {
    /// The address.
    pub address: Ipv4Addr,
    /// The port, or the echo identifier.
    pub port: u16,
}

/// What changes in a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The new source.
    pub src: Option<End>,
    /// The new destination.
    pub dst: Option<End>,
    /// What is taken from the time to live.
    pub hops: u8,
}

/// What is known about the TCP or UDP checksum before the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4Sum {
    /// Whole.
    Whole,
    /// The port said that only the pseudo header is in it.
    Unfinished,
    /// The port cannot say; a match with the pseudo header's sum decides.
    Unknown,
}

/// What happened to the transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summed {
    /// It followed the change, or there is none.
    Followed,
    /// It was unfinished and is whole now.
    Finished,
}

/// Changes `frame`, whose headers are `h`. `h` is stale afterwards.
#[inline]
pub fn apply(frame: &mut [u8], h: &Headers, change: &Rewrite, sum: L4Sum) -> Summed {
    let at = usize::from(h.l4_at);
    if frame.len() < usize::from(h.end) || at > usize::from(h.end) {
        return Summed::Followed; // not the frame that `h` was made from
    }
    let unfinished = is_unfinished(frame, h, sum);
    let src = change.src.map_or(h.src, |end| end.address);
    let dst = change.dst.map_or(h.dst, |end| end.address);
    let addresses = Delta::default().address(h.src, src).address(h.dst, dst);
    rewrite_ip(frame, h, (src, dst), change.hops, addresses);
    match h.l4 {
        L4::Tcp(_) | L4::Udp => rewrite_ports(frame, h, change, addresses, unfinished),
        L4::EchoRequest | L4::EchoReply => rewrite_echo(frame, h, change),
        _ => {}
    }
    if unfinished {
        finish(frame, h, src, dst);
        return Summed::Finished;
    }
    Summed::Followed
}

/// True if the TCP or UDP checksum of `frame` is still to be computed.
#[inline]
#[must_use]
pub fn is_unfinished(frame: &[u8], h: &Headers, sum: L4Sum) -> bool {
    let Some(at) = checksum_at(h) else {
        return false;
    };
    match sum {
        L4Sum::Whole => false,
        L4Sum::Unfinished => true,
        L4Sum::Unknown => {
            let pseudo = checksum::pseudo_header(h.src, h.dst, h.protocol, l4_len(frame, h));
            checksum::is_unfinished(be16(frame, at), pseudo)
        }
    }
}

#[inline]
fn rewrite_ip(
    frame: &mut [u8],
    h: &Headers,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    hops: u8,
    mut delta: Delta,
) {
    let ttl = h.ttl.saturating_sub(hops);
    delta = delta.word(
        u16::from_be_bytes([h.ttl, h.protocol]),
        u16::from_be_bytes([ttl, h.protocol]),
    );
    frame[TTL] = ttl;
    let sum = delta.apply(be16(frame, IP_CHECKSUM));
    put16(frame, IP_CHECKSUM, sum);
    frame[SRC..SRC + 4].copy_from_slice(&src.octets());
    frame[DST..DST + 4].copy_from_slice(&dst.octets());
}

#[inline]
fn rewrite_ports(
    frame: &mut [u8],
    h: &Headers,
    change: &Rewrite,
    addresses: Delta,
    unfinished: bool,
) {
    let at = usize::from(h.l4_at);
    let src = change.src.map_or(h.src_port, |end| end.port);
    let dst = change.dst.map_or(h.dst_port, |end| end.port);
    put16(frame, at, src);
    put16(frame, at + 2, dst);
    if unfinished {
        return; // computed from the beginning, right after this
    }
    let delta = addresses.word(h.src_port, src).word(h.dst_port, dst);
    if h.l4 == L4::Udp {
        let sum = delta.apply_udp(be16(frame, at + 6));
        put16(frame, at + 6, sum);
    } else {
        let sum = delta.apply(be16(frame, at + 16));
        put16(frame, at + 16, sum);
    }
}

#[inline]
fn rewrite_echo(frame: &mut [u8], h: &Headers, change: &Rewrite) {
    let at = usize::from(h.l4_at);
    let (old, new) = if h.l4 == L4::EchoRequest {
        (h.src_port, change.src)
    } else {
        (h.dst_port, change.dst)
    };
    if let Some(end) = new {
        let sum = Delta::default()
            .word(old, end.port)
            .apply(be16(frame, at + 2));
        put16(frame, at + 2, sum);
        put16(frame, at + 4, end.port);
    }
}

/// Computes the whole TCP or UDP checksum.
fn finish(frame: &mut [u8], h: &Headers, src: Ipv4Addr, dst: Ipv4Addr) {
    let Some(field) = checksum_at(h) else { return };
    let at = usize::from(h.l4_at);
    let len = l4_len(frame, h);
    put16(frame, field, 0);
    let sum = checksum::pseudo_header(src, dst, h.protocol, len)
        .bytes(&frame[at..at + usize::from(len)])
        .checksum();
    let sum = if h.l4 == L4::Udp {
        checksum::never_zero(sum)
    } else {
        sum
    };
    put16(frame, field, sum);
}

#[inline]
fn checksum_at(h: &Headers) -> Option<usize> {
    match h.l4 {
        L4::Tcp(_) => Some(usize::from(h.l4_at) + 16),
        L4::Udp => Some(usize::from(h.l4_at) + 6),
        _ => None,
    }
}

/// Length of the transport header and data: UDP's own length, TCP's from the packet's.
#[inline]
fn l4_len(frame: &[u8], h: &Headers) -> u16 {
    match h.l4 {
        L4::Udp => be16(frame, usize::from(h.l4_at) + 4),
        _ => h.end - h.l4_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use crate::parse::{Parsed, parse};
    use proptest::prelude::*;

    const IN: [u8; 4] = [10, 0, 0, 7];
    const REMOTE: [u8; 4] = [198, 51, 100, 9];
    const POOL: End = End {
        address: Ipv4Addr::new(203, 0, 113, 17),
        port: 40_213,
    };
    const INSIDE: End = End {
        address: Ipv4Addr::new(10, 0, 0, 9),
        port: 6_000,
    };

    fn headers(frame: &[u8]) -> Headers {
        match parse(frame) {
            Parsed::Ipv4(h) => h,
            other => panic!("not IPv4: {other:?}"),
        }
    }

    fn outbound(frame: &mut [u8], sum: L4Sum) -> (Headers, Summed) {
        let h = headers(frame);
        let change = Rewrite {
            src: Some(POOL),
            dst: None,
            hops: 1,
        };
        let summed = apply(frame, &h, &change, sum);
        (headers(frame), summed)
    }

    #[test]
    fn outbound_udp_and_tcp_carry_the_new_source_and_right_checksums() {
        for mut frame in [
            frames::udp(IN, 5000, REMOTE, 443, b"odd"),
            frames::tcp(IN, 5000, REMOTE, 443, frames::SYN, b"even"),
        ] {
            let (h, summed) = outbound(&mut frame, L4Sum::Unknown);
            assert_eq!((h.src, h.src_port), (POOL.address, POOL.port));
            assert_eq!((h.dst_port, h.ttl), (443, 63));
            assert_eq!(summed, Summed::Followed);
            frames::assert_checksums(&frame);
        }
    }

    #[test]
    fn hairpin_changes_both_ends_at_once() {
        let mut frame = frames::tcp(IN, 5000, REMOTE, 443, frames::ACK, b"data");
        let h = headers(&frame);
        let change = Rewrite {
            src: Some(POOL),
            dst: Some(INSIDE),
            hops: 1,
        };
        apply(&mut frame, &h, &change, L4Sum::Whole);
        let h = headers(&frame);
        assert_eq!((h.src, h.src_port), (POOL.address, POOL.port));
        assert_eq!((h.dst, h.dst_port), (INSIDE.address, INSIDE.port));
        frames::assert_checksums(&frame);
    }

    #[test]
    fn echo_identifiers_follow_in_both_directions() {
        let mut frame = frames::echo(IN, REMOTE, 77, false);
        let (h, _) = outbound(&mut frame, L4Sum::Unknown);
        assert_eq!((h.src, h.src_port), (POOL.address, POOL.port));
        frames::assert_checksums(&frame);
        let mut frame = frames::echo(REMOTE, POOL.address.octets(), POOL.port, true);
        let h = headers(&frame);
        let change = Rewrite {
            src: None,
            dst: Some(INSIDE),
            hops: 1,
        };
        apply(&mut frame, &h, &change, L4Sum::Unknown);
        let h = headers(&frame);
        assert_eq!((h.dst, h.dst_port), (INSIDE.address, INSIDE.port));
        frames::assert_checksums(&frame);
    }

    #[test]
    fn an_unfinished_checksum_is_finished_whether_told_or_found() {
        for sum in [L4Sum::Unfinished, L4Sum::Unknown] {
            for mut frame in [
                frames::udp(IN, 5000, REMOTE, 443, b"some odd data"),
                frames::tcp(IN, 5000, REMOTE, 443, frames::ACK, b"some data"),
            ] {
                frames::unfinish(&mut frame);
                let (_, summed) = outbound(&mut frame, sum);
                assert_eq!(summed, Summed::Finished);
                frames::assert_checksums(&frame);
            }
        }
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        let mut frame = frames::udp(IN, 5000, REMOTE, 443, b"data");
        frame[40..42].fill(0);
        let (_, summed) = outbound(&mut frame, L4Sum::Unknown);
        assert_eq!((be16(&frame, 40), summed), (0, Summed::Followed));
    }

    #[test]
    fn a_corrupted_payload_stays_detectable() {
        let mut frame = frames::udp(IN, 5000, REMOTE, 443, b"data");
        *frame.last_mut().unwrap() ^= 0x40;
        outbound(&mut frame, L4Sum::Unknown);
        let caught = std::panic::catch_unwind(|| frames::assert_checksums(&frame));
        assert!(caught.is_err(), "a translation repaired what a link broke");
    }

    #[test]
    fn without_a_change_of_ends_only_the_hop_counts() {
        let mut frame = frames::tcp_with_options(frames::SYN);
        let before = frame.clone();
        let h = headers(&frame);
        let change = Rewrite {
            hops: 1,
            ..Rewrite::default()
        };
        apply(&mut frame, &h, &change, L4Sum::Unknown);
        frames::assert_checksums(&frame);
        assert_eq!(frame[26..], before[26..]);
    }

    #[test]
    fn headers_of_another_frame_do_not_panic() {
        let h = headers(&frames::udp(IN, 5000, REMOTE, 443, &[0; 100]));
        let mut short = [0u8; 40];
        apply(&mut short, &h, &Rewrite::default(), L4Sum::Unknown);
        assert_eq!(short, [0; 40]);
    }

    proptest! {
        #[test]
        fn any_change_keeps_every_checksum_right(
            src in any::<[u8; 4]>(), dst in any::<[u8; 4]>(), ports in any::<(u16, u16)>(),
            new in any::<(u32, u16, u32, u16)>(), data in prop::collection::vec(any::<u8>(), 0..80),
            is_tcp in any::<bool>(), unfinished in any::<bool>(),
        ) {
            let mut frame = if is_tcp {
                frames::tcp(src, ports.0, dst, ports.1, frames::ACK, &data)
            } else {
                frames::udp(src, ports.0, dst, ports.1, &data)
            };
            if unfinished {
                frames::unfinish(&mut frame);
            }
            let h = headers(&frame);
            let change = Rewrite {
                src: Some(End { address: new.0.into(), port: new.1 }),
                dst: Some(End { address: new.2.into(), port: new.3 }),
                hops: 1,
            };
            apply(&mut frame, &h, &change, L4Sum::Unknown);
            frames::assert_checksums(&frame);
        }
    }
}
