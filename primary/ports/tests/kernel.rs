//! What the kernel does to ports besides carrying packets: batches, missing buffers, refusals of
//! native mode, interfaces that go away.

mod rig;

use baton_ports::Port;
use baton_shared_state::limits::BURST;
use baton_shared_state::mempool::Cache;

use rig::net::{in_namespace, ip, skip, veth};
use rig::{Rig, until};

/// Runs a test that loads XDP programs, in both modes if asked for.
fn with_xdp(test: &'static str, body: impl FnOnce() + Send + 'static) {
    if nix::unistd::geteuid().is_root() {
        in_namespace(test, body);
    } else {
        skip(test, "loading an XDP program needs root");
    }
}

/// Hands frames `0..n` to the port without waking the kernel.
fn fill_transmit_ring(rig: &Rig, port: &mut dyn Port, cache: &mut Cache, n: u32) {
    for seq in 0..n {
        let mut packet = cache.alloc().expect("a free mbuf");
        let frame = rig::frame(seq);
        packet
            .append(frame.len())
            .expect("room")
            .copy_from_slice(&frame);
        assert_eq!(
            port.tx_burst(cache, &[packet.into_raw()]),
            1,
            "{}",
            rig.spec.txd
        );
    }
}

#[test]
fn one_kick_sends_a_whole_ring() {
    with_xdp("one_kick_sends_a_whole_ring", || {
        for vdev in ["net_af_packet0,iface=gw0", "net_af_xdp0,iface=gw0"] {
            veth(1);
            let mut rig = Rig::wired(vdev, "peer0");
            let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
            port.resume(&mut cache);
            fill_transmit_ring(&rig, &mut *port, &mut cache, 400);
            port.kick();
            let mut got = Vec::new();
            until("all of them are out", || {
                got.extend(rig.received());
                got.len() == 400
            });
            assert!(got.into_iter().eq(0..400), "{vdev}");
            rig.assert_nothing_leaked(&*port);
        }
    });
}

#[test]
fn a_release_leaves_nothing_unsent() {
    with_xdp("a_release_leaves_nothing_unsent", || {
        for vdev in ["net_af_packet0,iface=gw0", "net_af_xdp0,iface=gw0"] {
            veth(1);
            let mut rig = Rig::wired(vdev, "peer0");
            let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
            port.resume(&mut cache);
            fill_transmit_ring(&rig, &mut *port, &mut cache, 100);
            port.release(&mut cache);
            let mut got = 0;
            until("all of them are out, though nobody owns the queue", || {
                got += rig.received().len();
                got == 100
            });
        }
    });
}

#[test]
fn buffers_that_could_not_be_had_are_posted_later() {
    with_xdp("buffers_that_could_not_be_had", || {
        veth(1);
        let mut rig = Rig::wired("net_af_xdp0,iface=gw0", "peer0");
        let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
        port.resume(&mut cache);
        let mut all = vec![0; rig.pool.count() as usize];
        let taken = cache.alloc_burst(&mut all);
        let posted = port.posted();
        assert_eq!(posted, rig.spec.rxd);
        (0..posted).for_each(|seq| rig.send(seq));
        let mut held = Vec::new();
        until("every posted buffer comes back full", || {
            let mut out = [0; BURST];
            let n = port.rx_burst(&mut cache, &mut out);
            held.extend(&out[..n]);
            held.len() == posted as usize
        });
        assert_eq!(port.posted(), 0, "nothing to post");
        rig.send(7); // lost: the port has no buffer, and says so
        until("the kernel counts it", || {
            port.counters()
                .iter()
                .any(|(name, n)| *name == "fill_empty" && *n > 0)
        });
        cache.free_burst(&held);
        cache.free_burst(&all[..taken]);
        let mut out = [0; BURST];
        assert_eq!(port.rx_burst(&mut cache, &mut out), 0);
        assert!(port.posted() > 0, "an idle poll posts");
        rig.send(8);
        until("packets arrive again", || {
            port.rx_burst(&mut cache, &mut out) == 1
        });
        assert_eq!(rig::number_of(rig.pool, out[0]), 8);
        assert!(
            port.counters()
                .iter()
                .any(|(name, n)| *name == "rx_no_mbuf" && *n > 0)
        );
    });
}

#[test]
fn generic_mode_stands_in_where_native_is_refused() {
    with_xdp("generic_mode_stands_in", || {
        veth(1);
        ip(&["link", "set", "peer0", "mtu", "9000"]);
        let rig = Rig::new("net_af_xdp0,iface=gw0").unwrap();
        assert_eq!(rig.adopt(0).mode(), "generic");
        let warned = rig
            .warnings
            .iter()
            .any(|text| text.contains("the MTU of gw0 or its peer"));
        assert!(warned, "{:?}", rig.warnings);
    });
}

#[test]
fn a_port_whose_interface_went_away_is_gone_and_harms_nobody() {
    with_xdp("a_port_whose_interface_went_away", || {
        for (vdev, iface) in [
            ("net_af_packet0,iface=gw0", "gw0"),
            ("net_af_xdp0,iface=gw0", "gw0"),
            ("net_tap0,iface=tap9", "tap9"),
        ] {
            veth(1);
            let rig = Rig::new(vdev).unwrap();
            let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
            port.resume(&mut cache);
            until("the carrier is up", || port.link_up());
            ip(&["link", "del", iface]);
            assert!(!port.link_up(), "{vdev}");
            let mut out = [0; BURST];
            for _ in 0..3 {
                assert_eq!(port.rx_burst(&mut cache, &mut out), 0, "{vdev}");
                fill_transmit_ring(&rig, &mut *port, &mut cache, 10);
                port.kick();
            }
            port.release(&mut cache);
            let mut next = rig.adopt(0);
            assert_eq!(next.rx_burst(&mut cache, &mut out), 0, "{vdev}");
            next.resume(&mut cache);
            next.repair(&mut cache, &mut Vec::new());
            rig.assert_nothing_leaked(&*next);
            port.resume(&mut cache); // given back: it mapped the rings before
            assert_eq!(port.rx_burst(&mut cache, &mut out), 0, "{vdev}");
            rig.assert_nothing_leaked(&*port);
        }
    });
}
