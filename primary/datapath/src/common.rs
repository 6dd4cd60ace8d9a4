//! What: the common case of a packet, read by a few wide loads and translated at fixed offsets: TCP
//! or UDP over IPv4 without options, nothing wrong with it, some way to go.
//!
//! It must agree with [`parse`](crate::parse::parse) and [`rewrite::apply`](crate::rewrite::apply):
//!
//! - I1 [`Common::read`] gives something only for frames that `parse` gives [`Headers`] for, and
//!   what it gives is what they say; whatever it does not understand it leaves alone;
//! - I2 [`Common::translate`] leaves the bytes that `apply` with the same change and a whole
//!   checksum leaves.
//!
//! Words are kept as they lie in the frame (read as little-endian): a ones' complement sum does not
//! depend on the order of bytes (RFC 1071 §2), if it is never zero before it is folded.

#[cfg(doc)]
use crate::Headers;
use crate::Mac;
use crate::checksum::fold;
use crate::parse::{ETHERNET, IPV4, TCP, UDP};
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

/// What is known of a common packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Source and destination address: eight bytes of the frame.
    pub addresses: u64,
    /// Source and destination port: four bytes of the frame.
    pub ports: u32,
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// TCP's flags; 0 for UDP.
    pub flags: u8,
    /// Length of the IPv4 packet.
    pub ip_len: u16,
}

impl Common {
    /// Reads a frame for the station `mac` (a [`mac_word`]), if it is a common one.
    #[inline(always)]
    #[must_use]
    pub fn read(frame: &[u8], mac: u64) -> Option<Common> {
        let head = frame.first_chunk::<HEAD>()?;
        let (a, b, c) = (word(head, 14), word(head, 22), half(head, DST));
        let header = (a & LOW) + (a >> 32) + (b & LOW) + (b >> 32) + u64::from(c);
        let total = u16::from_be_bytes([head[16], head[17]]);
        let end = ETHERNET + usize::from(total);
        let first = head[SRC];
        let wrong = (word(head, 0) ^ mac) << 16
            | u64::from((half(head, 12) & 0x00ff_ffff) ^ ETHERTYPE_AND_VERSION)
            | u64::from(quarter(head, 20) & FRAGMENT)
            | u64::from(!header.is_multiple_of(0xffff))
            | u64::from(end > frame.len())
            | u64::from(head[TTL] <= 1)
            | u64::from((first == 0) | (first == 127) | (first >= 224));
        if wrong != 0 {
            return None;
        }
        let behind = total.checked_sub(IPV4 as u16)?;
        let protocol = head[23];
        let flags = match protocol {
            UDP => {
                let len = u16::from_be_bytes([head[38], head[39]]);
                if len < 8 || len > behind {
                    return None;
                }
                0
            }
            TCP => {
                let head = frame.first_chunk::<TCP_HEAD>()?;
                let len = u16::from(head[46] >> 4) * 4;
                if len < 20 || len > behind {
                    return None;
                }
                head[47]
            }
            _ => return None,
        };
        Some(Common {
            addresses: word(head, SRC),
            ports: half(head, SRC_PORT),
            protocol,
            flags,
            ip_len: total,
        })
    }

    /// The destination address.
    #[inline]
    #[must_use]
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from(((self.addresses >> 32) as u32).swap_bytes())
    }

    /// Addresses and ports the other way round.
    #[inline]
    #[must_use]
    pub fn reversed(&self) -> Common {
        Common {
            addresses: self.addresses.rotate_left(32),
            ports: self.ports.rotate_left(16),
            ..*self
        }
    }

    /// Whether the transport checksum equals the pseudo header's sum, as an unfinished one does
    /// (see [`checksum`](crate::checksum), I3). `frame` is the one that this was read from.
    #[inline]
    #[must_use]
    pub fn seems_unfinished(&self, frame: &[u8]) -> bool {
        let Some(head) = frame.first_chunk::<HEAD>() else {
            return false;
        };
        let (field, len) = match self.protocol {
            UDP => (quarter(head, UDP_CHECKSUM), quarter(head, 38)),
            _ => (
                frame.get(TCP_CHECKSUM..).map_or(0, |rest| quarter(rest, 0)),
                (self.ip_len - IPV4 as u16).swap_bytes(),
            ),
        };
        let sum = (self.addresses & LOW) + (self.addresses >> 32);
        field == fold(sum + (u64::from(self.protocol) << 8) + u64::from(len))
    }

    /// Gives one end of the packet another address and port, takes one from its time to live, and
    /// has both checksums follow. `frame` is the one that this was read from.
    #[inline(always)]
    pub fn translate(&self, frame: &mut [u8], which: Which, new: RawEnd) {
        let Some(head) = frame.first_chunk_mut::<HEAD>() else {
            return;
        };
        let (address_at, port_at, old) = match which {
            Which::Source => (
                SRC,
                SRC_PORT,
                RawEnd {
                    address: self.addresses as u32,
                    port: self.ports as u16,
                },
            ),
            Which::Destination => (
                DST,
                DST_PORT,
                RawEnd {
                    address: (self.addresses >> 32) as u32,
                    port: (self.ports >> 16) as u16,
                },
            ),
        };
        let address = u64::from(!old.address) + u64::from(new.address);
        let address = (address >> 16) + (address & 0xffff);
        // One less in the low byte of its word: !old + new is always 0xfffe.
        let ip = address + 0xfffe;
        let sum = !fold_short(ip + u64::from(!quarter(head, IP_CHECKSUM)));
        head[TTL] -= 1;
        put(head, IP_CHECKSUM, sum);
        head[address_at..address_at + 4].copy_from_slice(&new.address.to_le_bytes());
        put(head, port_at, new.port);
        // 0xffff changes no sum but that of nothing, which must not be zero.
        let l4 = address + u64::from(!old.port) + u64::from(new.port) + 0xffff;
        if self.protocol == UDP {
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

/// The same as [`fold`] for sums of less than 20 bits.
#[inline(always)]
fn fold_short(sum: u64) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

#[inline(always)]
fn word(bytes: &[u8; HEAD], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[inline(always)]
fn half(bytes: &[u8; HEAD], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
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
mod tests {
    use super::*;
    use crate::frames;
    use crate::parse::{L4, Parsed, destination_mac, parse};
    use crate::rewrite::{self, End, L4Sum, Rewrite, Summed};
    use proptest::prelude::*;

    /// A frame that is common or just not, and what was done to it.
    fn frame() -> impl Strategy<Value = Vec<u8>> {
        let whole = (
            any::<bool>(),
            any::<[u8; 4]>(),
            any::<[u8; 4]>(),
            any::<(u16, u16)>(),
            prop::collection::vec(any::<u8>(), 0..20),
        )
            .prop_map(|(tcp, src, dst, (sport, dport), data)| match tcp {
                true => frames::tcp(src, sport, dst, dport, frames::ACK, &data),
                false => frames::udp(src, sport, dst, dport, &data),
            });
        let edit = (0usize..56, any::<u8>(), any::<bool>());
        (
            whole,
            prop::collection::vec(edit, 0..3),
            any::<bool>(),
            0usize..64,
            0usize..8,
        )
            .prop_map(|(mut frame, edits, fix, cut, pad)| {
                for (at, byte, flip) in edits {
                    if let Some(place) = frame.get_mut(at) {
                        *place = if flip {
                            *place ^ (1 << (byte % 8))
                        } else {
                            byte
                        };
                    }
                }
                if fix && frame.len() > 34 && frame[14] & 15 >= 5 {
                    frames::fix_ip_checksum(&mut frame);
                }
                if cut < 8 {
                    frame.truncate(frame.len().saturating_sub(cut));
                }
                frame.resize(frame.len() + pad, 0xaa);
                frame
            })
    }

    fn mac() -> u64 {
        mac_word(Mac([2, 0, 0, 0, 0, 1]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_it_reads_is_what_the_parser_says(frame in frame()) {
            let Some(common) = Common::read(&frame, mac()) else {
                return Ok(());
            };
            let Parsed::Ipv4(h) = parse(&frame) else {
                panic!("the parser refuses {frame:?}")
            };
            prop_assert_eq!(mac_word(destination_mac(&frame)), mac());
            prop_assert_eq!(RawEnd::new(h.src.octets(), h.src_port.to_be_bytes()),
                RawEnd { address: common.addresses as u32, port: common.ports as u16 });
            prop_assert_eq!(common.dst(), h.dst);
            prop_assert_eq!(((common.ports >> 16) as u16).swap_bytes(), h.dst_port);
            prop_assert_eq!(usize::from(common.ip_len), h.ip_len());
            prop_assert_eq!((common.protocol, usize::from(h.l4_at)), (h.protocol, 34));
            prop_assert!(h.ttl > 1);
            let l4 = if common.protocol == TCP { L4::Tcp(common.flags) } else { L4::Udp };
            prop_assert_eq!(l4, h.l4);
        }

        #[test]
        fn an_ordinary_packet_is_common(frame in frame()) {
            let Parsed::Ipv4(h) = parse(&frame) else { return Ok(()) };
            let ordinary = matches!(h.l4, L4::Tcp(_) | L4::Udp) && h.l4_at == 34 && h.ttl > 1
                && mac_word(destination_mac(&frame)) == mac()
                && (1..224).contains(&h.src.octets()[0]) && !h.src.is_loopback();
            prop_assert_eq!(Common::read(&frame, mac()).is_some(), ordinary);
        }

        #[test]
        fn it_translates_as_the_rewriter_does(
            frame in frame(), finish in any::<bool>(), sum in prop_oneof![Just(0u16), Just(0xffff), any::<u16>()],
            force in any::<bool>(), source in any::<bool>(), address in any::<[u8; 4]>(), port in any::<u16>(),
        ) {
            let mut frame = frame;
            let Some(common) = Common::read(&frame, mac()) else { return Ok(()) };
            let at = if common.protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM };
            if force {
                frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            } else if finish && frame.len() == 14 + usize::from(common.ip_len) {
                frames::unfinish(&mut frame);
            }
            let Parsed::Ipv4(h) = parse(&frame) else { panic!("refused") };
            prop_assert_eq!(
                common.seems_unfinished(&frame),
                rewrite::is_unfinished(&frame, &h, L4Sum::Unknown)
            );
            let end = Some(End { address: address.into(), port });
            let change = match source {
                true => Rewrite { src: end, dst: None, hops: 1 },
                false => Rewrite { src: None, dst: end, hops: 1 },
            };
            let mut expected = frame.clone();
            prop_assert_eq!(rewrite::apply(&mut expected, &h, &change, L4Sum::Whole), Summed::Followed);
            let which = if source { Which::Source } else { Which::Destination };
            common.translate(&mut frame, which, RawEnd::new(address, port.to_be_bytes()));
            prop_assert_eq!(frame, expected);
        }
    }

    #[test]
    fn both_addresses_are_written_and_nothing_else() {
        let (dst, src) = (Mac([1, 2, 3, 4, 5, 6]), Mac([7, 8, 9, 10, 11, 12]));
        let mut frame = [0xee; 16];
        set_mac_words(&mut frame, mac_word(dst), mac_word(src));
        assert_eq!(frame[..12], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(frame[12..], [0xee; 4]);
    }
}
