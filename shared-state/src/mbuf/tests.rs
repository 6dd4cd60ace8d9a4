//! Lines keep their fields apart; a packet keeps to its chunk and comes back whole.

use super::*;
use crate::audit::Audit;
use crate::mempool::Pool;
use crate::place::{Holder, Place};
use crate::region::Region;

fn pool() -> Pool {
    let meta = Region::private(Pool::meta_bytes(64));
    let data = Region::private(Pool::data_bytes(64, 2048));
    Pool::create(meta, data, 2048).unwrap()
}

#[test]
fn a_packet_grows_and_shrinks_at_both_ends() {
    let mut packet = pool().cache(0).alloc().unwrap();
    assert_eq!((packet.len(), packet.headroom()), (0, 256));
    packet.append(4).unwrap().copy_from_slice(b"data");
    packet.prepend(2).unwrap().copy_from_slice(b"h:");
    assert_eq!(packet.data(), b"h:data");
    assert!(packet.adj(1) && packet.trim(2));
    assert_eq!(packet.data(), b":da");
    packet.data_mut()[0] = b'=';
    assert!(packet.set_len(5));
    assert_eq!(packet.data(), b"=data");
    assert_eq!(packet.tailroom() + packet.len() + packet.headroom(), 2048);
}

#[test]
fn what_does_not_fit_changes_nothing() {
    let mut packet = pool().cache(0).alloc().unwrap();
    packet.append(10).unwrap();
    let room = packet.tailroom();
    assert!(packet.prepend(257).is_none());
    assert!(packet.append(room + 1).is_none());
    assert!(!packet.trim(11) && !packet.adj(11) && !packet.set_len(10 + room + 1));
    assert_eq!((packet.len(), packet.headroom()), (10, 256));
    assert!(packet.append(room).is_some() && packet.prepend(256).is_some());
    assert_eq!(packet.len(), 2048);
}

#[test]
fn the_next_holder_finds_the_packet_as_it_was_left() {
    let pool = pool();
    let mut packet = pool.cache(0).alloc().unwrap();
    packet.append(6).unwrap().copy_from_slice(b"abcdef");
    packet.adj(2);
    packet.set_hash(0xfeed);
    let csum = PartialCsum {
        start: 34,
        offset: 16,
    };
    packet.set_flags(STEERED);
    packet.set_csum_partial(Some(csum));
    packet.line().set_arrival(3, 1);
    let m = packet.into_raw();
    let mut packet = Packet::from_raw(m, pool);
    assert_eq!((packet.data(), packet.hash()), (&b"cdef"[..], 0xfeed));
    assert_eq!((packet.port(), packet.line().queue()), (3, 1));
    assert_eq!(packet.csum_partial(), Some(csum));
    packet.set_csum_partial(None);
    assert_eq!((packet.csum_partial(), packet.flags()), (None, STEERED));
    assert_eq!(pool.bytes(m).1, 4);
}

#[test]
fn the_head_of_a_packet_ends_with_its_chunk_and_is_its_own_alone() {
    let pool = pool();
    let mut cache = pool.cache(0);
    let mut packet = cache.alloc().unwrap();
    assert_eq!(packet.head::<1>(), None, "an empty packet has none");
    packet.append(3).unwrap().copy_from_slice(b"abc");
    assert_eq!(
        packet.head::<64>().map(|head| &head[..3]),
        Some(&b"abc"[..])
    );
    let m = packet.into_raw();
    pool.set_packet(m, 2048 - 64, 2);
    let packet = Packet::from_raw(m, pool);
    assert!(packet.head::<64>().is_some() && packet.head::<65>().is_none());
    let m = packet.into_raw();
    pool.line(m).reshape(1, line::SHARED);
    let packet = Packet::from_raw(m, pool);
    assert_eq!(packet.head::<1>(), None, "others read what is there");
    pool.line(m).make_plain();
    cache.free(packet);
}

#[test]
fn a_dropped_packet_is_free_again() {
    let pool = pool();
    let mut cache = pool.cache(0);
    let packet = cache.alloc().unwrap();
    let m = packet.index();
    assert_eq!(Audit::new(pool).finish().unaccounted.len(), 1);
    drop(packet);
    assert_eq!(pool.place(m).holder, Holder::POOL);
    assert!(Audit::new(pool).finish().is_exact());
    let packet = cache.alloc().unwrap();
    cache.free(packet);
    assert!(Audit::new(pool).finish().is_exact());
}

#[test]
fn a_length_that_leaves_the_chunk_is_not_believed() {
    let pool = pool();
    let m = pool.cache(0).alloc().unwrap().into_raw();
    pool.line(m).set_data(2000, 100);
    assert_eq!(pool.packet(m), (0, 0));
    assert_eq!(Packet::from_raw(m, pool).data(), b"");
}

#[test]
#[should_panic(expected = "packet of 1 bytes at 2048 in a chunk of 2048")]
fn a_driver_that_sets_such_a_length_is_stopped() {
    pool().set_packet(0, 2048, 1);
}

#[test]
fn every_field_of_a_line_keeps_to_itself() {
    let line = pool().line(9);
    line.set_place(Place::new(Holder::tx(1, 2), 77));
    line.set_data(11, 22);
    line.receive(33, 44, VNET);
    line.set_hash(55);
    line.set_next(66);
    line.set_segments(7, 8);
    line.set_mark(99);
    line.set_timestamp(u64::MAX - 1);
    line.set_user(123);
    assert_eq!(line.place(), Place::new(Holder::tx(1, 2), 77));
    assert_eq!((line.data_off(), line.data_len()), (11, 22));
    assert_eq!((line.port(), line.queue(), line.flags()), (33, 44, VNET));
    assert_eq!((line.hash(), line.next()), (55, 66));
    assert_eq!((line.segments(), line.mark()), ((7, 8), 99));
    assert_eq!((line.timestamp(), line.user()), (u64::MAX - 1, 123));
}
