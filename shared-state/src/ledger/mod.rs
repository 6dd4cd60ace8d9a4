//! The ledger: the words by which processes of different versions agree on who owns what. Its
//! layout is frozen (module `layout`), so that any two versions can always hand over.
//!
//! Writers: an owner word its owner, or whoever takes it from a dead one; a request word the
//! supervisor and the owner ([`crate::ownership`]); heartbeats and swap records the lcores; the
//! rest the supervisor.
//!
//! Failure: every word is whole at any instant. A supervisor that dies leaves the upgrade block
//! as it was; the next one decides from here.

pub(crate) mod layout;
mod swap;
mod tenant;
#[cfg(test)]
mod tests;
mod upgrade;

use thiserror::Error;

pub use swap::{SwapRecord, SwapWords};
pub use tenant::{TenantEntry, TenantName, lcore_slot, tenant_of};
pub use upgrade::UpgradeBlock;

use crate::arena::{Arena, ArenaError};
use crate::limits::{LCORE_SLOTS, MAX_SHARDS};
pub use crate::ownership::{
    AskError, Lost, OwnerWord, RequestState, RequestWord, accept, ask, claim_first, hand_over,
    release, take_from_dead, withdraw,
};
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// First bytes of the ledger.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"BTNLEDGR");

/// The one layout there is.
const VERSION: u32 = 1;

/// Bits of a shard's tracking word.
pub mod tracking {
    /// Changed records are marked in the dirty bitmap.
    pub const DIRTY: u64 = 1;
    /// Changed records are written to the older generation too.
    pub const WRITE_THROUGH: u64 = 2;
}

/// A ledger that cannot be used, or has no room.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The arena has no such segment.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// Something else lies there.
    #[error("no ledger here: magic {found:#018x}, wanted {wanted:#018x}; start the instance anew")]
    Magic {
        /// What was found.
        found: u64,
        /// What was expected.
        wanted: u64,
    },
    /// A layout this build does not know.
    #[error("ledger layout v{found} found, this build reads v{wanted}: use the newer baton")]
    Version {
        /// What was found.
        found: u32,
        /// What this build reads.
        wanted: u32,
    },
    /// All tenant slots are taken.
    #[error("all {slots} tenant slots are taken: end a primary that owns nothing")]
    NoTenantSlot {
        /// How many there are.
        slots: usize,
    },
    /// A tenant that a shard still names.
    #[error("tenant slot {slot} is still named by shard {shard}")]
    TenantInUse {
        /// The slot.
        slot: u16,
        /// A shard whose words name it.
        shard: usize,
    },
}

/// A view of the ledger; copies are the same words.
#[derive(Debug, Clone, Copy)]
pub struct Ledger {
    region: Region,
}

impl Ledger {
    /// Writes an empty ledger into a new arena: no owners, no tenants, `shards` traffic shards.
    ///
    /// # Panics
    /// When `shards` is not 1 to 63.
    pub fn create(arena: &Arena, shards: usize) -> Result<Ledger, LedgerError> {
        assert!((1..MAX_SHARDS).contains(&shards), "{shards} shards");
        let region = arena.require(crate::arena::layout::LEDGER)?;
        let ledger = Ledger { region };
        for shard in 0..MAX_SHARDS {
            ledger
                .owner(shard)
                .store(OwnerWord::unowned().pack(), Ordering::Relaxed);
        }
        region
            .u32(layout::SHARD_COUNT)
            .store(shards as u32, Ordering::Relaxed);
        region
            .u32(layout::VERSION)
            .store(VERSION, Ordering::Relaxed);
        region.u64(layout::MAGIC).store(MAGIC, Ordering::Release);
        Ok(ledger)
    }

    /// Finds the ledger of an arena that somebody else made.
    pub fn open(arena: &Arena) -> Result<Ledger, LedgerError> {
        let region = arena.require(crate::arena::layout::LEDGER)?;
        let found = region.u64(layout::MAGIC).load(Ordering::Acquire);
        if found != MAGIC {
            let wanted = MAGIC;
            return Err(LedgerError::Magic { found, wanted });
        }
        let found = region.u32(layout::VERSION).load(Ordering::Relaxed);
        if found != VERSION {
            let wanted = VERSION;
            return Err(LedgerError::Version { found, wanted });
        }
        Ok(Ledger { region })
    }

    /// Traffic shards of the instance; the control shard comes besides.
    pub fn shard_count(&self) -> usize {
        let found = self.region.u32(layout::SHARD_COUNT).load(Ordering::Relaxed);
        (found as usize).clamp(1, MAX_SHARDS - 1)
    }

    /// The generation set that is live, as the supervisor last said; `None` before the first.
    pub fn live_generation(&self) -> Option<u16> {
        let word = self.region.u64(layout::LIVE).load(Ordering::Acquire);
        (word & LIVE_SET != 0).then_some(word as u16)
    }

    /// Says which generation set is live. Only the supervisor calls this.
    pub fn set_live_generation(&self, generation: u16) {
        let word = LIVE_SET | u64::from(generation);
        self.region.u64(layout::LIVE).store(word, Ordering::Release);
    }

    /// The owner word of a shard.
    #[inline]
    pub fn owner(&self, shard: usize) -> &'static AtomicU64 {
        self.region.u64(self.shard_at(shard) + layout::OWNER)
    }

    /// The request word of a shard.
    #[inline]
    pub fn request(&self, shard: usize) -> &'static AtomicU64 {
        self.region.u64(self.shard_at(shard) + layout::REQUEST)
    }

    /// The epoch in the owner word: what a sleeper waits on, and what a hand-over wakes.
    pub fn owner_epoch(&self, shard: usize) -> &'static AtomicU32 {
        // Little-endian: the low half comes first.
        self.region.u32(self.shard_at(shard) + layout::OWNER)
    }

    /// A copy of the owner word.
    pub fn owner_word(&self, shard: usize) -> OwnerWord {
        OwnerWord::unpack(self.owner(shard).load(Ordering::Acquire))
    }

    /// A copy of the request word.
    pub fn request_word(&self, shard: usize) -> RequestWord {
        RequestWord::unpack(self.request(shard).load(Ordering::Acquire))
    }

    /// What the owner of a shard does with changed records: bits of [`tracking`].
    pub fn tracking(&self, shard: usize) -> &'static AtomicU64 {
        self.region.u64(self.shard_at(shard) + layout::TRACKING)
    }

    /// Time of an lcore's last loop, `CLOCK_BOOTTIME`; zero if it never ran.
    #[inline]
    pub fn heartbeat(&self, lcore_slot: u16) -> &'static AtomicU64 {
        let slot = usize::from(lcore_slot);
        assert!(slot < LCORE_SLOTS, "lcore slot {slot} of {LCORE_SLOTS}");
        self.region
            .u64(layout::HEARTBEATS + slot * layout::HEARTBEAT_STRIDE)
    }

    /// Hands a shard over and wakes whoever waits for it.
    pub fn hand_over(
        &self,
        shard: usize,
        accepted: RequestWord,
        me: u16,
    ) -> Result<OwnerWord, Lost> {
        let now = hand_over(self.owner(shard), accepted, me)?;
        // A failed wake-up leaves sleepers to their timeout, after which they look.
        let _ = crate::sys::futex_wake(self.owner_epoch(shard), u32::MAX);
        Ok(now)
    }

    /// Gives a shard that nobody owns its first owner, and wakes it.
    pub fn claim_first(
        &self,
        shard: usize,
        lcore: u16,
        generation: u16,
    ) -> Result<OwnerWord, Lost> {
        let now = claim_first(self.owner(shard), lcore, generation)?;
        let _ = crate::sys::futex_wake(self.owner_epoch(shard), u32::MAX);
        Ok(now)
    }

    fn shard_at(&self, shard: usize) -> usize {
        assert!(shard < MAX_SHARDS, "shard {shard} of {MAX_SHARDS}");
        layout::SHARDS + shard * layout::SHARD_STRIDE
    }
}

/// Set in the live word once a generation is live (generation 0 is a generation).
const LIVE_SET: u64 = 1 << 32;
