//! The life of sessions and bindings: limits, silence, room.

use super::frames::{ACK, RST, SYN, hear};
use super::{FROM_HOST, FROM_ROUTER, Lab};
use crate::aging::Aging;

const SERVER: &str = "198.51.100.9:443";
/// Ticks in which all of a small table is looked at.
const ROUND: u64 = 64;

#[test]
fn a_silent_udp_session_ends_and_its_port_is_free_again() {
    let mut lab = Lab::new(1, |text| {
        text.replace(
            "sessions   = 1024",
            "sessions = 1024\nports = \"7000-7255\"\ntimeouts = { udp = \"10s\" }",
        )
    });
    let one = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"x"));
    lab.wait(9, ROUND);
    lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"refreshed"));
    lab.wait(9, ROUND);
    lab.back(FROM_ROUTER.udp(SERVER, &one.src.to_string(), b"refreshed, too"));
    lab.wait(12, ROUND);
    lab.refused(
        true,
        FROM_ROUTER.udp(SERVER, &one.src.to_string(), b"late"),
        "no_session",
    );
}

/// A table that the cursor needs thousands of ticks for.
fn large() -> Lab {
    Lab::new(1, |text| {
        text.replace(
            "sessions   = 1024",
            "sessions = 1048576\ntimeouts = { udp = \"10s\" }",
        )
    })
}

#[test]
fn a_session_of_a_large_table_ends_in_the_second_it_is_due() {
    let mut lab = large();
    let silent = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"x"));
    let heard = lab.out(FROM_HOST.udp("10.0.0.7:5001", SERVER, b"x"));
    lab.wait(6, 1);
    lab.back(FROM_ROUTER.udp(SERVER, &heard.src.to_string(), b"y"));
    lab.wait(3, 1);
    lab.back(FROM_ROUTER.udp(SERVER, &heard.src.to_string(), b"y"));
    lab.wait(2, 2);
    let late = FROM_ROUTER.udp(SERVER, &silent.src.to_string(), b"late");
    lab.refused(true, late, "no_session");
    lab.back(FROM_ROUTER.udp(SERVER, &heard.src.to_string(), b"y"));
}

#[test]
fn a_connection_that_closes_gets_the_shorter_timeout_at_once() {
    let mut lab = large();
    let open = lab.out(FROM_HOST.tcp("10.0.0.7:5001", SERVER, SYN));
    let open = open.src.to_string();
    lab.back(FROM_ROUTER.tcp(SERVER, &open, SYN | ACK));
    lab.wait(3_000, 2);
    lab.back(FROM_ROUTER.tcp(SERVER, &open, RST));
    lab.wait(300, 2);
    lab.refused(true, FROM_ROUTER.tcp(SERVER, &open, ACK), "no_session");
}

#[test]
fn a_session_that_another_process_made_is_found_and_ends() {
    let mut lab = Lab::one_shard();
    let silent = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"x"));
    // As after a takeover: the tables are there, what a process keeps is not.
    lab.bench.datapath(0).unwrap().aging = Aging::new(0);
    lab.wait(400, ROUND);
    lab.wait(1, 2);
    let late = FROM_ROUTER.udp(SERVER, &silent.src.to_string(), b"late");
    lab.refused(true, late, "no_session");
}

#[test]
fn what_another_tenant_shortened_ends_in_time_when_the_shard_comes_back() {
    let mut lab = large();
    let silent = lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"x"));
    lab.bench.datapath(0).unwrap().aging.was_away(0, u64::MAX);
    lab.wait(11, 1 << 13);
    lab.wait(1, 2);
    let late = FROM_ROUTER.udp(SERVER, &silent.src.to_string(), b"late");
    lab.refused(true, late, "no_session");
}

#[test]
fn an_established_connection_outlives_one_that_only_began() {
    let mut lab = Lab::one_shard();
    let began = lab
        .out(FROM_HOST.tcp("10.0.0.7:5000", SERVER, SYN))
        .src
        .to_string();
    let open = lab
        .out(FROM_HOST.tcp("10.0.0.7:5001", SERVER, SYN))
        .src
        .to_string();
    lab.back(FROM_ROUTER.tcp(SERVER, &open, SYN | ACK));
    lab.wait(300, ROUND);
    lab.refused(
        true,
        FROM_ROUTER.tcp(SERVER, &began, SYN | ACK),
        "no_session",
    );
    lab.back(FROM_ROUTER.tcp(SERVER, &open, ACK));
    lab.back(FROM_ROUTER.tcp(SERVER, &open, RST));
    lab.wait(300, ROUND);
    lab.refused(true, FROM_ROUTER.tcp(SERVER, &open, ACK), "no_session");
}

#[test]
fn one_source_may_not_hold_more_than_its_share() {
    let mut lab = Lab::new(1, |text| {
        text.replace("sessions   = 1024", "sessions = 1024\nper-source = 3")
    });
    for port in 5000..5003 {
        lab.out(FROM_HOST.udp(&format!("10.0.0.7:{port}"), SERVER, b"x"));
    }
    lab.refused(
        false,
        FROM_HOST.udp("10.0.0.7:5003", SERVER, b"x"),
        "source_limit",
    );
    lab.out(FROM_HOST.udp("10.0.0.7:5000", SERVER, b"an old one goes on"));
    lab.out(FROM_HOST.udp("10.0.0.8:5003", SERVER, b"so does another host"));
    lab.wait(400, ROUND);
    lab.out(FROM_HOST.udp("10.0.0.7:5003", SERVER, b"room again"));
}

#[test]
fn a_full_table_drops_by_name_and_keeps_what_it_has() {
    let mut lab = Lab::one_shard();
    let mut kept = Vec::new();
    for port in 2000..6000 {
        let host = format!("10.0.0.7:{port}");
        let (_, out) = lab.put(false, &[FROM_HOST.udp(&host, SERVER, b"x")]);
        kept.extend(out.first().map(|frame| hear(frame).src));
    }
    assert!(kept.len() >= 1024, "{} sessions fit", kept.len());
    let full = lab.dropped("sessions_full") + lab.dropped("source_limit");
    assert_eq!(full as usize + kept.len(), 4000, "{:?}", lab.drops());
    lab.back(FROM_ROUTER.udp(SERVER, &kept[0].to_string(), b"y"));
}

#[test]
fn without_a_free_port_the_drop_says_so() {
    let mut lab = Lab::new(1, |text| {
        text.replace(
            "sessions   = 1024",
            "sessions = 1024\nports = \"7000-7001\"",
        )
    });
    let mut refused = 0;
    for port in 5000..6000 {
        let before = lab.dropped("nat_ports_exhausted");
        lab.put(
            false,
            &[FROM_HOST.udp(&format!("10.0.0.7:{port}"), SERVER, b"x")],
        );
        refused += lab.dropped("nat_ports_exhausted") - before;
    }
    assert!(refused >= 996, "{:?}", lab.drops());
}
