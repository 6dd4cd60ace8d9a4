//! The process around a datapath: start, lcores, shards, takeover in both directions.
//!
//! An author writes a `State` (zones that outlive every process, `#[derive(Zones)]`), a struct made
//! anew from the config by each version, and [`Datapath`] for it; `baton::main::<D>()` is the program.
//! This crate knows no NAT: what a packet means is the datapath's business.
//!
//! * [`datapath`], [`setup`], [`shard`], [`burst`], [`flow`]: what an author sees.
//! * [`zone`], [`table`], [`routes`], [`neighbours`]: what a `State` is made of.
//! * `tenant`, `tenancy`, `lcore`: this process's part in an instance, and each lcore's.
//! * `link`, `supervised`, `standalone`: who writes the zone directory and decides.
#![forbid(unsafe_code)]

// The derives name this crate by its path, also in its own tests and examples.
extern crate self as baton;

mod args;
#[doc(hidden)]
pub mod bench;
pub mod burst;
mod check;
pub mod config;
pub mod counters;
pub mod datapath;
mod drops;
mod export;
pub mod flow;
mod lcore;
mod link;
mod log;
mod mailbox;
pub mod neighbours;
mod open_ports;
mod resolve;
pub mod routes;
pub mod setup;
pub mod shard;
mod stage;
mod standalone;
mod start;
mod stats;
mod steering;
mod supervised;
pub mod table;
mod tenancy;
mod tenant;
#[cfg(test)]
mod tests;
pub mod transition;
pub mod zone;

pub use baton_schema as schema;
pub use baton_shared_state as shared_state;
pub use datapath::{Datapath, Error, Result};
pub use start::main;

/// Everything an author needs, in one `use`.
pub mod prelude {
    pub use crate::burst::{Burst, FoundBurst};
    pub use crate::datapath::{Datapath, Error, Result};
    pub use crate::flow::{FlowKey, PacketExt};
    pub use crate::neighbours::Neighbours;
    pub use crate::routes::{NextHop, Routes};
    pub use crate::setup::{CsumSource, Mac, PortId, PortInfo, RouteConfig, Setup};
    pub use crate::shard::Shard;
    pub use crate::table::{SecondIndex, Table};
    pub use crate::zone::Zones;
    pub use baton_schema::{Loss, Migrate, Reason, Record, Zones};
    pub use baton_shared_state::mbuf::{Chain, Packet};
    pub use baton_shared_state::table::{Hot32, Hot64};
    pub use serde::Deserialize;
    pub use std::process::ExitCode;
    pub use zerocopy::{FromBytes, Immutable, IntoBytes};
}
