//! Pool and caches: every mbuf is always in one place, and a pool comes back as it was left.

use std::collections::HashSet;
use std::thread;

use proptest::prelude::*;

use super::layout::{CACHES_AT, VERSION_AT};
use super::*;
use crate::audit::Audit;
use crate::mbuf;
use crate::place::HolderKind;
use crate::sync::{AtomicU32, Ordering};

pub(crate) fn pool(count: u32) -> Pool {
    let meta = Region::private(Pool::meta_bytes(count));
    let data = Region::private(Pool::data_bytes(count, 2048));
    Pool::create(meta, data, 2048).unwrap()
}

#[test]
fn a_new_pool_has_every_mbuf_free_once() {
    let pool = pool(1000);
    assert_eq!(
        (pool.count(), pool.chunk(), pool.headroom()),
        (1000, 2048, 256)
    );
    let accounting = Audit::new(pool).finish();
    assert!(accounting.is_exact(), "{accounting:?}");
    assert_eq!((accounting.total, accounting.free), (1000, 1000));
    assert_eq!(accounting.by_holder, [("pool".to_owned(), 1000)]);
}

#[test]
fn the_last_freed_is_the_first_allocated() {
    let mut cache = pool(600).cache(2);
    let mut mbufs = [0; 8];
    assert_eq!(cache.alloc_burst(&mut mbufs), 8);
    cache.free_burst(&mbufs);
    let mut again = [0; 5];
    cache.alloc_burst(&mut again);
    assert_eq!(again, mbufs[3..]);
    assert_eq!(cache.alloc().unwrap().into_raw(), mbufs[2]);
    assert_eq!(cache.pool().place(again[0]).holder, Holder::cache(2));
}

#[test]
fn a_length_that_no_cache_has_counts_as_a_full_one() {
    let meta = Region::private(Pool::meta_bytes(2000));
    let data = Region::private(Pool::data_bytes(2000, 2048));
    let mut cache = Pool::create(meta, data, 2048).unwrap().cache(0);
    let len = meta.u32(CACHES_AT);
    for damaged in [CACHE_SIZE as u32 + 1, u32::MAX] {
        len.store(damaged, Ordering::Relaxed);
        let packet = cache.alloc().unwrap();
        assert_eq!(cache.len(), CACHE_SIZE - 1);
        let _ = packet.into_raw(); // whatever an entry says that was never filled
        len.store(0, Ordering::Relaxed);
        assert!(cache.alloc().is_some() && cache.len() > 0);
    }
}

/// Two caches, the first of them full; an mbuf of each in hand, and the first one's length as it is stored.
fn full_cache_and_two_in_hand() -> ([Cache; 2], [mbuf::Packet; 2], &'static AtomicU32) {
    let meta = Region::private(Pool::meta_bytes(2000));
    let data = Region::private(Pool::data_bytes(2000, 2048));
    let pool = Pool::create(meta, data, 2048).unwrap();
    let mut caches = [0, 1].map(|shard| pool.cache(shard));
    let mut mbufs = [0; CACHE_SIZE];
    assert_eq!(caches[0].alloc_burst(&mut mbufs), CACHE_SIZE);
    caches[0].give_back(&mbufs);
    let packets = caches.each_mut().map(|cache| cache.alloc().unwrap());
    (caches, packets, meta.u32(CACHES_AT))
}

#[test]
fn a_free_into_a_cache_of_a_length_that_none_has_makes_room_as_in_a_full_one() {
    for damaged in [CACHE_SIZE as u32 + 1, u32::MAX] {
        let (mut caches, [lost, of_the_other], len) = full_cache_and_two_in_hand();
        let _ = lost.into_raw(); // the cache is about to show it, too
        len.store(damaged, Ordering::Relaxed);
        let m = of_the_other.index();
        caches[0].free(of_the_other);
        assert_eq!(caches[0].len(), CACHE_SIZE / 2 + 1);
        assert_eq!(caches[0].alloc().map(mbuf::Packet::into_raw), Some(m));
    }
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "freed twice: it is in the cache")]
fn what_a_cache_shows_whose_length_is_damaged_is_not_freed_again_unseen() {
    let (mut caches, [packet, other], len) = full_cache_and_two_in_hand();
    let _ = other.into_raw();
    len.store(u32::MAX, Ordering::Relaxed);
    caches[0].free(packet);
}

#[test]
fn packets_allocated_together_are_empty_and_whole_whatever_they_were() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    for m in 0..64 {
        let line = pool.line(m);
        line.receive(7, 8, u32::MAX);
        line.set_next(3);
        line.set_segments(5, 6);
        line.set_hash(9);
    }
    let mut mbufs = [0; 100];
    assert_eq!(cache.alloc_packets(&mut mbufs), 64);
    for m in &mbufs[..64] {
        let line = pool.line(*m);
        assert_eq!(pool.packet(*m), (pool.headroom(), 0));
        assert_eq!((line.port(), line.queue(), line.flags()), (0, 0, 0));
        assert_eq!((line.next(), line.segments()), (mbuf::NONE, (1, 1)));
        assert_eq!(line.hash(), 0);
    }
}

#[test]
fn what_was_put_nowhere_is_given_back_and_found_by_the_audit() {
    let pool = pool(2048);
    let mut cache = pool.cache(3);
    let mut mbufs = [0; 600];
    assert_eq!(cache.alloc_burst(&mut mbufs), 600);
    cache.give_back(&mbufs);
    let accounting = Audit::new(pool).finish();
    assert!(accounting.is_exact(), "{accounting:?}");
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "given back to Cache(shard 3")]
fn what_was_put_somewhere_is_not_given_back_unseen() {
    let pool = pool(64);
    let mut cache = pool.cache(3);
    let mut mbufs = [0; 2];
    cache.alloc_burst(&mut mbufs);
    pool.set_place(mbufs[1], Place::new(Holder::tx(0, 0), 5));
    cache.give_back(&mbufs);
}

#[test]
fn an_empty_pool_gives_what_it_has_and_then_nothing() {
    let pool = pool(40);
    let mut cache = pool.cache(0);
    let mut mbufs = [0; 64];
    assert_eq!(cache.alloc_burst(&mut mbufs), 40);
    assert_eq!(mbufs[..40].iter().collect::<HashSet<_>>().len(), 40);
    assert_eq!(cache.alloc_burst(&mut [0; 4]), 0);
    assert!(cache.alloc().is_none());
    pool.free_one(mbufs[3]);
    assert_eq!(cache.alloc().unwrap().into_raw(), mbufs[3]);
}

#[test]
fn more_than_a_cache_holds_goes_through_it() {
    let pool = pool(4096);
    let mut cache = pool.cache(1);
    let mut mbufs = vec![0; 3000];
    assert_eq!(cache.alloc_burst(&mut mbufs), 3000);
    cache.free_burst(&mbufs);
    assert!(cache.len() <= CACHE_SIZE);
    assert!(Audit::new(pool).finish().is_exact());
    cache.flush();
    assert_eq!((cache.len(), pool.ring().len()), (0, 4096));
}

#[test]
fn the_next_owner_of_a_shard_finds_the_cache_as_it_was() {
    let meta = Region::private(Pool::meta_bytes(512));
    let data = Region::private(Pool::data_bytes(512, 4096));
    let mut old = Pool::create(meta, data, 4096).unwrap().cache(5);
    let mut mbufs = [0; 32];
    old.alloc_burst(&mut mbufs);
    old.free_burst(&mbufs[..16]);
    let len = old.len();
    let pool = Pool::attach(meta, data).unwrap();
    let mut new = pool.cache(5);
    assert_eq!(new.len(), len);
    new.free_burst(&mbufs[16..]);
    assert!(Audit::new(pool).finish().is_exact());
    assert_eq!((pool.chunk(), pool.data_offset(3)), (4096, 3 * 4096));
    assert_eq!(
        (pool.mbuf_at(3 * 4096 + 77), pool.mbuf_at(512 * 4096)),
        (Some(3), None)
    );
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "freed twice: it is in the cache")]
fn freeing_twice_is_caught_in_debug_builds() {
    let mut cache = pool(64).cache(0);
    let mut m = [0];
    cache.alloc_burst(&mut m);
    cache.free_burst(&m);
    cache.free_burst(&m);
}

#[test]
fn bytes_that_are_no_pool_are_refused_by_name() {
    let meta = Region::private(Pool::meta_bytes(64));
    let data = Region::private(Pool::data_bytes(64, 2048));
    assert_eq!(
        Pool::create(meta, data, 3000).unwrap_err(),
        PoolError::Chunk { chunk: 3000 }
    );
    assert!(matches!(
        Pool::attach(meta, data),
        Err(PoolError::Magic { found: 0, .. })
    ));
    Pool::create(meta, data, 2048).unwrap();
    let small = data.slice(0, 2048).unwrap();
    assert!(matches!(
        Pool::attach(meta, small),
        Err(PoolError::Region(_))
    ));
    assert!(matches!(
        Pool::create(meta, small.slice(0, 100).unwrap(), 2048),
        Err(PoolError::Empty { data: 100, .. })
    ));
    meta.u32(VERSION_AT).store(9, Ordering::Relaxed);
    let error = Pool::attach(meta, data).unwrap_err().to_string();
    assert_eq!(error, "pool layout v9 found, this build reads v1");
}

#[test]
fn shards_that_share_the_pool_never_hold_one_mbuf_both() {
    const ROUNDS: u32 = 3000;
    let pool = pool(1500);
    let threads: Vec<_> = (0..4)
        .map(|shard| {
            thread::spawn(move || {
                let mut cache = pool.cache(shard);
                let mut held: Vec<u32> = Vec::new();
                for round in 0..ROUNDS {
                    let mut out = [0; 32];
                    let n = cache.alloc_burst(&mut out[..1 + round as usize % 32]);
                    for m in &out[..n] {
                        assert_eq!(pool.place(*m).holder, Holder::cache(shard as u16));
                        pool.line(*m).set_user(shard as u64);
                    }
                    held.extend(&out[..n]);
                    if held.len() > 200 || n == 0 {
                        for m in &held {
                            assert_eq!(pool.line(*m).user(), shard as u64);
                        }
                        let split = held.len() / 2;
                        cache.free_burst(&held[..split]);
                        held[split..].iter().for_each(|m| pool.free_one(*m));
                        held.clear();
                    }
                }
                cache.free_burst(&held);
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let accounting = Audit::new(pool).finish();
    assert!(accounting.is_exact(), "{accounting:?}");
    assert_eq!(accounting.free, 1500);
    assert!((0..64).all(|shard| pool.moving(shard).is_empty()));
}

proptest! {
    #[test]
    fn what_is_in_hand_and_what_is_free_is_all_there_is(
        steps in prop::collection::vec((any::<bool>(), 1usize..400, 0usize..3), 1..60)
    ) {
        let pool = pool(1200);
        let mut held: Vec<u32> = Vec::new();
        for (alloc, n, shard) in steps {
            let mut cache = pool.cache(shard);
            if alloc {
                let mut out = vec![0; n];
                let got = cache.alloc_burst(&mut out);
                held.extend(&out[..got]);
            } else {
                let n = n.min(held.len());
                let part: Vec<u32> = held.drain(..n).collect();
                cache.free_burst(&part);
            }
            let accounting = Audit::of(pool, |visit| {
                held.iter().for_each(|m| visit(Holder::app(0), *m));
            });
            prop_assert!(accounting.is_exact(), "{accounting:?}");
            prop_assert_eq!(accounting.free as usize, 1200 - held.len());
            let unused = held.iter().all(|m| pool.place(*m).holder.kind() == HolderKind::Cache);
            prop_assert!(unused);
        }
    }
}
