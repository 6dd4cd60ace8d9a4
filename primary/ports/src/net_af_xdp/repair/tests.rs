//! Every instant at which the owner of a queue may die, one by one, with the test as the kernel.

use super::super::rings::{Ring, Rings};
use super::*;
use crate::cursors::{Cursors, Facts, cursors_bytes};
use crate::hand::Hand;
use crate::port::Port;
use crate::spec::PortSpec;
use baton_shared_state::Region;
use baton_shared_state::audit::Audit;
use baton_shared_state::mempool::Pool;
use baton_shared_state::place::Place;

const RING: u32 = 64;
/// Where the indices stand when the test begins: just before they wrap.
const START: u32 = u32::MAX - 3;

/// A queue whose kernel is the test.
fn queue() -> (XdpPort, Cache) {
    let count = 512;
    let meta = Region::private(Pool::meta_bytes(count));
    let data = Region::private(Pool::data_bytes(count, 2048));
    let pool = Pool::create(meta, data, 2048).unwrap();
    let spec = PortSpec::parse_vdev("net_af_xdp0,iface=none").unwrap();
    let facts = Facts {
        mac: [2; 6],
        mtu: 1500,
        mode: 0,
    };
    let zone = Region::private(cursors_bytes(&spec));
    let rings = Rings {
        fill: Ring::private(RING),
        rx: Ring::private(RING),
        tx: Ring::private(RING),
        completion: Ring::private(RING),
    };
    rings.fill.publish(START);
    rings.fill.consume(START);
    rings.rx.publish(START);
    rings.rx.consume(START);
    rings.tx.publish(START);
    rings.tx.consume(START);
    rings.completion.publish(START);
    rings.completion.consume(START);
    let mut port = XdpPort {
        hand: Hand {
            pool,
            port: 3,
            queue: 0,
        },
        cursors: Cursors::create(&spec, 0, zone, facts).unwrap(),
        rings,
        fd: std::fs::File::open("/dev/null").unwrap().into(),
        iface: "none".to_owned(),
        gone: false,
    };
    let mut cache = pool.cache(0);
    port.resume(&mut cache);
    assert_eq!(port.posted(), RING);
    (port, cache)
}

/// The kernel receives `n` packets.
fn kernel_receives(port: &XdpPort, n: u32) {
    let Rings { fill, rx, .. } = port.rings;
    for _ in 0..n {
        let (from, to) = (fill.consumed(), rx.produced());
        rx.write(to, fill.address(from) + 256, 60);
        fill.consume(from.wrapping_add(1));
        rx.publish(to.wrapping_add(1));
    }
}

/// The kernel sends `n` packets, and completes them if told so.
fn kernel_sends(port: &XdpPort, n: u32, complete: bool) {
    let Rings { tx, completion, .. } = port.rings;
    for _ in 0..n {
        let (from, to) = (tx.consumed(), completion.produced());
        completion.write(to, tx.address(from));
        tx.consume(from.wrapping_add(1));
        completion.publish(to.wrapping_add(u32::from(complete)));
    }
}

fn assert_exact(port: &XdpPort, in_hand: &[u32]) {
    let mut audit = Audit::new(port.hand.pool);
    port.windows(&mut |holder, m| audit.found(holder, m));
    audit.in_kernel(Holder::tx(3, 0), port.in_kernel());
    in_hand.iter().for_each(|m| audit.found(Holder::app(0), *m));
    let sum = audit.finish();
    assert!(sum.is_exact(), "{sum:?}");
}

fn repaired(port: &mut XdpPort, cache: &mut Cache) -> Vec<u32> {
    let mut held = Vec::new();
    port.repair(cache, &mut held);
    let again = held.clone();
    port.repair(cache, &mut Vec::new());
    assert_exact(port, &again);
    held
}

#[test]
fn packets_taken_but_not_given_up_stay_in_the_ring() {
    let (mut port, mut cache) = queue();
    kernel_receives(&port, 6);
    let mut out = [0; 4];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 4);
    // The next two were marked, and the owner died before it gave up their entries.
    for index in [START.wrapping_add(4), START.wrapping_add(5)] {
        let m = (port.rings.rx.address(index) / 2048) as u32;
        port.hand.received(0, m, (256, 60), 0, index & POSITION);
    }
    assert_eq!(
        repaired(&mut port, &mut cache),
        out,
        "in the order of arrival"
    );
    assert_eq!(port.ring_used().0, 2);
}

#[test]
fn descriptors_written_but_not_published_are_sent() {
    let (mut port, mut cache) = queue();
    kernel_receives(&port, 6);
    let mut out = [0; 6];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 6);
    assert_eq!(port.tx_burst(&mut cache, &out[..3]), 3);
    for (i, m) in (3..).zip(&out[3..5]) {
        port.write(*m, START.wrapping_add(i));
    }
    kernel_sends(&port, 2, false);
    assert_eq!(repaired(&mut port, &mut cache), out[5..]);
    let tx = port.rings.tx;
    assert_eq!((tx.used(), port.in_kernel()), (3, 2));
    let sent: Vec<u32> = (2..5)
        .map(|i| (tx.address(START.wrapping_add(i)) / 2048) as u32)
        .collect();
    assert_eq!(sent, out[2..5], "in order");
}

#[test]
fn completions_read_but_not_freed_are_freed() {
    let (mut port, mut cache) = queue();
    kernel_receives(&port, 5);
    let mut out = [0; 5];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 5);
    assert_eq!(port.tx_burst(&mut cache, &out), 5);
    kernel_sends(&port, 4, true);
    // Three marked as read, two of them given up, none freed.
    let comp = port.holder(Holder::comp);
    for (i, m) in (0..).zip(&out[..3]) {
        port.hand
            .pool
            .set_place(*m, Place::new(comp, START.wrapping_add(i)));
    }
    port.rings.completion.consume(START.wrapping_add(2));
    assert!(repaired(&mut port, &mut cache).is_empty());
    assert_eq!(port.rings.completion.used(), 2);
}

#[test]
fn buffers_written_but_not_posted_are_freed() {
    let (mut port, mut cache) = queue();
    kernel_receives(&port, 40);
    let mut mbufs = [0; 3];
    assert_eq!(cache.alloc_burst(&mut mbufs), 3);
    let fill = port.rings.fill;
    for (i, m) in (0..).zip(&mbufs) {
        let index = fill.produced().wrapping_add(i);
        port.hand
            .pool
            .set_place(*m, Place::new(port.holder(Holder::fill), index));
        fill.write(index, port.hand.pool.data_offset(*m));
    }
    assert!(repaired(&mut port, &mut cache).is_empty());
    assert_eq!(port.ring_used().0, 40);
}

#[test]
fn what_the_kernel_is_filling_is_shown_and_never_touched() {
    let (mut port, mut cache) = queue();
    kernel_receives(&port, 2);
    let taken = port.rings.fill.consumed();
    port.rings.fill.consume(taken.wrapping_add(1));
    assert!(repaired(&mut port, &mut cache).is_empty());
    assert_eq!((port.ring_used().0, port.in_kernel()), (2, 0));
}
