//! The zone directory: which zones there are, what their bytes mean and where they lie. In the
//! ledger segment, frozen and self-describing; one writer (the supervisor, or a standalone
//! primary), any number of readers of any version.
//!
//! ```text
//!            create_zone            publish             retire
//!   (empty) ------------> building ---------> ready ---------------> retired --1 s--> (empty)
//!                             |                                         ^
//!                             +------------- its asker died ------------+
//! ```
//! Invariants
//! - D1 Ready is the last store of a zone's making.
//! - D2 Ranges of zones that are building or ready never overlap.
//! - D3 A retired zone's bytes stay untouched for a second.
//! - D4 Whatever the bytes are, reading them gives entries or errors, never a panic and never an
//!   access outside the arena.
//!
//! Order: module `entry`. A reader that cannot write copies, then asks [`Directory::is_current`].
//!
//! Failure: a writer that dies leaves at most one half-written entry, which reads as empty. Zones
//! whose asker died while it built them are retired with their generation.

mod alloc;
mod entry;
mod error;
mod header;
mod spec;
mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use baton_schema::{Fingerprint, Schema};
use zerocopy::FromZeros;

pub use alloc::QUARANTINE_NS;
pub use entry::{ZoneEntry, ZoneState};
pub use error::DirectoryError;
pub use header::{Header, LAYOUT, MAGIC};
pub use spec::ZoneSpec;

use crate::arena::{Arena, ArenaError, layout};
use crate::ledger::layout::ENTRIES;
use crate::region::Region;
use crate::sync::Ordering;
use crate::sys;
use entry::{Body, Slot, split};

/// A view of the directory; clones are the same one.
#[derive(Debug, Clone)]
pub struct Directory {
    arena: Arena,
    ledger: Region,
    header: Header,
    writer: Option<Arc<Mutex<Writer>>>,
}

/// What only the writer knows.
#[derive(Debug, Default)]
struct Writer {
    /// End of what has ever been used of each segment; beyond it the kernel's zeros still stand.
    used: BTreeMap<String, u64>,
    /// Whether segments that are not in `used` are fresh.
    fresh: bool,
}

impl Directory {
    /// Writes the header and an empty directory into a new arena; this process is the writer.
    pub fn create(arena: &Arena) -> Result<Directory, DirectoryError> {
        let ledger = arena.require(layout::LEDGER)?;
        let system = |source| ArenaError::Segment {
            segment: layout::LEDGER.to_owned(),
            op: "naming",
            source,
        };
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let header = Header {
            boot_id: sys::boot_id().map_err(system)?,
            uuid: sys::clock::new_uuid().map_err(system)?,
            prefix: arena.prefix().to_owned(),
            created_ns: since.map_or(0, |since| since.as_nanos() as u64),
        };
        header.write(ledger);
        let fresh = true;
        let used = BTreeMap::new();
        Ok(Directory {
            writer: Some(Arc::new(Mutex::new(Writer { used, fresh }))),
            ..Directory::inspect(arena)?
        })
    }

    /// Opens the directory of an arena that somebody else made, and checks every entry.
    pub fn open(arena: &Arena) -> Result<Directory, DirectoryError> {
        let directory = Directory::inspect(arena)?;
        match directory.check().into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(directory),
        }
    }

    /// Opens a directory whose entries may be damaged, for tools; the header must be whole.
    pub fn inspect(arena: &Arena) -> Result<Directory, DirectoryError> {
        let ledger = arena.require(layout::LEDGER)?;
        Ok(Directory {
            arena: arena.clone(),
            ledger,
            header: Header::read(ledger)?,
            writer: None,
        })
    }

    /// Becomes the writer after the last one died; the caller holds what makes it the only one.
    pub fn take_over(arena: &Arena) -> Result<Directory, DirectoryError> {
        let writer = Some(Arc::default());
        Ok(Directory {
            writer,
            ..Directory::open(arena)?
        })
    }

    /// The arena it describes.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// What the header says.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether the arena was made in this boot; if not, its lifelines and clocks are void.
    pub fn is_of_this_boot(&self) -> bool {
        sys::boot_id().is_ok_and(|id| id == self.header.boot_id)
    }

    /// Makes a zone of zeros that is `building`; its asker fills it, then it is published.
    pub fn create_zone(&self, spec: &ZoneSpec<'_>) -> Result<ZoneEntry, DirectoryError> {
        self.create_zone_at(spec, sys::clock_boottime_ns())
    }

    /// As [`Directory::create_zone`]; where there is no room, `grow` is asked once for that many
    /// bytes more (see [`Arena::add_segment`]).
    pub fn create_zone_or_grow(
        &self,
        spec: &ZoneSpec<'_>,
        grow: impl FnOnce(u64) -> Result<(), ArenaError>,
    ) -> Result<ZoneEntry, DirectoryError> {
        match self.create_zone(spec) {
            Err(DirectoryError::NoSpace { .. }) => {
                grow(spec.len)?;
                self.create_zone(spec)
            }
            result => result,
        }
    }

    /// Makes a zone ready: everything stored in it so far is seen by whoever finds it.
    pub fn publish(&self, id: u32) -> Result<(), DirectoryError> {
        let _writer = self.write()?;
        let entry = self.entry(id)?;
        if entry.state != ZoneState::Building {
            return Err(DirectoryError::State {
                name: entry.name,
                found: entry.state,
                wanted: ZoneState::Building,
            });
        }
        Slot::new(self.ledger, entry.slot).set_ready();
        Ok(())
    }

    /// Ends a zone's use; fine if it was retired before.
    pub fn retire(&self, id: u32) -> Result<(), DirectoryError> {
        let _writer = self.write()?;
        let entry = self.entry(id)?;
        if entry.state != ZoneState::Retired {
            Slot::new(self.ledger, entry.slot).set_retired(sys::clock_boottime_ns());
        }
        Ok(())
    }

    /// Retires every zone that generation set `generation` made; says how many.
    pub fn retire_generation(&self, generation: u16) -> Result<usize, DirectoryError> {
        let mut retired = 0;
        for zone in self.list() {
            if zone.generation == generation && zone.state != ZoneState::Retired {
                self.retire(zone.id)?;
                retired += 1;
            }
        }
        Ok(retired)
    }

    /// The zone with this id, whatever its state.
    pub fn entry(&self, id: u32) -> Result<ZoneEntry, DirectoryError> {
        let found = self.list().into_iter().find(|zone| zone.id == id);
        found.ok_or(DirectoryError::NoSuchZone { id })
    }

    /// The zone that generation set `generation` uses: of those that are ready the newest that is
    /// no newer than it.
    pub fn find(&self, name: &str, generation: u16) -> Option<ZoneEntry> {
        let zones = self.list().into_iter();
        zones
            .filter(|zone| zone.name == name && zone.state == ZoneState::Ready)
            .filter(|zone| zone.generation <= generation)
            .max_by_key(|zone| zone.generation)
    }

    /// The newest zone of this name that is ready.
    pub fn find_latest(&self, name: &str) -> Option<ZoneEntry> {
        self.find(name, u16::MAX)
    }

    /// All zones whose entries are whole, retired ones included, in the order of their slots.
    pub fn list(&self) -> Vec<ZoneEntry> {
        let entries = Slot::all(self.ledger).filter_map(|slot| slot.read().ok());
        entries.flatten().collect()
    }

    /// What is wrong: damaged entries, schemas that do not decode, ranges that lie nowhere.
    pub fn check(&self) -> Vec<DirectoryError> {
        let mut problems = Vec::new();
        for slot in Slot::all(self.ledger) {
            match slot.read() {
                Ok(Some(zone)) if zone.state != ZoneState::Retired => {
                    problems.extend(self.schema_of(&zone).err());
                    problems.extend(self.zone_region(&zone).err());
                }
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        problems
    }

    /// The schema that is stored beside a zone.
    pub fn schema_of(&self, zone: &ZoneEntry) -> Result<Schema, DirectoryError> {
        store::get(self.ledger, zone)
    }

    /// The bytes of a zone.
    pub fn zone_region(&self, zone: &ZoneEntry) -> Result<Region, DirectoryError> {
        Ok(self.arena.region(zone.offset, zone.len)?)
    }

    /// Whether a zone is still what it was when its entry was read: if so, everything copied from
    /// it before this call is of that zone.
    pub fn is_current(&self, zone: &ZoneEntry) -> bool {
        zone.slot < ENTRIES && Slot::new(self.ledger, zone.slot).is_still(zone)
    }

    /// Bytes in all free ranges, and in the longest.
    pub fn free_bytes(&self) -> (u64, u64) {
        let now = sys::clock_boottime_ns();
        let free = alloc::free_ranges(&self.arena.list(), &self.list(), now);
        let lengths = free.iter().map(|(from, to)| to - from);
        (lengths.clone().sum(), lengths.max().unwrap_or(0))
    }

    fn create_zone_at(
        &self,
        spec: &ZoneSpec<'_>,
        now_ns: u64,
    ) -> Result<ZoneEntry, DirectoryError> {
        let mut writer = self.write()?;
        spec.check()?;
        let zones = self.list();
        self.refuse_second(spec, &zones)?;
        let slot = self.free_slot(now_ns)?;
        let free = alloc::free_ranges(&self.arena.list(), &zones, now_ns);
        let len = spec.len.next_multiple_of(alloc::ALIGN);
        let offset = alloc::first_fit(&free, len);
        let offset = offset.map_err(|free| DirectoryError::NoSpace { wanted: len, free })?;
        let stored = store::put(self.ledger, spec.name, spec.schema)?;
        self.clear(&mut writer, offset, len)?;
        let id = header::next_id(self.ledger).fetch_add(1, Ordering::Relaxed);
        let mut body = Body {
            schema_at: stored.at,
            schema_len: stored.len,
            fingerprint: split(spec.schema.fingerprint()),
            schema_version: spec.schema.version,
            offset,
            len: spec.len,
            count: spec.count,
            stride: spec.stride,
            id,
            policy: spec.policy.to_u32(),
            generation: spec.generation,
            ..Body::new_zeroed()
        };
        body.name[..spec.name.len()].copy_from_slice(spec.name.as_bytes());
        let schema_name = spec.schema.name.as_bytes();
        body.schema_name[..schema_name.len()].copy_from_slice(schema_name);
        body.seal();
        slot.enter(&body);
        self.entry(id)
    }

    fn refuse_second(
        &self,
        spec: &ZoneSpec<'_>,
        zones: &[ZoneEntry],
    ) -> Result<(), DirectoryError> {
        let same = |zone: &&ZoneEntry| {
            zone.name == spec.name
                && zone.generation == spec.generation
                && zone.state != ZoneState::Retired
        };
        match zones.iter().find(same) {
            Some(zone) => Err(DirectoryError::Exists {
                name: zone.name.clone(),
                generation: zone.generation,
                state: zone.state,
            }),
            None => Ok(()),
        }
    }

    /// A slot that is empty, or whose zone has been retired for long enough.
    fn free_slot(&self, now_ns: u64) -> Result<Slot, DirectoryError> {
        let free = |slot: &Slot| match slot.read() {
            Ok(Some(zone)) => !alloc::is_taken(&zone, now_ns),
            Ok(None) => true,
            Err(_) => false,
        };
        let slot = Slot::all(self.ledger).find(free);
        slot.ok_or(DirectoryError::Full { entries: ENTRIES })
    }

    /// Zeroes what was used before; the rest of a fresh segment is zero and stays untouched.
    fn clear(&self, writer: &mut Writer, offset: u64, len: u64) -> Result<(), DirectoryError> {
        let segments = self.arena.list();
        let holds = |s: &&crate::arena::SegmentInfo| {
            (s.offset..s.offset + s.region.len() as u64).contains(&offset)
        };
        let segment = segments.iter().find(holds);
        let segment = segment.ok_or(ArenaError::NoSuchRange { offset, len })?;
        let end = segment.offset + segment.region.len() as u64;
        let unused = if writer.fresh { segment.offset } else { end };
        let used = writer.used.entry(segment.name.clone()).or_insert(unused);
        if *used > offset {
            let dirty = len.min(*used - offset);
            let region = self.arena.region(offset, dirty)?;
            // A large table of which little was used must not become memory. Huge pages that are given back
            // may be somebody else's when they are wanted again.
            if self.arena.huge_pages() {
                region.zero();
            } else {
                region.discard();
            }
        }
        *used = (*used).max(offset + len);
        Ok(())
    }

    fn write(&self) -> Result<MutexGuard<'_, Writer>, DirectoryError> {
        let writer = self.writer.as_ref().ok_or(DirectoryError::NotWriter)?;
        Ok(writer.lock().expect("nobody panics while it writes"))
    }
}

/// 64 bits that change when the bytes do.
fn checksum(bytes: &[u8]) -> u64 {
    Fingerprint::of_bytes(bytes).0 as u64
}

/// Text in a field that ends at the first zero.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    String::from_utf8(bytes[..end].to_vec()).ok()
}
