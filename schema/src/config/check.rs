//! What the shared tables say against each other, and addresses that nobody can have.

use super::{Instance, MOST_SHARDS, Mistake, Network, Port, Route};
use std::net::IpAddr;

/// What the tables say against each other.
///
/// # Errors
/// The first mistake, by its key.
pub fn check(instance: &Instance, ports: &[Port], routes: &[Route]) -> Result<(), Mistake> {
    let shards = instance.shards();
    if !(1..=MOST_SHARDS).contains(&shards) {
        return Err(Mistake::at(
            "instance.shards",
            format!("expected 1 to {MOST_SHARDS}, found {shards}; leave it out for one an lcore"),
        ));
    }
    for (at, port) in ports.iter().enumerate() {
        device(ports, at)?;
        if let Some(first) = ports[..at].iter().position(|other| other.name == port.name) {
            return Err(Mistake::at(
                format!("port[{at}].name"),
                format!(
                    "expected a name of its own, found {:?}, which port[{first}] has; rename one",
                    port.name
                ),
            ));
        }
        addresses(ports, at)?;
    }
    (0..routes.len()).try_for_each(|at| next_hop(ports, routes, at))
}

/// Each port has one device, and no other port has it.
fn device(ports: &[Port], at: usize) -> Result<(), Mistake> {
    let port = &ports[at];
    let vdev = match (&port.vdev, &port.allow) {
        (Some(vdev), None) => vdev,
        (None, Some(_)) => return Ok(()), // no driver of this build takes one, as the start says
        (found, _) => {
            let (key, found) = match found {
                Some(_) => ("allow", "both"),
                None => ("name", "neither"),
            };
            return Err(Mistake::at(
                format!("port[{at}].{key}"),
                format!(
                    "expected exactly one of vdev and allow for port {:?}, found {found}; write vdev = \"net_af_xdp0,iface=...\"",
                    port.name
                ),
            ));
        }
    };
    let name = |vdev: &str| vdev.split(',').next().unwrap_or_default().trim().to_owned();
    let same = |other: &Port| other.vdev.as_deref().map(name) == Some(name(vdev));
    match ports[..at].iter().position(same) {
        None => Ok(()),
        Some(first) => Err(Mistake::at(
            format!("port[{at}].vdev"),
            format!(
                "expected a device of its own, found {:?}, which port[{first}] has; take another number",
                name(vdev)
            ),
        )),
    }
}

/// Own addresses are ones that a host can have, and stand once.
fn addresses(ports: &[Port], at: usize) -> Result<(), Mistake> {
    for (number, network) in ports[at].address.iter().enumerate() {
        let wrong = |what: String| Err(Mistake::at(format!("port[{at}].address[{number}]"), what));
        if let Some(kind) = no_host(network) {
            return wrong(format!(
                "expected the address of a host with the length of its network's prefix as \"10.0.0.1/24\", found {}/{}, {kind}; give the address that the port is to answer to",
                network.address, network.len
            ));
        }
        let earlier = ports[..at].iter().flat_map(|port| &port.address);
        let mut earlier = earlier.chain(&ports[at].address[..number]);
        if earlier.any(|other| other.address == network.address) {
            return wrong(format!(
                "expected an address that stands nowhere else, found {} again; remove one",
                network.address
            ));
        }
    }
    Ok(())
}

/// What an address is, if no host has it.
fn no_host(network: &Network) -> Option<&'static str> {
    match network.address {
        address if address.is_unspecified() => Some("which stands for none"),
        address if address.is_multicast() => Some("which is a group"),
        address if address.is_loopback() => Some("which is each host's own"),
        IpAddr::V4(address) if address.is_broadcast() => Some("which is everybody"),
        // RFC 3021: a network of 31 bits is its two hosts.
        IpAddr::V4(address) if network.len < 31 => {
            let host = u32::MAX >> network.len;
            match u32::from(address) & host {
                0 => Some("which is the network itself"),
                all if all == host => Some("which is everybody in the network"),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A next hop is somebody else.
fn next_hop(ports: &[Port], routes: &[Route], at: usize) -> Result<(), Mistake> {
    let via = routes[at].via.0;
    let owns = |port: &Port| port.address.iter().any(|own| own.address == via);
    match ports.iter().find(|port| owns(port)) {
        None => Ok(()),
        Some(port) => Err(Mistake::at(
            format!("route[{at}].via"),
            format!(
                "expected the address of a router, found {via}, which is port {:?}'s own; give the neighbour's",
                port.name
            ),
        )),
    }
}
