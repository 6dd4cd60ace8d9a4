//! One suite of tests for every driver that has a neighbour: see [`suite`].

mod rig;
mod suite;

use std::cell::Cell;

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
