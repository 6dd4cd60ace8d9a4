//! Places of keys, and what the tables refuse.

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct File {
    instance: Instance,
    #[serde(default)]
    port: Vec<Port>,
    #[serde(default)]
    route: Vec<Route>,
}

const GOOD: &str = r#"[instance]
file-prefix = "edge1"
lcores = "1-2"

[[port]]
name = "inside"
vdev = "net_null0"
address = ["10.0.0.1/24", "2001:db8::1/64"]

[[port]]
name = "outside"
vdev = "net_null1"

[[route]]
prefix = "0.0.0.0/0"
via = "10.0.0.2"
"#;

fn read(text: &str) -> Result<File, String> {
    let document = Document::new("e.toml", text);
    let file: File = toml::from_str(text).map_err(|error| document.explain(&error))?;
    match check(&file.instance, &file.port, &file.route) {
        Ok(()) => Ok(file),
        Err(mistake) => Err(document.tell(&mistake)),
    }
}

#[test]
fn a_good_file_is_read() {
    let file = read(GOOD).expect("good");
    assert_eq!(
        (file.instance.cpus(), file.instance.shards()),
        (&[1, 2][..], 2)
    );
    assert_eq!((file.port[0].rxd, file.instance.mbufs), (2048, 16_384));
    assert_eq!(file.port[0].address[1].len, 64);
}

#[test]
fn each_mistake_is_told_with_file_line_column_key_and_what_was_found() {
    for (from, to, place, words) in [
        (
            "10.0.0.1/24",
            "10.0.0.256/24",
            "8:12: port[0].address[0]: ",
            "found \"10.0.0.256/24\"",
        ),
        (
            "10.0.0.1/24",
            "10.0.0.1/33",
            "8:12: port[0].address[0]: ",
            "0 to 32, found",
        ),
        (
            "2001:db8::1/64",
            "2001:db8::1/129",
            "8:27: port[0].address[1]: ",
            "0 to 128, found",
        ),
        (
            "0.0.0.0/0",
            "0.0.0.0/40",
            "15:10: route[0].prefix: ",
            "0 to 32, found",
        ),
        (
            "\"10.0.0.2\"",
            "\"10.0.2\"",
            "16:7: route[0].via: ",
            "expected an address",
        ),
        (
            "\"1-2\"",
            "\"2-1\"",
            "3:10: instance.lcores: ",
            "found \"2-1\"",
        ),
        (
            "\"1-2\"",
            "\"0-99\"",
            "3:10: instance.lcores: ",
            "at most 32",
        ),
        (
            "\"1-2\"",
            "\"1\"\nshards = 0",
            "4:10: instance.shards: ",
            "1 to 62, found 0",
        ),
        (
            "\"1-2\"",
            "\"1\"\nsocket-mem = \"1 GB\"",
            "4:14: instance.socket-mem: ",
            "MB per NUMA",
        ),
        (
            "\"1-2\"",
            "\"1\"\nidle = \"adaptve\"",
            "4:8: instance.idle: ",
            "did you mean `adaptive`?",
        ),
        (
            "\"edge1\"",
            "\"../x\"",
            "2:15: instance.file-prefix: ",
            "found \"../x\"",
        ),
        (
            "\"outside\"",
            "\"inside\"",
            "11:8: port[1].name: ",
            "which port[0] has",
        ),
        (
            "vdev = \"net_null1\"",
            "",
            "11:8: port[1].name: ",
            "found neither",
        ),
        (
            "name = \"inside\"",
            "nmae = \"inside\"",
            "6:1: port[0].nmae: ",
            "did you mean `name`?",
        ),
        (
            "name = \"inside\"",
            "",
            "5:1: port[0]: ",
            "missing field `name`",
        ),
        (
            "10.0.0.1/24",
            "0.0.0.0/0",
            "8:12: port[0].address[0]: ",
            "stands for none",
        ),
        (
            "10.0.0.1/24",
            "224.0.0.1/24",
            "8:12: port[0].address[0]: ",
            "is a group",
        ),
        (
            "10.0.0.1/24",
            "10.0.0.0/24",
            "8:12: port[0].address[0]: ",
            "the network itself",
        ),
        (
            "10.0.0.1/24",
            "10.0.0.255/24",
            "8:12: port[0].address[0]: ",
            "everybody in the network",
        ),
        (
            "2001:db8::1/64",
            "10.0.0.1/16",
            "8:27: port[0].address[1]: ",
            "stands nowhere else",
        ),
        (
            "net_null1",
            "net_null0,x=1",
            "12:8: port[1].vdev: ",
            "\"net_null0\", which port[0] has",
        ),
        (
            "\"10.0.0.2\"",
            "\"10.0.0.1\"",
            "16:7: route[0].via: ",
            "port \"inside\"'s own",
        ),
        ("[instance]", "[instance", "1:10: ", ""),
    ] {
        let said = read(&GOOD.replacen(from, to, 1)).expect_err(to);
        assert!(said.starts_with(&format!("e.toml:{place}")), "{to}: {said}");
        assert!(said.contains(words), "{to}: {said}");
    }
}

#[test]
fn a_network_of_two_hosts_has_no_other_addresses() {
    for address in ["10.0.0.0/31", "10.0.0.1/31", "10.0.0.0/32"] {
        assert!(read(&GOOD.replace("10.0.0.1/24", address)).is_ok());
    }
}

#[test]
fn the_line_is_shown_and_what_is_meant_underlined() {
    let said = read(&GOOD.replace("10.0.0.1/24", "10.0.0.1/33")).expect_err("33");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines[2],
        "8 | address = [\"10.0.0.1/33\", \"2001:db8::1/64\"]"
    );
    assert_eq!(lines[3], "  |            ^^^^^^^^^^^^^");
}

#[test]
fn a_line_without_end_is_cut_around_the_mistake() {
    let many = "\"10.0.0.1/24\", ".repeat(6_000);
    let text = GOOD.replace("[\"10.0.0.1/24\"", &format!("[{many}\"10.0.0.1/99\""));
    let said = read(&text).expect_err("99");
    assert!(said.len() < 700, "{} bytes", said.len());
    let key = GOOD.replace("lcores", &"x".repeat(90_000));
    let value = GOOD.replace("10.0.0.1/24", &"9".repeat(90_000));
    for text in [key, value] {
        let said = read(&text).expect_err("90 kB");
        assert!(said.len() < 2_000, "{} bytes", said.len());
    }
    assert!(
        said.lines().nth(2).is_some_and(|line| line.contains("/99")),
        "{said}"
    );
}

#[test]
fn a_key_that_is_not_there_is_placed_at_the_table_that_should_hold_it() {
    let document = Document::new("e.toml", GOOD);
    let at = |key: &str| document.tell(&Mistake::at(key, "missing"));
    assert!(at("port[1].mtu").starts_with("e.toml:10:1: port[1].mtu: "));
    assert!(at("gateway.nat").starts_with("e.toml: gateway.nat: missing"));
}

#[test]
fn memory_for_zones_is_what_packets_leave_of_it() {
    let tables = |more: &str| {
        let text = GOOD.replace("\"1-2\"", &format!("\"1\"\n{more}"));
        read(&text)
            .expect("good")
            .instance
            .tables_bytes(4096 * 2112)
    };
    assert_eq!(tables(""), TABLES);
    let left = (1 << 30) - 4096 * 2112;
    assert_eq!(tables("socket-mem = \"1024\"\nmbufs = 4096"), left);
    assert_eq!(tables("socket-mem = \"1\""), LEAST_TABLES);
}
