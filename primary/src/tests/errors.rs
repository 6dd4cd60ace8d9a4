//! ICMP errors: translated with what they quote, and those the gateway writes itself.

use super::frames::{SYN, Wire, at, hear, quoted};
use super::{FROM_HOST, FROM_ROUTER, HOST, Lab};

const SERVER: &str = "198.51.100.9:443";

#[test]
fn an_error_from_a_router_reaches_the_host_about_its_own_packet() {
    let mut lab = Lab::one_shard();
    for (sent, host) in [
        (
            FROM_HOST.udp("10.0.0.7:5000", SERVER, b"x"),
            "10.0.0.7:5000",
        ),
        (FROM_HOST.tcp("10.0.0.7:5001", SERVER, SYN), "10.0.0.7:5001"),
    ] {
        let (_, out) = lab.put(false, &[sent]);
        let outside = hear(&out[0]).src.to_string();
        let error = lab.back(FROM_ROUTER.error("192.0.2.1:0", &outside, (11, 0), &out[0]));
        assert_eq!((error.icmp, error.dst.ip()), ((11, 0), at(host).ip()));
        assert_eq!(error.src.ip(), at("192.0.2.1:0").ip());
        assert_eq!(quoted(&error), (at(host), at(SERVER)));
    }
}

#[test]
fn an_error_from_a_host_leaves_with_the_outside_end() {
    let mut lab = Lab::one_shard();
    let outside = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"x")).src;
    let (arrived, _) = lab.put(true, &[FROM_ROUTER.udp(SERVER, &outside.to_string(), b"y")]);
    let error = lab.out(FROM_HOST.error("10.0.0.7:0", SERVER, (3, 3), &arrived[0]));
    assert_eq!((error.icmp, error.src.ip()), ((3, 3), outside.ip()));
    assert_eq!(quoted(&error), (at(SERVER), outside));
}

#[test]
fn an_error_about_a_hairpin_is_translated_twice() {
    let mut lab = Lab::one_shard();
    let outside = lab.out(FROM_HOST.udp("10.0.0.8:6000", SERVER, b"x")).src;
    let hairpin = FROM_HOST.udp("10.0.0.7:5000", &outside.to_string(), b"y");
    let (arrived, _) = lab.put(false, &[hairpin]);
    let seen_as = hear(&arrived[0]).src;
    let error = FROM_HOST.error("10.0.0.8:0", &seen_as.to_string(), (3, 3), &arrived[0]);
    let error = lab.turn(error);
    assert_eq!(*error.dst.ip(), *at("10.0.0.7:0").ip());
    assert_eq!(quoted(&error), (at("10.0.0.7:5000"), outside));
}

#[test]
fn an_error_about_nothing_we_know_is_dropped() {
    let mut lab = Lab::one_shard();
    let unknown = FROM_ROUTER.udp("203.0.113.16:40000", SERVER, b"x");
    let error = FROM_ROUTER.error("192.0.2.1:0", "203.0.113.16:0", (3, 1), &unknown);
    lab.refused(true, error, "no_session");
}

#[test]
fn a_packet_without_life_left_is_answered_to_its_sender() {
    let mut lab = Lab::one_shard();
    let dying = Wire {
        ttl: 1,
        ..FROM_HOST
    };
    let error = lab.turn(dying.udp("10.0.0.7:5000", SERVER, b"traceroute"));
    assert_eq!((error.icmp, error.wire.1), ((11, 0), HOST));
    assert_eq!(
        (error.src.ip(), error.dst.ip()),
        (at("10.0.0.1:0").ip(), at("10.0.0.7:0").ip())
    );
    assert_eq!(quoted(&error), (at("10.0.0.7:5000"), at(SERVER)));
    assert_eq!(lab.dropped("ttl_expired"), 1);
}

#[test]
fn a_packet_too_long_for_the_next_link_is_answered_with_its_mtu() {
    let mut lab = Lab::new(1, |text| {
        text.replace(
            "name    = \"outside\"",
            "name    = \"outside\"\nmtu     = 1000",
        )
    });
    let long = FROM_HOST.udp("10.0.0.7:5000", SERVER, &[7; 1200]);
    assert_eq!(long[20] & 0x40, 0x40, "don't fragment");
    let error = lab.turn(long);
    assert_eq!(error.icmp, (3, 4));
    assert_eq!(lab.dropped("too_big"), 1);
}

#[test]
fn a_session_that_stands_changes_nothing_of_a_link_s_mtu() {
    let mut lab = Lab::new(1, |text| {
        text.replace(
            "name    = \"outside\"",
            "name    = \"outside\"\nmtu     = 1000",
        )
    });
    lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"short"));
    let fits = FROM_HOST.udp("10.0.0.7:5000", SERVER, &[7; 1000 - 28]);
    lab.out(fits);
    let error = lab.turn(FROM_HOST.udp("10.0.0.7:5000", SERVER, &[7; 1001 - 28]));
    assert_eq!((error.icmp, lab.dropped("too_big")), ((3, 4), 1));

    let mut lab = Lab::new(1, |text| {
        text.replace(
            "name    = \"inside\"",
            "name    = \"inside\"\nmtu     = 1000",
        )
    });
    let seen = lab
        .out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"short"))
        .src;
    let seen = seen.to_string();
    lab.back(FROM_ROUTER.udp(SERVER, &seen, &[7; 1000 - 28]));
    let (inside, outside) = lab.put(true, &[FROM_ROUTER.udp(SERVER, &seen, &[7; 1001 - 28])]);
    assert_eq!((inside.len(), outside.len()), (0, 1), "{:?}", lab.drops());
    assert_eq!(
        (hear(&outside[0]).icmp, lab.dropped("too_big")),
        ((3, 4), 1)
    );
}

#[test]
fn errors_are_rate_limited() {
    let mut lab = Lab::one_shard();
    let dying = Wire {
        ttl: 1,
        ..FROM_HOST
    };
    let frame = dying.udp("10.0.0.7:5000", SERVER, b"x");
    let mut answered = 0;
    for _ in 0..10 {
        let (inside, _) = lab.put(false, &vec![frame.clone(); 32]);
        answered += inside.len();
    }
    assert!(
        (50..60).contains(&answered),
        "{answered} answers to 320 packets at once"
    );
    assert_eq!(lab.dropped("ttl_expired"), 320);
}
