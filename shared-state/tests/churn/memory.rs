//! The memory of a run: an arena, whose zones hold the words that readers store, and a segment for the structures, which
//! readers map to read only.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use baton_shared_state::Region;
use baton_shared_state::acl::{Acl, Family, Sizes};
use baton_shared_state::arena::{Access, Arena, ArenaSpec, layout};
use baton_shared_state::lpm::Lpm;
use baton_shared_state::lpm6::Lpm6;
use baton_shared_state::rcu::{DeferQueue, Qsbr};
use baton_shared_state::sync::Ordering;
use baton_shared_state::sys::memory::Reservation;
use baton_shared_state::table::{IdPlan, IdSpace, Index, Keys, Records};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::oracle::{KEYS, Oracle, Stats};

/// Reader processes, each in the lcore slot of its number.
pub(crate) const READERS: u16 = 2;
/// Groups of the IPv4 table: more than rules need, less than that and what rests.
pub(crate) const GROUPS: u32 = 16;
/// Lines of the IPv6 table.
pub(crate) const LINES: u32 = 1024;
/// Values that wait for readers.
pub(crate) const DEFERRED: u32 = 32;
pub(crate) const SEED: u64 = 11;

pub(crate) type Key = [u64; 2];
/// Key, number of the change, both mixed, and the number again.
pub(crate) type Value = [u64; 4];

/// Rows of the table: as many as keys, and some that rest.
pub(crate) fn plan() -> IdPlan {
    IdPlan::new(KEYS as u32 + 1, 1).expect("a plan")
}

pub(crate) fn rule_sizes() -> Sizes {
    Sizes::for_rules(KEYS as u32, Family::V4)
}

/// The parts of the segment for structures.
pub(crate) struct Tables {
    pub(crate) ids: Region,
    pub(crate) keys: Region,
    pub(crate) records: Region,
    pub(crate) index: Region,
    pub(crate) routes: Region,
    pub(crate) routes6: Region,
    pub(crate) rules: Region,
}

impl Tables {
    fn sizes() -> [usize; 7] {
        let (plan, total) = (plan(), plan().total());
        [
            IdSpace::bytes_for(&plan),
            Keys::<Key>::bytes_for(total),
            Records::<Value>::bytes_for(total),
            Index::bytes_for(1, index_lines()),
            Lpm::bytes_for(GROUPS),
            Lpm6::bytes_for(LINES),
            Acl::bytes_for(Family::V4, rule_sizes()).expect("sizes"),
        ]
        .map(|bytes| bytes.next_multiple_of(4096))
    }

    fn bytes() -> usize {
        Tables::sizes().iter().sum()
    }

    pub(crate) fn over(region: Region) -> Tables {
        let mut at = 0;
        let parts = Tables::sizes().map(|bytes| {
            at += bytes;
            region.slice(at - bytes, bytes).expect("room")
        });
        let [ids, keys, records, index, routes, routes6, rules] = parts;
        Tables {
            ids,
            keys,
            records,
            index,
            routes,
            routes6,
            rules,
        }
    }
}

pub(crate) fn index_lines() -> u32 {
    Index::lines_for(plan().per_shard())
}

const STOP_AT: usize = 0;
const HOLD_AT: usize = 64;
const STATS_AT: usize = 128;
const ORACLE_AT: usize = STATS_AT + READERS as usize * Stats::BYTES;
const QSBR_AT: usize = (ORACLE_AT + Oracle::BYTES).next_multiple_of(64);
const QUEUE_AT: usize = (QSBR_AT + Qsbr::bytes()).next_multiple_of(64);

/// One process's view of the memory of a run.
pub(crate) struct Memory {
    arena: Arena,
    words: Region,
    tables: Region,
    file: Arc<OwnedFd>,
}

impl Memory {
    pub(crate) fn create() -> Memory {
        let spec = ArenaSpec {
            prefix: "churn".to_owned(),
            tables_bytes: 2 << 20,
            mbufs: 32,
            ..ArenaSpec::default()
        };
        let arena = Arena::create(&spec).expect("an arena");
        let file = memfd_create("churn", MFdFlags::MFD_CLOEXEC).expect("a file");
        nix::unistd::ftruncate(&file, Tables::bytes() as i64).expect("room");
        Memory::over(arena, file, Access::ReadWrite)
    }

    /// The memory of another process, by the numbers of its descriptors.
    pub(crate) fn open(parent: u32, numbers: &[(String, i32)]) -> Memory {
        let mut segments = Vec::new();
        let mut file = None;
        for (name, number) in numbers {
            let path = format!("/proc/{parent}/fd/{number}");
            let mut how = std::fs::OpenOptions::new();
            let write = name.as_str() != TABLES_FILE;
            let opened = how
                .read(true)
                .write(write)
                .open(&path)
                .expect("a descriptor");
            if write {
                segments.push((name.clone(), opened.into()));
            } else {
                file = Some(opened.into());
            }
        }
        let arena = Arena::attach(segments, Access::ReadWrite).expect("an arena");
        Memory::over(arena, file.expect("the structures"), Access::ReadOnly)
    }

    fn over(arena: Arena, file: OwnedFd, access: Access) -> Memory {
        let place = Reservation::new(Tables::bytes(), 4096).expect("addresses");
        let tables = place.map_shared(0, Tables::bytes(), file.as_fd(), access);
        Memory {
            words: arena.require(layout::TABLES).expect("a segment"),
            tables: tables.expect("a mapping"),
            file: Arc::new(file),
            arena,
        }
    }

    /// The descriptors that another process needs, by their names.
    pub(crate) fn numbers(&self) -> Vec<(String, i32)> {
        let names = [layout::LEDGER, layout::LIFELINES, layout::TABLES];
        let number = |name: &str| {
            let file = self.arena.segment_fd(name).expect("a segment");
            (name.to_owned(), file.as_raw_fd())
        };
        let mut numbers: Vec<(String, i32)> = names.into_iter().map(number).collect();
        numbers.push((TABLES_FILE.to_owned(), self.file.as_raw_fd()));
        numbers
    }

    pub(crate) fn arena(&self) -> &Arena {
        &self.arena
    }

    pub(crate) fn tables(&self) -> Region {
        self.tables
    }

    pub(crate) fn oracle(&self) -> Oracle {
        Oracle::new(self.part(ORACLE_AT, Oracle::BYTES))
    }

    pub(crate) fn stats(&self, slot: u16) -> Stats {
        let at = STATS_AT + usize::from(slot) * Stats::BYTES;
        Stats::new(self.part(at, Stats::BYTES))
    }

    pub(crate) fn qsbr(&self) -> Region {
        self.part(QSBR_AT, Qsbr::bytes())
    }

    pub(crate) fn queue(&self) -> Region {
        self.part(QUEUE_AT, DeferQueue::bytes_for(DEFERRED))
    }

    /// Tells all readers to end.
    pub(crate) fn stop(&self) {
        self.words.u32(STOP_AT).store(1, Ordering::SeqCst);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.words.u32(STOP_AT).load(Ordering::SeqCst) != 0
    }

    /// Tells a reader to stay in its next burst.
    pub(crate) fn hold(&self, slot: u16) {
        let word = self.words.u32(HOLD_AT);
        word.fetch_or(1 << slot, Ordering::SeqCst);
    }

    pub(crate) fn is_held(&self, slot: u16) -> bool {
        self.words.u32(HOLD_AT).load(Ordering::SeqCst) & 1 << slot != 0
    }

    fn part(&self, at: usize, bytes: usize) -> Region {
        self.words.slice(at, bytes).expect("room")
    }
}

const TABLES_FILE: &str = "structures";
