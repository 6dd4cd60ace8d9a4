//! A gateway that does not start is told at once, with a code, the supervisor's last words and a way out.

use std::path::Path;

use baton_tests::fixture::{Fixture, built, lab};
use baton_tests::instance::{Instance, config_text};
use baton_tests::lab::{PortKind, Shape};
use baton_tests::trial::OLDER;

/// Changes a good config; says what the supervisor says then, and with which code it ends.
fn refused(port: PortKind, changes: &[(&str, &str)], code: i32, sentence: &str) {
    let Some(Fixture { lab, .. }) = &lab(Shape::of(port)) else {
        return;
    };
    let mut text = config_text(lab, &built(OLDER));
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} in {text}");
        text = text.replace(from, to);
    }
    let error = Instance::start_config(lab, &text);
    let said = error.expect_err("it cannot start").to_string();
    let ended = format!("the supervisor ended: exit status: {code}");
    for part in [sentence, &ended, "way out: "] {
        assert!(said.contains(part), "{port}: {part:?} in {said}");
    }
}

#[test]
fn with_a_mistake_in_its_config() {
    for port in [PortKind::AfPacket, PortKind::Tap] {
        let misspelt = [("lcores", "lcroes")];
        refused(port, &misspelt, 2, "did you mean `lcores`?");
    }
}

#[test]
fn with_a_binary_that_is_not_there() {
    let gone = [(OLDER, "no-such-gateway")];
    refused(PortKind::AfPacket, &gone, 2, "no-such-gateway: cannot open");
}

#[test]
fn with_an_unknown_interface() {
    for port in [PortKind::AfPacket, PortKind::AfXdp] {
        refused(port, &[("iface=g0", "iface=g9")], 7, "g9");
    }
}

#[test]
fn with_more_queues_than_the_interface_has() {
    let two = [
        ("queue_count=1", "queue_count=2"),
        ("shards = 1", "shards = 2"),
    ];
    refused(PortKind::AfXdp, &two, 7, "run: ethtool -L g0");
}

#[test]
fn with_another_number_of_queues_than_of_shards() {
    let two = [("queue_count=1", "queue_count=2")];
    refused(
        PortKind::AfXdp,
        &two,
        2,
        "port[0].vdev: expected as many queues as shards, 1, found 2",
    );
}

#[test]
fn without_huge_pages_where_files_of_them_are_wanted() {
    if Path::new("/dev/hugepages").exists() {
        return eprintln!("SKIPPED: without_huge_pages: this machine has /dev/hugepages");
    }
    let wanted = [("[instance]", "[instance]\nmemory = \"hugetlbfs\"")];
    refused(PortKind::AfPacket, &wanted, 7, "mount -t hugetlbfs");
}
