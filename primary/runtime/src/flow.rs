//! The flow key: what identifies a transport flow of a packet.

use crate::setup::Mac;
use baton_shared_state::mbuf::Packet;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Protocol, addresses and ports of an IPv4 packet, in the order they are sent. 16 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, baton_schema::Record,
)]
#[record(name = "baton.flow", version = 1)]
#[repr(C)]
pub struct FlowKey {
    /// Source address, network order.
    #[field(kind = "ipv4")]
    pub src: [u8; 4],
    /// Destination address, network order.
    #[field(kind = "ipv4")]
    pub dst: [u8; 4],
    /// Source port; an ICMP echo's id; 0 without ports.
    pub src_port: u16,
    /// Destination port; 0 without ports.
    pub dst_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl FlowKey {
    /// The key of an untagged IPv4 packet; `None` for anything else and for truncated ones.
    pub fn of(packet: &Packet) -> Option<FlowKey> {
        FlowKey::of_frame(packet.data())
    }

    /// The key of an Ethernet frame's bytes.
    pub fn of_frame(frame: &[u8]) -> Option<FlowKey> {
        let ip = frame.get(14..)?;
        if frame[12..14] != [0x08, 0x00] || ip.len() < 20 || ip[0] >> 4 != 4 {
            return None;
        }
        let header = usize::from(ip[0] & 0xf) * 4;
        if header < 20 {
            return None;
        }
        let later_fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff != 0;
        let (src_port, dst_port) = match (ip[9], ip.get(header..header + 8)) {
            _ if later_fragment => (0, 0),
            (6 | 17, Some(l4)) => (
                u16::from_be_bytes([l4[0], l4[1]]),
                u16::from_be_bytes([l4[2], l4[3]]),
            ),
            (1, Some(l4)) if matches!(l4[0], 0 | 8) => (u16::from_be_bytes([l4[4], l4[5]]), 0),
            _ => (0, 0),
        };
        Some(FlowKey {
            src: [ip[12], ip[13], ip[14], ip[15]],
            dst: [ip[16], ip[17], ip[18], ip[19]],
            src_port,
            dst_port,
            protocol: ip[9],
            reserved: [0; 3],
        })
    }

    /// A number below `n` (0 when `n` is 0), the same for the same key on every machine and in every version.
    pub fn spread(&self, n: usize) -> usize {
        if n == 0 {
            0
        } else {
            (mix(self.words()) % n as u64) as usize
        }
    }

    /// A bucket that is the same for both directions of a flow.
    pub fn symmetric_bucket(&self) -> u8 {
        let [a, b, c] = self.words();
        let one = mix([a & 0xffff_ffff, b & 0xffff, c]);
        let other = mix([a >> 32, (b >> 16) & 0xffff, c]);
        (one ^ other) as u8
    }

    fn words(&self) -> [u64; 3] {
        let src = u64::from(u32::from_be_bytes(self.src));
        let dst = u64::from(u32::from_be_bytes(self.dst));
        let ports = u64::from(self.src_port) | u64::from(self.dst_port) << 16;
        [src | dst << 32, ports, u64::from(self.protocol)]
    }
}

/// A fixed 64-bit mix (the finaliser of MurmurHash3 over each word); part of no layout.
fn mix(words: [u64; 3]) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15u64;
    for word in words {
        hash ^= word;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^= hash >> 33;
    }
    hash
}

/// What the runtime adds to a packet: its flow and its Ethernet addresses.
pub trait PacketExt {
    /// The packet's flow; `None` when it is not IPv4 or truncated.
    fn flow_key(&self) -> Option<FlowKey>;
    /// Writes the destination address; a frame shorter than an Ethernet header stays as it is.
    fn set_dst_mac(&mut self, mac: Mac);
    /// Writes the source address; a frame shorter than an Ethernet header stays as it is.
    fn set_src_mac(&mut self, mac: Mac);
}

impl PacketExt for Packet {
    #[inline]
    fn flow_key(&self) -> Option<FlowKey> {
        FlowKey::of(self)
    }

    #[inline]
    fn set_dst_mac(&mut self, mac: Mac) {
        if let Some(place) = self.data_mut().get_mut(0..6) {
            place.copy_from_slice(&mac.0);
        }
    }

    #[inline]
    fn set_src_mac(&mut self, mac: Mac) {
        if let Some(place) = self.data_mut().get_mut(6..12) {
            place.copy_from_slice(&mac.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
        let mut frame = vec![0u8; 42];
        frame[12] = 8;
        frame[14] = 0x45;
        frame[23] = 17;
        frame[26..30].copy_from_slice(&src);
        frame[30..34].copy_from_slice(&dst);
        frame[34..36].copy_from_slice(&ports.0.to_be_bytes());
        frame[36..38].copy_from_slice(&ports.1.to_be_bytes());
        frame
    }

    #[test]
    fn both_directions_of_a_flow_fall_in_one_bucket() {
        let mut seen = std::collections::HashSet::new();
        for port in 1000..1400u16 {
            let there =
                FlowKey::of_frame(&udp([10, 0, 0, 1], [10, 0, 0, 2], (port, 53))).expect("a flow");
            let back =
                FlowKey::of_frame(&udp([10, 0, 0, 2], [10, 0, 0, 1], (53, port))).expect("a flow");
            assert_eq!(there.symmetric_bucket(), back.symmetric_bucket());
            seen.insert(there.symmetric_bucket());
        }
        assert!(seen.len() > 100, "400 flows fell in {} buckets", seen.len());
    }

    #[test]
    fn truncated_and_foreign_frames_have_no_key_and_never_panic() {
        let whole = udp([1, 2, 3, 4], [5, 6, 7, 8], (1, 2));
        for len in 0..whole.len() {
            let _ = FlowKey::of_frame(&whole[..len]);
        }
        assert!(FlowKey::of_frame(&whole[..33]).is_none());
        assert!(FlowKey::of_frame(&[0xff; 64]).is_none());
    }

    #[test]
    fn later_fragments_carry_no_ports() {
        let mut frame = udp([1, 2, 3, 4], [5, 6, 7, 8], (1, 2));
        frame[21] = 10;
        assert_eq!(FlowKey::of_frame(&frame).expect("a key").src_port, 0);
    }
}
