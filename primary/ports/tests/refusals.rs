//! Every refusal says what was found and what to do.

mod rig;

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use baton_ports::{PortError, PortSpec, adopt, create, cursors_bytes};
use baton_shared_state::Region;

use rig::net::{in_namespace, ip, skip, veth};
use rig::{MBUFS, Rig, pool};

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

fn refused(vdev: &str) -> String {
    match Rig::new(vdev) {
        Ok(_) => panic!("{vdev} was accepted"),
        Err(error) => error.to_string(),
    }
}

/// Takes capabilities out of this thread's effective set.
fn drop_capabilities(capabilities: &[u32]) {
    let header: [u32; 2] = [0x2008_0522, 0];
    let mut sets = [0u32; 6];
    // SAFETY: header and sets are as long as version 3 of the call wants them.
    let got = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    assert_eq!(got, 0);
    for capability in capabilities {
        sets[*capability as usize / 32 * 3] &= !(1 << (capability % 32));
    }
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(set, 0);
}

/// Whether this process has every right, so that taking one away is what makes the difference.
fn as_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skip(test, "needs root, to take rights away one by one");
    }
    root
}

#[test]
fn an_unknown_interface_is_named_beside_the_known_ones() {
    for driver in ["net_af_xdp0", "net_af_packet0"] {
        let said = refused(&format!("{driver},iface=no-such"));
        assert!(said.contains("\"no-such\" does not exist"), "{said}");
        assert!(said.contains("lo"), "{said}");
    }
}

#[test]
fn an_interface_that_is_down_is_named_with_the_command_that_brings_it_up() {
    in_namespace("an_interface_that_is_down", || {
        veth(1);
        ip(&["link", "set", "gw0", "down"]);
        for driver in ["net_af_xdp0", "net_af_packet0"] {
            let said = refused(&format!("{driver},iface=gw0"));
            assert!(said.contains("ip link set gw0 up"), "{said}");
        }
    });
}

#[test]
fn too_few_queues_are_told_with_the_command_that_gives_more() {
    in_namespace("too_few_queues", || {
        veth(1);
        let said = refused("net_af_xdp0,iface=gw0,queue_count=2");
        assert!(
            said.contains("has 1 receive queues, the port needs 2"),
            "{said}"
        );
        assert!(said.contains("ethtool -L gw0 rx 2 tx 2"), "{said}");
        let said = refused("net_af_xdp0,iface=gw0,start_queue=3");
        assert!(said.contains("needs 4"), "{said}");
    });
}

#[test]
fn more_queues_than_are_polled_are_a_warning() {
    if !as_root("more_queues_than_are_polled_are_a_warning") {
        return;
    }
    in_namespace("more_queues_than_are_polled", || {
        veth(2);
        let rig = Rig::new("net_af_xdp0,iface=gw0").unwrap();
        let warned = rig
            .warnings
            .iter()
            .any(|text| text.contains("ethtool -L gw0 rx 1 tx 1"));
        assert!(warned, "{:?}", rig.warnings);
    });
}

#[test]
fn an_interface_with_another_xdp_program_is_left_alone() {
    if !as_root("an_interface_with_another_xdp_program_is_left_alone") {
        return;
    }
    in_namespace("another_xdp_program", || {
        veth(1);
        let first = Rig::new("net_af_xdp0,iface=gw0").unwrap();
        for mode in ["native", "auto"] {
            let said = refused(&format!("net_af_xdp0,iface=gw0,mode={mode}"));
            assert!(said.contains("already carries an XDP program"), "{said}");
        }
        assert_eq!(first.adopt(0).mode(), "native", "the first goes on");
    });
}

#[test]
fn too_few_buffers_are_told_and_none_is_kept() {
    if !as_root("too_few_buffers_are_told_and_none_is_kept") {
        return;
    }
    in_namespace("too_few_buffers", || {
        veth(2);
        let spec = PortSpec::parse_vdev("net_af_xdp0,iface=gw0,queue_count=2").unwrap();
        let spec = spec.with_rings(MBUFS, 64).unwrap();
        let (pool, zone) = (pool(), Region::private(cursors_bytes(&spec)));
        let said = create(&spec, &pool, zone).unwrap_err().to_string();
        assert!(said.contains("0 free mbufs, 4096 are needed"), "{said}");
        assert_eq!(pool.ring().len(), MBUFS as usize);
    });
}

#[test]
fn a_missing_capability_is_named() {
    if !as_root("a_missing_capability_is_named") {
        return;
    }
    in_namespace("a_missing_capability", || {
        veth(1);
        let xdp = "net_af_xdp0,iface=gw0";
        drop_capabilities(&[CAP_NET_RAW]);
        let said = refused("net_af_packet0,iface=gw0");
        assert!(
            said.contains("CAP_NET_RAW") && said.contains("unshare -rn"),
            "{said}"
        );
        let said = refused(xdp);
        assert!(said.contains("CAP_NET_RAW"), "{said}");
        drop_capabilities(&[CAP_SYS_ADMIN, CAP_NET_ADMIN]);
        let said = refused(xdp);
        assert!(said.contains("CAP_NET_ADMIN"), "{said}");
        let said = refused("net_tap0,iface=tap0");
        assert!(said.contains("CAP_NET_ADMIN"), "{said}");
        drop_capabilities(&[CAP_BPF]);
        let said = refused(xdp);
        assert!(said.contains("CAP_BPF"), "{said}");
    });
}

#[test]
fn locked_memory_is_told_with_both_numbers() {
    if !as_root("locked_memory_is_told_with_both_numbers") {
        return;
    }
    in_namespace("locked_memory", || {
        veth(1);
        use nix::sys::resource::{Resource, setrlimit};
        setrlimit(Resource::RLIMIT_MEMLOCK, 1 << 20, 1 << 20).unwrap();
        drop_capabilities(&[CAP_IPC_LOCK]);
        let said = refused("net_af_xdp0,iface=gw0");
        let need = u64::from(MBUFS) * 2048;
        assert!(
            said.contains(&format!("registering {need} bytes")),
            "{said}"
        );
        assert!(said.contains("limit 1048576 bytes"), "{said}");
    });
}

#[test]
fn a_tap_of_another_kind_or_owner_is_refused() {
    in_namespace("a_tap_of_another_kind", || {
        ip(&["tuntap", "add", "dev", "tun7", "mode", "tun"]);
        let said = refused("net_tap0,iface=tun7");
        assert!(said.contains("ip tuntap add mode tap vnet_hdr"), "{said}");
        let first = Rig::new("net_tap0,iface=tap7").unwrap();
        let said = refused("net_tap0,iface=tap7");
        assert!(said.contains("a second owner of a TAP queue"), "{said}");
        assert!(first.adopt(0).link_up());
    });
}

#[test]
fn a_template_that_no_buffer_has_room_for_is_refused_before_the_first_poll() {
    let mut rig = Rig::new("net_null0").expect("the port can be made");
    let room = rig.pool.chunk() as usize - usize::from(rig.pool.headroom());
    for (size, fits) in [(room, true), (room + 1, false)] {
        // A vdev string does not get that far.
        let frame = "00".repeat(size);
        rig.spec.params.insert("template".to_owned(), frame);
        let cursors = Region::private(cursors_bytes(&rig.spec));
        create(&rig.spec, &rig.pool, cursors).expect("the port can be made");
        match adopt(&rig.spec, 0, &|_: &str| None, &rig.pool, cursors) {
            Ok(mut port) => {
                assert!(fits, "{size} of {room} bytes");
                assert_eq!(port.rx_burst(&mut rig.pool.cache(0), &mut [0; 4]), 4);
            }
            Err(why) => {
                let said = why.to_string();
                assert!(!fits && said.contains(&room.to_string()), "{said}");
                assert!(said.contains("shorter template"), "{said}");
            }
        }
    }
    let said = refused(&format!("net_null0,template={}", "00".repeat(1515)));
    assert!(said.contains("14 to 1514 bytes"), "{said}");
}

#[test]
fn a_descriptor_that_was_not_handed_over_is_named() {
    let rig = Rig::new("net_ring0").unwrap();
    let none: HashMap<String, OwnedFd> = HashMap::new();
    let source = |key: &str| none.get(key).and_then(|fd| fd.try_clone().ok());
    match adopt(&rig.spec, 0, &source, &rig.pool, rig.cursors) {
        Err(PortError::MissingFd { port, key }) => {
            assert_eq!(
                (port.as_str(), key.as_str()),
                ("inside", "port/inside/0/rings")
            );
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("adopted without a descriptor"),
    }
}

#[test]
fn rings_made_with_other_sizes_are_not_adopted() {
    let rig = Rig::new("net_ring0").unwrap();
    let other = rig.spec.clone().with_rings(1024, 512).unwrap();
    let source = |key: &str| rig.vault.get(key).and_then(|fd| fd.try_clone().ok());
    let said = match adopt(&other, 0, &source, &rig.pool, rig.cursors) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("adopted"),
    };
    assert!(
        said.contains("rxd=1024") && said.contains("--allow-reopen"),
        "{said}"
    );
}
