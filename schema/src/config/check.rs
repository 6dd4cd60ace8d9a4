//! What the shared tables say against each other, and addresses that nobody can have.

use super::{Instance, MOST_SHARDS, Mistake, Port, Route};

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
    let name = device_name(vdev);
    let same = |other: &Port| other.vdev.as_deref().map(device_name) == Some(name);
    match ports[..at].iter().position(same) {
        None => Ok(()),
        Some(first) => Err(Mistake::at(
            format!("port[{at}].vdev"),
            format!(
                "expected a device of its own, found {name:?}, which port[{first}] has; take another number"
            ),
        )),
    }
}

/// The `net_af_xdp0` of `net_af_xdp0,iface=eth0`.
fn device_name(vdev: &str) -> &str {
    vdev.split_once(',').map_or(vdev, |(name, _)| name).trim()
}

/// Own addresses are ones that a host can have, and stand once.
fn addresses(ports: &[Port], at: usize) -> Result<(), Mistake> {
    for (number, network) in ports[at].address.iter().enumerate() {
        let wrong = |what: String| Err(Mistake::at(format!("port[{at}].address[{number}]"), what));
        if let Some(kind) = network.no_host() {
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
