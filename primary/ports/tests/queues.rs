//! Ports of two queues: every packet arrives once, on one of them, each flow in order.

mod rig;

use baton_shared_state::limits::BURST;
use baton_shared_state::mbuf::Packet;

use rig::net::{Wire, in_namespace, ip, skip, veth};
use rig::{Rig, transmit, until};

const FLOWS: u32 = 64;
const TOTAL: u32 = 2000;

/// A UDP datagram of one of [`FLOWS`] flows, its number behind the header.
fn datagram(seq: u32) -> Vec<u8> {
    let mut frame = vec![0; 80];
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xfe]);
    frame[12..16].copy_from_slice(&[8, 0, 0x45, 0]);
    frame[16..18].copy_from_slice(&66u16.to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..34].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 3]);
    frame[34..36].copy_from_slice(&(1000 + (seq % FLOWS) as u16).to_be_bytes());
    frame[36..40].copy_from_slice(&[0, 9, 0, 46]);
    frame[42..46].copy_from_slice(&seq.to_be_bytes());
    frame
}

/// Polls both queues while the neighbour sends over all flows, then sends from both; returns how
/// many each received.
fn both_queues_work(rig: &Rig, wire: &Wire) -> [u32; 2] {
    let got = both_queues_receive(rig, wire);
    let mut cache = rig.pool.cache(0);
    while wire.recv().is_some() {}
    for queue in 0..2 {
        let mut port = rig.adopt(queue);
        for seq in 0..100 {
            let mut packet = cache.alloc().expect("a free mbuf");
            packet
                .append(80)
                .expect("room")
                .copy_from_slice(&datagram(seq));
            transmit(&mut *port, &mut cache, &[packet.into_raw()]);
        }
        let mut seen = 0;
        until("every datagram comes out", || {
            while let Some(frame) = wire.recv() {
                assert_eq!(frame, datagram(seen));
                seen += 1;
            }
            seen == 100
        });
    }
    got
}

fn both_queues_receive(rig: &Rig, wire: &Wire) -> [u32; 2] {
    let mut cache = rig.pool.cache(0);
    let mut ports = [rig.adopt(0), rig.adopt(1)];
    ports.iter_mut().for_each(|port| port.resume(&mut cache));
    let (mut sent, mut got) = (0, [0; 2]);
    let mut last = vec![None; FLOWS as usize];
    until("every datagram arrives", || {
        while sent < TOTAL && sent - got.iter().sum::<u32>() < 128 {
            wire.send(&datagram(sent));
            sent += 1;
        }
        for (queue, port) in ports.iter_mut().enumerate() {
            let mut out = [0; BURST];
            let n = port.rx_burst(&mut cache, &mut out);
            for m in &out[..n] {
                let packet = Packet::from_raw(*m, rig.pool);
                assert_eq!(usize::from(packet.line().queue()), queue);
                let bytes = packet.data();
                if bytes[12..14] == [8, 0] {
                    let seq = u32::from_be_bytes([bytes[42], bytes[43], bytes[44], bytes[45]]);
                    let before = last[(seq % FLOWS) as usize].replace(seq);
                    assert!(before.is_none_or(|before| before < seq), "{before:?} {seq}");
                    got[queue] += 1;
                }
                cache.free(packet);
            }
        }
        got.iter().sum::<u32>() == TOTAL
    });
    got
}

#[test]
fn af_packet_spreads_flows_over_its_sockets() {
    in_namespace("af_packet_spreads_flows_over_its_sockets", || {
        veth(1);
        let rig = Rig::new("net_af_packet0,iface=gw0,qpairs=2").unwrap();
        let got = both_queues_work(&rig, &Wire::of("peer0", 0x0800));
        assert!(got[0] > 0 && got[1] > 0, "{got:?}");
    });
}

#[test]
fn tap_spreads_flows_over_its_queues() {
    in_namespace("tap_spreads_flows_over_its_queues", || {
        let rig = Rig::new("net_tap0,iface=tap0,queues=2").unwrap();
        let got = both_queues_work(&rig, &Wire::of("tap0", 0x0800));
        assert!(got[0] > 0 && got[1] > 0, "{got:?}");
    });
}

#[test]
fn af_xdp_queues_share_one_umem() {
    if !nix::unistd::geteuid().is_root() {
        skip(
            "af_xdp_queues_share_one_umem",
            "loading an XDP program needs root",
        );
        return;
    }
    in_namespace("af_xdp_queues_share_one_umem", || {
        for mode in ["native", "generic"] {
            veth(2);
            let rig =
                Rig::new(&format!("net_af_xdp0,iface=gw0,queue_count=2,mode={mode}")).unwrap();
            both_queues_work(&rig, &Wire::of("peer0", 0x0800));
        }
    });
}

#[test]
fn af_xdp_ports_of_one_pool_do_not_disturb_each_other() {
    if !nix::unistd::geteuid().is_root() {
        skip(
            "af_xdp_ports_of_one_pool",
            "loading an XDP program needs root",
        );
        return;
    }
    in_namespace("af_xdp_ports_of_one_pool", || {
        veth(2);
        // The second queue of one interface and the first of another registration: one data segment.
        let rig = Rig::new("net_af_xdp0,iface=gw0,queue_count=2").unwrap();
        ip(&[
            "link", "add", "gw1", "type", "veth", "peer", "name", "peer1",
        ]);
        ip(&["link", "set", "gw1", "up"]);
        ip(&["link", "set", "peer1", "up"]);
        let other = Rig::beside(&rig, "net_af_xdp1,iface=gw1", 2);
        let wire = Wire::open("peer1");
        let (mut port, mut cache) = (other.adopt(0), other.pool.cache(1));
        (0..100).for_each(|seq| wire.send(&rig::frame(seq)));
        let mut got = Vec::new();
        until("the other port receives", || {
            let mut out = [0; BURST];
            let n = port.rx_burst(&mut cache, &mut out);
            got.extend(out[..n].iter().map(|m| rig::number_of(other.pool, *m)));
            cache.free_burst(&out[..n]);
            got.len() == 100
        });
        assert!(got.into_iter().eq(0..100));
        both_queues_work(&rig, &Wire::of("peer0", 0x0800));
    });
}
