//! An arena with its directory and ledger: which zones there are, and which generation is the one in use.

use std::path::Path;

use baton_shared_state::arena::Arena;
use baton_shared_state::directory::{Directory, ZoneEntry, ZoneState};
use baton_shared_state::ledger::Ledger;
use baton_shared_state::sync::Ordering;
use baton_shared_state::{LCORE_SLOTS, sys};
use serde::{Deserialize, Serialize};

use crate::error::DumpError;
use crate::source::Source;

/// The file beside an image's segments: what the segments themselves do not tell.
pub const IMAGE_NOTE: &str = "image.json";

/// When and of what an image was saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ImageNote {
    /// `baton.image/1`.
    pub schema: String,
    /// The instance.
    pub prefix: String,
    /// `CLOCK_BOOTTIME` of the moment: what "ago" counts from.
    pub boottime_ns: u64,
}

/// Everything the verbs need of one instance.
#[derive(Debug)]
pub struct Instance {
    /// The mapped segments.
    pub arena: Arena,
    /// Its zones.
    pub directory: Directory,
    /// Its words of ownership.
    pub ledger: Ledger,
    /// What "ago" counts from.
    pub now_ns: u64,
    /// Whether processes may be writing at this moment.
    pub may_change: bool,
}

impl Instance {
    /// Opens the memory of a source.
    pub fn open(source: &Source, uid: Option<u32>) -> Result<Instance, DumpError> {
        let arena = source.open(uid)?;
        let mut instance = Instance::of(arena, source.may_change())?;
        if let Source::Image { dir } = source {
            instance.now_ns = image_time(dir).unwrap_or_else(|| instance.last_heartbeat());
        }
        Ok(instance)
    }

    /// Over an arena that is mapped already; "now" is this machine's.
    pub fn of(arena: Arena, may_change: bool) -> Result<Instance, DumpError> {
        let directory = Directory::inspect(&arena)?;
        let ledger = Ledger::open(&arena)?;
        Ok(Instance {
            arena,
            directory,
            ledger,
            now_ns: sys::clock_boottime_ns(),
            may_change,
        })
    }

    /// The generation set in use: the lowest that any shard's owner has (during a swap the older one is kept
    /// current), else the one the supervisor last named.
    pub fn generation(&self) -> Option<u16> {
        let owners = (0..self.ledger.shard_count()).map(|shard| self.ledger.owner_word(shard));
        let owned = owners
            .filter(|owner| owner.lcore.is_some())
            .map(|owner| owner.generation)
            .min();
        owned.or_else(|| self.ledger.live_generation())
    }

    /// The zone of this name that `generation` (or the set in use) works with: the newest ready one that is not
    /// newer than it.
    pub fn zone(&self, name: &str, generation: Option<u16>) -> Result<ZoneEntry, DumpError> {
        let found = self.find(name, generation.or_else(|| self.generation()));
        found
            .or_else(|| {
                if generation.is_none() {
                    self.find(name, None)
                } else {
                    None
                }
            })
            .ok_or_else(|| {
                let mut known: Vec<String> = self
                    .directory
                    .list()
                    .into_iter()
                    .filter(usable)
                    .map(|entry| entry.name)
                    .collect();
                known.sort();
                known.dedup();
                let of = generation
                    .map(|generation| format!(" in generation {generation}"))
                    .unwrap_or_default();
                DumpError::NoZone {
                    zone: name.to_owned(),
                    of,
                    known: known.join(", "),
                }
            })
    }

    /// As [`zone`](Instance::zone), `None` if there is none; without a generation, the newest.
    pub fn find(&self, name: &str, generation: Option<u16>) -> Option<ZoneEntry> {
        let fits =
            |entry: &ZoneEntry| generation.is_none_or(|generation| entry.generation <= generation);
        self.directory
            .list()
            .into_iter()
            .filter(|entry| entry.name == name && usable(entry) && fits(entry))
            .max_by_key(|entry| entry.generation)
    }

    /// When an lcore last ran: the best there is for an image without its note.
    fn last_heartbeat(&self) -> u64 {
        let slots = 0..u16::try_from(LCORE_SLOTS).expect("512 of them");
        slots
            .map(|slot| self.ledger.heartbeat(slot).load(Ordering::Relaxed))
            .max()
            .unwrap_or(0)
    }

    /// Whether the entry is the same as it was, and not retired (I3 of the crate).
    pub fn still(&self, entry: &ZoneEntry) -> bool {
        self.directory.is_current(entry)
    }
}

fn usable(entry: &ZoneEntry) -> bool {
    entry.state == ZoneState::Ready
}

/// The moment an image was saved, if its note says so.
fn image_time(dir: &Path) -> Option<u64> {
    let note = std::fs::read(dir.join(IMAGE_NOTE)).ok()?;
    serde_json::from_slice::<ImageNote>(&note)
        .ok()
        .map(|note| note.boottime_ns)
}
