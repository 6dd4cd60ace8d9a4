//! What: the Internet checksum, whole (RFC 1071) and incremental (RFC 1624), and the unfinished
//! checksums that kernel neighbours hand over.
//!
//! Layout: a [`Sum`] adds big-endian 16-bit words without folding; a [`Delta`] adds `!old + new`
//! for each changed word, so that several changes cost one fold.
//!
//! Invariants:
//!
//! - I1 for data that is not all zero, `Delta::apply` gives exactly the value that a whole
//!   computation gives, also in the corner where RFC 1141 gave 0xffff for 0 (equation 3);
//! - I2 a UDP checksum of 0 means "none" and stays 0; a computed 0 is sent as 0xffff;
//! - I3 a sender that left the work to its device stores the *folded pseudo-header sum* in the
//!   field. A finished checksum can equal it by chance (1 in 65,536); computing the whole one is
//!   right in both cases, so that is what a match leads to.

use std::net::Ipv4Addr;

/// A running ones' complement sum of 16-bit words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last byte counts as the high half of a word.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Sum {
        let mut total = self.0;
        let (chunks, tail) = bytes.as_chunks::<8>();
        for chunk in chunks {
            let word = u64::from_be_bytes(*chunk);
            total += (word >> 32) + (word & 0xffff_ffff);
        }
        let (pairs, last) = tail.as_chunks::<2>();
        for pair in pairs {
            total += u64::from(u16::from_be_bytes(*pair));
        }
        if let [byte] = last {
            total += u64::from(*byte) << 8;
        }
        Sum(total)
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

    /// An address changes.
    #[inline]
    #[must_use]
    pub fn address(self, old: Ipv4Addr, new: Ipv4Addr) -> Delta {
        Delta(self.0 + u64::from(!u32::from(old)) + u64::from(u32::from(new)))
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

#[inline]
pub(crate) fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word with an end-around carry after each addition.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_gives_its_sum() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).fold(), 0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624_gives_zero_and_not_ffff() {
        assert_eq!(Delta::default().word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
    }

    #[test]
    fn udp_without_checksum_stays_without() {
        assert_eq!(Delta::default().word(1, 2).apply_udp(0), 0);
    }

    #[test]
    fn udp_never_gets_the_value_that_means_none() {
        assert_eq!(
            Delta::default().word(0x5555, 0x3285).apply_udp(0xdd2f),
            0xffff
        );
    }

    proptest! {
        #[test]
        fn fast_sum_equals_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(of(&bytes), slow(&bytes));
        }

        #[test]
        fn incremental_equals_whole(
            mut bytes in prop::collection::vec(any::<u8>(), 8..64),
            at in any::<prop::sample::Index>(),
            words in prop::collection::vec(prop_oneof![Just(0u16), Just(0xffff), any::<u16>()], 1..4),
        ) {
            bytes.truncate(bytes.len() & !1);
            bytes[0] |= 1; // I1 speaks of data that is not all zero
            let old = of(&bytes);
            let mut delta = Delta::default();
            for new in words {
                let i = (1 + at.index(bytes.len() / 2 - 1)) * 2;
                delta = delta.word(u16::from_be_bytes([bytes[i], bytes[i + 1]]), new);
                bytes[i..i + 2].copy_from_slice(&new.to_be_bytes());
            }
            prop_assert_eq!(delta.apply(old), of(&bytes));
        }

        #[test]
        fn address_change_equals_two_word_changes(old in any::<u32>(), new in any::<u32>(), sum in any::<u16>()) {
            let (a, b) = (Ipv4Addr::from(old), Ipv4Addr::from(new));
            let by_words = Delta::default()
                .word((old >> 16) as u16, (new >> 16) as u16)
                .word(old as u16, new as u16);
            prop_assert_eq!(Delta::default().address(a, b).apply(sum), by_words.apply(sum));
        }
    }
}
