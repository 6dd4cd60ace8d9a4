//! What a queue's owner has in hand: marking it on receive, finding it again after a death.
//!
//! A received packet's `place` is (app of the shard, MARK | position): position is where the packet
//! stood in what it was read from (ring index, frame, file offset), 31 bits of it. A mbuf just
//! allocated has index 0, without the mark, so that the two are told apart. The line's port and
//! queue say whose position it is.
//!
//! Invariants
//! - I1 The place is stored before the cursor that consumes the position; so a marked mbuf whose
//!   position is at or past the cursor was not consumed, and one before it is in hand.
//! - I2 Positions are compared only within 2^30 of each other: a packet in hand lasts a burst.

use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::{Holder, Place};

const MARK: u32 = 1 << 31;

/// One queue's identity, as it is written on its packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hand {
    /// The pool of its packets.
    pub(crate) pool: Pool,
    /// The port's number.
    pub(crate) port: u16,
    /// The queue.
    pub(crate) queue: u16,
}

impl Hand {
    /// Marks a mbuf as received: its bytes are at `off..off + len` of its chunk.
    #[inline]
    pub(crate) fn received(&self, shard: u16, m: u32, at: (u16, u16), flags: u32, position: u32) {
        self.pool
            .start_packet(m, at, (self.port, self.queue), flags);
        self.pool
            .set_place(m, Place::new(Holder::app(shard), MARK | position));
    }

    /// Marks mbufs as received that hold their packets, flags and unfinished checksums already; gives their bytes.
    #[inline]
    pub(crate) fn received_as_they_are(&self, shard: u16, mbufs: &[u32], position: u32) -> u64 {
        let app = Holder::app(shard);
        let place_of = |i| Place::new(app, MARK | position.wrapping_add(i));
        self.pool
            .restart_packets(mbufs, (self.port, self.queue), place_of)
    }

    /// Marks mbufs as received whose packets are yet to be filled, each with `len` bytes behind the headroom:
    /// until the cursor has passed their positions, nobody takes them for packets (I1).
    ///
    /// # Panics
    /// When there is no such room.
    #[inline]
    pub(crate) fn start(&self, shard: u16, mbufs: &[u32], len: u16, position: u32) {
        let at = (self.pool.headroom(), len);
        let app = Holder::app(shard);
        self.pool
            .start_packets(mbufs, at, (self.port, self.queue), |i| {
                Place::new(app, MARK | position.wrapping_add(i))
            });
    }

    /// The same, with each packet's first `N` bytes filled at once.
    ///
    /// # Panics
    /// When there is no such room, for the packet or for `N` bytes.
    #[inline(always)]
    pub(crate) fn start_filled<const N: usize>(
        &self,
        shard: u16,
        mbufs: &[u32],
        len: u16,
        position: u32,
        fill: impl FnMut(&mut [u8; N]),
    ) {
        let app = Holder::app(shard);
        let place_of = |i| Place::new(app, MARK | position.wrapping_add(i));
        self.pool
            .start_filled(mbufs, len, (self.port, self.queue), place_of, fill);
    }

    /// Has the packet of a mbuf filled that the caller holds, and that is started.
    #[inline(always)]
    pub(crate) fn fill(&self, m: u32, fill: impl FnOnce(&mut Packet)) {
        let mut packet = Packet::from_raw(m, self.pool);
        fill(&mut packet);
        packet.into_raw();
    }

    /// Marks a mbuf as received whose offset and length are set.
    #[inline]
    pub(crate) fn mark(&self, shard: u16, m: u32, flags: u32, position: u32) {
        let line = self.pool.line(m);
        line.receive(self.port, self.queue, flags);
        line.set_place(Place::new(Holder::app(shard), MARK | position));
    }

    /// Makes a packet of `len` bytes behind the headroom, filled by `fill`, and marks it as received.
    /// It fits: the caller has compared it with [`Hand::room`].
    #[inline]
    pub(crate) fn filled(
        &self,
        shard: u16,
        m: u32,
        len: usize,
        position: u32,
        fill: impl FnOnce(&mut [u8]),
    ) {
        let mut packet = Packet::filling(m, self.pool, len as u16);
        fill(packet.data_mut());
        self.mark(shard, packet.into_raw(), 0, position);
    }

    /// Copies a frame into a mbuf behind the headroom and marks it as received. The frame fits:
    /// the caller has compared it with [`Hand::room`].
    #[inline]
    pub(crate) fn copied(&self, shard: u16, m: u32, frame: &[u8], position: u32) {
        self.filled(shard, m, frame.len(), position, |bytes| {
            bytes.copy_from_slice(frame);
        });
    }

    /// Bytes a received packet may have.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.pool.chunk() as usize - usize::from(self.pool.headroom())
    }

    /// Packets of this queue that the shard's dead owner had marked, oldest first, with their
    /// positions; `cursor` is the position up to which it had consumed.
    pub(crate) fn find(&self, shard: u16, cursor: u32) -> Vec<(u32, u32)> {
        let app = Holder::app(shard);
        let mut found: Vec<(u32, u32)> = (0..self.pool.count())
            .filter_map(|m| {
                let place = self.pool.place(m);
                let line = self.pool.line(m);
                let ours = place.holder == app
                    && place.index & MARK != 0
                    && (line.port(), line.queue()) == (self.port, self.queue);
                ours.then_some((place.index & !MARK, m))
            })
            .collect();
        found.sort_by_key(|(position, _)| distance(*position, cursor));
        found
    }

    /// Settles marked packets after a death: those before `cursor` go to `held`, the rest, whose
    /// positions will be read again, are freed.
    pub(crate) fn settle(&self, cache: &mut Cache, cursor: u32, held: &mut Vec<u32>) {
        for (position, m) in self.find(cache.shard(), cursor) {
            if distance(position, cursor) < 0 {
                held.push(m);
            } else {
                cache.free_burst(&[m]);
            }
        }
    }

    /// The mbufs whose place names `holder`, with their indexes, in the order of these.
    pub(crate) fn placed(&self, holder: Holder, cursor: u32) -> Vec<(u32, u32)> {
        let mut found: Vec<(u32, u32)> = (0..self.pool.count())
            .filter_map(|m| {
                let place = self.pool.place(m);
                (place.holder == holder).then_some((place.index, m))
            })
            .collect();
        found.sort_by_key(|(index, _)| index.wrapping_sub(cursor) as i32);
        found
    }
}

/// How far a 31-bit position lies past another; negative: before it.
#[inline]
pub(crate) fn distance(position: u32, cursor: u32) -> i32 {
    (position.wrapping_sub(cursor) << 1) as i32 >> 1
}

/// Whether a full 32-bit ring index lies before another.
#[inline]
pub(crate) fn before(index: u32, other: u32) -> bool {
    (index.wrapping_sub(other) as i32) < 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_shared_state::Region;

    fn pool(count: u32) -> Pool {
        let meta = Region::private(Pool::meta_bytes(count));
        let data = Region::private(Pool::data_bytes(count, 2048));
        Pool::create(meta, data, 2048).unwrap()
    }

    #[test]
    fn positions_compare_across_their_wrap() {
        assert_eq!(distance(5, 3), 2);
        assert_eq!(distance(3, 5), -2);
        assert_eq!(distance(1, 0x7fff_ffff), 2);
        assert_eq!(distance(0x7fff_ffff, 1), -2);
        assert!(before(u32::MAX, 1) && !before(1, u32::MAX));
    }

    #[test]
    fn only_consumed_packets_of_this_queue_are_held() {
        let pool = pool(64);
        let hand = Hand {
            pool,
            port: 1,
            queue: 0,
        };
        let other = Hand {
            pool,
            port: 2,
            queue: 0,
        };
        let mut cache = pool.cache(0);
        let mut m = [0; 6];
        assert_eq!(cache.alloc_burst(&mut m), 6);
        hand.copied(0, m[2], &[7; 60], 1);
        hand.copied(0, m[0], &[7; 60], 0x7fff_ffff);
        hand.copied(0, m[3], &[7; 60], 2);
        other.copied(0, m[1], &[7; 60], 0);
        assert_eq!(pool.packet(m[0]), (pool.headroom(), 60));
        let mut held = Vec::new();
        hand.settle(&mut cache, 2, &mut held);
        assert_eq!(held, [m[0], m[2]]);
        assert_eq!(pool.place(m[3]).holder, Holder::cache(0));
        assert_eq!(pool.place(m[1]).holder, Holder::app(0));
        assert_eq!(pool.place(m[4]).index, 0);
    }

    #[test]
    fn placed_mbufs_come_in_the_order_of_their_indexes() {
        let pool = pool(64);
        let hand = Hand {
            pool,
            port: 0,
            queue: 0,
        };
        let tx = Holder::tx(0, 0);
        for (m, index) in [(9, u32::MAX), (4, 0), (7, 1)] {
            pool.set_place(m, Place::new(tx, index));
        }
        assert_eq!(hand.placed(tx, u32::MAX), [(u32::MAX, 9), (0, 4), (1, 7)]);
    }
}
