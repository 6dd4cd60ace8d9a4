//! What: the `[gateway]` table after it was checked against the ports: numbers and addresses, no
//! names, ready for the datapath.

use super::{GatewayTable, NatTable, PortRange, RouteSource};
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
            return Err(Error::new(
                "gateway.routes.from: \"kernel\" is not built; take \"static\" and list the routes as [[route]]",
            ));
        }
        let nat = table.nat.as_ref().map(|nat| check_nat(nat, setup));
        Ok(Settings {
            nat: nat.transpose()?,
        })
    }
}

fn check_nat(table: &NatTable, setup: &Setup) -> Result<Nat> {
    let outside = port(setup, "gateway.nat.outside", &table.outside)?;
    let mut inside = vec![false; setup.ports().len()];
    for name in &table.inside {
        let found = port(setup, "gateway.nat.inside", name)?;
        if found.id == outside.id {
            return Err(Error::new(format!(
                "gateway.nat.inside: {name:?} is the outside port, too; hosts behind one port are either translated or not"
            )));
        }
        inside[usize::from(found.id.0)] = true;
    }
    if table.inside.is_empty() {
        return Err(Error::new(
            "gateway.nat.inside: no port is named; name those whose hosts are to be translated, or remove [gateway.nat]",
        ));
    }
    if table.sessions == 0 || table.per_source == 0 {
        return Err(Error::new(
            "gateway.nat.sessions and per-source: 0 found, at least 1 is needed; remove [gateway.nat] to translate nothing",
        ));
    }
    let pool = pool(table, outside)?;
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

fn port<'a>(setup: &'a Setup, key: &str, name: &str) -> Result<&'a PortInfo> {
    let id = setup
        .port(name)
        .map_err(|why| Error::new(format!("{key}: {why}")))?;
    let found = setup.ports().iter().find(|port| port.id == id);
    found.ok_or_else(|| Error::new(format!("{key}: port {name:?} has no description")))
}

fn pool(table: &NatTable, outside: &PortInfo) -> Result<Vec<Ipv4Addr>> {
    let mut pool: Vec<Ipv4Addr> = Vec::new();
    for network in &table.pool {
        pool.extend(network.addresses().take(POOL_LIMIT + 1));
        if pool.len() > POOL_LIMIT {
            return Err(Error::new(format!(
                "gateway.nat.pool: more than {POOL_LIMIT} addresses; take fewer, each carries 64,000 sessions a protocol"
            )));
        }
    }
    if pool.is_empty() {
        let (own, _) = outside.addresses.first().ok_or_else(|| {
            Error::new(format!(
                "gateway.nat.pool: it is empty and the outside port {:?} has no address to stand in; give either",
                outside.name
            ))
        })?;
        pool.push(*own);
    }
    pool.sort_unstable();
    pool.dedup();
    Ok(pool)
}

fn forwards(table: &NatTable, outside: &PortInfo, pool: &[Ipv4Addr]) -> Result<Vec<Forward>> {
    let end = |socket: std::net::SocketAddrV4| End {
        address: *socket.ip(),
        port: socket.port(),
    };
    let mut forwards: Vec<Forward> = Vec::new();
    for entry in &table.forward {
        let forward = Forward {
            protocol: entry.protocol.number(),
            outside: end(entry.outside),
            inside: end(entry.inside),
        };
        let ours = outside
            .addresses
            .iter()
            .any(|(own, _)| own == entry.outside.ip());
        if !ours && !pool.contains(entry.outside.ip()) {
            return Err(Error::new(format!(
                "gateway.nat.forward: outside = \"{}\" is neither an address of port {:?} nor in the pool; take one of those",
                entry.outside, outside.name
            )));
        }
        let twice = forwards.iter().any(|other| {
            other.protocol == forward.protocol
                && (other.outside == forward.outside || other.inside == forward.inside)
        });
        if twice {
            return Err(Error::new(format!(
                "gateway.nat.forward: \"{}\" to \"{}\": one of the two is forwarded already; each may appear once a protocol",
                entry.outside, entry.inside
            )));
        }
        forwards.push(forward);
    }
    Ok(forwards)
}
