//! The frames of a TPACKET_V2 ring pair, as one mapping of the socket shows them.
//!
//! ```text
//! receive ring: rxd frames of 2048 | transmit ring: txd frames of 2048
//! frame: status u32, len u32, snaplen u32, mac u16, net u16, sec u32, nsec u32, vlan u16 u16, 4
//!        ... vnet header, then the frame's bytes, at `mac` - 10 (receive) or 32 (transmit)
//! ```
//!
//! Order: `status` is the publishing word of each frame, in both directions: loaded with Acquire
//! before the rest is read, stored with Release after it.

use baton_shared_state::Region;
use baton_shared_state::sync::{AtomicU32, Ordering};
use zerocopy::{FromZeros, IntoBytes};

use crate::vnet::{VNET_LEN, VnetHeader};

/// Bytes of a frame, its header included.
pub(super) const FRAME: usize = 2048;
/// `TPACKET2_HDRLEN - sizeof(sockaddr_ll)`: where the data of a frame to be sent starts.
const TX_DATA: usize = 32;
/// Bytes a frame to be sent may have.
pub(super) const TX_ROOM: usize = FRAME - TX_DATA - VNET_LEN;

/// The frame is the kernel's: to be filled, or free to be written.
pub(super) const KERNEL: u32 = 0;
/// The frame holds a received packet.
const USER: u32 = 1;
/// A VLAN tag was taken out of the frame and stands in its header.
const VLAN_VALID: u32 = 1 << 4;
/// The frame's tag has a protocol of its own.
const VLAN_TPID_VALID: u32 = 1 << 6;
/// The frame is to be sent.
pub(super) const SEND_REQUEST: u32 = 1;

/// What the header of a received frame says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    /// Its checksum, and whether it is several segments.
    pub(super) vnet: VnetHeader,
    /// Bytes that stand in the frame.
    pub(super) len: usize,
    /// Whether the kernel had to cut it.
    pub(super) cut: bool,
    /// The tag that was taken out: protocol and contents.
    pub(super) vlan: Option<[u8; 4]>,
    /// Seconds and nanoseconds of arrival: they tell one filling of the frame from the next.
    pub(super) stamp: u64,
    /// Where its bytes start.
    at: usize,
}

/// One of the two rings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    region: Region,
    mask: u32,
}

impl Frames {
    /// The ring of `entries` frames (a power of two) in its part of the mapping.
    pub(super) fn new(region: Region, entries: u32) -> Frames {
        Frames {
            region,
            mask: entries - 1,
        }
    }

    /// Frames in the ring.
    pub(super) fn entries(&self) -> u32 {
        self.mask + 1
    }

    #[inline]
    fn offset(&self, position: u32) -> usize {
        (position & self.mask) as usize * FRAME
    }

    /// The publishing word of a frame.
    #[inline]
    pub(super) fn status(&self, position: u32) -> &'static AtomicU32 {
        self.region.u32(self.offset(position))
    }

    /// Whether the frame holds a packet for us.
    #[inline]
    pub(super) fn is_received(&self, position: u32) -> bool {
        self.status(position).load(Ordering::Acquire) & USER != 0
    }

    /// The stamp of a received frame.
    pub(super) fn stamp(&self, position: u32) -> u64 {
        let frame = self.offset(position);
        let word = |at: usize| u64::from(self.region.u32(frame + at).load(Ordering::Relaxed));
        word(16) << 32 | word(20)
    }

    /// Reads the header of a received frame.
    #[inline]
    pub(super) fn received(&self, position: u32) -> Received {
        let frame = self.offset(position);
        let word = |at: usize| self.region.u32(frame + at).load(Ordering::Relaxed);
        let status = word(0);
        let (wire, kept) = (word(4) as usize, word(8) as usize);
        let at = (word(12) & 0xffff) as usize;
        let mut vnet = VnetHeader::new_zeroed();
        let inside = at >= TX_DATA + VNET_LEN && at + kept <= FRAME;
        if inside {
            self.region
                .copy_out(frame + at - VNET_LEN, vnet.as_mut_bytes());
        }
        let vlan = (status & VLAN_VALID != 0).then(|| {
            let (tci, tpid) = (word(24) as u16, (word(24) >> 16) as u16);
            let named = status & VLAN_TPID_VALID != 0;
            let [p, q] = if named { tpid } else { 0x8100 }.to_be_bytes();
            let [a, b] = tci.to_be_bytes();
            [p, q, a, b]
        });
        Received {
            vnet,
            len: if inside { kept } else { 0 },
            cut: !inside || kept < wire,
            vlan,
            stamp: u64::from(word(16)) << 32 | u64::from(word(20)),
            at: frame + at,
        }
    }

    /// Copies the bytes of a received frame, from `skip` on.
    #[inline]
    pub(super) fn copy_out(&self, received: &Received, skip: usize, to: &mut [u8]) {
        self.region.copy_out(received.at + skip, to);
    }

    /// Writes a frame to be sent; its status publishes it afterwards.
    #[inline]
    pub(super) fn write(&self, position: u32, vnet: &VnetHeader, bytes: &[u8]) {
        let frame = self.offset(position);
        let len = (VNET_LEN + bytes.len()) as u32;
        self.region.u32(frame + 4).store(len, Ordering::Relaxed);
        self.region.copy_in(frame + TX_DATA, vnet.as_bytes());
        self.region.copy_in(frame + TX_DATA + VNET_LEN, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (Region, Frames) {
        let region = Region::private(64 * FRAME);
        (region, Frames::new(region, 64))
    }

    #[test]
    fn a_received_frame_is_read_with_its_tag() {
        let (region, frames) = ring();
        let frame = 3 * FRAME;
        region.copy_in(frame + 80, &[7; 100]);
        for (at, value) in [
            (4, 100u32),
            (8, 100),
            (12, 80),
            (16, 5),
            (20, 6),
            (24, 0x88a8_0007),
        ] {
            region.u32(frame + at).store(value, Ordering::Relaxed);
        }
        let status = USER | VLAN_VALID | VLAN_TPID_VALID;
        frames.status(3).store(status, Ordering::Release);
        assert!(frames.is_received(3 + 64) && !frames.is_received(4));
        let received = frames.received(3);
        assert_eq!((received.len, received.cut), (100, false));
        assert_eq!(received.vlan, Some([0x88, 0xa8, 0, 7]));
        assert_eq!(
            (received.stamp, frames.stamp(3)),
            (5 << 32 | 6, 5 << 32 | 6)
        );
        let mut bytes = [0; 100];
        frames.copy_out(&received, 0, &mut bytes);
        assert_eq!(bytes, [7; 100]);
    }

    #[test]
    fn a_frame_that_leaves_its_slot_is_cut_to_nothing() {
        let (region, frames) = ring();
        region.u32(8).store(2000, Ordering::Relaxed);
        region.u32(12).store(80, Ordering::Relaxed);
        let received = frames.received(0);
        assert_eq!((received.len, received.cut), (0, true));
    }

    #[test]
    fn a_frame_to_be_sent_counts_its_vnet_header() {
        let (region, frames) = ring();
        frames.write(65, &VnetHeader::default(), &[9; 60]);
        assert_eq!(region.u32(FRAME + 4).load(Ordering::Relaxed), 70);
        assert_eq!(region.to_vec(FRAME + 42, 60), vec![9; 60]);
        assert_eq!(frames.entries(), 64);
    }
}
