//! The fixed numbers of the shared layouts: changing one changes bytes that another version reads.

/// Words of ownership in the ledger: shards 0 to 62 for traffic, the last for [`CONTROL_SHARD`].
pub const MAX_SHARDS: usize = 64;

/// The shard of what belongs to no queue: routes, neighbours, pool addresses, bucket table.
pub const CONTROL_SHARD: usize = MAX_SHARDS - 1;

/// Processes that may own shards at one time.
pub const MAX_TENANTS: usize = 16;

/// Lcores a tenant may have.
pub const LCORES_PER_TENANT: usize = 32;

/// Lcore slots of all tenants; a slot is `tenant * LCORES_PER_TENANT + lcore index`.
pub const LCORE_SLOTS: usize = MAX_TENANTS * LCORES_PER_TENANT;

/// Packets that a poll takes at most.
pub const BURST: usize = 32;

/// Packet buffers of an instance that does not say how many.
pub const DEFAULT_MBUFS: u32 = 16_384;

/// Bytes of one packet buffer's data, headroom included.
pub const CHUNK: u32 = 2048;

/// Bytes kept free before a received packet, inside the chunk.
pub const HEADROOM: u32 = 256;

/// 2 MiB: the page on which `data` starts and ends, whatever pages back it.
pub const HUGE_PAGE: u64 = 2 << 20;
