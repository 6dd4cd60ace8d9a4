//! Where bytes live: the memory that outlives the processes which work on it, and the words by
//! which they agree on who may.
//!
//! A process maps the [`arena`] (segments at fixed offsets), finds its zones in the
//! [`directory`], and touches shared bytes only through [`region`]. The [`ledger`] says which
//! lcore owns which shard, a [`lifeline`] by which the kernel reports a thread's death;
//! descriptors travel over a [`channel`] and rest in a [`vault`]. Packet buffers
//! ([`mempool`], [`mbuf`]), [`ring`]s, [`table`]s and routes ([`lpm`], [`lpm6`]) are views over
//! regions, so are rules ([`acl`]), token buckets ([`meter`]) and the quiescent states of readers
//! ([`rcu`]). [`timer`], [`rss`] and [`checksum`] work on what is the process's own.
//!
//! All the `unsafe` over shared memory of the whole workspace is in this crate; what it relies on
//! is written in `DESIGN.md` beside it. Nothing here logs; errors say what was found, what was
//! wanted, and the way out.
//!
//! Under `--cfg loom` only [`sync`], [`ownership`] and [`ring`] exist: the functions that move a
//! shard or an element are checked there over every interleaving.

pub mod ownership;
pub mod sync;

#[cfg(not(loom))]
pub mod acl;
#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
pub mod audit;
#[cfg(not(loom))]
pub mod channel;
#[cfg(not(loom))]
pub mod checksum;
#[cfg(not(loom))]
pub mod directory;
#[cfg(not(loom))]
pub mod ledger;
#[cfg(not(loom))]
pub mod lifeline;
pub mod limits;
#[cfg(not(loom))]
pub mod lpm;
#[cfg(not(loom))]
pub mod lpm6;
#[cfg(not(loom))]
pub mod mbuf;
#[cfg(not(loom))]
pub mod mempool;
#[cfg(not(loom))]
pub mod meter;
#[cfg(not(loom))]
pub mod paths;
#[cfg(not(loom))]
pub mod place;
#[cfg(not(loom))]
pub mod rcu;
#[cfg(not(loom))]
pub mod region;
pub mod ring;
#[cfg(not(loom))]
pub mod rss;
#[cfg(not(loom))]
pub mod simd;
#[cfg(not(loom))]
pub mod sys;
#[cfg(not(loom))]
pub mod table;
#[cfg(not(loom))]
pub mod timer;
#[cfg(not(loom))]
pub mod vault;

pub use limits::*;
#[cfg(not(loom))]
pub use region::Region;
