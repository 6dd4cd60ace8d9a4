//! The harness tells the truth: with a kernel that forwards in the gateway's place it finds no loss where there is
//! none, and finds and counts the loss that is made on purpose.

use std::time::Duration;

use baton_tests::fixture::{Fixture, built, lab};
use baton_tests::lab::{Lab, Offloads, PortKind, Shape};
use baton_tests::tcp::{EchoServer, Iperf, TcpCounters, Web};
use baton_tests::traffic::control::{Load, Traffic};

/// A lab whose middle is a plain kernel router, or `None` (said aloud) where namespaces cannot be made.
fn routed(offloads: Offloads) -> Option<Fixture> {
    let fixture = lab(Shape {
        offloads,
        ..Shape::of(PortKind::AfPacket)
    })?;
    let lab = &fixture.lab;
    for line in [
        "addr add 10.0.0.1/24 dev g0",
        "addr add 203.0.113.2/24 dev g1",
        "route add default via 203.0.113.1",
        "route add 10.1.0.0/16 via 10.0.0.2",
    ] {
        lab.gateway.ip(line).expect(line);
    }
    lab.gateway
        .write("net/ipv4/ip_forward", "1")
        .expect("forwarding");
    lab.server
        .ip("route add 10.0.0.0/8 via 203.0.113.2")
        .expect("a way back");
    Some(fixture)
}

fn traffic(lab: &Lab, load: &Load) -> Traffic {
    Traffic::open(lab, &built("baton-traffic"), load).expect("every flow opens")
}

#[test]
fn a_stream_through_a_router_arrives_whole_with_either_kind_of_checksum() {
    for offloads in [Offloads::On, Offloads::Off] {
        let Some(Fixture { lab, .. }) = &routed(offloads) else {
            return;
        };
        let mut traffic = traffic(
            lab,
            &Load {
                rate: 20_000,
                flows: 500,
                sessions: 2_000,
            },
        );
        traffic.start().expect("it starts");
        std::thread::sleep(Duration::from_secs(1));
        traffic.mark("half").expect("a mark");
        std::thread::sleep(Duration::from_secs(1));
        let report = traffic.stop().expect("a report");
        assert!(report.is_clean(), "{offloads:?}: {report:?}");
        assert!(
            report.sent() > 20_000 && report.marks.len() == 1,
            "{report:?}"
        );
        // Every flow was seen, in both directions, the seldom ones included.
        assert!(
            report.up.sent >= 2_500 && report.down.sent >= 2_500,
            "{report:?}"
        );
        let unfinished = report.both(|arrived| arrived.unfinished_checksums);
        assert_eq!(unfinished > 0, offloads == Offloads::On, "{report:?}");
        assert!(lab.gateway.run("true").is_ok());
    }
}

#[test]
fn a_loss_made_on_purpose_is_counted() {
    let Some(Fixture { lab, .. }) = &routed(Offloads::On) else {
        return;
    };
    let mut traffic = traffic(
        lab,
        &Load {
            rate: 10_000,
            flows: 100,
            sessions: 0,
        },
    );
    traffic.start().expect("it starts");
    std::thread::sleep(Duration::from_millis(500));
    lab.gateway
        .write("net/ipv4/ip_forward", "0")
        .expect("forwarding off");
    std::thread::sleep(Duration::from_millis(300));
    lab.gateway
        .write("net/ipv4/ip_forward", "1")
        .expect("forwarding on");
    std::thread::sleep(Duration::from_millis(500));
    let report = traffic.stop().expect("a report");
    let (lost, received) = (report.both(|a| a.lost), report.both(|a| a.received));
    assert!(lost > 0 && !report.is_clean(), "{report:?}");
    assert_eq!(
        lost + received,
        report.sent(),
        "every packet is one or the other: {report:?}"
    );
    assert_eq!(report.both(|a| a.duplicated + a.reordered), 0, "{report:?}");
    assert!(!report.up.arrived.losers.is_empty());
}

#[test]
fn tcp_programs_run_beside_it_and_end_well() {
    let Some(Fixture { lab, .. }) = &routed(Offloads::On) else {
        return;
    };
    let echo = EchoServer::start(lab).expect("an echo server");
    let client = echo.connect(lab, "the only one").expect("a connection");
    let web = Web::start(lab).expect("nginx and curl");
    let iperf = Iperf::start(lab).expect("iperf3");
    std::thread::sleep(Duration::from_secs(2));
    client.prove_alive().expect("it answers");
    assert_eq!(TcpCounters::of(lab).expect("counters").resets, 0);
    let within = Duration::from_secs(20);
    assert!(iperf.finish(within).expect("iperf3 was alive") > 1e6);
    assert!(web.finish().expect("every file came whole") > 0);
    assert!(client.finish().expect("no reset") > 0);
}

#[test]
fn nothing_is_left_of_a_lab() {
    let Some(fixture) = routed(Offloads::Off) else {
        return;
    };
    let mut sleeper = fixture
        .lab
        .gateway
        .command("sleep")
        .arg("60")
        .spawn()
        .expect("sleep starts");
    let entered = baton_tests::wait::wait_for("it to enter", Duration::from_secs(10), || {
        let pids = fixture.lab.gateway.pids();
        if pids.is_empty() {
            Err("nobody inside")
        } else {
            Ok(pids)
        }
    });
    assert_eq!(entered.expect("it enters").len(), 1);
    drop(fixture);
    let status = sleeper.wait().expect("it was ours");
    assert!(!status.success(), "it was killed, not left");
}
