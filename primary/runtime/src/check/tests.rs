//! Mistakes of a config, each with its place, by the check of a program's author and the runtime's own.

use super::*;
use crate::config;
use crate::prelude::*;

struct Program;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    lan: String,
    rows: u32,
}

#[derive(Reason, Clone, Copy)]
enum Why {
    Never,
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "check.row", version = 1)]
#[repr(C)]
struct Row {
    word: u64,
}

#[derive(Zones)]
struct State {
    #[zone(migrate)]
    rows: Table<FlowKey, Row>,
}

impl Datapath for Program {
    type Config = Own;
    type State = State;
    type Drop = Why;

    fn name() -> String {
        "own".into()
    }

    fn capacity(config: &Own, _zone: &str) -> u32 {
        config.rows
    }

    fn capacity_key(_zone: &str) -> String {
        "own.rows".into()
    }

    fn check_config(config: &Own, setup: &Setup) -> Result<()> {
        match setup.port(&config.lan) {
            Ok(_) => Ok(()),
            Err(why) => Err(Error::at("own.lan", why.to_string())),
        }
    }

    fn new(_config: &Own, _setup: &Setup) -> Result<Self> {
        Ok(Program)
    }

    fn burst(&mut self, shard: &mut Shard<Self>, burst: Burst) {
        for packet in burst {
            shard.drop(packet, Why::Never);
        }
    }
}

const GOOD: &str = r#"[instance]
file-prefix = "t"
lcores = "0"

[[port]]
name = "lan"
vdev = "net_af_xdp0,iface=eth1,queue_count=1"
address = ["10.0.0.1/24"]

[[port]]
name = "wan"
vdev = "net_tap1,iface=tap1"

[[route]]
prefix = "0.0.0.0/0"
via = "10.0.0.2"

[own]
lan = "lan"
rows = 1000
"#;

fn checked(text: &str) -> core::result::Result<(), Refused> {
    let config = config::parse::<Own>(text, "t.toml", "own").map_err(Refused::Config)?;
    check::<Program>(&config)
}

fn refused(from: &str, to: &str) -> String {
    match checked(&GOOD.replacen(from, to, 1)) {
        Err(Refused::Config(why)) => why.to_string(),
        other => panic!("{to}: {other:?}"),
    }
}

#[test]
fn a_good_config_is_taken() {
    checked(GOOD).expect("good");
}

#[test]
fn each_mistake_is_told_with_its_place_and_a_way_out() {
    for (from, to, place, words) in [
        (
            "net_af_xdp0",
            "net_afxdp0",
            "7:8: port[0].vdev: ",
            "expected one of net_af_xdp",
        ),
        (
            "iface=eth1",
            "ifcae=eth1",
            "7:8: port[0].vdev: ",
            "it takes iface",
        ),
        ("iface=eth1,", "", "7:8: port[0].vdev: ", "add iface=eth0"),
        (
            "queue_count=1",
            "queue_count=0",
            "7:8: port[0].vdev: ",
            "1 to 62, found 0",
        ),
        (
            "queue_count=1",
            "queue_count=99",
            "7:8: port[0].vdev: ",
            "1 to 62, found 99",
        ),
        (
            "queue_count=1",
            "queue_count=2",
            "7:8: port[0].vdev: ",
            "as many queues as shards, 1, found 2",
        ),
        (
            "iface=tap1",
            "iface=eth1",
            "12:8: port[1].vdev: ",
            "which port[0] \"lan\" has",
        ),
        ("\"wan\"", "\"lan\"", "11:8: port[1].name: ", "rename one"),
        (
            "name = \"wan\"",
            "name = \"wan\"\nrxd = 100",
            "12:7: port[1].rxd: ",
            "a power of two",
        ),
        (
            "vdev = \"net_tap1,iface=tap1\"",
            "allow = \"0000:3b:00.0\"",
            "12:9: port[1].allow: ",
            "use vdev",
        ),
        (
            "\"0\"",
            "\"0\"\nshards = 63",
            "4:10: instance.shards: ",
            "1 to 62, found 63",
        ),
        (
            "\"0\"",
            "\"0\"\nmbufs = 64",
            "4:9: instance.mbufs: ",
            "raise mbufs",
        ),
        (
            "\"0\"",
            "\"0\"\nmbufs = 4_000_000_000",
            "4:9: instance.mbufs: ",
            "take fewer",
        ),
        (
            "\"0\"",
            "\"0\"\nsocket-mem = \"4000000000\"",
            "4:14: instance.socket-mem: ",
            "take less",
        ),
        (
            "\"10.0.0.2\"",
            "\"2001:db8::1\"",
            "16:7: route[0].via: ",
            "expected IPv4",
        ),
        (
            "lan = \"lan\"",
            "lan = \"lna\"",
            "19:7: own.lan: ",
            "no port is named \"lna\"",
        ),
        (
            "rows = 1000",
            "rows = 4294967295",
            "20:8: own.rows: ",
            "4294967295",
        ),
        (
            "rows = 1000",
            "rows = 500_000_000",
            "20:8: own.rows: ",
            "raise instance.socket-mem",
        ),
    ] {
        let why = refused(from, to);
        assert!(why.starts_with(&format!("t.toml:{place}")), "{to}: {why}");
        assert!(why.contains(words), "{to}: {why}");
    }
}

#[test]
fn more_socket_mem_takes_more_rows() {
    let rows = GOOD.replace("rows = 1000", "rows = 60_000_000");
    assert!(checked(&rows).is_err());
    let more = rows.replace("\"0\"", "\"0\"\nsocket-mem = \"6000\"");
    checked(&more).expect("room");
}

#[test]
fn a_cpu_that_is_not_there_is_the_machines_fault() {
    match checked(&GOOD.replace("\"0\"", "\"4095\"")) {
        Err(Refused::Machine(why)) => {
            let why = why.to_string();
            assert!(why.starts_with("t.toml:3:10: instance.lcores: "), "{why}");
            assert!(why.contains("found 4095"), "{why}");
        }
        other => panic!("{other:?}"),
    }
}
