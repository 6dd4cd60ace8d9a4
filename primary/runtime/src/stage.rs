//! What a burst sends by one port, until the end of the burst. In process memory: a mbuf in here is in the
//! hands of the shard's lcore, as its place says.
//!
//! Invariant: it is full only inside of a call: who fills it has it flushed.

use baton_shared_state::BURST;
use baton_shared_state::mbuf::Packet;

/// Packets of one port that wait for the end of the burst.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) mbufs: [u32; BURST],
    pub(crate) len: usize,
    pub(crate) bytes: u64,
    /// Something was published since the last kick.
    pub(crate) unkicked: bool,
}

impl Stage {
    /// Takes a mbuf in whose packet has `len` bytes; it is not full.
    #[inline(always)]
    pub(crate) fn put(&mut self, mbuf: u32, len: usize) {
        let at = self.len % BURST;
        self.bytes += len as u64;
        self.mbufs[at] = mbuf;
        self.len = at + 1;
    }

    /// Takes packets in, those from number `at` on, each after `change` has had it, until one is then not plain, or
    /// it is full, which is seen before; the number of the first that it left.
    #[inline(always)]
    pub(crate) fn put_each(
        &mut self,
        packets: &mut [Option<Packet>],
        mut at: usize,
        change: &mut impl FnMut(usize, &mut Packet),
    ) -> usize {
        let (mut len, mut bytes) = (self.len, self.bytes);
        for slot in packets.get_mut(at..).unwrap_or_default() {
            if let Some(packet) = slot {
                let Some(place) = self.mbufs.get_mut(len) else {
                    break;
                };
                change(at, packet);
                if !packet.line().is_plain() {
                    break;
                }
                *place = packet.index();
                bytes += packet.len() as u64;
                len += 1;
            }
            core::mem::forget(slot.take());
            at += 1;
        }
        (self.len, self.bytes) = (len, bytes);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_shared_state::Region;
    use baton_shared_state::mbuf::Chain;
    use baton_shared_state::mempool::Pool;

    #[test]
    fn one_that_is_not_plain_after_its_change_is_left_and_what_is_behind_it_can_go_on() {
        let meta = Region::private(Pool::meta_bytes(64));
        let data = Region::private(Pool::data_bytes(64, 2048));
        let pool = Pool::create(meta, data, 2048).expect("a pool");
        let mut cache = pool.cache(0);
        let mut packets: [Option<Packet>; 5] = core::array::from_fn(|_| cache.alloc());
        // Its bytes are read by a clone.
        let mut chain = Chain::of(cache.alloc().expect("a buffer"));
        let clone = chain.clone(&mut cache).expect("a buffer");
        let mut shared = Some(Packet::from_raw(chain.into_raw(), pool));
        let plain: Vec<u32> = packets.iter().flatten().map(Packet::index).collect();
        let mut stage = Stage::default();
        let mut change = |at, packet: &mut Packet| {
            if let Some(other) = shared.as_mut().filter(|_| at == 2) {
                core::mem::swap(packet, other);
            }
        };
        assert_eq!(stage.put_each(&mut packets, 0, &mut change), 2);
        let left = packets[2].take().expect("it was left");
        assert!(!left.line().is_plain());
        assert_eq!(stage.put_each(&mut packets, 3, &mut change), 5);
        assert_eq!(
            stage.mbufs[..stage.len],
            [plain[0], plain[1], plain[3], plain[4]]
        );
        cache.free_packets(&[left.into_raw(), clone.into_raw()]);
        cache.free_packets(&shared.map(Packet::into_raw).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn each_is_changed_once_and_taken_in_order_until_it_is_full() {
        let meta = Region::private(Pool::meta_bytes(64));
        let data = Region::private(Pool::data_bytes(64, 2048));
        let pool = Pool::create(meta, data, 2048).expect("a pool");
        let mut cache = pool.cache(0);
        let mut packets: [Option<Packet>; BURST] =
            core::array::from_fn(|at| if at % 4 == 1 { None } else { cache.alloc() });
        let there: Vec<u32> = packets.iter().flatten().map(Packet::index).collect();
        let mut stage = Stage::default();
        (0..20).for_each(|_| stage.put(63, 7));
        let mut changed = Vec::new();
        let mut change = |at, packet: &mut Packet| {
            changed.push((at, packet.index()));
            assert!(packet.append(at).is_some());
        };
        let left = stage.put_each(&mut packets, 2, &mut change);
        assert_eq!((left, stage.len), (18, BURST), "there is room for 12 of 16");
        assert_eq!(
            stage.bytes,
            20 * 7 + (2..18).filter(|at| at % 4 != 1).sum::<u64>()
        );
        assert_eq!(stage.mbufs[20..], there[1..13]);
        stage.len = 0;
        assert_eq!(stage.put_each(&mut packets, left, &mut change), BURST);
        let numbers = (2..BURST).filter(|at| at % 4 != 1);
        assert!(
            changed
                .into_iter()
                .eq(numbers.zip(there[1..].iter().copied()))
        );
        assert!(packets[0].is_some() && packets[1..].iter().all(Option::is_none));
    }
}
