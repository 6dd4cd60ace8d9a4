//! Unfinished checksums: an echo for a kernel whose UDP sockets leave the sum to the device.
//!
//! The echo swaps addresses and ports and does not touch the checksum: a finished one stays right,
//! and so does the sum of the pseudo-header. What comes back reaches the socket only if the driver
//! told finished from unfinished on both ways.

mod rig;

use std::net::UdpSocket;
use std::time::Duration;

use baton_ports::{CsumSource, Port};
use baton_shared_state::limits::BURST;
use baton_shared_state::mbuf::{Packet, PartialCsum};
use baton_shared_state::mempool::Cache;

use rig::net::{in_namespace, ip, skip, veth};
use rig::{Rig, transmit, until};

const UDP: PartialCsum = PartialCsum {
    start: 34,
    offset: 6,
};

/// Whether the checksum of a UDP datagram holds only the sum of its pseudo-header.
fn is_unfinished(frame: &[u8]) -> bool {
    let mut sum = 17 + (frame.len() as u32 - 34);
    for word in frame[26..34].chunks(2) {
        sum += u32::from(u16::from_be_bytes([word[0], word[1]]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u32::from(u16::from_be_bytes([frame[40], frame[41]])) == sum
}

/// Turns UDP datagrams round and drops the rest; returns (echoed, unfinished).
fn echo(port: &mut dyn Port, cache: &mut Cache) -> (u32, u32) {
    let mut out = [0; BURST];
    let n = port.rx_burst(cache, &mut out);
    let (mut echoed, mut unfinished) = (0, 0);
    for m in &out[..n] {
        let mut packet = Packet::from_raw(*m, cache.pool());
        let frame = packet.data_mut();
        if frame.len() < 42 || frame[12..14] != [8, 0] || frame[23] != 17 {
            cache.free(packet);
            continue;
        }
        let bare = is_unfinished(frame);
        for (a, b, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
            let (head, tail) = frame.split_at_mut(b);
            head[a..a + len].swap_with_slice(&mut tail[..len]);
        }
        match port.csum() {
            CsumSource::Flagged => assert_eq!(packet.csum_partial().is_some(), bare),
            CsumSource::Detect if bare => packet.set_csum_partial(Some(UDP)),
            CsumSource::Detect => {}
        }
        echoed += 1;
        unfinished += u32::from(bare);
        transmit(port, cache, &[packet.into_raw()]);
    }
    (echoed, unfinished)
}

/// Has the kernel talk through `iface` to the port, which stands at 10.9.0.2.
fn kernel_talks(rig: &Rig, iface: &str) -> u32 {
    let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
    port.resume(&mut cache);
    let [a, b, c, d, e, f] = port.mac();
    let mac = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
    ip(&["addr", "add", "10.9.0.1/24", "dev", iface]);
    ip(&["neigh", "replace", "10.9.0.2", "lladdr", &mac, "dev", iface]);
    let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
    socket.connect("10.9.0.2:7").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let (mut sent, mut got, mut bare) = (0u32, 0u32, 0);
    until("the kernel accepts every echo", || {
        if sent < 100 && sent == got {
            socket.send(&vec![sent as u8; 20 + sent as usize]).unwrap();
            sent += 1;
        }
        bare += echo(&mut *port, &mut cache).1;
        let mut bytes = [0; 256];
        if let Ok(n) = socket.recv(&mut bytes) {
            assert_eq!(bytes[..n], vec![got as u8; 20 + got as usize]);
            got += 1;
        }
        got == 100
    });
    rig.assert_nothing_leaked(&*port);
    bare
}

#[test]
fn af_packet_passes_the_flag_both_ways() {
    in_namespace("af_packet_passes_the_flag_both_ways", || {
        veth(1);
        let rig = Rig::new("net_af_packet0,iface=gw0").unwrap();
        assert_eq!(
            kernel_talks(&rig, "peer0"),
            100,
            "veth leaves every sum to the device"
        );
    });
}

#[test]
fn tap_has_the_kernel_finish_them() {
    in_namespace("tap_has_the_kernel_finish_them", || {
        let rig = Rig::new("net_tap0,iface=tap0").unwrap();
        assert_eq!(kernel_talks(&rig, "tap0"), 0);
    });
}

#[test]
fn af_xdp_shows_them_and_finishes_what_is_flagged() {
    let test = "af_xdp_shows_them_and_finishes_what_is_flagged";
    if !nix::unistd::geteuid().is_root() {
        skip(test, "loading an XDP program needs root");
        return;
    }
    in_namespace(test, || {
        for mode in ["native", "generic"] {
            veth(1);
            let rig = Rig::new(&format!("net_af_xdp0,iface=gw0,mode={mode}")).unwrap();
            assert_eq!(
                kernel_talks(&rig, "peer0"),
                100,
                "veth leaves every sum to the device"
            );
        }
    });
}
