//! What: the translation of a burst's common packets, computed for all of them at once by columns of
//! words, as [`heads`](super::heads) reads them; then each frame gets its new bytes by a few wide stores.
//!
//! It must agree with [`rewrite::apply`](crate::rewrite::apply): a frame gets the bytes that `apply`
//! with the same change and a whole checksum leaves.
//!
//! Invariants: I1 no lane heeds another's words; a lane that holds no common packet, or no new end, becomes
//! words that nobody writes anywhere. I2 the columns of [`Heads`] are only read, so that a lane may be
//! computed again.
//!
//! A ones' complement sum does not depend on the order of bytes (RFC 1071 §2), if it is never zero
//! before it is folded; a changed one follows by RFC 1624, equation 3.

use super::heads::{WIDE, Words, below, either};
use super::{HEAD, Heads, LOW, TCP_CHECKSUM, TCP_HEAD};
use crate::parse::UDP;
use baton_shared_state::BURST;
use baton_shared_state::simd::Path;
use core::ops::Range;

/// Where the words lie in a frame.
const LIFE: usize = 20;
const ADDRESSES: usize = 26;
const L4: usize = 34;
/// A checksum in the word of [`LIFE`].
const IP_SUM: u64 = 0xffff << 32;
/// Beside a TCP packet's checksum, which may be 0.
const IS_TCP: u64 = 1 << 16;
/// One in the time to live, in the word of [`LIFE`].
const HOP: u64 = 1 << 16;

/// The Ethernet addresses of a frame, its receiver's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet([u8; 12]);

impl Ethernet {
    /// Zeros.
    pub const NONE: Ethernet = Ethernet([0; 12]);

    /// From both as [`mac_word`](super::mac_word)s.
    #[inline]
    #[must_use]
    pub fn new(dst: u64, src: u64) -> Ethernet {
        let mut both = [0; 12];
        both[..8].copy_from_slice(&(dst | src << 48).to_le_bytes());
        both[8..].copy_from_slice(&((src >> 16) as u32).to_le_bytes());
        Ethernet(both)
    }
}

/// The changes of a burst's packets. [`Changes::set`] for each lane, [`Changes::compute`], then
/// [`Changes::write`] for each.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Changes {
    /// The new near ends, as [`RawEnd`](super::RawEnd) has them; what is above is not heeded.
    new: [u64; BURST],
    /// Bytes 20 to 28: one hop less, and the checksum that follows.
    life: [u64; BURST],
    /// Bytes 26 to 34.
    addresses: [u64; BURST],
    /// Bytes 34 to 42; UDP's checksum among them.
    l4: [u64; BURST],
    /// TCP's checksum, and [`IS_TCP`]; 0 for UDP.
    sum: [u64; BURST],
}

impl Default for Changes {
    fn default() -> Changes {
        let none = [0; BURST];
        Changes {
            new: none,
            life: none,
            addresses: none,
            l4: none,
            sum: none,
        }
    }
}

impl Changes {
    /// Gives the near end of a packet another address and port, as a [`RawEnd`](super::RawEnd) has them; what is above
    /// that is the caller's.
    ///
    /// # Panics
    /// When there is no such lane.
    #[inline(always)]
    pub fn set(&mut self, lane: usize, new: u64) {
        self.new[lane] = new;
    }

    /// What was given last.
    ///
    /// # Panics
    /// When there is no such lane.
    #[inline(always)]
    #[must_use]
    pub fn new_end(&self, lane: usize) -> u64 {
        self.new[lane]
    }

    /// Computes at least these lanes: new ends, one hop less, and checksums that follow.
    #[inline]
    pub fn compute(&mut self, heads: &Heads, lanes: Range<usize>, path: Path) {
        path.run(
            #[inline(always)]
            || self.compute_all(heads, lanes),
        );
    }

    #[inline(always)]
    fn compute_all(&mut self, heads: &Heads, lanes: Range<usize>) {
        let (new, _) = self.new.as_chunks();
        let (life, _) = self.life.as_chunks_mut();
        let (addresses, _) = self.addresses.as_chunks_mut();
        let (l4, _) = self.l4.as_chunks_mut();
        let (sum, _) = self.sum.as_chunks_mut();
        for at in lanes.start / WIDE..lanes.end.min(BURST).div_ceil(WIDE) {
            let part = Part {
                new: &new[at],
                old: heads.part(at),
                life: &mut life[at],
                addresses: &mut addresses[at],
                l4: &mut l4[at],
                sum: &mut sum[at],
            };
            part.compute();
        }
    }

    /// Writes a common packet's changes, and its Ethernet addresses, to its frame.
    ///
    /// # Panics
    /// When there is no such lane.
    #[inline(always)]
    pub fn write(&self, lane: usize, frame: &mut [u8], ethernet: Ethernet) {
        let Some(head) = frame.first_chunk_mut::<HEAD>() else {
            return;
        };
        head[..12].copy_from_slice(&ethernet.0);
        // The two overlap in half of the source address, which both have.
        head[LIFE..LIFE + 8].copy_from_slice(&self.life[lane].to_le_bytes());
        head[ADDRESSES..ADDRESSES + 8].copy_from_slice(&self.addresses[lane].to_le_bytes());
        head[L4..L4 + 8].copy_from_slice(&self.l4[lane].to_le_bytes());
        let sum = self.sum[lane];
        if sum != 0
            && let Some(head) = frame.first_chunk_mut::<TCP_HEAD>()
        {
            head[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&(sum as u16).to_le_bytes());
        }
    }
}

/// What [`Heads`] knows of [`WIDE`] lanes.
pub(super) struct Old<'a> {
    pub(super) life: &'a Words,
    pub(super) l4: &'a Words,
    pub(super) tcp: &'a Words,
    pub(super) reverse: &'a Words,
    /// Near and far, as in [`Common`](super::Common).
    pub(super) addresses: &'a Words,
    pub(super) second: &'a Words,
}

/// [`WIDE`] lanes of [`Changes`].
struct Part<'a> {
    new: &'a Words,
    old: Old<'a>,
    life: &'a mut Words,
    addresses: &'a mut Words,
    l4: &'a mut Words,
    sum: &'a mut Words,
}

impl Part<'_> {
    /// No branch, as in [`Heads`]. The columns are copied first: then it is plain to a compiler that what is written
    /// is none of what is read.
    #[inline(always)]
    fn compute(self) {
        let old = self.old;
        let (life, l4, tcp, reverse) = (*old.life, *old.l4, *old.tcp, *old.reverse);
        let (addresses, second, new) = (*old.addresses, *old.second, *self.new);
        let mut out = [[0; WIDE]; 4];
        for i in 0..WIDE {
            let (l, p, t, reverse) = (life[i], l4[i], tcp[i], reverse[i]);
            let (a, second, new) = (addresses[i], second[i], new[i]);
            let (address, port) = (new & LOW, new >> 32 & 0xffff);
            let moved = (a & LOW ^ LOW) + address;
            let moved = (moved >> 16) + (moved & 0xffff);
            // One less in the low byte of its word: !old + new is always 0xfffe.
            let ip_sum = fold_short(moved + 0xfffe + (l >> 32 & 0xffff ^ 0xffff)) ^ 0xffff;
            let addresses = address | a & !LOW;
            let ports = port | second & 0xffff_0000;
            let turned = (ports >> 16 | ports << 16) & LOW;
            let ports = either(ports, turned, reverse);
            let udp = 0u64.wrapping_sub(below(second >> 32 & 0xff ^ u64::from(UDP), 1));
            let old_sum = either(t, p, udp) >> 48;
            // 0xffff changes no sum but that of nothing, which must not be zero.
            let moved = moved + (second & 0xffff ^ 0xffff) + port + 0xffff;
            let sum = fold_short(moved + (old_sum ^ 0xffff)) ^ 0xffff;
            // UDP's zero says that there is none.
            let udp_sum = sum | 0u64.wrapping_sub(below(sum, 1)) & 0xffff;
            let udp_sum = udp_sum & below(old_sum, 1).wrapping_sub(1);
            out[0][i] = l.wrapping_sub(HOP) & !IP_SUM | ip_sum << 32;
            out[1][i] = either(addresses, addresses.rotate_left(32), reverse);
            let behind = either(p & !LOW, p & 0xffff << 32 | udp_sum << 48, udp);
            out[2][i] = ports | behind;
            out[3][i] = (sum | IS_TCP) & !udp;
        }
        [*self.life, *self.addresses, *self.l4, *self.sum] = out;
    }
}

/// The same as [`fold`](crate::checksum::fold) for sums of less than 20 bits.
#[inline(always)]
fn fold_short(sum: u64) -> u64 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) & 0xffff
}
