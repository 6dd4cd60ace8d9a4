//! What: the `[gateway]` table after it was checked against the ports: numbers and addresses, no
//! names, ready for the datapath.

use super::{GatewayTable, NatTable, PortRange, RouteSource};
use crate::links::in_network;
use baton::config::Network as PortNetwork;
use baton::prelude::{Error, PortId, PortInfo, Result, Setup};
use baton_datapath::rewrite::End;
use baton_datapath::tcp_state::Timeouts;
use std::net::Ipv4Addr;

/// The most addresses a pool may have: each costs 24 KiB of private memory a shard.
const POOL_LIMIT: usize = 1_024;

/// A checked config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Translation, if there is any.
    pub nat: Option<Nat>,
}

/// How addresses are translated.
#[derive(Clone, Debug)]
pub struct Nat {
    /// For each port: are its hosts translated?
    pub inside: Vec<bool>,
    /// The port translated packets leave by.
    pub outside: PortId,
    /// The addresses they leave with.
    pub pool: Vec<Ipv4Addr>,
    /// The ports they leave with.
    pub ports: PortRange,
    /// Sessions that one inside address may hold.
    pub per_source: u32,
    /// How long sessions may stay silent.
    pub timeouts: Timeouts,
    /// Static forwards.
    pub forwards: Vec<Forward>,
}

/// A static port forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// IP protocol number.
    pub protocol: u8,
    /// What clients outside connect to.
    pub outside: End,
    /// Where they arrive.
    pub inside: End,
}

impl Settings {
    /// Checks the table against the instance's ports.
    ///
    /// # Errors
    /// Names the key, what was found, and the way out.
    pub fn new<Q>(table: &GatewayTable<Q>, setup: &Setup) -> Result<Settings> {
        if table.routes.from == RouteSource::Kernel {
            return Err(Error::at(
                "gateway.routes.from",
                "expected \"static\", found \"kernel\", which is not built; list the routes as [[route]]",
            ));
        }
        let nat = table.nat.as_ref().map(|nat| check_nat(nat, setup));
        Ok(Settings {
            nat: nat.transpose()?,
        })
    }
}

fn check_nat(table: &NatTable, setup: &Setup) -> Result<Nat> {
    let outside = port(setup, "gateway.nat.outside".into(), &table.outside)?;
    let mut inside = vec![false; setup.ports().len()];
    for (at, name) in table.inside.iter().enumerate() {
        let key = format!("gateway.nat.inside[{at}]");
        let found = port(setup, key.clone(), name)?;
        if found.id == outside.id {
            let what = format!(
                "expected another port than the outside one, found {name:?}; hosts behind one port are either translated or not"
            );
            return Err(Error::at(key, what));
        }
        inside[usize::from(found.id.0)] = true;
    }
    if table.inside.is_empty() {
        return Err(Error::at(
            "gateway.nat.inside",
            "expected at least one port, found none; name those whose hosts are to be translated, or remove [gateway.nat]",
        ));
    }
    for (key, value) in [
        ("sessions", table.sessions),
        ("per-source", table.per_source),
    ] {
        if value == 0 {
            return Err(Error::at(
                format!("gateway.nat.{key}"),
                "expected at least 1, found 0; remove [gateway.nat] to translate nothing",
            ));
        }
    }
    let pool = pool(table, outside)?;
    nobody_elses(&pool, &inside, setup)?;
    let forwards = forwards(table, outside, &pool)?;
    let default = Timeouts::default();
    let timeouts = Timeouts {
        udp: table.timeouts.udp.map_or(default.udp, |s| s.0),
        tcp_established: table
            .timeouts
            .tcp_established
            .map_or(default.tcp_established, |s| s.0),
        tcp_transitory: table
            .timeouts
            .tcp_transitory
            .map_or(default.tcp_transitory, |s| s.0),
        icmp: table.timeouts.icmp.map_or(default.icmp, |s| s.0),
    };
    Ok(Nat {
        inside,
        outside: outside.id,
        pool,
        ports: table.ports,
        per_source: table.per_source,
        timeouts,
        forwards,
    })
}

fn port<'a>(setup: &'a Setup, key: String, name: &str) -> Result<&'a PortInfo> {
    let found = match setup.port(name) {
        Ok(id) => setup.ports().iter().find(|port| port.id == id),
        Err(why) => return Err(Error::at(key, why.to_string())),
    };
    found.ok_or_else(|| Error::at(key, format!("port {name:?} has no description")))
}

fn pool(table: &NatTable, outside: &PortInfo) -> Result<Vec<Ipv4Addr>> {
    let mut pool: Vec<Ipv4Addr> = Vec::new();
    for network in &table.pool {
        pool.extend(network.addresses().take(POOL_LIMIT + 1));
        if pool.len() > POOL_LIMIT {
            return Err(Error::at(
                "gateway.nat.pool",
                format!(
                    "expected at most {POOL_LIMIT} addresses, found more; take fewer, each carries 64,000 sessions a protocol"
                ),
            ));
        }
    }
    if pool.is_empty() {
        let (own, _) = outside.addresses.first().ok_or_else(|| {
            Error::at(
                "gateway.nat.pool",
                format!(
                    "expected an address, found none, and the outside port {:?} has none to stand in; give either",
                    outside.name
                ),
            )
        })?;
        pool.push(*own);
    }
    pool.sort_unstable();
    pool.dedup();
    Ok(pool)
}

/// Replies to an address of the pool come to us: nobody else may have it, or stand for everybody.
fn nobody_elses(pool: &[Ipv4Addr], inside: &[bool], setup: &Setup) -> Result<()> {
    let taken = |&address: &Ipv4Addr| Some((address, whose(address, inside, setup)?));
    match pool.iter().find_map(taken) {
        None => Ok(()),
        Some((address, whose)) => Err(Error::at(
            "gateway.nat.pool",
            format!(
                "expected addresses that nobody else has, found {address}, {whose}; write smaller networks that leave it out"
            ),
        )),
    }
}

/// What an address is, if it is not free to translate to.
fn whose(address: Ipv4Addr, inside: &[bool], setup: &Setup) -> Option<String> {
    let no_host = |len| {
        let address = address.into();
        PortNetwork { address, len }.no_host()
    };
    if let Some(kind) = no_host(32) {
        return Some(kind.into());
    }
    if setup.routes().iter().any(|route| route.via == address) {
        return Some("which is the next hop of a route".into());
    }
    let mut ports = setup.ports().iter();
    ports.find_map(|port| {
        let networks = port.addresses.iter();
        let mut near = networks.filter(|network| in_network(**network, address));
        let kind = near.find_map(|&(_, len)| match inside[usize::from(port.id.0)] {
            true => Some("which is in the translated network"),
            false => no_host(len),
        })?;
        Some(format!("{kind} of port {:?}", port.name))
    })
}

fn forwards(table: &NatTable, outside: &PortInfo, pool: &[Ipv4Addr]) -> Result<Vec<Forward>> {
    let end = |socket: std::net::SocketAddrV4| End {
        address: *socket.ip(),
        port: socket.port(),
    };
    let mut forwards: Vec<Forward> = Vec::new();
    for (at, entry) in table.forward.iter().enumerate() {
        let key = |end: &str| format!("gateway.nat.forward[{at}].{end}");
        for (name, socket) in [("outside", entry.outside), ("inside", entry.inside)] {
            if socket.port() == 0 {
                let what = format!(
                    "expected a port of 1 to 65535, found \"{socket}\"; name the port of the service"
                );
                return Err(Error::at(key(name), what));
            }
        }
        let forward = Forward {
            protocol: entry.protocol.number(),
            outside: end(entry.outside),
            inside: end(entry.inside),
        };
        let mut addresses = outside.addresses.iter();
        let ours = addresses.any(|(own, _)| own == entry.outside.ip());
        if !ours && !pool.contains(entry.outside.ip()) {
            let what = format!(
                "expected an address of port {:?} or of the pool, found \"{}\"; take one of those",
                outside.name, entry.outside
            );
            return Err(Error::at(key("outside"), what));
        }
        let mut others = forwards
            .iter()
            .filter(|other| other.protocol == forward.protocol);
        if let Some(other) =
            others.find(|other| other.outside == forward.outside || other.inside == forward.inside)
        {
            let name = match other.outside == forward.outside {
                true => "outside",
                false => "inside",
            };
            let what = format!(
                "expected ends that are not forwarded yet, found \"{}\" to \"{}\"; each may appear once a protocol",
                entry.outside, entry.inside
            );
            return Err(Error::at(key(name), what));
        }
        forwards.push(forward);
    }
    Ok(forwards)
}
