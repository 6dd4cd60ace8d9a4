//! The simple rings against `VecDeque`, of several elements, and with several threads: nothing lost, doubled or reordered.

use std::collections::VecDeque;
use std::thread;

use proptest::prelude::*;

use super::samples::{How, Sample, fill, how, look};
use super::*;
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

#[derive(Debug, Clone)]
enum Op {
    Enqueue(usize, How),
    Dequeue(usize, How),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        (0..40usize, how()).prop_map(|(n, how)| Op::Enqueue(n, how)),
        (0..40usize, how()).prop_map(|(n, how)| Op::Dequeue(n, how))
    ];
    prop::collection::vec(op, 1..200)
}

/// What the tests need of either ring.
trait Ring: Copy + Send + Sync + 'static {
    type E: Sample;
    fn make(capacity: usize) -> Self;
    fn put(&self, from: &[Self::E]) -> usize;
    fn put_as(&self, from: &[Self::E], how: How) -> usize {
        self.put(&from[..how.moves(from.len(), self.held().1)])
    }
    fn take(&self, to: &mut [Self::E]) -> usize;
    fn take_as(&self, to: &mut [Self::E], how: How) -> usize {
        let n = how.moves(to.len(), self.held().0);
        self.take(&mut to[..n])
    }
    fn held(&self) -> (usize, usize, Vec<Self::E>);
}

macro_rules! ring {
    ([$($of:tt)*] $ring:ty, $element:ty, { $($more:item)* }) => {
        impl<$($of)*> Ring for $ring {
            type E = $element;
            fn make(capacity: usize) -> Self {
                let region = Region::private(<$ring>::bytes_for(capacity));
                <$ring>::create(region, capacity).unwrap();
                <$ring>::attach(region).unwrap()
            }
            fn put(&self, from: &[$element]) -> usize {
                self.enqueue_burst(from)
            }
            fn take(&self, to: &mut [$element]) -> usize {
                self.dequeue_burst(to)
            }
            fn held(&self) -> (usize, usize, Vec<$element>) {
                let mut shown = Vec::new();
                self.window(&mut |element| shown.push(element));
                (self.len(), self.free(), shown)
            }
            $($more)*
        }
    };
}
ring!([] MpmcRing, u32, {});
ring!([E: Sample] SpscRingOf<E>, E, {
    fn put_as(&self, from: &[E], how: How) -> usize {
        match how {
            How::Burst => self.enqueue_burst(from),
            How::Bulk => usize::from(self.enqueue_bulk(from)) * from.len(),
            How::InPlace => {
                let n = fill(self.reserve(from.len()), from);
                self.commit(n);
                n
            }
        }
    }
    fn take_as(&self, to: &mut [E], how: How) -> usize {
        match how {
            How::Burst => self.dequeue_burst(to),
            How::Bulk => usize::from(self.dequeue_bulk(to)) * to.len(),
            How::InPlace => {
                let n = look(self.peek(to.len()), to);
                self.consume(n);
                n
            }
        }
    }
});

/// Moves the positions of a ring close to where 32 bits wrap.
fn wound_up<R: Ring<E = u32>>(ring: R, turns: usize) -> R {
    for _ in 0..turns {
        assert_eq!(ring.put(&[1, 2, 3]), 3);
        assert_eq!(ring.take(&mut [0; 4]), 3);
    }
    ring
}

fn behaves_like_a_deque<R: Ring>(ring: R, capacity: usize, ops: &[Op]) {
    let mut model = VecDeque::new();
    let mut next = 0u32;
    for op in ops {
        match op {
            Op::Enqueue(n, how) => {
                let from: Vec<R::E> = (next..).take(*n).map(R::E::of).collect();
                let put = ring.put_as(&from, *how);
                assert_eq!(put, how.moves(*n, capacity - model.len()));
                model.extend(&from[..put]);
                next += put as u32;
            }
            Op::Dequeue(n, how) => {
                let mut to = vec![R::E::of(0); *n];
                let taken = ring.take_as(&mut to, *how);
                let expected: Vec<R::E> = model.drain(..how.moves(*n, model.len())).collect();
                assert_eq!(to[..taken], expected);
            }
        }
        let shown: Vec<R::E> = model.iter().copied().collect();
        assert_eq!(ring.held(), (model.len(), capacity - model.len(), shown));
    }
}

proptest! {
    #[test]
    fn spsc_behaves_like_a_deque(ops in ops(), bits in 0u32..7) {
        let capacity = 1 << bits;
        behaves_like_a_deque(SpscRing::make(capacity), capacity, &ops);
        behaves_like_a_deque(SpscRingOf::<u64>::make(capacity), capacity, &ops);
        behaves_like_a_deque(SpscRingOf::<[u32; 3]>::make(capacity), capacity, &ops);
        behaves_like_a_deque(SpscRingOf::<[u32; 16]>::make(capacity), capacity, &ops);
    }

    #[test]
    fn mpmc_behaves_like_a_deque(ops in ops(), bits in 0u32..7, turns in 0usize..50) {
        let capacity = 4 << bits;
        behaves_like_a_deque(wound_up(MpmcRing::make(capacity), turns), capacity, &ops);
    }
}

#[test]
fn positions_wrap_without_a_seam() {
    let put = |n| Op::Enqueue(n, How::Burst);
    let take = |n| Op::Dequeue(n, How::Burst);
    let region = Region::private(SpscRing::bytes_for(8));
    let ring = SpscRing::create(region, 8).unwrap();
    for at in [64, 128] {
        region.u32(at).store(u32::MAX - 2, Ordering::Relaxed);
    }
    behaves_like_a_deque(ring, 8, &[put(8), take(3), put(3)]);

    let region = Region::private(MpmcRing::bytes_for(8));
    let ring = MpmcRing::create(region, 8).unwrap();
    let start = 0u32.wrapping_sub(8);
    for at in [64, 128] {
        region.u32(at).store(start, Ordering::Relaxed);
    }
    for i in 0..8 {
        let word = u64::from(start + i) << 32 | u64::from(NONE);
        region
            .u64(192 + 8 * i as usize)
            .store(word, Ordering::Relaxed);
    }
    behaves_like_a_deque(ring, 8, &[put(8), take(5), put(5), take(8)]);
}

#[test]
fn peeked_elements_stay_until_they_are_consumed() {
    let ring = SpscRing::make(8);
    ring.put(&[5, 6, 7]);
    let mut seen = [0; 2];
    assert_eq!(ring.peek_burst(&mut seen), 2);
    assert_eq!((seen, ring.len()), ([5, 6], 3));
    ring.consume(2);
    assert_eq!(ring.held().2, [7]);
}

#[test]
fn slots_are_filled_and_read_in_place() {
    let ring = SpscRing::make(8);
    assert_eq!((ring.put(&[1; 6]), ring.take(&mut [0; 6])), (6, 6));
    let [first, second] = ring.reserve(5);
    assert_eq!((first.len(), second.len()), (2, 3));
    for (slot, element) in first.iter().chain(second).zip(5..) {
        slot.store(element, Ordering::Relaxed);
    }
    assert!(ring.is_empty(), "not before the commit");
    ring.commit(4);
    assert_eq!(ring.held().2, [5, 6, 7, 8]);
    let parts = ring.peek(3);
    let seen: Vec<u32> = parts
        .into_iter()
        .flatten()
        .map(|slot| slot.load(Ordering::Relaxed))
        .collect();
    assert_eq!(seen, [5, 6, 7]);
    ring.consume(2);
    assert_eq!(ring.held().2, [7, 8]);
    let room: usize = ring.reserve(9).iter().map(|part| part.len()).sum();
    assert_eq!(room, 6);
}

#[test]
fn a_region_that_is_no_ring_is_refused() {
    let region = Region::private(4096);
    assert!(matches!(
        SpscRing::create(region, 12),
        Err(RingError::Capacity { capacity: 12, .. })
    ));
    assert!(matches!(
        MpmcRing::create(region, 1024),
        Err(RingError::Region(_))
    ));
    SpscRing::create(region, 64).unwrap();
    let found = MpmcRing::attach(region).unwrap_err();
    assert!(matches!(found, RingError::Kind { .. }), "{found}");
    region.u32(4).store(1 << 20, Ordering::Relaxed);
    assert!(matches!(
        SpscRing::attach(region),
        Err(RingError::Region(_))
    ));
    region.u32(4).store(77, Ordering::Relaxed);
    assert!(matches!(
        SpscRing::attach(region),
        Err(RingError::Capacity { capacity: 77, .. })
    ));
}

#[test]
fn one_producer_and_one_consumer_see_one_order() {
    const N: u32 = 200_000;
    let ring = SpscRing::make(256);
    let producer = thread::spawn(move || {
        let mut next = 0;
        while next < N {
            let from: Vec<u32> = (next..N).take(1 + next as usize % 32).collect();
            let put = ring.put(&from);
            next += put as u32;
            if put == 0 {
                thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < N {
        let mut to = [0; 32];
        let n = ring.take(&mut to);
        for element in &to[..n] {
            assert_eq!(*element, expected);
            expected += 1;
        }
        if n == 0 {
            thread::yield_now();
        }
    }
    producer.join().unwrap();
    assert!(ring.is_empty());
}

#[test]
fn many_producers_and_consumers_move_each_element_once_and_in_order() {
    const PRODUCERS: u32 = 3;
    const EACH: u32 = 40_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    static SUM: AtomicU64 = AtomicU64::new(0);
    let ring = MpmcRing::make(128);
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|who| {
            thread::spawn(move || {
                let mut next = 0;
                while next < EACH {
                    let upto = EACH.min(next + 1 + next % 17);
                    let from: Vec<u32> = (next..upto).map(|i| who << 24 | i).collect();
                    let put = ring.put(&from) as u32;
                    next += put;
                    if put == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let consumers: Vec<_> = (0..3)
        .map(|_| {
            thread::spawn(move || {
                let mut last = [None; PRODUCERS as usize];
                while TAKEN.load(Ordering::Relaxed) < PRODUCERS * EACH {
                    let mut to = [0; 20];
                    let n = ring.take(&mut to);
                    for element in &to[..n] {
                        let (who, i) = (element >> 24, element & 0xff_ffff);
                        // Of one producer, each consumer sees ever later elements.
                        assert!(last[who as usize] < Some(i));
                        last[who as usize] = Some(i);
                        SUM.fetch_add(u64::from(i) + 1, Ordering::Relaxed);
                    }
                    TAKEN.fetch_add(n as u32, Ordering::Relaxed);
                    if n == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    for thread in producers.into_iter().chain(consumers) {
        thread.join().unwrap();
    }
    let each = u64::from(EACH);
    let sum = u64::from(PRODUCERS) * each * (each + 1) / 2;
    assert_eq!(TAKEN.load(Ordering::Relaxed), PRODUCERS * EACH);
    assert_eq!(SUM.load(Ordering::Relaxed), sum);
    assert!(ring.is_empty());
}

/// A producer or consumer that dies after its compare-and-swap leaves the hints behind; a store
/// of older hints is exactly that.
#[test]
fn hints_that_lag_behind_a_death_hold_nobody_up() {
    let region = Region::private(MpmcRing::bytes_for(8));
    let ring = MpmcRing::create(region, 8).unwrap();
    ring.put(&[1, 2, 3, 4, 5]);
    ring.take(&mut [0; 2]);
    region.u32(64).store(0, Ordering::Relaxed);
    region.u32(128).store(0, Ordering::Relaxed);
    assert_eq!(ring.held().2, [3, 4, 5]);
    assert_eq!(ring.put(&[6]), 1);
    let mut to = [0; 8];
    assert_eq!(ring.take(&mut to), 4);
    assert_eq!(to[..4], [3, 4, 5, 6]);
}

#[test]
fn a_claim_names_each_element_before_it_is_taken() {
    let ring = MpmcRing::make(8);
    ring.put(&[7, 8, 9]);
    let mut claims = Vec::new();
    let n = ring.dequeue_with(2, |i, element| {
        claims.push((i, element, ring.held().2.contains(&element)));
    });
    assert_eq!(n, 2);
    assert_eq!(claims, [(0, 7, true), (1, 8, true)]);
}
