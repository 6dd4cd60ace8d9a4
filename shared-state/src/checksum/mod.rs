//! The Internet checksum, whole (RFC 1071) and incremental (RFC 1624), and the unfinished
//! checksums that kernel neighbours hand over.
//!
//! Layout: a [`Sum`] adds 16-bit words without folding; a [`Delta`] adds `!old + new` for each
//! changed word, so that several changes cost one fold. Bytes are added in the processor's own
//! order, 64 bits at a time, and swapped once in folding (RFC 1071, section 2 (B)). From
//! [`SIMD_FROM`] bytes on AVX-512 or AVX2 do it, as the processor has them, with equal results.
//!
//! Invariants:
//!
//! - I1 for data that is not all zero, `Delta::apply` gives exactly the value that a whole
//!   computation gives, also in the corner where RFC 1141 gave 0xffff for 0 (equation 3);
//! - I2 a UDP checksum of 0 means "none" and stays 0; a computed 0 is sent as 0xffff;
//! - I3 a sender that left the work to its device stores the *folded pseudo-header sum* in the
//!   field. A finished checksum can equal it by chance (1 in 65,536); computing the whole one is
//!   right in both cases, so that is what a match leads to.
//!
//! Nothing here is in shared memory.

mod simd;

pub use crate::simd::Path;
pub use simd::SIMD_FROM;

use core::net::Ipv4Addr;

/// A running ones' complement sum of 16-bit words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last byte counts as the high half of a word.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        let sum = if bytes.len() < SIMD_FROM {
            simd::scalar(bytes)
        } else {
            simd::long(bytes)
        };
        Sum(self.0 + u64::from(sum))
    }

    /// As [`Sum::bytes`], by one path; `None` when this processor does not have it.
    #[must_use]
    pub fn bytes_by(self, path: Path, bytes: &[u8]) -> Option<Sum> {
        let sum = simd::by(path, bytes)?;
        Some(Sum(self.0 + u64::from(sum)))
    }

    /// Adds one 16-bit word.
    #[inline]
    #[must_use]
    pub fn word(self, word: u16) -> Sum {
        Sum(self.0 + u64::from(word))
    }

    /// Adds an address.
    #[inline]
    #[must_use]
    pub fn address(self, address: Ipv4Addr) -> Sum {
        Sum(self.0 + u64::from(u32::from(address)))
    }

    /// The sum in 16 bits, not complemented.
    #[inline]
    #[must_use]
    pub fn fold(self) -> u16 {
        fold(self.0)
    }

    /// The checksum: the complement of the folded sum.
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u16 {
        !self.fold()
    }
}

/// The sum over the pseudo header of TCP and UDP.
#[inline]
#[must_use]
pub fn pseudo_header(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: u16) -> Sum {
    Sum::default()
        .address(src)
        .address(dst)
        .word(u16::from(protocol))
        .word(length)
}

/// The checksum over `bytes`. Over bytes that contain their own right checksum it is 0.
#[inline]
#[must_use]
pub fn of(bytes: &[u8]) -> u16 {
    Sum::default().bytes(bytes).checksum()
}

/// True if `field` holds only the pseudo-header sum (I3).
#[inline]
#[must_use]
pub fn is_unfinished(field: u16, pseudo: Sum) -> bool {
    field == pseudo.fold()
}

/// What a rewrite changes in a sum: for each word `!old + new` (RFC 1624, equation 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u64);

impl Delta {
    /// One 16-bit word changes.
    #[inline]
    #[must_use]
    pub fn word(self, old: u16, new: u16) -> Delta {
        Delta(self.0 + u64::from(!old) + u64::from(new))
    }

    /// A 32-bit field at an even place changes.
    #[inline]
    #[must_use]
    pub fn double_word(self, old: u32, new: u32) -> Delta {
        Delta(self.0 + u64::from(!old) + u64::from(new))
    }

    /// An address changes.
    #[inline]
    #[must_use]
    pub fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Delta {
        self.double_word(old.into(), new.into())
    }

    /// The new checksum for the old one.
    #[inline]
    #[must_use]
    pub fn apply(self, checksum: u16) -> u16 {
        !fold(self.0 + u64::from(!checksum))
    }

    /// The new UDP checksum for the old one, with 0 as "none" (I2).
    #[inline]
    #[must_use]
    pub fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        never_zero(self.apply(checksum))
    }
}

/// A computed UDP checksum as it goes on the wire: 0 would mean "none" (I2).
#[inline]
#[must_use]
pub fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// A sum of 16-bit words in 16 bits, carries brought round; not complemented.
#[inline]
#[must_use]
pub fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests;
