//! Which ids are free, and whose they are.
//!
//! Ids `0..total` are cut into extents of a power of two; each extent belongs to one shard, and a
//! shard's free ids stand in a ring of its own, oldest first, so that an id rests as long as
//! possible before it names another row.
//!
//! Layout
//! ```text
//!  0 magic, extent, extents, shards, ring capacity      64 extents x u32: owning shard
//! .. per shard: head u32, tail u32, zero to 64, ring capacity x u32
//! ```
//!
//! Order: one writer, the shard's owner. alloc: the id is read, then `head` (Release). free: the
//! slot, then `tail` (Release).
//!
//! Failure: an id taken whose row was not published, or unpublished and not yet freed, is in
//! neither list; [`IdShard::rebuild`] finds it again from the states of the rows.

use super::{NO_ID, TableError, check_number};
use crate::limits::MAX_SHARDS;
use crate::region::Region;
use crate::sync::{AtomicU32, Ordering};

const MAGIC: u32 = u32::from_le_bytes(*b"ids1");
const HEADER: usize = 64;
const EXTENT_AT: usize = 4;
const EXTENTS_AT: usize = 8;
const SHARDS_AT: usize = 12;
const RING_AT: usize = 16;
/// Smallest extent: one word of the dirty bitmap, so that no two shards share one.
const MIN_EXTENT: u32 = 64;
const MAX_EXTENT: u32 = 65_536;
/// A shard has at least this many extents, so that rounding up wastes at most an eighth.
const MIN_EXTENTS: u32 = 8;
/// Most ids of a table: the index stores id + 1 in 32 bits.
const MAX_IDS: u64 = 1 << 31;

/// How ids are cut for a capacity and a number of shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdPlan {
    /// Ids in one extent.
    pub extent: u32,
    /// Extents of all shards.
    pub extents: u32,
    /// Shards that own them, in equal parts.
    pub shards: u32,
}

impl IdPlan {
    /// The plan for at least `capacity` ids in equal parts for `shards`.
    pub fn new(capacity: u32, shards: u16) -> Result<IdPlan, TableError> {
        check_number("capacity", capacity.into(), 1, MAX_IDS)?;
        let shards = check_number("shards", shards.into(), 1, MAX_SHARDS as u64)? as u32;
        let part = capacity.div_ceil(shards);
        let fair = (part / MIN_EXTENTS).max(1);
        let extent = (1 << fair.ilog2()).clamp(MIN_EXTENT, MAX_EXTENT);
        let extents = part.div_ceil(extent) * shards;
        Ok(IdPlan {
            extent,
            extents,
            shards,
        })
    }

    /// Ids in all: the arrays by id are made for so many.
    pub fn total(&self) -> u32 {
        self.extent * self.extents
    }

    /// Ids of one shard.
    pub fn per_shard(&self) -> u32 {
        self.total() / self.shards
    }

    fn ring_capacity(&self) -> usize {
        (self.per_shard() as usize).next_power_of_two()
    }

    fn shard_bytes(&self) -> usize {
        HEADER + (4 * self.ring_capacity()).next_multiple_of(64)
    }

    fn shards_at(&self) -> usize {
        HEADER + (4 * self.extents as usize).next_multiple_of(64)
    }
}

/// The ids of one table.
#[derive(Clone, Copy)]
pub struct IdSpace {
    region: Region,
    plan: IdPlan,
    owners: &'static [AtomicU32],
}

impl IdSpace {
    /// Bytes that a plan takes.
    pub fn bytes_for(plan: &IdPlan) -> usize {
        plan.shards_at() + plan.shards as usize * plan.shard_bytes()
    }

    /// Makes the space with all ids free, in a region nobody else uses yet.
    pub fn create(region: Region, plan: IdPlan) -> Result<IdSpace, TableError> {
        let region = region.slice(0, Self::bytes_for(&plan))?;
        region.u32(EXTENT_AT).store(plan.extent, Ordering::Relaxed);
        region
            .u32(EXTENTS_AT)
            .store(plan.extents, Ordering::Relaxed);
        region.u32(SHARDS_AT).store(plan.shards, Ordering::Relaxed);
        let capacity = plan.ring_capacity() as u32;
        region.u32(RING_AT).store(capacity, Ordering::Relaxed);
        let space = Self::view(region, plan);
        let part = plan.extents / plan.shards;
        for (extent, owner) in (0u32..).zip(space.owners) {
            owner.store(extent / part, Ordering::Relaxed);
        }
        for shard in 0..plan.shards {
            space.shard(shard as u16).rebuild(|_| true);
        }
        region.u32(0).store(MAGIC, Ordering::Release);
        Ok(space)
    }

    /// Opens the space that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<IdSpace, TableError> {
        region.slice(0, HEADER)?;
        let found = region.u32(0).load(Ordering::Acquire);
        if found != MAGIC {
            let wanted = MAGIC;
            return Err(TableError::Kind { found, wanted });
        }
        let number = |at: usize| u64::from(region.u32(at).load(Ordering::Relaxed));
        let extent = check_number("ids in an extent", number(EXTENT_AT), 64, 65_536)?;
        let shards = check_number("shards", number(SHARDS_AT), 1, MAX_SHARDS as u64)?;
        let extents = check_number("extents", number(EXTENTS_AT), shards, MAX_IDS / extent)?;
        let plan = IdPlan {
            extent: extent as u32,
            extents: extents as u32,
            shards: shards as u32,
        };
        let region = region.slice(0, Self::bytes_for(&plan))?;
        Ok(Self::view(region, plan))
    }

    fn view(region: Region, plan: IdPlan) -> IdSpace {
        IdSpace {
            region,
            plan,
            owners: region.u32s(HEADER, plan.extents as usize),
        }
    }

    /// How the ids are cut.
    pub fn plan(&self) -> IdPlan {
        self.plan
    }

    /// Ids in all, free or not.
    pub fn total(&self) -> u32 {
        self.plan.total()
    }

    /// The shard that an id belongs to.
    ///
    /// # Panics
    /// When there is no such id.
    #[inline]
    pub fn shard_of(&self, id: u32) -> u16 {
        let extent = id / self.plan.extent;
        self.owners[extent as usize].load(Ordering::Relaxed) as u16
    }

    /// The ranges of ids that belong to a shard.
    pub fn ranges(&self, shard: u16) -> impl Iterator<Item = core::ops::Range<u32>> + use<> {
        let (extent, owners) = (self.plan.extent, self.owners);
        let mine = (0u32..)
            .zip(owners)
            .filter(move |(_, owner)| owner.load(Ordering::Relaxed) == u32::from(shard));
        mine.map(move |(i, _)| i * extent..(i + 1) * extent)
    }

    /// The free list of a shard; only the shard's owner may take from it or give to it.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn shard(&self, shard: u16) -> IdShard {
        assert!(u32::from(shard) < self.plan.shards, "shard {shard}");
        let at = self.plan.shards_at() + usize::from(shard) * self.plan.shard_bytes();
        IdShard {
            space: *self,
            shard,
            head: self.region.u32(at),
            tail: self.region.u32(at + 4),
            slots: self.region.u32s(at + HEADER, self.plan.ring_capacity()),
        }
    }
}

impl core::fmt::Debug for IdSpace {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "IdSpace({:?})", self.plan)
    }
}

/// The free ids of one shard.
#[derive(Clone, Copy)]
pub struct IdShard {
    space: IdSpace,
    shard: u16,
    head: &'static AtomicU32,
    tail: &'static AtomicU32,
    slots: &'static [AtomicU32],
}

impl IdShard {
    /// Takes a free id, the one that has been free longest.
    #[inline]
    pub fn alloc(&self) -> Option<u32> {
        let head = self.head.load(Ordering::Relaxed);
        if head == self.tail.load(Ordering::Relaxed) {
            return None;
        }
        let id = self.slot(head).load(Ordering::Relaxed);
        self.head.store(head.wrapping_add(1), Ordering::Release);
        (id != NO_ID).then_some(id)
    }

    /// The id that the `n`-th call of [`IdShard::alloc`] from now would give (0 is the next), so that its row
    /// can be fetched meanwhile. Any number at all if so many are not free.
    #[inline]
    pub fn upcoming(&self, n: u32) -> u32 {
        let at = self.head.load(Ordering::Relaxed).wrapping_add(n);
        self.slot(at).load(Ordering::Relaxed)
    }

    /// Gives an id back, after its row is unpublished.
    ///
    /// # Panics
    /// In debug builds, when more ids come back than the shard has.
    #[inline]
    pub fn free(&self, id: u32) {
        debug_assert!(self.available() < self.space.plan.per_shard(), "id {id}");
        let tail = self.tail.load(Ordering::Relaxed);
        self.slot(tail).store(id, Ordering::Relaxed);
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
    }

    /// Free ids.
    #[inline]
    pub fn available(&self) -> u32 {
        let head = self.head.load(Ordering::Relaxed);
        self.tail.load(Ordering::Relaxed).wrapping_sub(head)
    }

    /// Makes the free list anew from what the rows say; returns how many ids are free.
    pub fn rebuild(&self, is_free: impl Fn(u32) -> bool) -> u32 {
        self.tail.store(0, Ordering::Relaxed);
        self.head.store(0, Ordering::Release);
        let mut n = 0;
        for id in self.space.ranges(self.shard).flatten() {
            if is_free(id) {
                self.slot(n).store(id, Ordering::Relaxed);
                n += 1;
            }
        }
        self.tail.store(n, Ordering::Release);
        n
    }

    #[inline]
    fn slot(&self, position: u32) -> &AtomicU32 {
        &self.slots[position as usize & (self.slots.len() - 1)]
    }
}

impl core::fmt::Debug for IdShard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (free, all) = (self.available(), self.space.plan.per_shard());
        write!(f, "IdShard({}: {free} of {all} free)", self.shard)
    }
}
