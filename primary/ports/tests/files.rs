//! The drivers without a neighbour: captures and templates.

mod rig;

use std::path::Path;

use baton_ports::Port;
use baton_shared_state::limits::BURST;
use baton_shared_state::mempool::Cache;

use rig::{Rig, frame, number_of};

/// A classic capture in big-endian order: what other machines write.
fn capture(path: &Path, frames: u32) {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4u32, 2 << 16 | 4, 0, 0, 65_535, 1] {
        bytes.extend(word.to_be_bytes());
    }
    for seq in 0..frames {
        let frame = frame(seq);
        for word in [seq, 0, frame.len() as u32, frame.len() as u32] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(frame);
    }
    std::fs::write(path, bytes).unwrap();
}

/// The frames of a capture that this machine wrote.
fn read_back(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(bytes[..4], 0xa1b2_c3d4u32.to_le_bytes());
    let (mut at, mut frames) = (24, Vec::new());
    while at < bytes.len() {
        let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        frames.push(bytes[at + 16..at + 16 + len].to_vec());
        at += 16 + len;
    }
    frames
}

fn pcap_rig(dir: &Path) -> Rig {
    let (from, to) = (dir.join("in.pcap"), dir.join("out.pcap"));
    let vdev = format!(
        "net_pcap0,rx_pcap={},tx_pcap={}",
        from.display(),
        to.display()
    );
    Rig::new(&vdev).unwrap()
}

fn pass_on(port: &mut dyn Port, cache: &mut Cache) -> usize {
    let mut out = [0; BURST];
    let n = port.rx_burst(cache, &mut out);
    assert_eq!(port.tx_burst(cache, &out[..n]), n);
    n
}

#[test]
fn a_capture_passes_through_handovers_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    capture(&dir.path().join("in.pcap"), 500);
    let rig = pcap_rig(dir.path());
    let mut cache = rig.pool.cache(0);
    let mut port = rig.adopt(0);
    while pass_on(&mut *port, &mut cache) > 0 {
        port.release(&mut cache);
        port = rig.adopt(0);
        port.resume(&mut cache);
    }
    let frames = read_back(&dir.path().join("out.pcap"));
    assert_eq!(frames.len(), 500);
    assert!((0..).zip(&frames).all(|(seq, bytes)| *bytes == frame(seq)));
    rig.assert_nothing_leaked(&*port);
}

#[test]
fn a_death_in_the_middle_of_a_capture_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    capture(&dir.path().join("in.pcap"), 500);
    let rig = pcap_rig(dir.path());
    let mut cache = rig.pool.cache(0);
    loop {
        let mut port = rig.adopt(0);
        let mut held = Vec::new();
        port.repair(&mut cache, &mut held);
        port.tx_burst(&mut cache, &held);
        pass_on(&mut *port, &mut cache);
        let mut out = [0; BURST];
        if port.rx_burst(&mut cache, &mut out) == 0 {
            rig.assert_nothing_leaked(&*port);
            break;
        }
    }
    let frames = read_back(&dir.path().join("out.pcap"));
    assert_eq!(frames.len(), 500);
    assert!((0..).zip(&frames).all(|(seq, bytes)| *bytes == frame(seq)));
}

#[test]
fn a_capture_may_begin_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    capture(&path, 3);
    let rig = Rig::new(&format!(
        "net_pcap0,rx_pcap={},infinite_rx=1",
        path.display()
    ))
    .unwrap();
    let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
    let mut out = [0; 8];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 8);
    let numbers = out.map(|m| number_of(rig.pool, m));
    assert_eq!(numbers, [0, 1, 2, 0, 1, 2, 0, 1]);
}

#[test]
fn what_is_no_capture_is_refused_by_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let vdev = format!("net_pcap0,rx_pcap={}", path.display());
        Rig::new(&vdev).err().expect("refused").to_string()
    };
    assert!(refused(b"short").contains("shorter than a header of 24 bytes"));
    let mut header = [0u8; 24];
    header[..4].copy_from_slice(&0x0a0d_0d0au32.to_le_bytes());
    assert!(refused(&header).contains("magic 0a0d0d0a"), "a pcapng file");
    header[..4].copy_from_slice(&0xa1b2_c3d4u32.to_le_bytes());
    header[20] = 113;
    assert!(refused(&header).contains("link type 113"));
    let missing = Rig::new("net_pcap0,rx_pcap=/no/such/file")
        .err()
        .expect("refused");
    assert!(missing.to_string().contains("/no/such/file"), "{missing}");
}

#[test]
fn a_frame_larger_than_a_buffer_is_counted_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.pcap");
    capture(&path, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let mut jumbo = Vec::new();
    for word in [0u32, 0, 9000, 9000] {
        jumbo.extend(word.to_be_bytes());
    }
    jumbo.extend(vec![0; 9000]);
    bytes.splice(24..24, jumbo);
    std::fs::write(&path, bytes).unwrap();
    let rig = Rig::new(&format!("net_pcap0,rx_pcap={}", path.display())).unwrap();
    let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
    let mut out = [0; 8];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 1);
    assert_eq!(number_of(rig.pool, out[0]), 0);
    assert!(port.counters().contains(&("rx_oversized", 1)));
}

#[test]
fn null_makes_packets_of_its_template_and_frees_what_it_is_given() {
    let rig = Rig::new("net_null0,size=128,flows=3,queues=2").unwrap();
    let mut cache = rig.pool.cache(0);
    let mut port = rig.adopt(0);
    let mut ports = Vec::new();
    for _ in 0..3 {
        let mut out = [0; BURST];
        assert_eq!(port.rx_burst(&mut cache, &mut out), BURST);
        for m in out {
            let packet = baton_shared_state::mbuf::Packet::from_raw(m, rig.pool);
            assert_eq!(packet.len(), 128);
            ports.push(u16::from_be_bytes([packet.data()[34], packet.data()[35]]) - 4096);
            packet.into_raw();
        }
        assert_eq!(port.tx_burst(&mut cache, &out), BURST);
        port.release(&mut cache);
        port = rig.adopt(0);
        port.resume(&mut cache);
    }
    let expected: Vec<u16> = (0..3 * BURST as u16).map(|i| i % 3).collect();
    assert_eq!(ports, expected, "flows go round, over handovers");
    let totals = port.totals();
    assert_eq!((totals.rx_packets, totals.tx_bytes), (96, 96 * 128));
    assert_eq!(rig.adopt(1).totals().rx_packets, 0);
    rig.assert_nothing_leaked(&*port);
}

#[test]
fn null_gives_the_frame_it_was_told_or_nothing() {
    let given = frame(7);
    let hex: String = given.iter().map(|byte| format!("{byte:02x}")).collect();
    let rig = Rig::new(&format!("net_null0,template={hex}")).unwrap();
    let (mut port, mut cache) = (rig.adopt(0), rig.pool.cache(0));
    let mut out = [0; 2];
    assert_eq!(port.rx_burst(&mut cache, &mut out), 2);
    assert_eq!(number_of(rig.pool, out[1]), 7);
    drop(port); // as if killed
    let mut held = Vec::new();
    rig.adopt(0).repair(&mut cache, &mut held);
    assert_eq!(held, out);
    let silent = Rig::new("net_null0,no-rx=1").unwrap();
    assert_eq!(
        silent
            .adopt(0)
            .rx_burst(&mut silent.pool.cache(0), &mut out),
        0
    );
}
