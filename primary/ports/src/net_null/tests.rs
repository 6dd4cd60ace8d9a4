//! Templates and flows: each a datagram with right checksums, all different.

use super::frames::{ones_sum, udp_checksum};
use super::*;

#[test]
fn the_template_is_a_datagram_whose_checksums_are_right() {
    let frame = udp_frame([2, 0, 0, 0, 0, 1], 100);
    assert_eq!(frame.len(), 100);
    assert_eq!(ones_sum(&frame[14..34], 0), 0xffff);
    let pseudo = u32::from(ones_sum(&frame[26..34], 0)) + 17 + 66;
    assert_eq!(ones_sum(&frame[34..], pseudo), 0xffff);
}

#[test]
fn each_flow_has_its_own_port_and_checksum() {
    let frame = udp_frame([2, 0, 0, 0, 0, 1], 64);
    let flows = flows(&frame, 1000, false);
    assert_eq!(flows.len(), 1000);
    assert_eq!(flows[5][10..12], 0x1005u16.to_be_bytes());
    assert_eq!(flows[0], frame[VARIES]);
    assert!(
        super::flows(&[0; 60], 9, false).is_empty(),
        "no UDP, nothing varies"
    );
}

#[test]
fn a_stride_comes_by_every_flow_and_never_to_a_neighbour() {
    for n in [1usize, 2, 3, 10, 1000, 65_536, 100_000, 1_000_000] {
        let step = stride(n);
        let met: std::collections::HashSet<usize> = (0..n).map(|i| i * step % n).collect();
        assert_eq!(met.len(), n);
        assert!(
            n < 1000 || (n / 3..n - n / 3).contains(&step),
            "{step} of {n}"
        );
    }
}

#[test]
fn spread_flows_are_all_different_and_their_checksums_right() {
    let frame = udp_frame([2, 0, 0, 0, 0, 1], 64);
    let flows = flows(&frame, 20_000, true);
    let different: std::collections::HashSet<&[u8]> = flows.iter().map(|flow| &flow[2..]).collect();
    assert_eq!(different.len(), 20_000);
    for flow in &flows {
        let mut frame = frame.clone();
        frame[VARIES].copy_from_slice(flow);
        assert_eq!(ones_sum(&frame[14..34], 0), 0xffff);
        assert_eq!(udp_checksum(&frame).to_be_bytes(), frame[40..42]);
    }
}

#[test]
fn a_size_below_the_headers_gives_the_front_of_a_frame() {
    assert_eq!(udp_frame([0; 6], 14).len(), 14);
}

#[test]
fn a_walk_step_by_step_is_where_one_that_begins_there_is() {
    for (all, step) in [(1, 0), (2, 1), (7, 1), (10, 3), (100, stride(100))] {
        let mut walk = Walk::new(all, step, 5);
        for made in 5..500 {
            let new = Walk::new(all, step, made);
            assert_eq!((walk.flow, walk.ahead), (new.flow, new.ahead));
            walk.step();
        }
    }
}
