//! Every instant at which the owner of a queue may die, one by one, with the test as the kernel.

use super::super::rings::FRAME;
use super::*;
use crate::cursors::{Facts, cursors_bytes};
use crate::spec::PortSpec;
use baton_shared_state::Region;
use baton_shared_state::audit::Audit;
use baton_shared_state::mempool::Pool;

const RING: u32 = 64;
const USER: u32 = 1;

/// A queue whose kernel is the test.
fn queue() -> (PacketPort, Cache, Region) {
    let count = 256;
    let meta = Region::private(Pool::meta_bytes(count));
    let data = Region::private(Pool::data_bytes(count, 2048));
    let pool = Pool::create(meta, data, 2048).unwrap();
    let spec = PortSpec::parse_vdev("net_af_packet0,iface=none").unwrap();
    let facts = Facts {
        mac: [2; 6],
        mtu: 1500,
        mode: 0,
    };
    let zone = Region::private(cursors_bytes(&spec));
    let half = RING as usize * FRAME;
    let rings = Region::private(2 * half);
    let port = PacketPort {
        hand: Hand {
            pool,
            port: 3,
            queue: 0,
        },
        cursors: Cursors::create(&spec, 0, zone, facts).unwrap(),
        fd: std::fs::File::open("/dev/null").unwrap().into(),
        rx: Frames::new(rings.slice(0, half).unwrap(), RING),
        tx: Frames::new(rings.slice(half, half).unwrap(), RING),
        iface: "none".to_owned(),
    };
    (port, pool.cache(0), rings)
}

/// The kernel receives a frame of 60 bytes, all `fill`, at a position.
fn kernel_receives(rings: Region, position: u32, fill: u8) {
    let frame = (position % RING) as usize * FRAME;
    rings.copy_in(frame + 80, &[fill; 60]);
    for (at, value) in [
        (4, 60u32),
        (8, 60),
        (12, 80),
        (16, 1),
        (20, u32::from(fill)),
    ] {
        rings.u32(frame + at).store(value, Ordering::Relaxed);
    }
    rings.u32(frame).store(USER, Ordering::Release);
}

fn first_byte(port: &PacketPort, m: u32) -> u8 {
    let packet = Packet::from_raw(m, port.hand.pool);
    let byte = packet.data()[0];
    packet.into_raw();
    byte
}

fn assert_exact(port: &PacketPort, in_hand: &[u32]) {
    let mut audit = Audit::new(port.hand.pool);
    in_hand.iter().for_each(|m| audit.found(Holder::app(0), *m));
    let sum = audit.finish();
    assert!(sum.is_exact(), "{sum:?}");
}

#[test]
fn a_frame_copied_but_not_covered_by_the_cursor_is_read_again() {
    let (mut port, mut cache, rings) = queue();
    (0..6).for_each(|i| kernel_receives(rings, i, i as u8 + 1));
    let mut out = [0; 4];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 4);
    let mut more = [0];
    cache.alloc_burst(&mut more);
    let received = port.rx.received(4);
    port.copy(0, more[0], &received, 4);
    let mut held = Vec::new();
    port.repair(&mut cache, &mut held);
    assert_eq!(held, out);
    assert_exact(&port, &held);
    let mut rest = [0; 4];
    assert_eq!(port.rx_burst(&mut cache, &mut rest), 2);
    assert_eq!(first_byte(&port, rest[0]), 5);
}

#[test]
fn frames_covered_but_not_given_back_are_given_back_once() {
    let (mut port, mut cache, rings) = queue();
    (0..3).for_each(|i| kernel_receives(rings, i, i as u8 + 1));
    let mut out = [0; 3];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 3);
    // As if it had died between cursor 0 and the frames' status, one frame already given back
    // and filled again by the kernel.
    (1..3).for_each(|i| kernel_receives(rings, i, i as u8 + 1));
    kernel_receives(rings, 0, 99);
    port.store(RETURNED, 0);
    let mut held = Vec::new();
    port.repair(&mut cache, &mut held);
    assert_eq!(held, out);
    assert!(port.rx.is_received(0), "a new packet is not thrown away");
    assert!(!port.rx.is_received(1) && !port.rx.is_received(2));
}

#[test]
fn frames_written_but_not_covered_are_sent_once() {
    let (mut port, mut cache, rings) = queue();
    (0..4).for_each(|i| kernel_receives(rings, i, i as u8 + 1));
    let mut out = [0; 4];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 4);
    assert_eq!(port.tx_burst(&mut cache, &out[..1]), 1);
    // The second is in the ring, the third only marked.
    let tx = port.tx_holder();
    port.hand.pool.set_place(out[1], Place::new(tx, 1));
    port.publish(out[1], 1);
    port.hand.pool.set_place(out[2], Place::new(tx, 2));
    let mut held = Vec::new();
    port.repair(&mut cache, &mut held);
    assert_eq!(held, out[3..]);
    assert_exact(&port, &held);
    assert_eq!(port.load(WRITTEN), 3);
    for position in 0..3 {
        let status = port.tx.status(position).load(Ordering::Relaxed);
        assert_eq!(status, SEND_REQUEST, "frame {position}");
    }
    assert_eq!(port.tx.status(3).load(Ordering::Relaxed), KERNEL);
}

#[test]
fn segments_that_travel_as_one_are_dropped_by_name() {
    let (mut port, mut cache, rings) = queue();
    kernel_receives(rings, 0, 1);
    rings.copy_in(80 - 10 + 1, &[1]); // gso_type: TCP
    kernel_receives(rings, 1, 2);
    let mut out = [0; 4];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 1);
    assert_eq!(first_byte(&port, out[0]), 2);
    assert!(port.counters().contains(&("rx_gso_dropped", 1)));
    assert_exact(&port, &out[..1]);
}

#[test]
fn a_vlan_tag_goes_back_where_it_was() {
    let (mut port, mut cache, rings) = queue();
    kernel_receives(rings, 0, 7);
    rings.u32(24).store(5, Ordering::Relaxed);
    rings.u32(0).store(USER | 1 << 4, Ordering::Release);
    let mut out = [0];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 1);
    let packet = Packet::from_raw(out[0], port.hand.pool);
    assert_eq!(packet.len(), 64);
    assert_eq!(packet.data()[10..18], [7, 7, 0x81, 0, 0, 5, 7, 7]);
}
