//! Clones show the same bytes, nobody writes them, and the last one frees them.

use std::thread;

use crate::audit::{Audit, Miscounted};
use crate::mbuf::samples::{all_of, assert_all_free, chain};
use crate::mbuf::{Chain, MAX_REFERENCES, Packet, refs};
use crate::mempool::tests::pool;
use crate::place::Holder;

#[test]
fn what_two_packets_show_neither_may_write() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let mut first = chain(&mut cache, &[b"payload"]);
    first.line().set_user(9);
    let mut second = first.clone(&mut cache).unwrap();
    assert_eq!(
        first.iter().next().flatten().unwrap().as_ptr(),
        second.iter().next().flatten().unwrap().as_ptr()
    );
    for one in [&mut first, &mut second] {
        assert!(!one.is_writable() && !one.write(0, b"x"));
        assert!(one.prepend(1).is_none() && one.append(1).is_none());
        assert_eq!(
            (one.line().user(), one.headroom(), one.tailroom()),
            (9, 0, 0)
        );
    }
    let mut second = second.into_packet().unwrap_err();
    let mut as_packet = Packet::from_raw(first.into_raw(), pool);
    assert_eq!((as_packet.data(), as_packet.tailroom()), (&b""[..], 0));
    assert!(as_packet.append(1).is_none() && !as_packet.set_len(1));
    let mut first = Chain::from_raw(as_packet.into_raw(), &cache).unwrap();
    assert!(first.adj(3) && second.trim(3));
    assert_eq!(
        (all_of(&first), all_of(&second)),
        (b"load".to_vec(), b"payl".to_vec())
    );
    second.free(&mut cache);
    assert!(first.write(0, b"L") && first.prepend(1).is_some());
    let packet = first.into_packet().unwrap();
    assert_eq!(&packet.data()[1..], b"Load");
    cache.free(packet);
    assert_all_free(pool);
}

#[test]
fn who_frees_it_as_a_packet_leaves_the_others_their_bytes() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let mut first = chain(&mut cache, &[b"one", b"two"]);
    let second = first.clone(&mut cache).unwrap();
    cache.free(Packet::from_raw(first.into_raw(), pool));
    assert_eq!(all_of(&second), b"onetwo");
    second.free(&mut cache);
    assert_all_free(pool);
}

#[test]
fn a_damaged_base_is_cloned_by_nobody() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let mut first = chain(&mut cache, &[b"payload"]);
    let mut second = first.clone(&mut cache).unwrap();
    let free = cache.len();
    let line = pool.line(second.index());
    let base = line.base();
    // Past the pool, a buffer that nobody shares, and itself.
    for wrong in [
        64,
        u32::MAX - 1,
        (0..64).find(|m| pool.line(*m).is_plain()).unwrap(),
        second.index(),
    ] {
        line.set_base(Some(wrong));
        assert!(second.clone(&mut cache).is_none(), "base {wrong}");
        assert_eq!((all_of_or_nothing(&second), cache.len()), (None, free));
    }
    line.set_base(base);
    first.free(&mut cache);
    second.free(&mut cache);
    assert_all_free(pool);
}

fn all_of_or_nothing(chain: &Chain) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 7];
    chain.copy_out(0, &mut bytes).then_some(bytes)
}

#[test]
fn the_data_lives_as_long_as_anybody_shows_it() {
    let pool = pool(600);
    let mut cache = pool.cache(0);
    let mut first = chain(&mut cache, &[b"payload"]);
    let base = first.index();
    let mut second = first.clone(&mut cache).unwrap();
    let third = second.clone(&mut pool.cache(3)).unwrap();
    first.free(&mut cache);
    assert_eq!(
        (pool.place(base).holder, refs::count(pool, base)),
        (Holder::SHARED, 2)
    );
    let accounting = Audit::of(pool, |visit| {
        visit(Holder::tx(0, 0), second.index());
        visit(Holder::tx(1, 0), third.index());
    });
    assert!(accounting.is_exact(), "{accounting:?}");
    assert!(accounting.by_holder.contains(&("shared".into(), 1)));
    assert!(second.make_writable(&mut cache) && second.write(0, b"P"));
    assert_eq!(
        (all_of(&second), all_of(&third)),
        (b"Payload".to_vec(), b"payload".to_vec())
    );
    drop(third);
    second.free(&mut cache);
    assert_all_free(pool);
}

#[test]
fn a_chain_is_cloned_segment_by_segment() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let mut first = chain(&mut cache, &[b"one", b"two"]);
    let mut second = first.clone(&mut cache).unwrap();
    let rest = second.split_off(4, &mut cache).unwrap();
    assert_eq!(
        (all_of(&second), all_of(&rest)),
        (b"onet".to_vec(), b"wo".to_vec())
    );
    // The one that has the chunks becomes a copy.
    assert!(first.make_writable(&mut cache) && first.write(2, b"XX"));
    assert_eq!(
        (all_of(&first), all_of(&second)),
        (b"onXXwo".to_vec(), b"onet".to_vec())
    );
    let heads = [first, second, rest].map(Chain::into_raw);
    cache.free_packets(&heads);
    assert_all_free(pool);
}

#[test]
fn what_fits_a_chunk_becomes_one_packet_and_what_does_not_stays() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    // In the head; by a copy, as others refer to the head; by a copy, as the head is full.
    let linear = chain(&mut cache, &[b"one", b"two"]);
    let mut shared = chain(&mut cache, &[b"one", b"two"]);
    let twin = shared.clone(&mut cache).unwrap();
    let mut full = chain(&mut cache, &[&[0; 1792], b"onetwo"]);
    assert!(full.adj(1792));
    for chain in [linear, shared, twin, full] {
        let packet = chain.into_one(&mut cache).unwrap();
        assert_eq!(packet.data(), b"onetwo");
        cache.free(packet);
    }
    let large = chain(&mut cache, &[&[1; 1792], &[2; 1]]);
    let large = large.into_one(&mut cache).unwrap_err();
    assert_eq!((large.len(), large.segments()), (1793, 2));
    large.free(&mut cache);
    assert_all_free(pool);
}

#[test]
fn there_are_no_more_references_than_a_word_counts() {
    let pool = pool(MAX_REFERENCES + 10);
    let mut cache = pool.cache(0);
    let mut first = chain(&mut cache, &[b"x"]);
    let clones: Vec<Chain> = core::iter::from_fn(|| first.clone(&mut cache)).collect();
    assert_eq!(clones.len() as u32, MAX_REFERENCES - 1);
    let heads: Vec<u32> = clones.into_iter().map(Chain::into_raw).collect();
    cache.free_packets(&heads);
    first.free(&mut cache);
    assert_all_free(pool);
}

#[test]
fn a_wrong_count_is_shown_and_a_base_that_is_none_gives_no_bytes() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let mut first = chain(&mut cache, &[b"payload"]);
    let second = first.clone(&mut cache).unwrap();
    let (m, clone) = (first.into_raw(), second.into_raw());
    let audit = || {
        Audit::of(pool, |visit| {
            [m, clone].iter().for_each(|m| visit(Holder::POOL, *m))
        })
    };
    let audit_held = || {
        Audit::of(pool, |visit| {
            [m, clone].iter().for_each(|m| visit(Holder::app(0), *m))
        })
    };
    assert!(
        audit().miscounted.is_empty(),
        "what is free refers to nothing"
    );
    pool.line(m)
        .references()
        .store(3, crate::sync::Ordering::Relaxed);
    let (counted, found) = (3, 2);
    assert_eq!(audit_held().miscounted, [Miscounted { m, counted, found }]);
    pool.line(m)
        .references()
        .store(2, crate::sync::Ordering::Relaxed);
    for base in [pool.count(), u32::MAX - 1, clone] {
        pool.line(clone).set_base(Some(base));
        let chain = Chain::from_raw(clone, &cache).unwrap();
        assert_eq!((chain.len(), chain.iter().flatten().count()), (0, 0));
        chain.into_raw();
    }
    pool.line(clone).set_base(Some(m));
    cache.free_packets(&[clone, m]);
    assert_all_free(pool);
}

/// Four shards clone and free packets of each other's data at once.
#[test]
fn shards_that_share_data_free_it_once() {
    const ROUNDS: usize = 2000;
    let pool = pool(2400);
    for _ in 0..4 {
        let mut cache = pool.cache(9);
        let mut first = chain(&mut cache, &[b"payload"]);
        let mut handed: Vec<Chain> = (0..4).map(|_| first.clone(&mut cache).unwrap()).collect();
        first.free(&mut cache);
        cache.flush();
        thread::scope(|scope| {
            for shard in 0..4 {
                let mut mine = handed.pop().unwrap();
                scope.spawn(move || {
                    let mut cache = pool.cache(shard);
                    for round in 0..ROUNDS {
                        let mut next = mine.clone(&mut cache).unwrap();
                        if round % 3 == 0 {
                            core::mem::swap(&mut mine, &mut next);
                        }
                        assert_eq!(next.iter().next().flatten(), Some(&b"payload"[..]));
                        next.free(&mut cache);
                    }
                    mine.free(&mut cache);
                });
            }
        });
        assert_all_free(pool);
    }
}
