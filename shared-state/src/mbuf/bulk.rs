//! Many packets of one pool at once: what a loop asks of the pool for each of them is asked once, and stays
//! in registers. A store to a packet's bytes has everything loaded again that lies in memory.
//!
//! It stands on the invariants I1 and I2 of [`crate::mbuf`].

use super::{Line, Packet};
use crate::mempool::Pool;
use crate::place::Place;
use crate::simd::prefetch;

/// What of a pool is the same for all of its buffers.
#[derive(Clone, Copy)]
struct Shape {
    lines: &'static [Line],
    /// The first byte of the first chunk.
    data: *mut u8,
    shift: u32,
    chunk: u32,
}

impl Shape {
    #[inline(always)]
    fn of(pool: Pool) -> Shape {
        Shape {
            lines: pool.lines(),
            data: pool.data().as_ptr(),
            shift: pool.chunk().trailing_zeros(),
            chunk: pool.chunk(),
        }
    }

    /// The metadata of a buffer, and its chunk.
    ///
    /// # Panics
    /// When the pool has no such buffer.
    #[inline(always)]
    fn of_one(&self, m: u32) -> (&'static Line, *mut u8) {
        let Some(line) = self.lines.get(m as usize) else {
            Pool::no_mbuf(m, self.lines.len());
        };
        // SAFETY: `m < count` and `count * chunk` bytes are mapped (checked when the pool was opened).
        let chunk = unsafe { self.data.add((m as usize) << self.shift) };
        (line, chunk)
    }
}

impl Pool {
    /// As [`Pool::start_packets`], each packet behind the headroom; `fill` is given the first `N` bytes of each from
    /// its first on, also where it has fewer, and what they hold is left over from earlier.
    ///
    /// # Panics
    /// When the pool has no such buffer, or a chunk no such room.
    #[inline(always)]
    pub fn start_filled<const N: usize>(
        self,
        mbufs: &[u32],
        len: u16,
        arrival: (u16, u16),
        place_of: impl Fn(u32) -> Place,
        mut fill: impl FnMut(&mut [u8; N]),
    ) {
        let (shape, off) = (Shape::of(self), self.headroom());
        let end = usize::from(off) + N.max(usize::from(len));
        assert!(end <= shape.chunk as usize, "{end} bytes of {self:?}");
        for (i, m) in (0u32..).zip(mbufs) {
            let (line, chunk) = shape.of_one(*m);
            line.start((off, len), arrival, 0);
            line.set_place(place_of(i));
            // SAFETY: `off + N <= chunk`, as was just seen: the bytes lie in the chunk of `m`, mapped for the
            // process's life, which is the caller's alone (I1).
            fill(unsafe { &mut *chunk.add(usize::from(off)).cast::<[u8; N]>() });
        }
    }
}

impl Pool {
    /// As [`Pool::start_packets`] for buffers that hold packets already: where each lies, its flags, and what is
    /// unfinished of its checksum stay, or it is empty if what is stored leaves the chunk. Gives their bytes.
    ///
    /// # Panics
    /// When the pool has no such buffer.
    #[inline(always)]
    pub fn restart_packets(
        self,
        mbufs: &[u32],
        arrival: (u16, u16),
        place_of: impl Fn(u32) -> Place,
    ) -> u64 {
        let (shape, mut bytes) = (Shape::of(self), 0);
        for (i, m) in (0u32..).zip(mbufs) {
            let (line, _) = shape.of_one(*m);
            let at = line.data_in(shape.chunk);
            line.restart(at, arrival);
            line.set_place(place_of(i));
            bytes += u64::from(at.1);
        }
        bytes
    }
}

impl Packet {
    /// As [`Packet::from_raw`] for as many as there are slots for, each into its slot, of which none holds a
    /// packet; how many bytes they have. The first of these are on their way into the processor's cache.
    ///
    /// # Panics
    /// When the pool has no such mbuf.
    #[inline]
    pub fn arriving_in(slots: &mut [Option<Packet>], mbufs: &[u32], pool: Pool) -> u64 {
        let (shape, mut bytes) = (Shape::of(pool), 0);
        // Nothing may panic while a packet is held here: it would be kept in memory for its drop, by
        // narrow stores, and copied from there by wide loads that wait for them.
        for (slot, &m) in slots.iter_mut().zip(mbufs) {
            let (line, chunk) = shape.of_one(m);
            let (off, len) = line.data_in(shape.chunk);
            prefetch(chunk.wrapping_add(off.into()));
            bytes += u64::from(len);
            // There is nothing to drop in it.
            core::mem::forget(slot.replace(Packet::at(pool, chunk, m, (off, len))));
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mbuf::PartialCsum;
    use crate::place::Holder;
    use crate::region::Region;

    fn pool() -> Pool {
        let meta = Region::private(Pool::meta_bytes(64));
        let data = Region::private(Pool::data_bytes(64, 2048));
        Pool::create(meta, data, 2048).unwrap()
    }

    #[test]
    fn what_is_started_and_filled_arrives_as_one_by_one() {
        let pool = pool();
        let mut cache = pool.cache(0);
        let mut mbufs = [0; 5];
        assert_eq!(cache.alloc_burst(&mut mbufs), 5);
        let place_of = |i| Place::new(Holder::app(0), 7 + i);
        let mut next = 0;
        pool.start_filled::<16>(&mbufs, 12, (3, 1), place_of, |bytes| {
            *bytes = [next; 16];
            next += 1;
        });
        for (i, m) in (0u32..).zip(&mbufs) {
            let line = pool.line(*m);
            assert_eq!((line.port(), line.queue(), line.flags()), (3, 1, 0));
            assert!(line.is_plain() && !line.is_elsewhere(place_of(i)));
        }
        // One whose extent leaves the chunk is empty, as `Pool::packet` says.
        pool.line(mbufs[3]).set_data(2000, 100);
        let mut slots = [const { None }; 5];
        assert_eq!(Packet::arriving_in(&mut slots, &mbufs, pool), 4 * 12);
        for (i, packet) in slots.iter_mut().enumerate() {
            let packet = packet.as_mut().unwrap();
            assert_eq!(packet.index(), mbufs[i]);
            let alone = pool.packet(mbufs[i]);
            assert_eq!(
                (packet.headroom(), packet.len()),
                (alone.0.into(), alone.1.into())
            );
            assert!(packet.data().iter().all(|byte| usize::from(*byte) == i));
        }
        assert_eq!(slots[3].as_ref().map(Packet::len), Some(0));
        for (m, partial) in mbufs.into_iter().zip([false, true, false, false, true]) {
            let csum = partial.then_some(PartialCsum {
                start: 34,
                offset: 6,
            });
            pool.line(m).set_csum_partial(csum);
        }
        let moved = |i| Place::new(Holder::app(0), 40 + i);
        assert_eq!(pool.restart_packets(&mbufs, (4, 2), moved), 4 * 12);
        for (i, m) in (0u32..).zip(&mbufs) {
            let line = pool.line(*m);
            assert_eq!((line.port(), line.queue()), (4, 2));
            assert_eq!(line.csum_partial().is_some(), i == 1 || i == 4);
            assert!(line.is_plain() && !line.is_elsewhere(moved(i)));
        }
        assert_eq!(
            pool.line(mbufs[3]).data_in(u32::MAX),
            (0, 0),
            "and stays empty"
        );
        slots
            .into_iter()
            .flatten()
            .for_each(|packet| cache.free(packet));
    }

    #[test]
    #[should_panic(expected = "2049 bytes of")]
    fn room_that_a_chunk_does_not_have_is_not_given() {
        let pool = pool();
        let place_of = |_| Place::new(Holder::app(0), 0);
        let len = 2049 - pool.headroom();
        pool.start_filled::<16>(&[0], len, (0, 0), place_of, |_| {});
    }

    #[test]
    #[should_panic(expected = "mbuf 64 of a pool of 64")]
    fn a_mbuf_that_is_not_there_is_named() {
        Packet::arriving_in(&mut [None], &[64], pool());
    }
}
