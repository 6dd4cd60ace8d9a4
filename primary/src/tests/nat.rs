//! Translation: out, back, forwarded, hairpinned; with one shard and with two.

use super::frames::{ACK, RST, SYN, at, hear};
use super::{FROM_HOST, FROM_ROUTER, HOST, INSIDE, Lab, OUTSIDE, ROUTER};
use baton::prelude::{Mac, PortId};
use baton_datapath::bucket;
use std::net::Ipv4Addr;

const SERVER: &str = "198.51.100.9:443";

fn in_pool(address: &Ipv4Addr) -> bool {
    [16, 17].contains(&address.octets()[3]) && address.octets()[..3] == [203, 0, 113]
}

#[test]
fn udp_goes_out_translated_and_its_answer_comes_back() {
    let mut lab = Lab::one_shard();
    let sent = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"question"));
    assert!(in_pool(sent.src.ip()), "{sent:?}");
    assert_eq!(sent.dst, at(SERVER));
    assert_eq!((sent.ttl, sent.wire), (63, (OUTSIDE, ROUTER)));
    assert_eq!(sent.data, b"question");
    let back = lab.back(FROM_ROUTER.udp(SERVER, &sent.src.to_string(), b"answer"));
    assert_eq!((back.src, back.dst), (at(SERVER), at("10.0.0.7:5000")));
    assert_eq!((back.ttl, back.wire), (63, (INSIDE, HOST)));
}

#[test]
fn the_mapping_does_not_depend_on_the_remote_end_and_its_port_names_the_bucket() {
    let mut lab = Lab::one_shard();
    let one = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"1"));
    let two = lab.out(FROM_HOST.udp("10.0.0.7:5000", "192.0.2.5:53", b"2"));
    assert_eq!(one.src, two.src);
    let bucket = bucket::of_flow(17, Ipv4Addr::new(10, 0, 0, 7), 5000);
    assert_eq!(bucket::of_nat_port(one.src.port()), bucket);
    let other = lab.out(FROM_HOST.udp("10.0.0.7:5001", SERVER, b"3"));
    assert_ne!(one.src, other.src);
    assert_eq!(one.src.ip(), other.src.ip(), "one host, one address");
}

#[test]
fn who_was_not_spoken_to_gets_nothing_through() {
    let mut lab = Lab::one_shard();
    let sent = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"x"));
    let outside = sent.src.to_string();
    lab.refused(
        true,
        FROM_ROUTER.udp("192.0.2.66:443", &outside, b"x"),
        "no_session",
    );
    lab.refused(true, FROM_ROUTER.tcp(SERVER, &outside, SYN), "no_session");
    lab.refused(
        true,
        FROM_ROUTER.udp(SERVER, "10.0.0.7:5000", b"x"),
        "no_session",
    );
}

#[test]
fn hosts_on_the_outside_link_itself_get_their_own_packets_in_one_burst() {
    let mut lab = Lab::one_shard();
    let hosts = [50u8, 51, 50, 52].map(|last| (last, [2, 0, 0, 0, 9, last]));
    for (last, mac) in hosts {
        lab.bench
            .learn(PortId(1), [203, 0, 113, last].into(), Mac(mac));
    }
    let frames = hosts
        .map(|(last, _)| FROM_HOST.udp("10.0.0.7:5000", &format!("203.0.113.{last}:53"), b"x"));
    for _ in 0..2 {
        // The first time sessions are opened, the second time they stand.
        let (_, outside) = lab.put(false, &frames);
        let met: Vec<_> = outside.iter().map(|frame| hear(frame).wire).collect();
        assert_eq!(met, hosts.map(|(_, mac)| (OUTSIDE, mac)));
    }
}

#[test]
fn two_packets_of_one_new_flow_in_one_burst_share_a_session() {
    let mut lab = Lab::one_shard();
    let frames: Vec<_> = (0..32)
        .map(|n| FROM_HOST.udp("10.0.0.7:5000", SERVER, &[n]))
        .collect();
    let (_, out) = lab.put(false, &frames);
    let heard: Vec<_> = out.iter().map(|frame| hear(frame)).collect();
    assert_eq!(heard.len(), 32);
    assert!(heard.iter().all(|one| one.src == heard[0].src));
    let order: Vec<u8> = heard.iter().map(|one| one.data[0]).collect();
    assert_eq!(order, (0..32).collect::<Vec<u8>>());
}

#[test]
fn tcp_and_echo_go_out_and_back() {
    let mut lab = Lab::one_shard();
    let syn = lab.out(FROM_HOST.tcp("10.0.0.7:5000", SERVER, SYN));
    let outside = syn.src.to_string();
    let back = lab.back(FROM_ROUTER.tcp(SERVER, &outside, SYN | ACK));
    assert_eq!(back.dst, at("10.0.0.7:5000"));
    lab.out(FROM_HOST.tcp("10.0.0.7:5000", SERVER, ACK));
    lab.back(FROM_ROUTER.tcp(SERVER, &outside, RST));
    let ping = lab.out(FROM_HOST.echo("10.0.0.7:77", "198.51.100.9:0", false));
    assert_eq!(ping.icmp, (8, 0));
    let reply = FROM_ROUTER.echo("198.51.100.9:0", &ping.src.to_string(), true);
    let back = lab.back(reply);
    assert_eq!((back.dst, back.icmp), (at("10.0.0.7:77"), (0, 0)));
}

#[test]
fn a_forward_lets_clients_in_and_answers_with_the_outside_end() {
    let mut lab = Lab::one_shard();
    let syn = lab.back(FROM_ROUTER.tcp(SERVER, "203.0.113.2:443", SYN));
    assert_eq!((syn.src, syn.dst), (at(SERVER), at("10.0.0.8:8443")));
    let answer = lab.out(FROM_HOST.tcp("10.0.0.8:8443", SERVER, SYN | ACK));
    assert_eq!(answer.src, at("203.0.113.2:443"));
    lab.refused(
        true,
        FROM_ROUTER.tcp("192.0.2.1:9", "203.0.113.2:443", ACK),
        "no_session",
    );
    lab.refused(
        true,
        FROM_ROUTER.tcp(SERVER, "203.0.113.2:444", SYN),
        "no_session",
    );
}

fn hairpins(shards: u16) {
    let mut lab = Lab::new(shards, |text| text);
    for port in 6000..6020 {
        let (host, peer) = (format!("10.0.0.7:{port}"), format!("10.0.0.8:{port}"));
        let outside = lab.out(FROM_HOST.udp(&peer, SERVER, b"x")).src;
        let there = lab.turn(FROM_HOST.udp(&host, &outside.to_string(), b"hello"));
        assert_eq!((there.dst, there.ttl), (at(&peer), 63));
        assert!(in_pool(there.src.ip()), "{there:?}");
        let back = lab.turn(FROM_HOST.udp(&peer, &there.src.to_string(), b"hello back"));
        assert_eq!((back.src, back.dst), (outside, at(&host)));
        let again = lab.turn(FROM_HOST.udp(&host, &outside.to_string(), b"again"));
        assert_eq!(again.src, there.src);
    }
    let there = lab.turn(FROM_HOST.tcp("10.0.0.7:999", "203.0.113.2:443", SYN));
    assert_eq!(there.dst, at("10.0.0.8:8443"));
    let back = FROM_HOST.tcp("10.0.0.8:8443", &there.src.to_string(), SYN | ACK);
    assert_eq!(lab.turn(back).src, at("203.0.113.2:443"));
    assert_eq!(lab.drops(), []);
}

#[test]
fn hosts_reach_each_other_by_their_outside_ends() {
    hairpins(1);
}

#[test]
fn hosts_reach_each_other_across_shards() {
    hairpins(2);
}

#[test]
fn with_two_shards_every_answer_finds_its_session_on_whatever_queue_it_comes() {
    let mut lab = Lab::new(2, |text| text);
    for port in 5000..5064 {
        let host = format!("10.0.0.7:{port}");
        let sent = lab.out(FROM_HOST.udp(&host, SERVER, b"x"));
        let answer = FROM_ROUTER.udp(SERVER, &sent.src.to_string(), b"y");
        lab.outside[port % 2].send(&answer);
        lab.step();
        let (inside, _) = lab.drain();
        assert_eq!(hear(&inside[0]).dst, at(&host));
    }
    lab.back(FROM_ROUTER.tcp(SERVER, "203.0.113.2:443", SYN));
    assert_eq!(lab.drops(), []);
}
