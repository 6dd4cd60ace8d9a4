//! Where this process stands between two generations: the few words by which its control thread
//! tells its own lcores what an upgrade asks of their zones. Private to the process.

use baton_shared_state::MAX_SHARDS;
use baton_shared_state::sync::{AtomicU32, Ordering};

/// Which way carried counters are to be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Not at all: the other generation may still be needed.
    No,
    /// The older generation's numbers into the newer's, at commit.
    Up,
    /// The newer's into the older's, when the shard goes back.
    Back,
}

/// Flags of one tenant, read by its lcores at each change of a record.
#[derive(Debug)]
pub struct Transition {
    through: AtomicU32,
    soaking: AtomicU32,
    fold: AtomicU32,
    folded: [AtomicU32; MAX_SHARDS],
}

impl Default for Transition {
    fn default() -> Transition {
        Transition {
            through: AtomicU32::new(0),
            soaking: AtomicU32::new(0),
            fold: AtomicU32::new(0),
            folded: [const { AtomicU32::new(0) }; MAX_SHARDS],
        }
    }
}

impl Transition {
    /// From here on changed records are written to the older generation too.
    pub fn write_through(&self, on: bool) {
        self.through.store(u32::from(on), Ordering::Release);
    }

    /// Whether changed records go to the older generation too.
    #[inline]
    pub fn writes_through(&self) -> bool {
        self.through.load(Ordering::Relaxed) != 0
    }

    /// Every shard has moved to this tenant (or an export begins, and that is over).
    pub fn set_soaking(&self, on: bool) {
        self.soaking.store(u32::from(on), Ordering::Release);
    }

    /// Whether every shard has moved.
    #[inline]
    pub fn soaking(&self) -> bool {
        self.soaking.load(Ordering::Relaxed) != 0
    }

    /// Asks every shard to fold its carried counters: at once (`Up`), or as it goes back (`Back`).
    pub fn ask_fold(&self, way: Fold) {
        self.folded
            .iter()
            .for_each(|shard| shard.store(0, Ordering::Relaxed));
        self.fold.store(way as u32, Ordering::Release);
    }

    /// What has been asked.
    #[inline]
    pub fn fold(&self) -> Fold {
        match self.fold.load(Ordering::Relaxed) {
            1 => Fold::Up,
            2 => Fold::Back,
            _ => Fold::No,
        }
    }

    /// A shard says that nothing is left to fold.
    pub fn set_folded(&self, shard: u16) {
        self.folded[usize::from(shard)].store(1, Ordering::Release);
    }

    /// Whether a shard has nothing left to fold.
    pub fn folded(&self, shard: u16) -> bool {
        self.folded[usize::from(shard)].load(Ordering::Acquire) != 0
    }
}
