//! The vnet header that packet sockets and TAPs put before a frame: unfinished checksums, GSO.
//!
//! Layout: `flags u8, gso_type u8, hdr_len u16, gso_size u16, csum_start u16, csum_offset u16`, in
//! the byte order of the machine.

use baton_shared_state::mbuf::{CSUM_PARTIAL, CSUM_VALID, Line, PartialCsum, VNET};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the header.
pub(crate) const VNET_LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

/// `struct virtio_net_hdr`.
#[repr(C)]
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub(crate) struct VnetHeader {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    csum_start: u16,
    csum_offset: u16,
}

const _: () = assert!(size_of::<VnetHeader>() == VNET_LEN);

impl VnetHeader {
    /// Whether several segments travel as one frame.
    #[inline]
    pub(crate) fn is_gso(&self) -> bool {
        self.gso_type != 0
    }

    /// The flags of a received mbuf, and what of its checksum is unfinished. A frame of `len`
    /// bytes that does not contain its own checksum field is taken as finished.
    #[inline]
    pub(crate) fn received(&self, len: usize) -> (u32, Option<PartialCsum>) {
        if self.flags & NEEDS_CSUM != 0 {
            let (start, offset) = (self.csum_start, self.csum_offset);
            if usize::from(start) + usize::from(offset) + 2 <= len {
                return (VNET | CSUM_PARTIAL, Some(PartialCsum { start, offset }));
            }
        }
        let valid = if self.flags & DATA_VALID != 0 {
            CSUM_VALID
        } else {
            0
        };
        (VNET | valid, None)
    }

    /// The header for sending a mbuf: its checksum is left to the kernel only if it still is
    /// unfinished.
    #[inline]
    pub(crate) fn for_sending(line: &Line) -> VnetHeader {
        match line.csum_partial() {
            Some(csum) => VnetHeader {
                flags: NEEDS_CSUM,
                csum_start: csum.start,
                csum_offset: csum.offset,
                ..VnetHeader::default()
            },
            None => VnetHeader::default(),
        }
    }
}

/// Finishes a checksum whose field holds the sum of the pseudo-header: for a device that cannot.
/// A frame too short for what `csum` says is left as it is.
pub(crate) fn finish(frame: &mut [u8], csum: PartialCsum) {
    let (start, field) = (
        usize::from(csum.start),
        usize::from(csum.start) + usize::from(csum.offset),
    );
    if field + 2 > frame.len() {
        return;
    }
    let mut sum: u64 = 0;
    let mut words = frame[start..].chunks_exact(2);
    for word in &mut words {
        sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = words.remainder() {
        sum += u64::from(*last) << 8;
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let finished = match !(sum as u16) {
        0 => 0xffff, // a UDP checksum of 0 means "none"; for TCP both are the same number
        other => other,
    };
    frame[field..field + 2].copy_from_slice(&finished.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unfinished_checksum_is_flagged_with_its_place() {
        let header = VnetHeader {
            flags: NEEDS_CSUM,
            csum_start: 34,
            csum_offset: 6,
            ..VnetHeader::default()
        };
        let (flags, csum) = header.received(60);
        assert_eq!(flags, VNET | CSUM_PARTIAL);
        assert_eq!(
            csum,
            Some(PartialCsum {
                start: 34,
                offset: 6
            })
        );
        assert_eq!(header.received(41), (VNET, None), "the field is outside");
        let valid = VnetHeader {
            flags: DATA_VALID,
            ..VnetHeader::default()
        };
        assert_eq!(valid.received(60), (VNET | CSUM_VALID, None));
    }

    #[test]
    fn segments_that_travel_as_one_are_seen() {
        let bytes = [0u8, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        let header = VnetHeader::read_from_bytes(&bytes).unwrap();
        assert!(header.is_gso());
        assert!(!VnetHeader::default().is_gso());
    }

    #[test]
    fn a_finished_checksum_adds_up() {
        // UDP, 4 bytes of data; the field holds the pseudo-header's sum.
        let mut frame = [0u8; 47];
        frame[34..38].copy_from_slice(&[0x10, 0x00, 0x00, 0x35]);
        frame[38..40].copy_from_slice(&13u16.to_be_bytes());
        frame[40..42].copy_from_slice(&0x1234u16.to_be_bytes());
        frame[42..47].copy_from_slice(b"abcde");
        let csum = PartialCsum {
            start: 34,
            offset: 6,
        };
        let pseudo = 0x1234u32;
        finish(&mut frame, csum);
        let mut sum = pseudo;
        for word in frame[34..46].chunks(2) {
            sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
        }
        sum += u32::from(frame[46]) << 8;
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
        let before = frame;
        finish(&mut frame[..41], csum);
        assert_eq!(frame, before, "a field outside the frame is left alone");
    }
}
