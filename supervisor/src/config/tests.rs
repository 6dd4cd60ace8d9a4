//! The files of the manual parse; each mistake is told with its place and a way out.

use super::*;

const GATEWAY: &str = r#"
[instance]
file-prefix = "edge1"
binary      = "/usr/lib/baton/baton-gateway"
lcores      = "1-2"
socket-mem  = "1024"
idle        = "adaptive"

[[port]]
name    = "inside"
vdev    = "net_af_xdp0,iface=ens5f0,queue_count=2"
address = ["10.0.0.1/16"]
rxd     = 4096
punt    = "kernel"

[[port]]
name    = "outside"
vdev    = "net_af_xdp1,iface=ens5f1,queue_count=2"
address = ["203.0.113.2/24"]

[[route]]
prefix = "0.0.0.0/0"
via    = "203.0.113.1"

[gateway.nat]
inside     = ["inside"]
sessions   = 2_000_000

[[gateway.nat.forward]]
protocol = "tcp"

[upgrade]
canary = 1
soak   = "30s"
keep   = 3
gate   = { drops = "+0.1%", rate = "-5%", heartbeat = "10ms" }

[metrics]
listen = "127.0.0.1:9719"
"#;

const ROUTER: &str = r#"
[instance]
file-prefix = "core1"
binary      = "/usr/lib/baton/baton-gateway"
lcores      = "2,4"
socket-mem  = "512"

[[port]]
name    = "west"
allow   = "0000:3b:00.0"
address = ["192.0.2.1/31", "2001:db8:0:1::1/64"]

[gateway.routes]
from = "kernel"
"#;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("/etc/baton/edge1.toml")).map_err(|error| error.to_string())
}

fn refusal(from: &str, to: &str) -> String {
    assert!(GATEWAY.contains(from), "{from}");
    parse(&GATEWAY.replacen(from, to, 1)).expect_err(to)
}

#[test]
fn the_gateway_of_the_manual_parses() {
    let config = parse(GATEWAY).expect("the manual's own file");
    assert_eq!(config.instance.file_prefix.0, "edge1");
    assert_eq!(config.instance.cpus(), [1, 2]);
    assert_eq!((config.lcores(), config.shards()), (2, 2));
    assert_eq!(config.upgrade.soak.0, Duration::from_secs(30));
    assert_eq!(config.upgrade.gate.rate, Some(Percent(-5000)));
    assert_eq!(config.upgrade.gate.drops, Some(Percent(100)));
    assert_eq!(config.port[0].punt, Some(config::Punt::Kernel));
    assert_eq!(config.text, GATEWAY);
}

#[test]
fn the_router_of_the_manual_parses() {
    let config = parse(ROUTER).expect("the manual's own file");
    assert_eq!(config.instance.cpus(), [2, 4]);
    assert_eq!(config.upgrade.keep, 3);
    assert!(config.of_prefix("edge1").is_err());
}

#[test]
fn two_lcores_may_share_a_cpu_and_shards_outnumber_lcores() {
    let config = parse(&GATEWAY.replace(
        "\"1-2\"",
        "\"1,1\"\nshards = 4\nmbufs = 2048\nmemory = \"hugetlbfs\"",
    ))
    .expect("valid");
    assert_eq!(
        (config.instance.cpus(), config.shards()),
        ([1, 1].as_slice(), 4)
    );
    assert_eq!(config.instance.memory, Memory::Hugetlbfs);
}

#[test]
fn an_unknown_key_is_told_with_file_line_column_and_the_near_name() {
    let said = refusal("lcores ", "lcroes ");
    assert!(
        said.starts_with("/etc/baton/edge1.toml:5:1: instance.lcroes: "),
        "{said}"
    );
    assert!(said.contains("unknown field `lcroes`"), "{said}");
    assert!(said.contains("did you mean `lcores`?"), "{said}");
}

#[test]
fn an_unknown_variant_names_the_known_ones() {
    let said = refusal("\"adaptive\"", "\"adaptve\"");
    assert!(
        said.contains("expected one of `adaptive`, `spin`, `sleep`"),
        "{said}"
    );
    assert!(said.contains("did you mean `adaptive`?"), "{said}");
}

#[test]
fn values_that_do_not_parse_point_at_themselves() {
    for (from, to, words) in [
        ("\"1-2\"", "\"2-1\"", "expected CPUs as"),
        ("\"30s\"", "\"30\"", "one of ms, s, m, h, d"),
        ("\"-5%\"", "\"-5\"", "is no share"),
        ("\"1024\"", "\"1 GB\"", "MB per NUMA socket"),
        ("\"edge1\"", "\"../x\"", "letters, digits"),
        ("4096", "\"many\"", "invalid type"),
    ] {
        let said = refusal(from, to);
        assert!(
            said.starts_with("/etc/baton/edge1.toml:") && said.contains(words),
            "{said}"
        );
    }
}

#[test]
fn a_stray_key_is_not_taken_for_the_binarys() {
    let said = parse(&format!("upgrde = 3\n{GATEWAY}")).expect_err("stray");
    assert!(
        said.contains("toml:1:10: upgrde: expected a table")
            && said.contains("did you mean `upgrade`?"),
        "{said}"
    );
}

#[test]
fn a_port_says_what_it_is_exactly_once() {
    assert!(
        refusal("vdev    = \"net_af_xdp0,iface=ens5f0,queue_count=2\"", "")
            .contains("exactly one of vdev and allow for port \"inside\", found neither")
    );
    assert!(
        refusal("\"outside\"", "\"inside\"")
            .contains("toml:17:11: port[1].name: expected a name of its own")
    );
}

#[test]
fn a_missing_file_names_itself() {
    let error = Config::load(Path::new("/nonexistent/edge1.toml")).expect_err("missing");
    assert!(error.to_string().starts_with("/nonexistent/edge1.toml: "));
}

#[test]
fn the_supervisor_needs_a_binary_and_lcores_and_its_own_prefix() {
    let said = refusal("lcores      = \"1-2\"", "");
    assert!(
        said.starts_with("/etc/baton/edge1.toml:2:1: instance.lcores: expected"),
        "{said}"
    );
    let said = refusal("binary      = \"/usr/lib/baton/baton-gateway\"", "");
    assert!(said.contains(":2:1: instance.binary: expected"), "{said}");
    let config = parse(GATEWAY).expect("good");
    assert_eq!(config.binary, Path::new("/usr/lib/baton/baton-gateway"));
    let said = config
        .of_prefix("core1")
        .expect_err("another's")
        .to_string();
    assert!(
        said.contains("edge1.toml:3:15: instance.file-prefix: expected \"core1\""),
        "{said}"
    );
}
