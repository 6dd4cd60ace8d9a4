//! What: ARP for IPv4 over Ethernet (RFC 826): reading a packet, asking, answering.
//!
//! Layout of what is written: a frame of 60 bytes, the smallest Ethernet carries, zero behind the
//! ARP packet.

use crate::parse::{ETHERNET, Mac, put16, set_macs};
use std::net::Ipv4Addr;

/// Length of a frame that this module writes.
pub const FRAME: usize = 60;
const PACKET: usize = 28;
/// Hardware type Ethernet, protocol type IPv4, lengths 6 and 4.
const PREFIX: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What an ARP packet asks or says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Who speaks.
    pub sender_mac: Mac,
    /// The speaker's address; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// The address asked for, or the asker's.
    pub target: Ipv4Addr,
}

impl Arp {
    /// Reads the payload of an ARP frame; `None` for anything but a request or reply for IPv4
    /// over Ethernet with a usable sender.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Arp> {
        let p = payload.first_chunk::<PACKET>()?;
        let operation = match (p.starts_with(&PREFIX), p[6], p[7]) {
            (true, 0, 1) => Operation::Request,
            (true, 0, 2) => Operation::Reply,
            _ => return None,
        };
        let sender_mac = Mac([p[8], p[9], p[10], p[11], p[12], p[13]]);
        if sender_mac.is_group() || sender_mac == Mac::default() {
            return None;
        }
        Some(Arp {
            operation,
            sender_mac,
            sender: Ipv4Addr::new(p[14], p[15], p[16], p[17]),
            target: Ipv4Addr::new(p[24], p[25], p[26], p[27]),
        })
    }
}

/// Writes a request for `target` into `frame`; to everyone, or to `known` when an entry is to be
/// confirmed. Returns the frame's length, or 0 if it has no room.
pub fn request(
    frame: &mut [u8],
    mac: Mac,
    address: Ipv4Addr,
    target: Ipv4Addr,
    known: Option<Mac>,
) -> usize {
    let to = known.unwrap_or(Mac::BROADCAST);
    write(frame, 1, (mac, address), (to, Mac::default(), target))
}

/// Writes the answer to `asked` into `frame`: `address` is at `mac`. Returns the frame's length,
/// or 0 if it has no room.
pub fn reply(frame: &mut [u8], mac: Mac, address: Ipv4Addr, asked: &Arp) -> usize {
    let to = (asked.sender_mac, asked.sender_mac, asked.sender);
    write(frame, 2, (mac, address), to)
}

fn write(
    frame: &mut [u8],
    operation: u16,
    from: (Mac, Ipv4Addr),
    to: (Mac, Mac, Ipv4Addr),
) -> usize {
    let Some(frame) = frame.get_mut(..FRAME) else {
        return 0;
    };
    frame.fill(0);
    set_macs(frame, to.0, from.0);
    put16(frame, 12, 0x0806);
    let p = &mut frame[ETHERNET..];
    p[..6].copy_from_slice(&PREFIX);
    put16(p, 6, operation);
    p[8..14].copy_from_slice(&from.0.0);
    p[14..18].copy_from_slice(&from.1.octets());
    p[18..24].copy_from_slice(&to.1.0);
    p[24..28].copy_from_slice(&to.2.octets());
    FRAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::{Parsed, destination_mac, parse};
    use etherparse::{ArpPacketSlice, NetSlice, SlicedPacket};

    const US: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const THEM: Mac = Mac([2, 0, 0, 0, 0, 2]);
    const OUR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const THEIR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn read(frame: &[u8]) -> Arp {
        match parse(frame) {
            Parsed::Arp(arp) => arp,
            other => panic!("not ARP: {other:?}"),
        }
    }

    #[test]
    fn a_request_asks_everyone_and_names_the_asker() {
        let mut frame = [0xee; 128];
        assert_eq!(request(&mut frame, US, OUR, THEIR, None), FRAME);
        assert_eq!(destination_mac(&frame), Mac::BROADCAST);
        let arp = read(&frame);
        assert_eq!(arp.operation, Operation::Request);
        assert_eq!((arp.sender_mac, arp.sender, arp.target), (US, OUR, THEIR));
    }

    #[test]
    fn an_answer_goes_to_the_asker_and_an_independent_parser_agrees() {
        let mut frame = [0; 64];
        let asked = Arp {
            operation: Operation::Request,
            sender_mac: THEM,
            sender: THEIR,
            target: OUR,
        };
        let len = reply(&mut frame, US, OUR, &asked);
        let sliced = SlicedPacket::from_ethernet(&frame[..len]).unwrap();
        let Some(NetSlice::Arp(arp)) = sliced.net else {
            panic!("no ARP: {sliced:?}")
        };
        let arp: ArpPacketSlice<'_> = arp;
        assert_eq!(arp.sender_hw_addr(), US.0);
        assert_eq!(arp.sender_protocol_addr(), OUR.octets());
        assert_eq!(arp.target_hw_addr(), THEM.0);
        assert_eq!(arp.target_protocol_addr(), THEIR.octets());
        assert!(sliced.link.is_some());
        assert_eq!(destination_mac(&frame), THEM);
    }

    #[test]
    fn a_sender_that_is_a_group_or_nobody_is_not_believed() {
        let mut frame = [0; 64];
        for mac in [Mac::BROADCAST, Mac::default(), Mac([1, 0, 0x5e, 0, 0, 1])] {
            request(&mut frame, mac, OUR, THEIR, None);
            assert_eq!(Arp::read(&frame[ETHERNET..]), None);
        }
    }

    #[test]
    fn a_frame_without_room_stays_untouched() {
        let mut frame = [7; 59];
        assert_eq!(request(&mut frame, US, OUR, THEIR, None), 0);
        assert_eq!(frame, [7; 59]);
    }
}
