//! What: the common case of a packet, read by a few wide loads and translated at fixed offsets: TCP
//! or UDP over IPv4 without options, nothing wrong with it, some way to go.
//!
//! [`Heads`] finds the common ones of a burst, [`Changes`] translates them.

mod changes;
mod heads;

pub use changes::{Changes, Ethernet};
pub use heads::{Heads, Station, WINDOW};

use crate::Mac;
use crate::parse::{ETHERNET, IPV4};
use std::net::Ipv4Addr;

/// Bytes that every common frame has: up to the end of a UDP header.
const HEAD: usize = ETHERNET + IPV4 + 8;
/// The same for TCP.
const TCP_HEAD: usize = ETHERNET + IPV4 + 20;
/// Ethernet type IPv4, then version 4 with five words of header.
const ETHERTYPE_AND_VERSION: u32 = 0x45_00_08;
/// More fragments, and the offset; the bytes of a big-endian field.
const FRAGMENT: u16 = 0xff3f;
const TCP_CHECKSUM: usize = 50;
#[cfg(test)]
const UDP_CHECKSUM: usize = 40;

/// An Ethernet address as the low 48 bits of the word that a frame begins with.
#[inline]
#[must_use]
pub fn mac_word(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// An address and a port, as they lie in a frame: the address in the low 32 bits, the port above it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawEnd(u64);

impl RawEnd {
    /// From the bytes of both.
    #[inline]
    #[must_use]
    pub fn new(address: [u8; 4], port: [u8; 2]) -> RawEnd {
        let ([a, b, c, d], [e, f]) = (address, port);
        RawEnd::of_word(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// From a word whose first bytes they are.
    #[inline]
    #[must_use]
    pub fn of_word(word: u64) -> RawEnd {
        RawEnd(word & 0xffff_ffff_ffff)
    }

    /// The address.
    #[inline]
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from((self.0 as u32).swap_bytes())
    }

    /// Both, and zero above.
    #[inline]
    #[must_use]
    pub fn word(self) -> u64 {
        self.0
    }
}

/// What is known of a common packet. Its *near* end is the one that is translated: the source of
/// what comes from inside, the destination of what comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// The near address, and the far one above it, each as it lies in the frame.
    pub addresses: u64,
    /// The near port, the far one above it, each as it lies in the frame; then
    /// [`UDP`](crate::parse::UDP) or [`TCP`](crate::parse::TCP); then 1 if it came from outside.
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

    /// [`UDP`](crate::parse::UDP) or [`TCP`](crate::parse::TCP).
    #[inline]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        (self.second >> 32) as u8
    }
}

const LOW: u64 = 0xffff_ffff;

#[cfg(test)]
mod tests;
