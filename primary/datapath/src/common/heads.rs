//! What: which packets of a burst are common ones, found for all of them at once: the first bytes of
//! each are laid into columns of words, and straight arithmetic over the columns, which a
//! compiler turns into vector instructions, leaves what is wanted to know in others.
//!
//! It must agree with [`parse`](crate::parse::parse):
//!
//! - I1 a packet is common only if `parse` gives [`Headers`](crate::Headers) for it, and its column
//!   says what they say; whatever is not understood is left alone;
//! - I2 no lane heeds another's words, or any that its frame did not have: bytes behind the end of a
//!   frame are whatever lies there, and never decide.
//!
//! Words are kept as they lie in the frame (read as little-endian): a ones' complement sum does not
//! depend on the order of bytes (RFC 1071 §2).

use super::changes::Old;
use super::{Common, ETHERTYPE_AND_VERSION, FRAGMENT, HEAD, LOW, TCP_HEAD, mac_word};
use crate::Mac;
use crate::checksum::fold;
use crate::parse::{ETHERNET, IPV4, TCP, UDP};
use baton_shared_state::BURST;
use baton_shared_state::simd::Path;

/// Bytes of a frame's beginning that are looked at.
pub const WINDOW: usize = 64;
/// Lanes that are worked on together: as many words as the widest vectors have.
pub(super) const WIDE: usize = 8;
/// In [`Common::second`].
const FROM_OUTSIDE: u64 = 1 << 40;
/// A column of a part of the lanes.
pub(super) type Words = [u64; WIDE];

/// The port of a packet, as it decides whether it is a common one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    mac: u64,
    /// All ones if a checksum may be unfinished without saying so.
    detect: u64,
    /// All ones if packets come from outside: it is their destination that is translated.
    reverse: u64,
}

impl Station {
    /// A port with the Ethernet address `mac`. `detect` says that unfinished transport checksums are
    /// not marked (see [`checksum`](crate::checksum), I3): what looks like one is not common.
    /// `outside` says that it is the destination of its packets that is translated.
    #[must_use]
    pub fn new(mac: Mac, detect: bool, outside: bool) -> Station {
        let mask = |on| 0u64.wrapping_sub(u64::from(on));
        Station {
            mac: mac_word(mac),
            detect: mask(detect),
            reverse: mask(outside),
        }
    }
}

/// The heads of a burst's packets. [`Heads::put`] or [`Heads::skip`] for each lane, then [`Heads::read`].
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Heads {
    /// Bytes 0 to 8; becomes what is wrong, 0 for a common packet.
    station: [u64; BURST],
    /// Bytes 12 to 20; becomes the IPv4 length, and TCP's flags above it.
    kind: [u64; BURST],
    /// Bytes 20 to 28.
    life: [u64; BURST],
    /// Bytes 26 to 34; becomes [`Common::addresses`].
    addresses: [u64; BURST],
    /// Bytes 34 to 42.
    l4: [u64; BURST],
    /// Becomes [`Common::second`].
    second: [u64; BURST],
    /// Bytes 44 to 52.
    tcp: [u64; BURST],
    /// Length of the frame.
    len: [u64; BURST],
    detect: [u64; BURST],
    reverse: [u64; BURST],
    /// A bit for each lane.
    common: u32,
    outside: u32,
}

impl Default for Heads {
    fn default() -> Heads {
        let none = [0; BURST];
        Heads {
            station: none,
            kind: none,
            life: none,
            addresses: none,
            l4: none,
            second: none,
            tcp: none,
            len: none,
            detect: none,
            reverse: none,
            common: 0,
            outside: 0,
        }
    }
}

impl Heads {
    /// Lays the beginning of a frame of `len` bytes that came by `station` into a lane.
    ///
    /// # Panics
    /// When there is no such lane.
    #[inline(always)]
    pub fn put(&mut self, lane: usize, window: &[u8; WINDOW], len: usize, station: &Station) {
        self.station[lane] = word(window, 0) ^ station.mac;
        self.kind[lane] = word(window, 12);
        self.life[lane] = word(window, 20);
        self.addresses[lane] = word(window, 26);
        self.l4[lane] = word(window, 34);
        self.tcp[lane] = word(window, 44);
        self.len[lane] = len as u64;
        self.detect[lane] = station.detect;
        self.reverse[lane] = station.reverse;
    }

    /// Says that what is in a lane is not common.
    ///
    /// # Panics
    /// When there is no such lane.
    #[inline(always)]
    pub fn skip(&mut self, lane: usize) {
        self.len[lane] = 0;
    }

    /// Reads the first `lanes` of them.
    #[inline]
    pub fn read(&mut self, lanes: usize, path: Path) {
        path.run(
            #[inline(always)]
            || self.read_all(lanes),
        );
    }

    #[inline(always)]
    fn read_all(&mut self, lanes: usize) {
        let (station, _) = self.station.as_chunks_mut();
        let (kind, _) = self.kind.as_chunks_mut();
        let (addresses, _) = self.addresses.as_chunks_mut();
        let (second, _) = self.second.as_chunks_mut();
        let (l4, _) = self.l4.as_chunks();
        let (life, _) = self.life.as_chunks();
        let (tcp, _) = self.tcp.as_chunks();
        let (len, _) = self.len.as_chunks();
        let (detect, _) = self.detect.as_chunks();
        let (reverse, _) = self.reverse.as_chunks();
        let lanes = lanes.min(BURST);
        let (mut common, mut outside) = (0, 0);
        for at in 0..lanes.div_ceil(WIDE) {
            let part = Part {
                station: &mut station[at],
                kind: &mut kind[at],
                addresses: &mut addresses[at],
                second: &mut second[at],
                l4: &l4[at],
                life: &life[at],
                tcp: &tcp[at],
                len: &len[at],
                detect: &detect[at],
                reverse: &reverse[at],
            };
            // Where every port says what is unfinished, nobody looks for it.
            match detect[at].iter().fold(0, |all, lane| all | lane) {
                0 => part.read::<false>(),
                _ => part.read::<true>(),
            }
            for i in 0..WIDE {
                common |= u32::from(station[at][i] == 0) << (at * WIDE + i);
                outside |= (reverse[at][i] as u32 & 1) << (at * WIDE + i);
            }
        }
        let there = u32::MAX.checked_shr((BURST - lanes) as u32).unwrap_or(0);
        (self.common, self.outside) = (common & there, outside);
    }

    /// What a lane holds, if it is a common packet.
    ///
    /// # Panics
    /// When there is no such lane.
    #[inline(always)]
    #[must_use]
    pub fn get(&self, lane: usize) -> Option<Common> {
        self.is_common(lane).then(|| self.known(lane))
    }

    /// Whether a lane holds a common packet.
    ///
    /// # Panics
    /// When there is no such lane.
    #[inline(always)]
    #[must_use]
    pub fn is_common(&self, lane: usize) -> bool {
        self.station[lane] == 0
    }

    /// A bit for each of the lanes that were read and hold a common packet: those that came from inside, and those
    /// from outside.
    #[inline(always)]
    #[must_use]
    pub fn common(&self) -> [u32; 2] {
        [self.common & !self.outside, self.common & self.outside]
    }

    /// What a lane that holds a common packet holds; of any other it says nothing.
    ///
    /// # Panics
    /// When there is no such lane.
    #[inline(always)]
    #[must_use]
    pub fn known(&self, lane: usize) -> Common {
        Common {
            addresses: self.addresses[lane],
            second: self.second[lane],
            ip_len: self.kind[lane] as u16,
            flags: (self.kind[lane] >> 16) as u8,
        }
    }

    /// The columns of part number `at`, for [`Changes`](super::Changes).
    ///
    /// # Panics
    /// When there is no such part.
    #[inline(always)]
    pub(super) fn part(&self, at: usize) -> Old<'_> {
        Old {
            life: &self.life.as_chunks().0[at],
            l4: &self.l4.as_chunks().0[at],
            tcp: &self.tcp.as_chunks().0[at],
            reverse: &self.reverse.as_chunks().0[at],
            addresses: &self.addresses.as_chunks().0[at],
            second: &self.second.as_chunks().0[at],
        }
    }
}

/// [`WIDE`] lanes of [`Heads`].
struct Part<'a> {
    station: &'a mut Words,
    kind: &'a mut Words,
    addresses: &'a mut Words,
    second: &'a mut Words,
    l4: &'a Words,
    life: &'a Words,
    tcp: &'a Words,
    len: &'a Words,
    detect: &'a Words,
    reverse: &'a Words,
}

impl Part<'_> {
    /// No comparison and no branch: what is wrong is or-ed together. `DETECT` is off if `detect` is nowhere set.
    #[inline(always)]
    fn read<const DETECT: bool>(self) {
        for i in 0..WIDE {
            let (k, l, a, p, t) = (
                self.kind[i],
                self.life[i],
                self.addresses[i],
                self.l4[i],
                self.tcp[i],
            );
            let total = swapped_half(k >> 32);
            let protocol = l >> 24 & 0xff;
            let behind = total.wrapping_sub(IPV4 as u64);
            let header = (k >> 16) + (l & 0xffff_ffff_ffff) + (a & LOW) + (a >> 32);
            let source = a & 0xff;
            let mut wrong = self.station[i] << 16
                | (k & 0x00ff_ffff) ^ u64::from(ETHERTYPE_AND_VERSION)
                | l & u64::from(FRAGMENT)
                | u64::from(fold(header)) ^ 0xffff
                | below(l >> 16 & 0xff, 2)
                | below(source, 1)
                | below(source ^ 127, 1)
                | below(223, source)
                | below(self.len[i], HEAD as u64)
                | below(self.len[i], ETHERNET as u64 + total)
                | below(total, IPV4 as u64);
            let is_udp = below(protocol ^ u64::from(UDP), 1);
            let is_tcp = below(protocol ^ u64::from(TCP), 1);
            let (udp, tcp) = (0u64.wrapping_sub(is_udp), 0u64.wrapping_sub(is_tcp));
            let udp_len = swapped_half(p >> 32);
            let tcp_len = t >> 18 & 0x3c;
            let udp_wrong = below(udp_len, 8) | below(behind, udp_len);
            let tcp_wrong =
                below(tcp_len, 20) | below(behind, tcp_len) | below(self.len[i], TCP_HEAD as u64);
            wrong |= udp & udp_wrong | tcp & tcp_wrong | 1 ^ is_udp ^ is_tcp;
            if DETECT {
                let checksum = (p & udp | t & tcp) >> 48;
                let l4_len = p >> 32 & 0xffff & udp | swapped_half(behind) & tcp;
                let pseudo = u64::from(fold((a & LOW) + (a >> 32) + (protocol << 8) + l4_len));
                wrong |= below(checksum ^ pseudo, 1) & self.detect[i];
            }
            let ports = p & LOW;
            let turned = (a.rotate_left(32), (ports >> 16 | ports << 16) & LOW);
            let first = either(a, turned.0, self.reverse[i]);
            self.station[i] = wrong;
            self.kind[i] = total | (t >> 24 & 0xff & tcp) << 16;
            self.addresses[i] = first;
            self.second[i] = either(ports, turned.1, self.reverse[i])
                | protocol << 32
                | self.reverse[i] & FROM_OUTSIDE;
        }
    }
}

/// 1 if `a < b`, else 0; both below 2^63, or the lane is wrong already.
#[inline(always)]
pub(super) fn below(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b) >> 63
}

/// `b` where `mask` is set, else `a`.
#[inline(always)]
pub(super) fn either(a: u64, b: u64, mask: u64) -> u64 {
    a ^ (a ^ b) & mask
}

/// The low two bytes of a word the other way round: a number out of a frame, or into one.
#[inline(always)]
fn swapped_half(word: u64) -> u64 {
    word >> 8 & 0xff | word << 8 & 0xff00
}

#[inline(always)]
fn word(window: &[u8; WINDOW], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(word)
}
