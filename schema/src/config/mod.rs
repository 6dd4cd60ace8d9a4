//! The instance's TOML file, as far as supervisor and primary both read it: `[instance]`, `[[port]]`,
//! `[[route]]`. What else stands there is the supervisor's own or belongs to the binary.
//!
//! * [`Instance`], [`Port`], [`Route`]: the tables; `values` reads what is written as text.
//! * [`Document`]: where a key stands. Every mistake, the parser's and those found later, is told as
//!   `FILE:LINE:COLUMN: key: expected ..., found ...; way out`, with the line and what is meant in it.

mod check;
mod document;
mod hint;
mod values;

pub use check::check;
pub use document::{Document, Mistake};
pub use hint::closest;
pub use values::{Address, Lcores, Network, Prefix, SocketMem, from_text};

use serde::Deserialize;
use std::path::PathBuf;

/// Lcores a process may have (`baton-shared-state` has as many places and checks that it does).
pub const MOST_LCORES: usize = 32;
/// Shards an instance may have: the words of ownership, without that of what belongs to no queue.
pub const MOST_SHARDS: u16 = 62;

/// Bytes for tables where nothing is said: only what is used is taken, and the arena grows.
const TABLES: u64 = 256 << 20;
/// The least that makes sense.
const LEAST_TABLES: u64 = 64 << 20;

/// `[instance]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Instance {
    /// Names arena, sockets, metrics.
    pub file_prefix: Prefix,
    /// What `baton run` starts.
    pub binary: Option<PathBuf>,
    /// CPUs, one lcore each.
    pub lcores: Option<Lcores>,
    /// MB per NUMA socket.
    pub socket_mem: Option<SocketMem>,
    /// What an lcore does that has nothing to do.
    #[serde(default)]
    pub idle: Idle,
    /// Units of ownership; as many as lcores unless said.
    pub shards: Option<u16>,
    /// Packet buffers.
    #[serde(default = "default_mbufs")]
    pub mbufs: u32,
    /// What backs the arena.
    #[serde(default)]
    pub memory: Memory,
}

/// `[[port]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Port {
    /// The name other tables use.
    pub name: String,
    /// A virtual device, in DPDK's words.
    pub vdev: Option<String>,
    /// A PCI device (VFIO); no driver of this build takes one.
    pub allow: Option<String>,
    /// Own addresses.
    #[serde(default)]
    pub address: Vec<Network>,
    /// Receive ring entries.
    #[serde(default = "default_ring")]
    pub rxd: u32,
    /// Transmit ring entries.
    #[serde(default = "default_ring")]
    pub txd: u32,
    /// Where packets for the gateway itself go; both drop today.
    pub punt: Option<Punt>,
    /// Largest IP packet, bytes; the device's own unless given.
    pub mtu: Option<u16>,
}

/// `[[route]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Destination.
    pub prefix: Network,
    /// Next hop.
    pub via: Address,
}

/// What an idle lcore does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Spins a while, then sleeps.
    #[default]
    Adaptive,
    /// Burns the core.
    Spin,
    /// Sleeps at once.
    Sleep,
}

/// What backs the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// Anonymous memory that lives as long as a descriptor.
    #[default]
    Memfd,
    /// Files that outlive all processes.
    Hugetlbfs,
}

/// Where packets for the gateway itself go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Punt {
    /// To the kernel's own stack.
    Kernel,
    /// Nowhere.
    Drop,
}

fn default_mbufs() -> u32 {
    16_384
}

fn default_ring() -> u32 {
    2_048
}

impl Instance {
    /// The CPUs of the lcores; the first one unless said.
    pub fn cpus(&self) -> &[u16] {
        self.lcores.as_ref().map_or(&[0], |lcores| &lcores.0)
    }

    /// Shards: as said, or one for each lcore. [`check`] tells whether that is possible.
    pub fn shards(&self) -> u16 {
        self.shards.unwrap_or(self.cpus().len() as u16)
    }

    /// Bytes for tables: what the `packets` bytes of buffers leave of `socket-mem`.
    pub fn tables_bytes(&self, packets: u64) -> u64 {
        self.socket_mem.as_ref().map_or(TABLES, |list| {
            list.bytes().saturating_sub(packets).max(LEAST_TABLES)
        })
    }
}

impl Port {
    /// A port that only the command line names.
    pub fn of_vdev(name: &str, vdev: &str) -> Port {
        Port {
            name: name.into(),
            vdev: Some(vdev.into()),
            allow: None,
            address: Vec::new(),
            rxd: default_ring(),
            txd: default_ring(),
            punt: None,
            mtu: None,
        }
    }
}

#[cfg(test)]
mod tests;
