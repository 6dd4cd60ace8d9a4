//! Where everything lies in the `ledger` segment. Frozen: no version of the program moves a byte
//! of it; a need for more words uses what is spare.
//!
//! ```text
//! 0x00000  header of the arena           (module directory)
//! 0x01000  ledger: magic, version, shard count, live generation
//! 0x01100  upgrade block                 256 bytes, sequence-locked, written by the supervisor
//! 0x01400  tenants                       16 x 128
//! 0x02000  shards                        64 x 256
//! 0x06000  heartbeats                    512 x 64, one line for each lcore slot
//! 0x0e000  spare
//! 0x10000  zone directory                512 x 256
//! 0x30000  schemas                       to the end of the segment
//! ```
//! A shard's 256 bytes: line 0 owner, request, tracking (read each burst, rarely written);
//! lines 2 and 3 the swap record.

use crate::limits::{LCORE_SLOTS, MAX_SHARDS, MAX_TENANTS};

pub(crate) const HEADER: usize = 0;

pub(crate) const LEDGER: usize = 0x1000;
pub(crate) const MAGIC: usize = LEDGER;
pub(crate) const VERSION: usize = LEDGER + 8;
pub(crate) const SHARD_COUNT: usize = LEDGER + 12;
pub(crate) const LIVE: usize = LEDGER + 16;

pub(crate) const UPGRADE: usize = 0x1100;
pub(crate) const UPGRADE_LEN: usize = 256;

pub(crate) const TENANTS: usize = 0x1400;
pub(crate) const TENANT_STRIDE: usize = 128;

pub(crate) const SHARDS: usize = 0x2000;
pub(crate) const SHARD_STRIDE: usize = 256;
pub(crate) const OWNER: usize = 0;
pub(crate) const REQUEST: usize = 8;
pub(crate) const TRACKING: usize = 16;
pub(crate) const SWAP: usize = 128;
pub(crate) const SWAP_WORDS: usize = 16;

pub(crate) const HEARTBEATS: usize = 0x6000;
pub(crate) const HEARTBEAT_STRIDE: usize = 64;

pub(crate) const DIRECTORY: usize = 0x1_0000;
pub(crate) const ENTRY_STRIDE: usize = 256;
pub(crate) const ENTRIES: usize = 512;
pub(crate) const SCHEMAS: usize = 0x3_0000;

const _: () = assert!(UPGRADE + UPGRADE_LEN <= TENANTS);
const _: () = assert!(TENANTS + MAX_TENANTS * TENANT_STRIDE <= SHARDS);
const _: () = assert!(SHARDS + MAX_SHARDS * SHARD_STRIDE == HEARTBEATS);
const _: () = assert!(SWAP + SWAP_WORDS * 8 == SHARD_STRIDE);
const _: () = assert!(HEARTBEATS + LCORE_SLOTS * HEARTBEAT_STRIDE <= DIRECTORY);
const _: () = assert!(DIRECTORY + ENTRIES * ENTRY_STRIDE == SCHEMAS);
