//! The upgrade block: enough for the next supervisor to finish or undo what the last one began.
//!
//! One writer; readers of any process copy it under a sequence word that is odd while it changes.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Ledger, layout};
use crate::sync::{Ordering, fence};

/// One upgrade as the ledger holds it. Times are `CLOCK_BOOTTIME`; `phase` and `direction` are
/// numbers of the supervisor's, for which zero means that no upgrade is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct UpgradeBlock {
    /// Number of the upgrade, as in the history.
    pub id: u64,
    /// Where it stands.
    pub phase: u32,
    /// 0 none, 1 to the newer tenant, 2 back.
    pub direction: u32,
    /// Slot of the tenant that served before.
    pub older: u16,
    /// Slot of the tenant that shall serve.
    pub newer: u16,
    /// Generation set of the older.
    pub older_generation: u16,
    /// Generation set of the newer.
    pub newer_generation: u16,
    /// When it began, in nanoseconds since boot.
    pub started_ns: u64,
    /// When the phase expires, likewise.
    pub phase_deadline_ns: u64,
    /// When the soak ends, likewise.
    pub soak_until_ns: u64,
    /// Shards that have been moved, a bit each.
    pub moved: u64,
    /// For later versions; zero.
    pub spare: [u64; 5],
}

const _: () = assert!(size_of::<UpgradeBlock>() == 96 && BODY + 96 <= layout::UPGRADE_LEN);

/// The body begins after the sequence word's line.
const BODY: usize = 64;

/// Times a reader begins again before it says that the writer died inside the block.
const TRIES: usize = 1000;

impl Ledger {
    /// A consistent copy; `None` if the writer died while it stored (the block is void then, and
    /// the owner words alone say what happened).
    pub fn upgrade(&self) -> Option<UpgradeBlock> {
        let seq = self.region.u32(layout::UPGRADE);
        for _ in 0..TRIES {
            let before = seq.load(Ordering::Acquire);
            let block = self.region.read(layout::UPGRADE + BODY);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && seq.load(Ordering::Relaxed) == before {
                return Some(block);
            }
            std::thread::yield_now();
        }
        None
    }

    /// Stores the block. Only the supervisor calls this.
    pub fn set_upgrade(&self, block: &UpgradeBlock) {
        let seq = self.region.u32(layout::UPGRADE);
        let odd = seq.load(Ordering::Relaxed) | 1;
        seq.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        self.region.write(layout::UPGRADE + BODY, block);
        seq.store(odd.wrapping_add(1), Ordering::Release);
    }
}
