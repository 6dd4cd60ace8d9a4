//! What the parser takes and what it refuses.

use super::*;

fn refused(vdev: &str) -> String {
    PortSpec::parse_vdev(vdev).unwrap_err().to_string()
}

#[test]
fn the_strings_of_the_documentation_are_read() {
    let spec =
        PortSpec::parse_vdev("net_af_xdp0,iface=ens5f0,queue_count=2,start_queue=4").unwrap();
    assert_eq!(
        (spec.driver, spec.queues, spec.start_queue),
        (Driver::AfXdp, 2, 4)
    );
    assert_eq!(spec.iface.as_deref(), Some("ens5f0"));
    let spec = PortSpec::parse_vdev("net_af_packet1,iface=e0,qpairs=3").unwrap();
    assert_eq!((spec.driver, spec.queues), (Driver::AfPacket, 3));
    for vdev in [
        "net_tap0,iface=tap0",
        "net_ring0",
        "net_pcap0,rx_pcap=a,tx_pcap=b",
        "net_null12,size=128,flows=4",
    ] {
        let spec = PortSpec::parse_vdev(vdev).unwrap();
        assert_eq!(spec.name, vdev.split(',').next().unwrap());
        assert_eq!(spec.queues, 1);
    }
}

#[test]
fn garbage_is_refused_by_name() {
    assert!(refused("").contains("net_af_xdp, net_af_packet"));
    assert!(refused("net_af_xdp,iface=a").contains("\"net_af_xdp\" is no driver"));
    assert!(refused("net_foo0").contains("\"net_foo0\" is no driver"));
    assert!(refused("net_af_xdp0").contains("add iface=eth0"));
    assert!(refused("net_af_xdp0,iface").contains("\"iface\" is not key=value"));
    assert!(refused("net_af_xdp0,iface=").contains("is not key=value"));
    assert!(refused("net_af_xdp0,iface=a,iface=b").contains("stands there twice"));
    assert!(refused("net_af_xdp0,iface=a,queues=2").contains("it takes iface, queue_count"));
    assert!(refused("net_af_xdp0,iface=a,queue_count=0").contains("from 1 to 62"));
    assert!(refused("net_af_xdp0,iface=a,queue_count=x").contains("queue_count=\"x\""));
    assert!(refused("net_af_xdp0,iface=a,mode=fast").contains("auto, native or generic"));
    assert!(refused("net_af_xdp0,iface=a/b").contains("interface name"));
    assert!(refused("net_tap0,iface=sixteencharacter").contains("1 to 15"));
    assert!(refused("net_tap0,iface=t,mac=ff:ff:ff:ff:ff:ff").contains("unicast"));
    assert!(refused("net_pcap0").contains("rx_pcap"));
    assert!(refused("net_null0,size=9").contains("14 to 1514"));
    assert!(refused("net_null0,template=abc").contains("hexadecimal"));
}

#[test]
fn rings_are_powers_of_two() {
    let spec = PortSpec::parse_vdev("net_ring0")
        .unwrap()
        .named("inside", 3);
    assert_eq!((spec.name.as_str(), spec.id), ("inside", 3));
    let spec = spec.with_rings(512, 1024).unwrap();
    assert_eq!((spec.rxd, spec.txd), (512, 1024));
    let said = spec.with_rings(512, 1000).unwrap_err().to_string();
    assert!(said.contains("txd=\"1000\""), "{said}");
}

#[test]
fn an_ethernet_address_has_six_parts_of_two_digits() {
    assert_eq!(parse_mac("02:00:00:00:00:0a"), Some([2, 0, 0, 0, 0, 10]));
    for text in [
        "",
        "02:00:00:00:00",
        "02:00:00:00:00:00:00",
        "2:0:0:0:0:0",
        "zz:00:00:00:00:00",
    ] {
        assert_eq!(parse_mac(text), None, "{text}");
    }
}

#[test]
fn no_string_whatever_makes_the_parser_panic() {
    let strings = [
        "net_af_xdp0,iface=ens5f0,queue_count=2,mode=native",
        "net_null0,size=64,template=00,flows=3,mac=02:00:00:00:00:01",
    ];
    for text in strings {
        for at in 0..=text.len() {
            for odd in ["", ",", "=", ",,", "\0", "é", "9999999999", "-1"] {
                let broken = format!("{}{odd}{}", &text[..at], &text[at..]);
                let _ = PortSpec::parse_vdev(&broken);
                let _ = PortSpec::parse_vdev(&broken[..at]);
            }
        }
    }
}
