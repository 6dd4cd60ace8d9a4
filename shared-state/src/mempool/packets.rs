//! What the pool says of the packets in its buffers: where each lies in its chunk, and where it came from.
//!
//! These are fields of the holder of a buffer alone (I1 of [`crate::mbuf`]), for ports that have its index.

use super::Pool;
use crate::place::Place;

impl Pool {
    /// First byte and length of the packet in a buffer.
    #[inline]
    pub fn bytes(self, m: u32) -> (*mut u8, usize) {
        let (off, len) = self.packet(m);
        // SAFETY: `off <= chunk`, so the pointer stays in, or one past, the chunk.
        let start = unsafe { self.chunk_ptr(m).add(usize::from(off)) };
        (start, usize::from(len))
    }

    /// Offset and length of the packet in a buffer; (0, 0) if what is stored leaves the chunk.
    #[inline]
    pub fn packet(self, m: u32) -> (u16, u16) {
        self.line(m).data_in(self.0.chunk)
    }

    /// The packet in a buffer, for copying it to or from a device.
    ///
    /// # Safety
    /// - The caller is the holder of `m` (invariant I1 of [`crate::mbuf`]).
    /// - No other slice or [`crate::mbuf::Packet`] of `m` is alive.
    #[inline]
    pub unsafe fn data_mut(self, m: u32) -> &'static mut [u8] {
        let (start, len) = self.bytes(m);
        // SAFETY: `bytes` stays inside the chunk; uniqueness is the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(start, len) }
    }

    /// Says where in its chunk the packet lies.
    ///
    /// # Panics
    /// When it would leave the chunk: a driver that accepts such a length has a bug.
    #[inline]
    pub fn set_packet(self, m: u32, off: u16, len: u16) {
        self.check_packet(off, len);
        self.line(m).set_data(off, len);
    }

    /// Begins a packet at `at` (offset and length) that arrived at `arrival` (port and queue), a single segment.
    ///
    /// # Panics
    /// As [`Pool::set_packet`].
    #[inline]
    pub fn start_packet(self, m: u32, at: (u16, u16), arrival: (u16, u16), flags: u32) {
        self.check_packet(at.0, at.1);
        self.line(m).start(at, arrival, flags);
    }

    /// As [`Pool::start_packet`] for many, each at `place_of` its number.
    ///
    /// # Panics
    /// As [`Pool::set_packet`].
    #[inline]
    pub fn start_packets(
        self,
        mbufs: &[u32],
        at: (u16, u16),
        arrival: (u16, u16),
        place_of: impl Fn(u32) -> Place,
    ) {
        self.check_packet(at.0, at.1);
        let lines = self.lines();
        for (i, m) in (0u32..).zip(mbufs) {
            let line = &lines[*m as usize];
            line.start(at, arrival, 0);
            line.set_place(place_of(i));
        }
    }

    /// Says of mbufs where each is, `place_of` its number; gives the bytes of their packets.
    #[inline]
    pub fn set_places(self, mbufs: &[u32], place_of: impl Fn(u32) -> Place) -> u64 {
        let (lines, mut bytes) = (self.lines(), 0);
        for (i, m) in (0u32..).zip(mbufs) {
            let line = &lines[*m as usize];
            bytes += u64::from(line.data_len());
            line.set_place(place_of(i));
        }
        bytes
    }

    #[inline]
    fn check_packet(self, off: u16, len: u16) {
        assert!(
            u32::from(off) + u32::from(len) <= self.0.chunk,
            "packet of {len} bytes at {off} in a chunk of {}",
            self.0.chunk
        );
    }

    /// Offset of the packet in its chunk.
    #[inline]
    pub fn data_off(self, m: u32) -> u16 {
        self.line(m).data_off()
    }

    /// Length of the packet.
    #[inline]
    pub fn data_len(self, m: u32) -> u16 {
        self.line(m).data_len()
    }
}
