//! The library's promise: the sticky load balancer of the runtime's examples, written without any `unsafe` and
//! without a word about upgrades, is replaced under traffic by a version with another record, and taken back; every
//! flow keeps the server it first met.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use baton_tests::fixture::{Fixture, built, lab, ports};
use baton_tests::instance::{Instance, PREFIX};
use baton_tests::lab::{Lab, PortKind, Shape};
use baton_tests::traffic::frame::{self, Checksum, HEADERS, Header, Kind, MIN_PAYLOAD, Mac, Probe};
use baton_tests::traffic::socket::{Sender, Sink};

const OLDER: &str = "examples/balancer-1";
const NEWER: &str = "examples/balancer";
const SERVERS: u8 = 7;
const FLOWS: u32 = 100;
const DEADLINE: Duration = Duration::from_secs(20);

/// The client: sends packets of many flows and remembers which server each was sent to.
struct Client {
    sender: Sender,
    sink: Sink,
    server_of: HashMap<u32, Mac>,
    sent: u64,
    received: u64,
    due: HashMap<u32, u64>,
}

impl Client {
    fn open(lab: &Lab) -> Client {
        let open = || {
            let sender = Sender::open(Lab::CLIENT_IF, Checksum::Complete);
            let sink = Sink::open(Lab::CLIENT_IF, 8, 256);
            (sender.expect("a sender"), sink.expect("a sink"))
        };
        let (sender, sink) = lab.client.inside(open).expect("the client's namespace");
        Client {
            sender,
            sink,
            server_of: HashMap::new(),
            sent: 0,
            received: 0,
            due: HashMap::new(),
        }
    }

    /// One packet of each of these flows, and every answer.
    fn round(&mut self, flows: std::ops::Range<u32>) {
        for flow in flows {
            self.send(flow);
        }
        let until = Instant::now() + DEADLINE;
        while self.received < self.sent {
            self.take();
            let missing = self.sent - self.received;
            assert!(
                Instant::now() < until,
                "{missing} packets did not come back"
            );
            // The balancer may want this core.
            std::thread::yield_now();
        }
    }

    fn send(&mut self, flow: u32) {
        let seq = self.due.get(&flow).copied().unwrap_or_default();
        let header = Header {
            dst_mac: [2, 0, 0, 0, 0, 0xfe],
            src_mac: [2, 0, 0, 0, 0, 0x01],
            src: [10, 0, 0, 2].into(),
            dst: [10, 0, 0, 100].into(),
            src_port: 10_000 + flow as u16,
            dst_port: 80,
        };
        let probe = Probe {
            kind: Kind::Up,
            flow,
            seq,
            sent_ns: 0,
        };
        let mut bytes = vec![0; HEADERS + MIN_PAYLOAD];
        frame::write(&mut bytes, &header, &probe, Checksum::Complete);
        let refused = self.sender.send(&mut [bytes]).expect("a send");
        assert_eq!(refused, 0, "the kernel refused a packet");
        self.sent += 1;
    }

    fn take(&mut self) {
        let (server_of, due, received) = (&mut self.server_of, &mut self.due, &mut self.received);
        self.sink.drain(64, |packet| {
            let Some(seen) = frame::read(packet.bytes) else {
                return;
            };
            // What we sent ourselves has the virtual server's address still.
            if seen.header.dst_mac[5] == 0xfe {
                return;
            }
            let flow = seen.probe.flow;
            let next = due.entry(flow).or_default();
            assert_eq!(
                seen.probe.seq, *next,
                "flow {flow}: a packet was lost, doubled or overtaken"
            );
            *next += 1;
            *received += 1;
            let server = *server_of.entry(flow).or_insert(seen.header.dst_mac);
            assert_eq!(
                server, seen.header.dst_mac,
                "flow {flow} was sent to another server"
            );
        });
    }
}

fn config(lab: &Lab) -> String {
    let servers: Vec<String> = (1..=SERVERS)
        .map(|n| format!("\"02:00:00:00:01:{n:02x}\""))
        .collect();
    format!(
        "[instance]\nfile-prefix = \"{PREFIX}\"\nbinary = \"{}\"\nlcores = \"{}\"\nidle = \"adaptive\"\n\n\
         [upgrade]\nsoak = \"3s\"\n\n\
         [[port]]\nname = \"lan\"\nvdev = \"{}\"\n\n[balancer]\nservers = [{}]\n",
        built(OLDER).display(),
        lab.shape().cpus.lcores,
        lab.vdevs()[0],
        servers.join(", "),
    )
}

fn sticky_there_and_back(port: PortKind) {
    let Some(Fixture { lab, .. }) = &lab(Shape::of(port)) else {
        return;
    };
    let instance = Instance::start_config(lab, &config(lab)).expect("it forwards");
    let mut client = Client::open(lab);
    client.round(0..FLOWS);
    let newer = built(NEWER);
    let newer = newer.to_str().expect("a path of letters");
    let soaking = std::thread::scope(|scope| {
        let upgrade = scope.spawn(|| instance.say(&["upgrade", PREFIX, newer, "--yes"]));
        while !upgrade.is_finished() {
            client.round(0..FLOWS);
        }
        upgrade.join().expect("no panic")
    });
    let said = soaking.expect("a verb");
    assert_eq!(said.code, 0, "{said:?}");
    client.round(0..2 * FLOWS);
    let back = std::thread::scope(|scope| {
        let back = scope.spawn(|| instance.say(&["rollback", PREFIX]));
        while !back.is_finished() {
            client.round(0..2 * FLOWS);
        }
        back.join().expect("no panic")
    });
    let said = back.expect("a verb");
    assert!(said.code == 0 || said.code == 6, "{said:?}");
    client.round(0..2 * FLOWS);
    let servers: std::collections::HashSet<&Mac> = client.server_of.values().collect();
    assert_eq!(
        servers.len(),
        usize::from(SERVERS),
        "all servers have flows"
    );
    instance.stop().expect("it ends");
}

#[test]
fn every_flow_keeps_its_server_over_an_upgrade_and_the_way_back() {
    for port in ports().into_iter().filter(|port| *port != PortKind::Tap) {
        sticky_there_and_back(port);
    }
}
