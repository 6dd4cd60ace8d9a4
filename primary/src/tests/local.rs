//! What the gateway says itself, whom it knows, and what it does not carry.

use super::frames::{SYN, Wire, at, hear};
use super::{BASE, FROM_HOST, FROM_ROUTER, HOST, INSIDE, Lab, OUTSIDE, ROUTER, SECOND};
use crate::gateway::Gateway;
use crate::session::SessionV2;
use baton::bench::Bench;
use baton_datapath::Mac;
use baton_datapath::arp::{self, Arp, Operation};
use baton_datapath::parse::ETHERNET;

const SERVER: &str = "198.51.100.9:443";

fn request(from: [u8; 6], sender: &str, target: &str) -> Vec<u8> {
    let mut frame = vec![0; arp::FRAME];
    let (sender, target) = (sender.parse().unwrap(), target.parse().unwrap());
    arp::request(&mut frame, Mac(from), sender, target, None);
    frame
}

fn reply(from: [u8; 6], sender: &str, asked: &Arp) -> Vec<u8> {
    let mut frame = vec![0; arp::FRAME];
    arp::reply(&mut frame, Mac(from), sender.parse().unwrap(), asked);
    frame
}

#[test]
fn our_own_addresses_answer_ping_from_both_sides() {
    let mut lab = Lab::one_shard();
    let pong = lab.turn(FROM_HOST.echo("10.0.0.7:1", "10.0.0.1:0", false));
    assert_eq!((pong.icmp, pong.src.ip()), ((0, 0), at("10.0.0.1:0").ip()));
    let (_, out) = lab.put(
        true,
        &[FROM_ROUTER.echo("198.51.100.9:1", "203.0.113.2:0", false)],
    );
    assert_eq!(hear(&out[0]).dst, at("198.51.100.9:1"));
}

#[test]
fn arp_is_answered_for_our_own_and_outside_for_the_pool() {
    let mut lab = Lab::one_shard();
    for (outside, sender, target) in [
        (false, "10.0.0.7", "10.0.0.1"),
        (true, "203.0.113.1", "203.0.113.2"),
        (true, "203.0.113.1", "203.0.113.17"),
    ] {
        let (mac, ours) = if outside {
            (ROUTER, OUTSIDE)
        } else {
            (HOST, INSIDE)
        };
        let (a, b) = lab.put(outside, &[request(mac, sender, target)]);
        let answer = [a, b].concat();
        let answer = Arp::read(&answer[0][ETHERNET..]).unwrap();
        assert_eq!(answer.operation, Operation::Reply);
        assert_eq!(
            (answer.sender_mac, answer.sender.to_string()),
            (Mac(ours), target.to_owned())
        );
    }
    let silent = lab.put(false, &[request(HOST, "10.0.0.7", "203.0.113.17")]);
    assert_eq!(
        silent,
        (vec![], vec![]),
        "the pool is no business of the inside link"
    );
}

#[test]
fn a_host_that_asks_for_us_is_known_from_then_on() {
    let mut lab = Lab::one_shard();
    let new = [2, 0, 0, 0, 1, 99];
    lab.put(false, &[request(new, "10.0.0.99", "10.0.0.1")]);
    let wire = Wire {
        from: new,
        ..FROM_HOST
    };
    let sent = lab.out(wire.udp("10.0.0.99:5000", SERVER, b"x"));
    let back = lab.back(FROM_ROUTER.udp(SERVER, &sent.src.to_string(), b"y"));
    assert_eq!(back.wire, (INSIDE, new));
}

#[test]
fn a_neighbour_that_is_not_known_is_asked_for_once_in_100_ms() {
    let mut lab = Lab::one_shard();
    let frame = FROM_HOST.udp("10.0.0.7:5000", "203.0.113.77:53", b"x");
    let (_, asked) = lab.put(false, &vec![frame.clone(); 3]);
    assert_eq!(asked.len(), 1);
    let question = Arp::read(&asked[0][ETHERNET..]).unwrap();
    assert_eq!(question.target.to_string(), "203.0.113.77");
    assert_eq!(question.sender.to_string(), "203.0.113.2");
    assert_eq!(lab.dropped("neighbour_pending"), 3);
    lab.now += SECOND / 5;
    let (_, again) = lab.put(false, std::slice::from_ref(&frame));
    assert_eq!(again.len(), 1);
    let station = [2, 0, 0, 0, 2, 77];
    lab.put(true, &[reply(station, "203.0.113.77", &question)]);
    assert_eq!(lab.out(frame).wire, (OUTSIDE, station));
}

#[test]
fn the_router_is_asked_for_before_anybody_needs_it() {
    let mut lab = Lab::one_shard();
    lab.now += 31 * SECOND;
    lab.step();
    let (_, out) = lab.drain();
    let question = Arp::read(&out[0][ETHERNET..]).unwrap();
    assert_eq!(question.target.to_string(), "203.0.113.1");
}

#[test]
fn the_first_round_after_a_gain_is_for_packets_alone() {
    let mut bench = Bench::<Gateway<SessionV2>>::new(&BASE.replace("SHARDS", "1")).unwrap();
    let mut outside = bench.end_of(1, 0);
    bench.round_at(1_000 * SECOND);
    assert!(outside.take().is_empty(), "nobody is asked for yet");
    bench.round_at(1_000 * SECOND + 1_000_000);
    assert_eq!(outside.take().len(), 1, "the router is asked for");
}

#[test]
fn what_is_not_for_us_or_from_nobody_is_dropped_by_name() {
    let mut lab = Lab::one_shard();
    let other = Wire {
        to: [2, 9, 9, 9, 9, 9],
        ..FROM_HOST
    };
    lab.refused(false, other.udp("10.0.0.7:1", SERVER, b"x"), "not_for_us");
    let all = Wire {
        to: [0xff; 6],
        ..FROM_HOST
    };
    lab.refused(
        false,
        all.udp("10.0.0.7:1", "10.0.255.255:9", b"x"),
        "not_for_us",
    );
    lab.refused(
        false,
        FROM_HOST.udp("127.0.0.1:1", SERVER, b"x"),
        "bad_source",
    );
    lab.refused(
        false,
        FROM_HOST.udp("10.0.0.1:1", SERVER, b"x"),
        "bad_source",
    );
    lab.refused(
        false,
        FROM_HOST.tcp("10.0.0.7:1", "10.0.0.1:22", SYN),
        "no_service",
    );
    let mut ipv6 = FROM_HOST.udp("10.0.0.7:1", SERVER, b"x");
    ipv6[12..14].copy_from_slice(&[0x86, 0xdd]);
    lab.refused(false, ipv6, "ipv6_not_built");
    lab.refused(false, vec![0; 9], "bad_header");
}

#[test]
fn a_closed_port_of_ours_is_said_to_be_closed() {
    let mut lab = Lab::one_shard();
    let error = lab.turn(FROM_HOST.udp("10.0.0.7:5000", "10.0.0.1:9", b"x"));
    assert_eq!(error.icmp, (3, 3));
    assert_eq!(lab.dropped("no_service"), 1);
}

#[test]
fn without_a_route_the_sender_is_told() {
    let mut lab = Lab::new(1, |text| {
        text.replace("prefix = \"0.0.0.0/0\"", "prefix = \"198.51.100.0/24\"")
    });
    let error = lab.turn(FROM_HOST.udp("10.0.0.7:5000", "8.8.8.8:53", b"x"));
    assert_eq!(error.icmp, (3, 0));
    assert_eq!(lab.dropped("no_route"), 1);
}

#[test]
fn without_nat_it_routes() {
    let mut lab = Lab::new(1, |text| {
        text.split("[gateway.nat]").next().unwrap().to_owned()
    });
    let sent = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"x"));
    assert_eq!((sent.src, sent.ttl), (at("10.0.0.7:5000"), 63));
    let back = lab.back(FROM_ROUTER.udp(SERVER, "10.0.0.7:5000", b"y"));
    assert_eq!(back.dst, at("10.0.0.7:5000"));
}

#[test]
fn no_bytes_bring_it_down() {
    let mut lab = Lab::new(2, |text| text);
    let seeds = [
        FROM_HOST.udp("10.0.0.7:5000", SERVER, b"data data data"),
        FROM_HOST.tcp("10.0.0.7:5000", "203.0.113.2:443", SYN),
        FROM_HOST.echo("10.0.0.7:5", "10.0.0.1:0", false),
        FROM_HOST.error(
            "10.0.0.7:0",
            "203.0.113.16:0",
            (3, 3),
            &FROM_ROUTER.udp(SERVER, "10.0.0.7:5", b"x"),
        ),
        request(HOST, "10.0.0.7", "10.0.0.1"),
    ];
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for round in 0..4_000 {
        let mut frame = seeds[round % seeds.len()].clone();
        for _ in 0..=next(4) {
            let at = next(frame.len());
            frame[at] = next(256) as u8;
        }
        if next(3) == 0 {
            frame.truncate(next(frame.len()));
        }
        if frame.len() > 34 && next(2) == 0 {
            frame[24..26].fill(0);
            let sum = baton_datapath::checksum::of(&frame[14..34]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        lab.put(next(2) == 0, &[frame]);
    }
    lab.out(FROM_HOST.udp("10.0.0.7:5999", SERVER, b"still alive"));
}
