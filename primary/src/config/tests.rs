//! The config as operators write it, through the instance's own parser.

use super::*;
use baton::config::Config;
use baton::prelude::{CsumSource, Mac, PortId, PortInfo, RouteConfig, Setup};

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

fn config<Q: QosClasses>(text: &str) -> Result<Config<GatewayTable<Q>>, String> {
    baton::config::parse(text, "edge1.toml", "gateway").map_err(|why| why.to_string())
}

fn read<Q: QosClasses>(text: &str) -> Result<GatewayTable<Q>, String> {
    config(text).map(|config| config.program)
}

fn check(text: &str) -> Result<Settings, String> {
    let config = config::<Qos>(text)?;
    Settings::new(&config.program, &setup()).map_err(|why| config.locate(why).to_string())
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
    assert!(
        why.contains("gateway.qos.class") && why.contains("found 64"),
        "{why}"
    );
}

#[test]
fn every_mistake_names_its_key_and_a_way_out() {
    for (from, to, place, words) in [
        (
            "[\"inside\"]",
            "[\"lan\"]",
            "6:15: gateway.nat.inside[0]: ",
            "\"lan\"; the config has inside",
        ),
        (
            "[\"inside\"]",
            "[]",
            "6:14: gateway.nat.inside: ",
            "remove [gateway.nat]",
        ),
        (
            "\"outside\"",
            "\"wan\"",
            "7:14: gateway.nat.outside: ",
            "the config has inside, outside",
        ),
        (
            "\"outside\"",
            "\"inside\"",
            "6:15: gateway.nat.inside[0]: ",
            "than the outside one",
        ),
        (
            "2_000_000",
            "0",
            "10:14: gateway.nat.sessions: ",
            "at least 1",
        ),
        ("4096", "0", "11:14: gateway.nat.per-source: ", "at least 1"),
        (
            "203.0.113.16/28",
            "203.0.113.17/28",
            "8:15: gateway.nat.pool[0]: ",
            "203.0.113.17/32",
        ),
        (
            "203.0.113.16/28",
            "10.0.0.0/8",
            "8:14: gateway.nat.pool: ",
            "at most 1024",
        ),
        (
            "203.0.113.16/28",
            "203.0.113.0/28",
            "8:14: gateway.nat.pool: ",
            "203.0.113.0, which is the network itself of port \"outside\"",
        ),
        (
            "203.0.113.16/28",
            "203.0.113.248/29",
            "8:14: gateway.nat.pool: ",
            "203.0.113.255, which is everybody",
        ),
        (
            "203.0.113.16/28",
            "224.0.0.16/28",
            "8:14: gateway.nat.pool: ",
            "224.0.0.16, which is a group",
        ),
        (
            "203.0.113.16/28",
            "10.0.7.0/24",
            "8:14: gateway.nat.pool: ",
            "10.0.7.0, which is in the translated network of port \"inside\"",
        ),
        (
            "203.0.113.16/28",
            "203.0.113",
            "8:15: gateway.nat.pool[0]: ",
            "203.0.113.16/28",
        ),
        (
            "1024-65535",
            "65535-1024",
            "9:14: gateway.nat.ports: ",
            "65535-1024",
        ),
        (
            "203.0.113.2:443",
            "203.0.113.3:443",
            "16:12: gateway.nat.forward[0].outside: ",
            "the pool, found",
        ),
        (
            "203.0.113.2:443",
            "203.0.113.2:0",
            "16:12: gateway.nat.forward[0].outside: ",
            "1 to 65535",
        ),
        (
            "10.0.7.20:443",
            "10.0.7.20:0",
            "17:12: gateway.nat.forward[0].inside: ",
            "1 to 65535",
        ),
        (
            "\"5m\"",
            "\"5 minutes\"",
            "12:22: gateway.nat.timeouts.udp: ",
            "2h4m",
        ),
        (
            "per-source",
            "per-sources",
            "11:1: gateway.nat.per-sources: ",
            "did you mean `per-source`?",
        ),
        (
            "\"tcp\"",
            "\"sctp\"",
            "15:12: gateway.nat.forward[0].protocol: ",
            "`tcp`",
        ),
    ] {
        let why = refused(&BASE.replacen(from, to, 1));
        assert!(
            why.starts_with(&format!("edge1.toml:{place}")),
            "{to}: {why}"
        );
        assert!(why.contains(words), "{to}: {words:?} is missing in: {why}");
    }
}

#[test]
fn a_router_is_not_in_the_pool_and_a_network_of_ours_elsewhere_is_all_pool() {
    let ours = BASE.replace("203.0.113.16/28", "198.51.100.0/28");
    let [inside, outside] = [0, 1].map(|at| setup().ports()[at].clone());
    let via = |via: [u8; 4]| {
        let route = RouteConfig {
            prefix: Ipv4Addr::UNSPECIFIED,
            len: 0,
            via: via.into(),
        };
        Setup::new(vec![inside.clone(), outside.clone()], vec![route], 0, 2)
    };
    let nat = |text: &str, setup| Settings::new(&read::<Qos>(text).unwrap(), &setup);
    let settings = nat(&ours, via([203, 0, 113, 17])).unwrap();
    assert_eq!(settings.nat.unwrap().pool.len(), 16);
    let why = nat(BASE, via([203, 0, 113, 17])).unwrap_err().to_string();
    assert!(why.contains("203.0.113.17, which is the next hop"), "{why}");
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
