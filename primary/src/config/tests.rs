//! The config as operators write it, through the instance's own parser.

use super::*;
use baton::prelude::{CsumSource, Mac, PortId, PortInfo, Setup};

const BASE: &str = r#"
[instance]
file-prefix = "edge1"

[gateway.nat]
inside     = ["inside"]
outside    = "outside"
pool       = ["203.0.113.16/28"]
ports      = "1024-65535"
sessions   = 2_000_000
per-source = 4096
timeouts   = { udp = "5m", tcp-established = "2h4m", tcp-transitory = "4m", icmp = "60s" }

[[gateway.nat.forward]]
protocol = "tcp"
outside  = "203.0.113.2:443"
inside   = "10.0.7.20:443"
"#;

fn setup() -> Setup {
    let port = |id, name: &str, address: [u8; 4], len| PortInfo {
        id: PortId(id),
        name: name.into(),
        mac: Mac::default(),
        mtu: 1500,
        addresses: vec![(address.into(), len)],
        csum: CsumSource::Detect,
    };
    let inside = port(0, "inside", [10, 0, 0, 1], 16);
    let outside = port(1, "outside", [203, 0, 113, 2], 24);
    Setup::new(vec![inside, outside], vec![], 0, 2)
}

fn read<Q: QosClasses>(text: &str) -> Result<GatewayTable<Q>, String> {
    match baton::config::parse::<GatewayTable<Q>>(text, "edge1.toml", "gateway") {
        Ok(config) => Ok(config.program),
        Err(why) => Err(why.to_string()),
    }
}

fn check(text: &str) -> Result<Settings, String> {
    let table = read::<Qos>(text)?;
    Settings::new(&table, &setup()).map_err(|why| why.to_string())
}

fn refused(text: &str) -> String {
    match check(text) {
        Ok(settings) => panic!("accepted: {settings:?}"),
        Err(why) => why,
    }
}

#[test]
fn the_sample_of_the_manual_is_read() {
    let nat = check(BASE).unwrap().nat.unwrap();
    assert_eq!(nat.pool.len(), 16);
    assert_eq!(nat.inside, [true, false]);
    assert_eq!(nat.timeouts.tcp_established, 7_440);
    assert_eq!(nat.forwards[0].inside.port, 443);
    assert_eq!(nat.per_source, 4096);
}

#[test]
fn without_nat_it_is_a_router() {
    let text = "[instance]\nfile-prefix = \"a\"\n[gateway.routes]\nfrom = \"static\"\n";
    assert!(check(text).unwrap().nat.is_none());
}

#[test]
fn without_a_pool_the_outside_address_stands_in() {
    let text = BASE.replace("pool       = [\"203.0.113.16/28\"]\n", "");
    let nat = check(&text).unwrap().nat.unwrap();
    assert_eq!(nat.pool, [Ipv4Addr::new(203, 0, 113, 2)]);
}

#[test]
fn the_newer_program_reads_classes_and_the_older_names_the_way_out() {
    let text = format!("{BASE}\n[[gateway.qos.class]]\ndscp = 46\nclass = 5\n");
    let qos = read::<Qos>(&text).unwrap().qos.unwrap();
    assert_eq!((qos.class_of(46), qos.class_of(0)), (5, 0));
    let why = read::<NoQos>(&text).unwrap_err();
    assert!(
        why.contains("gateway.qos") && why.contains("2.0.0"),
        "{why}"
    );
    assert!(read::<NoQos>(BASE).is_ok());
    let why = read::<Qos>(&text.replace("46", "64")).unwrap_err();
    assert!(why.contains("dscp = 64"), "{why}");
}

#[test]
fn every_mistake_names_its_key_and_a_way_out() {
    for (from, to, words) in [
        (
            "inside     = [\"inside\"]",
            "inside = [\"lan\"]",
            &["gateway.nat.inside", "lan", "inside"][..],
        ),
        (
            "inside     = [\"inside\"]",
            "inside = []",
            &["gateway.nat.inside", "remove"],
        ),
        (
            "outside    = \"outside\"",
            "outside = \"inside\"",
            &["gateway.nat.inside", "outside port"],
        ),
        (
            "sessions   = 2_000_000",
            "sessions = 0",
            &["sessions", "at least 1"],
        ),
        (
            "203.0.113.16/28",
            "203.0.113.17/28",
            &["203.0.113.16/28", "203.0.113.17/32"],
        ),
        (
            "203.0.113.16/28",
            "10.0.0.0/8",
            &["gateway.nat.pool", "1024"],
        ),
        (
            "203.0.113.16/28",
            "203.0.113",
            &["203.0.113.16/28", "found"],
        ),
        ("1024-65535", "65535-1024", &["ports", "65535-1024"]),
        (
            "203.0.113.2:443",
            "203.0.113.3:443",
            &["gateway.nat.forward", "203.0.113.3:443", "pool"],
        ),
        (
            "udp = \"5m\"",
            "udp = \"5 minutes\"",
            &["5 minutes", "2h4m"],
        ),
        ("per-source", "per-sources", &["per-sources", "per-source"]),
        ("\"tcp\"", "\"sctp\"", &["sctp", "tcp", "udp"]),
    ] {
        let why = refused(&BASE.replace(from, to));
        for word in words {
            assert!(why.contains(word), "{to}: {word:?} is missing in: {why}");
        }
    }
}

#[test]
fn a_port_is_forwarded_once() {
    let again = "\n[[gateway.nat.forward]]\nprotocol = \"tcp\"\noutside = \"203.0.113.2:443\"\ninside = \"10.0.7.21:443\"\n";
    assert!(refused(&format!("{BASE}{again}")).contains("once"));
    let other = again.replace("tcp", "udp");
    assert!(check(&format!("{BASE}{other}")).is_ok());
}

#[test]
fn routes_from_the_kernel_are_refused_with_the_way_out() {
    let why = refused(&format!("{BASE}\n[gateway.routes]\nfrom = \"kernel\"\n"));
    assert!(
        why.contains("gateway.routes.from") && why.contains("[[route]]"),
        "{why}"
    );
}
