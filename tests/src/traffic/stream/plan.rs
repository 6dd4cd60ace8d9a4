//! What a run is to do, and how its packets are addressed.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::traffic::frame::{Checksum, Header, Mac};

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Packets/s, both directions together.
    pub rate: u64,
    /// Flows that carry the rate.
    pub flows: u32,
    /// Further flows that are refreshed seldom.
    pub sessions: u32,
    /// How often those are refreshed.
    pub refresh: Duration,
    /// Length; `None`: until told to stop.
    pub length: Option<Duration>,
    /// Without any packet for so long, those missing are lost.
    pub drain: Duration,
    /// How long opening all flows may take.
    pub open_within: Duration,
    /// UDP payload.
    pub payload: usize,
    /// What the senders do about checksums.
    pub checksum: Checksum,
    /// Ring of each sink.
    pub ring_mib: usize,
    /// First source address; flows are spread over [`SOURCES`] of them.
    pub source: Ipv4Addr,
    /// Where the client sends to.
    pub target: Ipv4Addr,
}

/// Source addresses over which flows are spread.
pub const SOURCES: u32 = 1_000;
/// Port the client sends to.
pub const TARGET_PORT: u16 = 9_000;
const FIRST_PORT: u16 = 20_000;

impl Plan {
    /// The header of a packet of the client's.
    pub(super) fn header(&self, own: Mac, gateway: Mac, flow: u32) -> Header {
        Header {
            dst_mac: gateway,
            src_mac: own,
            src: Ipv4Addr::from(u32::from(self.source) + flow % SOURCES),
            dst: self.target,
            src_port: FIRST_PORT + (flow / SOURCES) as u16,
            dst_port: TARGET_PORT,
        }
    }
}

/// The header of a packet back to where one came from.
pub(super) fn answer(header: &Header) -> Header {
    Header {
        dst_mac: header.src_mac,
        src_mac: header.dst_mac,
        src: header.dst,
        dst: header.src,
        src_port: header.dst_port,
        dst_port: header.src_port,
    }
}
