//! Tenants: processes that may own shards, each a slot with a full name, never a bare pid.
//!
//! One writer: the supervisor. A slot's state is its last store, and free while its body changes;
//! a slot is not used again while an owner or request word names one of its lcores.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Ledger, LedgerError, layout};
use crate::limits::{LCORES_PER_TENANT, MAX_SHARDS, MAX_TENANTS};
use crate::ownership::RequestState;
use crate::sync::Ordering;

/// What tells a tenant from every other process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantName {
    /// Process id as the supervisor sees it, for display.
    pub pid: u32,
    /// Start of the process in clock ticks since boot.
    pub start_time: u64,
    /// The generation set it works on.
    pub generation: u16,
    /// SHA-256 of its binary.
    pub binary_hash: [u8; 32],
}

/// A slot in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantEntry {
    /// The slot.
    pub slot: u16,
    /// Who has it.
    pub name: TenantName,
    /// Since when, `CLOCK_BOOTTIME`.
    pub claimed_ns: u64,
}

/// A slot's bytes; the state word is reached as an atomic.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Slot {
    state: u32,
    pid: u32,
    start_time: u64,
    claimed_ns: u64,
    generation: u16,
    spare: [u16; 3],
    binary_hash: [u8; 32],
}

const _: () = assert!(size_of::<Slot>() == 64 && size_of::<Slot>() <= layout::TENANT_STRIDE);

const FREE: u32 = 0;
const CLAIMED: u32 = 1;

impl Ledger {
    /// Gives a free slot to a process. Only the supervisor calls this.
    pub fn claim_tenant(&self, name: &TenantName) -> Result<u16, LedgerError> {
        let free = |slot: &u16| self.tenant(*slot).is_none() && !self.names_tenant(*slot);
        let slot = (0..MAX_TENANTS as u16).find(free);
        let slot = slot.ok_or(LedgerError::NoTenantSlot { slots: MAX_TENANTS })?;
        let body = Slot {
            state: FREE,
            pid: name.pid,
            start_time: name.start_time,
            claimed_ns: crate::sys::clock_boottime_ns(),
            generation: name.generation,
            spare: [0; 3],
            binary_hash: name.binary_hash,
        };
        self.region.write(at(slot), &body);
        self.region.u32(at(slot)).store(CLAIMED, Ordering::Release);
        Ok(slot)
    }

    /// Frees a slot whose process is gone; refused while a shard names it.
    pub fn release_tenant(&self, slot: u16) -> Result<(), LedgerError> {
        if let Some(shard) = self.shard_that_names(slot) {
            return Err(LedgerError::TenantInUse { slot, shard });
        }
        self.region.u32(at(slot)).store(FREE, Ordering::Release);
        Ok(())
    }

    /// Who has a slot; `None` if nobody (or the slot changed while it was read).
    pub fn tenant(&self, slot: u16) -> Option<TenantEntry> {
        if usize::from(slot) >= MAX_TENANTS {
            return None;
        }
        let state = self.region.u32(at(slot));
        if state.load(Ordering::Acquire) != CLAIMED {
            return None;
        }
        let body: Slot = self.region.read(at(slot));
        crate::sync::fence(Ordering::Acquire);
        (state.load(Ordering::Relaxed) == CLAIMED).then_some(TenantEntry {
            slot,
            name: TenantName {
                pid: body.pid,
                start_time: body.start_time,
                generation: body.generation,
                binary_hash: body.binary_hash,
            },
            claimed_ns: body.claimed_ns,
        })
    }

    /// All slots in use.
    pub fn tenants(&self) -> Vec<TenantEntry> {
        (0..MAX_TENANTS as u16)
            .filter_map(|slot| self.tenant(slot))
            .collect()
    }

    fn names_tenant(&self, slot: u16) -> bool {
        self.shard_that_names(slot).is_some()
    }

    /// A shard whose owner word, or whose request that is not void, names an lcore of the tenant.
    fn shard_that_names(&self, slot: u16) -> Option<usize> {
        (0..MAX_SHARDS).find(|shard| {
            let owner = self.owner_word(*shard);
            let request = self.request_word(*shard);
            let next = request.epoch == owner.epoch && request.state != RequestState::None;
            owner.lcore.is_some_and(|lcore| tenant_of(lcore) == slot)
                || next && tenant_of(request.next) == slot
        })
    }
}

/// The tenant an lcore slot belongs to.
pub fn tenant_of(lcore_slot: u16) -> u16 {
    lcore_slot / LCORES_PER_TENANT as u16
}

/// The lcore slot of a tenant's lcore.
///
/// # Panics
/// When there are not so many tenants or lcores.
pub fn lcore_slot(tenant: u16, lcore: usize) -> u16 {
    assert!(
        usize::from(tenant) < MAX_TENANTS && lcore < LCORES_PER_TENANT,
        "tenant {tenant} of {MAX_TENANTS}, lcore {lcore} of {LCORES_PER_TENANT}"
    );
    tenant * LCORES_PER_TENANT as u16 + lcore as u16
}

fn at(slot: u16) -> usize {
    layout::TENANTS + usize::from(slot) * layout::TENANT_STRIDE
}
