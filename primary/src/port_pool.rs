//! What: which address and port of the pool a new binding gets.
//!
//! Layout: for each protocol, pool address and bucket one bit for each of the 256 ports whose low
//! byte is the bucket. The bits are private to the shard and only a *hint*: the truth is the
//! table of bindings, which outlives this process and was written by another one before.
//!
//! Invariants:
//!
//! - I1 a port is given only if `taken` denies it at that moment;
//! - I2 its low byte is the flow's bucket, so that replies find the shard without a lookup;
//! - I3 one inside address keeps one outside address while that has room (RFC 4787, REQ-2);
//! - I4 where in the range the search begins is not foreseeable from other flows (RFC 6056).

use crate::config::PortRange;
use baton_datapath::bucket::BUCKETS;
use baton_datapath::parse::{TCP, UDP};
use baton_datapath::rewrite::End;
use std::net::Ipv4Addr;

const PROTOCOLS: usize = 3;
/// Seconds after which bits of a full bucket are checked against the truth again.
const RECHECK_S: u32 = 1;

/// One protocol, address and bucket.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Bit `n` = port `n << 8 | bucket` is thought to be taken.
    used: [u64; 4],
    /// When the bits were last forgotten.
    checked_s: u32,
}

/// The pool as one shard sees it.
#[derive(Debug)]
pub struct PortPool {
    addresses: Vec<Ipv4Addr>,
    range: PortRange,
    slots: Vec<Slot>,
    random: u64,
}

impl PortPool {
    /// A pool of which nothing is known yet. `seed` makes the choice of ports unforeseeable.
    #[must_use]
    pub fn new(addresses: &[Ipv4Addr], range: PortRange, seed: u64) -> PortPool {
        let unknown = Slot {
            used: [0; 4],
            checked_s: 0,
        };
        PortPool {
            addresses: addresses.to_vec(),
            range,
            slots: vec![unknown; PROTOCOLS * addresses.len() * BUCKETS],
            random: seed | 1,
        }
    }

    /// An end for a new binding of `inside`, in `bucket`, for which `taken` is false.
    pub fn pick(
        &mut self,
        protocol: u8,
        inside: Ipv4Addr,
        bucket: u8,
        now_s: u32,
        taken: impl Fn(End) -> bool,
    ) -> Option<End> {
        let count = self.addresses.len();
        let first = u32::from(inside).wrapping_mul(0x9e37_79b1) as usize % count.max(1);
        let start = self.next_random();
        for i in (first..count).chain(0..first) {
            let address = self.addresses[i];
            let at = self.slot(protocol, i, bucket);
            let slot = &mut self.slots[at];
            if slot.used == [u64::MAX; 4] && now_s.wrapping_sub(slot.checked_s) >= RECHECK_S {
                slot.used = [0; 4];
                slot.checked_s = now_s;
            }
            let found = search(slot, self.range, start, bucket, |port| {
                taken(End { address, port })
            });
            if let Some(port) = found {
                return Some(End { address, port });
            }
        }
        None
    }

    /// A binding's end is free again.
    pub fn release(&mut self, protocol: u8, end: End) {
        if let Ok(i) = self.addresses.binary_search(&end.address) {
            let at = self.slot(protocol, i, end.port as u8);
            let high = usize::from(end.port >> 8);
            self.slots[at].used[high / 64] &= !(1 << (high % 64));
        }
    }

    fn slot(&self, protocol: u8, address: usize, bucket: u8) -> usize {
        let protocol = match protocol {
            TCP => 0,
            UDP => 1,
            _ => 2,
        };
        (protocol * self.addresses.len() + address) * BUCKETS + usize::from(bucket)
    }

    /// xorshift64 (Marsaglia, 2003).
    fn next_random(&mut self) -> u8 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32) as u8
    }
}

/// The first free port at or after `start`, going round; marks what it finds taken, and it.
fn search(
    slot: &mut Slot,
    range: PortRange,
    start: u8,
    bucket: u8,
    taken: impl Fn(u16) -> bool,
) -> Option<u16> {
    for step in 0..=u8::MAX {
        let high = start.wrapping_add(step);
        let (word, bit) = (usize::from(high / 64), 1u64 << (high % 64));
        if slot.used[word] & bit != 0 {
            continue;
        }
        slot.used[word] |= bit;
        let port = u16::from_be_bytes([high, bucket]);
        if (range.first..=range.last).contains(&port) && !taken(port) {
            return Some(port);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::HashSet;

    const A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 16);
    const B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 17);
    const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

    fn pool() -> PortPool {
        PortPool::new(&[A, B], PortRange::default(), 42)
    }

    #[test]
    fn a_port_stands_in_its_bucket_and_in_the_range() {
        let mut pool = pool();
        for bucket in 0..=255 {
            let end = pool.pick(UDP, INSIDE, bucket, 0, |_| false).unwrap();
            assert_eq!(end.port as u8, bucket);
            assert!(end.port >= 1024);
        }
    }

    #[test]
    fn every_port_is_given_once_then_none_until_one_is_free_again() {
        let mut pool = pool();
        let given = RefCell::new(HashSet::new());
        let taken = |end| given.borrow().contains(&end);
        while let Some(end) = pool.pick(TCP, INSIDE, 9, 0, taken) {
            assert!(given.borrow_mut().insert(end), "{end:?} twice");
        }
        assert_eq!(given.borrow().len(), 2 * 252); // 1024.. leaves 252 of 256
        let free = *given.borrow().iter().next().unwrap();
        given.borrow_mut().remove(&free);
        pool.release(TCP, free);
        assert_eq!(pool.pick(TCP, INSIDE, 9, 0, taken), Some(free));
    }

    #[test]
    fn one_host_keeps_one_address_while_it_has_room() {
        let mut pool = pool();
        let first = pool.pick(UDP, INSIDE, 1, 0, |_| false).unwrap();
        for bucket in 2..200 {
            let end = pool.pick(UDP, INSIDE, bucket, 0, |_| false).unwrap();
            assert_eq!(end.address, first.address);
        }
    }

    #[test]
    fn what_another_process_gave_is_not_given_again() {
        let mut pool = pool();
        let end = pool.pick(UDP, INSIDE, 1, 0, |end| {
            end.port != 0x9c01 || end.address == A
        });
        assert_eq!(
            end,
            Some(End {
                address: B,
                port: 0x9c01
            })
        );
    }

    #[test]
    fn what_another_process_freed_is_found_after_a_while() {
        let mut pool = pool();
        assert_eq!(pool.pick(UDP, INSIDE, 1, 0, |_| true), None);
        assert_eq!(pool.pick(UDP, INSIDE, 1, 0, |_| false), None);
        assert!(pool.pick(UDP, INSIDE, 1, RECHECK_S, |_| false).is_some());
    }

    #[test]
    fn a_small_range_is_kept() {
        let range = PortRange {
            first: 5000,
            last: 5010,
        };
        let mut pool = PortPool::new(&[A], range, 1);
        let bucket = 5005u16 as u8;
        let end = pool.pick(UDP, INSIDE, bucket, 0, |_| false).unwrap();
        assert_eq!(end.port, 5005);
        assert_eq!(pool.pick(UDP, INSIDE, bucket, 0, |_| false), None);
        assert_eq!(pool.pick(UDP, INSIDE, 0, 0, |_| false), None);
    }
}
