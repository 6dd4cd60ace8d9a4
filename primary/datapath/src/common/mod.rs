//! What: the common case of a packet, read by a few wide loads and translated at fixed offsets: TCP
//! or UDP over IPv4 without options, nothing wrong with it, some way to go.
//!
//! [`Heads`] finds the common ones of a burst. What [`Common::translate`] does must agree with
//! [`rewrite::apply`](crate::rewrite::apply): it leaves the bytes that `apply` with the same change
//! and a whole checksum leaves.
//!
//! Words are kept as they lie in the frame (read as little-endian): a ones' complement sum does not
//! depend on the order of bytes (RFC 1071 §2), if it is never zero before it is folded.

mod heads;

pub use heads::{Heads, Station, WINDOW};

use crate::Mac;
use crate::parse::{ETHERNET, IPV4, UDP};
use std::net::Ipv4Addr;

/// Bytes that every common frame has: up to the end of a UDP header.
const HEAD: usize = ETHERNET + IPV4 + 8;
/// The same for TCP.
const TCP_HEAD: usize = ETHERNET + IPV4 + 20;
/// Ethernet type IPv4, then version 4 with five words of header.
const ETHERTYPE_AND_VERSION: u32 = 0x45_00_08;
/// More fragments, and the offset; the bytes of a big-endian field.
const FRAGMENT: u16 = 0xff3f;
const TTL: usize = 22;
const IP_CHECKSUM: usize = 24;
const SRC: usize = 26;
const DST: usize = 30;
const SRC_PORT: usize = 34;
const DST_PORT: usize = 36;
const UDP_CHECKSUM: usize = 40;
const TCP_CHECKSUM: usize = 50;

/// An Ethernet address as the low 48 bits of the word that a frame begins with.
#[inline]
#[must_use]
pub fn mac_word(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// An address and a port (or the other way round in time: what was there), as they lie in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawEnd {
    /// The address.
    pub address: u32,
    /// The port.
    pub port: u16,
}

impl RawEnd {
    /// From the bytes of both.
    #[inline]
    #[must_use]
    pub fn new(address: [u8; 4], port: [u8; 2]) -> RawEnd {
        RawEnd {
            address: u32::from_le_bytes(address),
            port: u16::from_le_bytes(port),
        }
    }
}

/// Which end of a packet is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Its source.
    Source,
    /// Its destination.
    Destination,
}

/// What is known of a common packet. Its *near* end is the one that is translated: the source of
/// what comes from inside, the destination of what comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// The near address, and the far one above it, each as it lies in the frame.
    pub addresses: u64,
    /// The near port, the far one above it, each as it lies in the frame; then [`UDP`] or
    /// [`TCP`](crate::parse::TCP).
    pub second: u64,
    /// Length of the IPv4 packet.
    pub ip_len: u16,
    /// TCP's flags; 0 for UDP.
    pub flags: u8,
}

impl Common {
    /// The near address.
    #[inline]
    #[must_use]
    pub fn near(&self) -> Ipv4Addr {
        Ipv4Addr::from((self.addresses as u32).swap_bytes())
    }

    /// The far address.
    #[inline]
    #[must_use]
    pub fn far(&self) -> Ipv4Addr {
        Ipv4Addr::from(((self.addresses >> 32) as u32).swap_bytes())
    }

    /// [`UDP`] or [`TCP`](crate::parse::TCP).
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        (self.second >> 32) as u8
    }

    /// Gives the near end of the packet another address and port, takes one from its time to live, and
    /// has both checksums follow. `frame` is the one that this was read from, and `near` says which
    /// of its ends is the near one.
    #[inline(always)]
    pub fn translate(&self, frame: &mut [u8], near: Which, new: RawEnd) {
        let Some(head) = frame.first_chunk_mut::<HEAD>() else {
            return;
        };
        let (address_at, port_at) = match near {
            Which::Source => (SRC, SRC_PORT),
            Which::Destination => (DST, DST_PORT),
        };
        let address = u64::from(!(self.addresses as u32)) + u64::from(new.address);
        let address = (address >> 16) + (address & 0xffff);
        // One less in the low byte of its word: !old + new is always 0xfffe.
        let ip = address + 0xfffe;
        let sum = !fold_short(ip + u64::from(!quarter(head, IP_CHECKSUM)));
        head[TTL] -= 1;
        put(head, IP_CHECKSUM, sum);
        head[address_at..address_at + 4].copy_from_slice(&new.address.to_le_bytes());
        put(head, port_at, new.port);
        // 0xffff changes no sum but that of nothing, which must not be zero.
        let l4 = address + u64::from(!(self.second as u16)) + u64::from(new.port) + 0xffff;
        if self.protocol() == UDP {
            let old = quarter(head, UDP_CHECKSUM);
            let sum = !fold_short(l4 + u64::from(!old));
            let sum = if sum == 0 { 0xffff } else { sum };
            put(head, UDP_CHECKSUM, if old == 0 { 0 } else { sum });
        } else if let Some(head) = frame.first_chunk_mut::<TCP_HEAD>() {
            let old = quarter(head, TCP_CHECKSUM);
            put(head, TCP_CHECKSUM, !fold_short(l4 + u64::from(!old)));
        }
    }
}

/// Writes both Ethernet addresses of a common frame, given as [`mac_word`]s.
#[inline]
pub fn set_mac_words(frame: &mut [u8], dst: u64, src: u64) {
    if let Some(head) = frame.first_chunk_mut::<12>() {
        head[..8].copy_from_slice(&(dst | src << 48).to_le_bytes());
        head[8..].copy_from_slice(&((src >> 16) as u32).to_le_bytes());
    }
}

const LOW: u64 = 0xffff_ffff;

/// The same as [`fold`](crate::checksum::fold) for sums of less than 20 bits.
#[inline(always)]
fn fold_short(sum: u64) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

#[inline(always)]
fn quarter(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests;
