//! The lab: a client, a gateway and a server, each in a network namespace of its own.
//!
//! ```text
//!   client                gateway                     server
//!   c0 10.0.0.2/24 ------ g0 10.0.0.1 | g1 203.0.113.2 ------ s0 203.0.113.1/24
//!                         (addresses of the gateway under test; its namespace's kernel has none)
//! ```
//! With TAP there is no g0 and no g1: c0 and s0 *are* the taps, made by the gateway and moved to the ends afterwards.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::machine::Cpus;
use crate::netns::{Losses, Netns, NetnsError};
use crate::program::ProgramError;
use crate::wait::{TimedOut, wait_for};

/// Something in the lab did not work.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A child.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// A deadline.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// The traffic process.
    #[error("traffic: {what} did not come\n{log}")]
    Traffic {
        /// What was waited for.
        what: &'static str,
        /// The end of its output.
        log: String,
    },
    /// The gateway did not come to forward.
    #[error("baton run: {why}{dump}")]
    Start {
        /// What was waited for, or how the supervisor ended.
        why: String,
        /// The supervisor's log, and the zones as far as there are any.
        dump: String,
    },
    /// A verb of `baton` did not end as it should.
    #[error("baton {verb}: exit {found}, expected {expected}\n{said}\n{dump}")]
    Verb {
        /// The verb and its arguments.
        verb: String,
        /// Its exit code.
        found: i32,
        /// What was expected.
        expected: i32,
        /// What it printed.
        said: String,
        /// The instance's log and zones.
        dump: String,
    },
    /// A file of the lab.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The TCP programs.
    #[error("tcp: {what}")]
    Tcp {
        /// What went wrong.
        what: String,
    },
    /// A signal arrived.
    #[error("interrupted by {signal}")]
    Interrupted {
        /// Its name.
        signal: &'static str,
    },
}

/// The driver of both ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// AF_XDP on veth.
    AfXdp,
    /// AF_PACKET on veth.
    AfPacket,
    /// TAP.
    Tap,
}

impl FromStr for PortKind {
    type Err = String;

    fn from_str(text: &str) -> Result<PortKind, String> {
        match text {
            "af_xdp" => Ok(PortKind::AfXdp),
            "af_packet" => Ok(PortKind::AfPacket),
            "tap" => Ok(PortKind::Tap),
            _ => Err(format!("{text:?} is none of af_xdp, af_packet, tap")),
        }
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PortKind::AfXdp => "af_xdp",
            PortKind::AfPacket => "af_packet",
            PortKind::Tap => "tap",
        })
    }
}

/// What the peers of the gateway leave to their interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// As veth comes: checksums unfinished. TSO is off, since no port of the gateway carries a packet above the MTU.
    On,
    /// Nothing: checksums complete.
    Off,
}

/// How a lab is built.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The driver of both ports.
    pub port: PortKind,
    /// Shards, and queues of each port.
    pub shards: u16,
    /// Of the peers' interfaces.
    pub offloads: Offloads,
    /// Entries of each receive ring.
    pub rxd: u32,
    /// Sessions the gateway has room for.
    pub capacity: u32,
    /// How long an upgrade soaks that does not say.
    pub soak: Duration,
    /// How long one phase of an upgrade may take.
    pub deadline: Duration,
    /// Who runs where.
    pub cpus: Cpus,
}

impl Shape {
    /// One shard behind `port`, on this machine.
    pub fn of(port: PortKind) -> Shape {
        let (offloads, cpus) = (Offloads::On, Cpus::of_this_machine());
        Shape {
            port,
            shards: 1,
            offloads,
            rxd: 16_384,
            capacity: 262_144,
            soak: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
            cpus,
        }
    }
}

/// The three namespaces.
#[derive(Debug)]
pub struct Lab {
    /// Behind the inside port.
    pub client: Netns,
    /// Where the gateway runs.
    pub gateway: Netns,
    /// Behind the outside port.
    pub server: Netns,
    shape: Shape,
    dir: PathBuf,
}

impl Lab {
    /// The client's interface.
    pub const CLIENT_IF: &'static str = "c0";
    /// The server's interface.
    pub const SERVER_IF: &'static str = "s0";
    /// The server's address.
    pub const SERVER: std::net::Ipv4Addr = std::net::Ipv4Addr::new(203, 0, 113, 1);

    /// Builds one; logs and configs go to `dir`, which has to exist.
    pub fn new(shape: Shape, dir: &Path) -> Result<Lab, LabError> {
        let (client, gateway, server) = (
            Netns::new("client")?,
            Netns::new("gateway")?,
            Netns::new("server")?,
        );
        let lab = Lab {
            client,
            gateway,
            server,
            shape,
            dir: dir.into(),
        };
        if lab.shape.port != PortKind::Tap {
            lab.wire("g0", Lab::CLIENT_IF, &lab.client)?;
            lab.wire("g1", Lab::SERVER_IF, &lab.server)?;
            lab.furnish()?;
        }
        Ok(lab)
    }

    /// How it was built.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Where logs and configs are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Shards of the gateway.
    pub fn shards(&self) -> u16 {
        self.shape.shards
    }

    /// Whether the traffic program leaves checksums unfinished.
    pub fn sends_unfinished(&self) -> bool {
        self.shape.offloads == Offloads::On && self.shape.port != PortKind::Tap
    }

    /// The gateway's interfaces, as its config names them: inside, outside.
    pub fn vdevs(&self) -> [String; 2] {
        let queues = self.shape.shards;
        let device = |n: u8, end: &str| match self.shape.port {
            PortKind::AfXdp => format!("net_af_xdp{n},iface=g{n},queue_count={queues}"),
            PortKind::AfPacket => format!("net_af_packet{n},iface=g{n},qpairs={queues}"),
            PortKind::Tap => format!("net_tap{n},iface={end},queues={queues}"),
        };
        [device(0, Lab::CLIENT_IF), device(1, Lab::SERVER_IF)]
    }

    /// Moves the taps that the gateway made to the two ends. Does nothing for other ports.
    pub fn connect(&self) -> Result<(), LabError> {
        if self.shape.port != PortKind::Tap {
            return Ok(());
        }
        for (interface, end) in [
            (Lab::CLIENT_IF, &self.client),
            (Lab::SERVER_IF, &self.server),
        ] {
            wait_for(
                format!("the tap {interface}"),
                Duration::from_secs(20),
                || self.gateway.ip(&format!("link show {interface}")),
            )?;
            self.gateway.ip(&format!(
                "link set {interface} netns {}",
                end.path().display()
            ))?;
        }
        self.furnish()
    }

    /// Loss counters of the ends' interfaces, and of the gateway's own where it has any.
    pub fn losses(&self) -> Result<EndLosses, LabError> {
        let own = |interface| match self.shape.port {
            PortKind::Tap => Ok(Losses::default()),
            _ => self.gateway.losses(interface),
        };
        Ok(EndLosses {
            client: self.client.losses(Lab::CLIENT_IF)?,
            server: self.server.losses(Lab::SERVER_IF)?,
            gateway: [own("g0")?, own("g1")?],
        })
    }

    fn wire(&self, near: &str, far: &str, end: &Netns) -> Result<(), LabError> {
        let queues = format!("numtxqueues {0} numrxqueues {0}", self.shape.shards);
        let far = format!("peer name {far} netns {} {queues}", end.path().display());
        self.gateway
            .ip(&format!("link add {near} {queues} type veth {far}"))?;
        self.gateway.ip(&format!("link set {near} up"))?;
        Ok(())
    }

    fn furnish(&self) -> Result<(), LabError> {
        let ends = [
            (&self.client, Lab::CLIENT_IF, "10.0.0.2/24"),
            (&self.server, Lab::SERVER_IF, "203.0.113.1/24"),
        ];
        for (end, interface, address) in ends {
            end.ip(&format!("addr add {address} dev {interface}"))?;
            end.ip(&format!("link set {interface} up"))?;
            // What an end kernel sends in one go (the acknowledgements of all that came while it had no CPU) is more
            // than the 256 slots of a veth's neighbour: it waits here.
            end.run(&format!(
                "tc qdisc replace dev {interface} root pfifo limit {QUEUE}"
            ))?;
            match (self.shape.offloads, self.shape.port) {
                (_, PortKind::Tap) => {} // the gateway made it with all offloads off
                (Offloads::Off, _) => drop(end.run(&format!(
                    "ethtool -K {interface} tx off tso off gso off gro off"
                ))?),
                (Offloads::On, _) => drop(end.run(&format!("ethtool -K {interface} tso off"))?),
            }
        }
        self.client.ip("route add default via 10.0.0.1")?;
        Ok(())
    }
}

/// Packets that wait at an end's interface, rather than being dropped there.
const QUEUE: u32 = 20_000;

/// Loss counters around the gateway.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndLosses {
    /// The client's interface.
    pub client: Losses,
    /// The server's.
    pub server: Losses,
    /// The gateway's own: inside, outside.
    pub gateway: [Losses; 2],
}
