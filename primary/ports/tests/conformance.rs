//! One suite of tests for every driver that has a neighbour: see [`suite`].

mod rig;
mod suite;

use std::cell::Cell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use rig::Rig;
use rig::net::{in_namespace, skip, veth};
use suite::conforms;

/// Whether BPF programs may be loaded: AF_XDP as an ordinary user is another test.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn net_ring_conforms() {
    conforms(Rig::ringed);
}

#[test]
fn net_af_packet_conforms() {
    in_namespace("net_af_packet_conforms", || {
        veth(1);
        conforms(|| Rig::wired("net_af_packet0,iface=gw0", "peer0"));
    });
}

#[test]
fn net_tap_conforms() {
    in_namespace("net_tap_conforms", || {
        let made = Cell::new(0);
        conforms(move || {
            made.set(made.get() + 1);
            let iface = format!("tap{}", made.get());
            Rig::wired(&format!("net_tap0,iface={iface}"), &iface)
        });
    });
}

#[test]
fn net_af_xdp_conforms_in_native_mode() {
    af_xdp("net_af_xdp_conforms_in_native_mode", "native");
}

#[test]
fn net_af_xdp_conforms_in_generic_mode() {
    af_xdp("net_af_xdp_conforms_in_generic_mode", "generic");
}

fn af_xdp(test: &'static str, mode: &'static str) {
    if !is_root() {
        skip(test, "loading an XDP program needs root");
        return;
    }
    in_namespace(test, move || {
        let vdev = format!("net_af_xdp0,iface=gw0,mode={mode}");
        conforms(move || {
            veth(1);
            let rig = Rig::wired(&vdev, "peer0");
            assert_eq!(rig.adopt(0).mode(), mode);
            rig
        });
    });
}

/// The same as an ordinary user in a user namespace of its own: this program again, as nobody.
#[test]
fn af_packet_and_tap_conform_for_an_ordinary_user() {
    let test = "af_packet_and_tap_conform_for_an_ordinary_user";
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("conformance");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let mut command = if is_root() {
        let mut command = std::process::Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "unshare",
        ]);
        command
    } else {
        std::process::Command::new("unshare")
    };
    command.args(["--user", "--map-root-user"]).arg(&program);
    command.args(["--exact", "net_af_packet_conforms"]);
    let tun = std::fs::metadata("/dev/net/tun").map(|tun| tun.permissions().mode());
    let both = tun.is_ok_and(|mode| mode & 0o006 == 0o006);
    if both {
        command.arg("net_tap_conforms");
    } else {
        skip(
            test,
            "net_tap: /dev/net/tun is not open to all users here; net_af_packet alone",
        );
    }
    let ran = if both {
        "running 2 tests"
    } else {
        "running 1 test"
    };
    let output = match command.current_dir("/").output() {
        Ok(output) => output,
        Err(error) => return skip(test, &format!("setpriv or unshare is missing ({error})")),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if !said.contains(ran) || complaint.contains("skipped:") {
        return skip(
            test,
            &format!("no user namespaces here: {}", complaint.trim()),
        );
    }
    assert!(output.status.success(), "{said}{complaint}");
}
