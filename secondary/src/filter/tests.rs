//! Rows of a session table against expressions, good and bad.

use std::net::Ipv4Addr;

use super::*;

const NOW: u64 = 100_000_000_000;

fn columns() -> Vec<Column> {
    [
        ("protocol", Kind::Protocol),
        ("inside_ip", Kind::Ipv4),
        ("dst_port", Kind::Port),
        ("created", Kind::TimeSec),
        ("last_seen", Kind::TimeSec),
        ("packets", Kind::U64),
    ]
    .map(|(name, kind)| Column {
        name: name.to_owned(),
        kind,
        named: false,
    })
    .to_vec()
}

fn row() -> Vec<Value> {
    vec![
        Value::Name("tcp".to_owned()),
        Value::Ipv4(Ipv4Addr::new(10, 0, 7, 20)),
        Value::Unsigned(443),
        Value::TimeSec(95),
        Value::TimeSec(0),
        Value::Unsigned(41),
    ]
}

fn wants(text: &str) -> bool {
    Filter::new(text, &columns())
        .unwrap_or_else(|error| panic!("{error}"))
        .wants(&row(), NOW)
}

#[test]
fn comparisons_hold_as_they_read() {
    for text in [
        "dst_port==443 && age<10s",
        "age >= 5s && age <= 5s",
        "age == 5",
        "protocol==tcp",
        "protocol != udp",
        "protocol == \"tcp\"",
        "inside_ip == 10.0.7.20",
        "inside_ip >= 10.0.0.0 && inside_ip < 10.1.0.0",
        "packets > 40 && !(packets > 41)",
        "proto==tcp && pkts==41",
        "packets == 1 || packets == 41",
        "packets == 1 && packets == 2 || dst_port = 443",
    ] {
        assert!(wants(text), "{text}");
    }
    for text in [
        "dst_port==80",
        "age>10s",
        "protocol==udp",
        "inside_ip == 10.0.7.21",
        "packets==41 && dst_port==1",
    ] {
        assert!(!wants(text), "{text}");
    }
}

#[test]
fn what_never_happened_is_neither_long_ago_nor_just_now() {
    assert!(!wants("idle < 10s"));
    assert!(!wants("idle > 10s"));
}

#[test]
fn mistakes_name_their_place() {
    for (text, at, why) in [
        (
            "dst_prot==443",
            0,
            "no field \"dst_prot\" here; there are protocol, inside_ip",
        ),
        ("dst_port=443 && ", 16, "a comparison expected here"),
        ("dst_port", 8, "==, !=, <, <=, > or >= expected here"),
        ("dst_port 443", 9, "==, !=, <, <=, > or >= expected here"),
        ("dst_port ==", 11, "a value expected here"),
        ("(dst_port==443", 0, "this parenthesis is not closed"),
        ("dst_port==443)", 13, "this parenthesis closes nothing"),
        ("dst_port==443 dst_port==80", 14, "&& or || expected here"),
        ("443==dst_port", 0, "no field \"443\" here"),
        (
            "age<tcp",
            4,
            "\"created\" is compared with a duration, for example 10s, this is a name",
        ),
        (
            "inside_ip==443",
            11,
            "\"inside_ip\" is compared with an IPv4 address, this is a number",
        ),
        (
            "packets<10s",
            8,
            "\"packets\" is compared with a number, this is a duration",
        ),
        (
            "protocol<tcp",
            8,
            "names can be compared with == and != only",
        ),
        ("packets ~ 3", 8, "'~' has no meaning here"),
        ("protocol == 'tcp", 12, "text without its closing quote"),
        ("", 0, "a comparison expected here"),
    ] {
        let error = Filter::new(text, &columns()).expect_err(text);
        assert_eq!(error.at(), at, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn the_error_points_at_the_word() {
    let error = Filter::new("dst_port==443 && adge<10s", &columns())
        .unwrap_err()
        .to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[1], "  | dst_port==443 && adge<10s");
    assert_eq!(lines[2], "  |                  ^^^^");
}

#[test]
fn nesting_without_end_is_an_error_not_a_crash() {
    let text = "(".repeat(100_000);
    assert!(
        Filter::new(&text, &columns())
            .unwrap_err()
            .to_string()
            .contains("nested too deep")
    );
}

#[test]
fn a_long_expression_is_shown_around_its_mistake_only() {
    let many = "packets > 1 || ".repeat(6_000);
    let name = "x".repeat(90_000);
    for text in [
        format!("{many}adge<10s || {many}packets > 1"),
        format!("{name} == 1"),
        format!("packets == \"{name}"),
        "é".repeat(50_000),
    ] {
        let error = Filter::new(&text, &columns()).unwrap_err().to_string();
        assert!(error.len() < 1_200, "{} bytes", error.len());
        let marked = error.lines().nth(2).unwrap_or_default();
        assert!(marked.contains('^'), "{error}");
    }
    let text = format!("{many}adge<10s || {many}packets > 1");
    let error = Filter::new(&text, &columns()).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    let at = lines[2].find('^').expect("a mark");
    assert_eq!(&lines[1][at..at + 4], "adge");
}
