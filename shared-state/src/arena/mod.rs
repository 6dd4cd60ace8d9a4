//! The arena: one range of offsets made of segments, each a file that every process maps where it
//! likes.
//!
//! Invariants
//! - A1 An offset names the same byte in every process: segments lie where [`layout`] says.
//! - A2 A mapping lives as long as the process: regions handed out stay valid.
//! - A3 A segment's length is what `fstat` says, never what bytes say.
//! - A4 `tables`, `meta` and `data` are a whole number of 2 MiB, whatever pages back them.
//!
//! Failure: the memory belongs to nobody. Whoever holds a descriptor keeps it; a process that dies
//! here leaves what it had stored so far, and each structure says what that means.

pub mod layout;

mod backing;
mod error;
mod image;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, RwLock};

pub use backing::Memory;
pub use error::ArenaError;

use crate::limits::{CHUNK, DEFAULT_MBUFS, HUGE_PAGE};
use crate::region::Region;
pub use crate::sys::memory::Access;
use crate::sys::memory::Reservation;
use backing::Backing;

/// What an arena is made of.
#[derive(Debug, Clone)]
pub struct ArenaSpec {
    /// Name of the instance, part of file names.
    pub prefix: String,
    /// Bytes for zones.
    pub tables_bytes: u64,
    /// Packet buffers.
    pub mbufs: u32,
    /// Bytes of one packet buffer.
    pub chunk: u32,
    /// What backs it.
    pub memory: Memory,
}

impl Default for ArenaSpec {
    fn default() -> Self {
        ArenaSpec {
            prefix: "baton".to_owned(),
            tables_bytes: 64 << 20,
            mbufs: DEFAULT_MBUFS,
            chunk: CHUNK,
            memory: Memory::Memfd,
        }
    }
}

/// The mapped segments of one instance; clones are the same arena.
#[derive(Debug, Clone)]
pub struct Arena {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    prefix: String,
    memory: Memory,
    range: Reservation,
    access: Access,
    segments: RwLock<Vec<Segment>>,
    warnings: RwLock<Vec<String>>,
}

/// One mapped segment. `fd` is `None` in an arena that was read from an image.
#[derive(Debug)]
struct Segment {
    name: String,
    offset: u64,
    region: Region,
    fd: Option<Arc<OwnedFd>>,
    huge: bool,
}

/// A segment as others may know it.
#[derive(Debug, Clone)]
pub struct SegmentInfo {
    /// Its name.
    pub name: String,
    /// Offset of its first byte.
    pub offset: u64,
    /// Its bytes.
    pub region: Region,
    /// Whether 2 MiB pages back it.
    pub huge: bool,
}

impl Arena {
    /// Makes the segments of a new instance and maps them.
    pub fn create(spec: &ArenaSpec) -> Result<Arena, ArenaError> {
        check_prefix(&spec.prefix)?;
        backing::clear_stale(&spec.memory, &spec.prefix)?;
        let arena = Arena::reserve(&spec.prefix, spec.memory.clone(), Access::ReadWrite)?;
        let meta = crate::mempool::Pool::meta_bytes(spec.mbufs) as u64;
        let data = u64::from(spec.mbufs) * u64::from(spec.chunk);
        for (name, len) in [
            (layout::LEDGER, layout::LEDGER_LEN),
            (layout::LIFELINES, layout::LIFELINES_LEN),
            (layout::TABLES, whole_pages(spec.tables_bytes)),
            (layout::META, whole_pages(meta)),
            (layout::DATA, whole_pages(data)),
        ] {
            arena.make(name, len)?;
        }
        arena.warn_of_small_pages();
        Ok(arena)
    }

    /// Maps the segments of an instance from descriptors. A read-only attach accepts read-only
    /// descriptors; an arena without `lifelines` (files of a dead instance) is one too.
    pub fn attach(fds: Vec<(String, OwnedFd)>, access: Access) -> Result<Arena, ArenaError> {
        let arena = Arena::reserve("", Memory::Memfd, access)?;
        for (name, fd) in fds {
            arena.attach_segment(&name, fd)?;
        }
        for name in [layout::LEDGER, layout::TABLES] {
            arena.require(name)?;
        }
        Ok(arena)
    }

    /// Maps the files that an instance with `memory = "hugetlbfs"` left in `dir`, dead or alive.
    pub fn open_files(dir: &Path, prefix: &str, access: Access) -> Result<Arena, ArenaError> {
        check_prefix(prefix)?;
        let mut fds = Vec::new();
        for (segment, path) in backing::files(dir, prefix)? {
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(access == Access::ReadWrite)
                .open(&path)
                .map_err(ArenaError::file("opening", &path))?;
            fds.push((segment, file.into()));
        }
        if fds.is_empty() {
            let path = dir.join(format!("baton.{prefix}"));
            return Err(ArenaError::NoFiles { path });
        }
        Arena::attach(fds, access)
    }

    /// Maps one more segment that the arena's maker added.
    pub fn attach_segment(&self, name: &str, fd: OwnedFd) -> Result<Region, ArenaError> {
        let backing = backing::inspect(name, fd)?;
        self.map(name, backing)
    }

    /// Adds a segment for zones of at least `len` bytes; returns its name. Every other process
    /// gets it as a descriptor (`attach_segment`).
    pub fn add_segment(&self, len: u64) -> Result<String, ArenaError> {
        let grown = |n: &u64| self.segment(&layout::growth_name(*n)).is_some();
        let number = (1..).take_while(grown).count() as u64 + 1;
        if number > layout::MAX_GROWTH {
            return Err(ArenaError::FullyGrown { grown: number - 1 });
        }
        let name = layout::growth_name(number);
        self.make(&name, whole_pages(len))?;
        Ok(name)
    }

    /// Duplicates of all descriptors by segment, for another process.
    pub fn fds(&self) -> Result<Vec<(String, OwnedFd)>, ArenaError> {
        self.each_fd(|fd| fd.try_clone_to_owned())
    }

    /// Descriptors of the same files that can only be read, for tools.
    pub fn read_only_fds(&self) -> Result<Vec<(String, OwnedFd)>, ArenaError> {
        self.each_fd(backing::reopen_read_only)
    }

    /// The descriptor of one segment (AF_XDP and VFIO want it), if the arena has any.
    pub fn segment_fd(&self, name: &str) -> Option<Arc<OwnedFd>> {
        let segments = self.segments();
        segments.iter().find(|s| s.name == name)?.fd.clone()
    }

    /// The bytes of a segment.
    pub fn segment(&self, name: &str) -> Option<Region> {
        let segments = self.segments();
        segments.iter().find(|s| s.name == name).map(|s| s.region)
    }

    /// The bytes of a segment that must be there.
    pub fn require(&self, name: &'static str) -> Result<Region, ArenaError> {
        self.segment(name).ok_or_else(|| ArenaError::Missing {
            name,
            have: self.list().into_iter().map(|s| s.name).collect(),
        })
    }

    /// All segments in the order of their offsets.
    pub fn list(&self) -> Vec<SegmentInfo> {
        let segments = self.segments();
        let info = |s: &Segment| SegmentInfo {
            name: s.name.clone(),
            offset: s.offset,
            region: s.region,
            huge: s.huge,
        };
        segments.iter().map(info).collect()
    }

    /// The bytes at arena offsets, which may come from shared bytes: they lie in one segment or
    /// are an error.
    pub fn region(&self, offset: u64, len: u64) -> Result<Region, ArenaError> {
        let segments = self.segments();
        let inside = |s: &Segment| {
            let at = usize::try_from(offset.checked_sub(s.offset)?).ok()?;
            s.region.slice(at, usize::try_from(len).ok()?).ok()
        };
        let none = ArenaError::NoSuchRange { offset, len };
        segments.iter().find_map(inside).ok_or(none)
    }

    /// Name of the instance; empty if this process only attached.
    pub fn prefix(&self) -> &str {
        &self.inner.prefix
    }

    /// What this process may do with it.
    pub fn access(&self) -> Access {
        self.inner.access
    }

    /// Whether 2 MiB pages back everything that should have them.
    pub fn huge_pages(&self) -> bool {
        let segments = self.segments();
        let mut large = segments.iter().filter(|s| wants_huge(&s.name));
        large.all(|s| s.huge)
    }

    /// What its maker should tell the operator, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.inner
            .warnings
            .read()
            .expect("nobody panics here")
            .clone()
    }

    fn reserve(prefix: &str, memory: Memory, access: Access) -> Result<Arena, ArenaError> {
        let len = usize::try_from(layout::RANGE).expect("a 64-bit machine");
        let range = Reservation::new(len, HUGE_PAGE as usize).map_err(|source| {
            let gib = layout::RANGE >> 30;
            ArenaError::Reserve { gib, source }
        })?;
        let inner = Inner {
            prefix: prefix.to_owned(),
            memory,
            range,
            access,
            segments: RwLock::new(Vec::new()),
            warnings: RwLock::new(Vec::new()),
        };
        Ok(Arena {
            inner: Arc::new(inner),
        })
    }

    fn make(&self, name: &str, len: u64) -> Result<Region, ArenaError> {
        let place = layout::place_of(name).expect("only segments with a place are made");
        if len > place.limit {
            return Err(ArenaError::TooLarge {
                segment: name.to_owned(),
                wanted: len,
                limit: place.limit,
            });
        }
        let backing = backing::make(&self.inner.memory, &self.inner.prefix, name, len)?;
        self.map(name, backing)
    }

    fn map(&self, name: &str, backing: Backing) -> Result<Region, ArenaError> {
        let place = layout::place_of(name).expect("checked when it was made or inspected");
        if self.segment(name).is_some() {
            let name = name.to_owned();
            return Err(ArenaError::Twice { name });
        }
        let (at, len) = (place.offset as usize, backing.len as usize);
        let access = self.inner.access;
        let region = self
            .inner
            .range
            .map_shared(at, len, backing.fd.as_fd(), access);
        let region = region.map_err(ArenaError::segment(name, "mmap"))?;
        self.insert(name, region, Some(backing.fd), backing.huge);
        Ok(region)
    }

    fn insert(&self, name: &str, region: Region, fd: Option<OwnedFd>, huge: bool) {
        let place = layout::place_of(name).expect("checked by the caller");
        let mut segments = self.inner.segments.write().expect("nobody panics here");
        segments.push(Segment {
            name: name.to_owned(),
            offset: place.offset,
            region,
            fd: fd.map(Arc::new),
            huge,
        });
        segments.sort_by_key(|s| s.offset);
    }

    fn segments(&self) -> std::sync::RwLockReadGuard<'_, Vec<Segment>> {
        self.inner.segments.read().expect("nobody panics here")
    }

    fn each_fd(
        &self,
        f: impl Fn(BorrowedFd<'_>) -> std::io::Result<OwnedFd>,
    ) -> Result<Vec<(String, OwnedFd)>, ArenaError> {
        let mut fds = Vec::new();
        for segment in self.segments().iter() {
            if let Some(fd) = &segment.fd {
                let fd = f(fd.as_fd());
                let fd = fd.map_err(ArenaError::segment(&segment.name, "duplicating"))?;
                fds.push((segment.name.clone(), fd));
            }
        }
        Ok(fds)
    }

    fn warn_of_small_pages(&self) {
        let segments = self.segments();
        let small: Vec<&Segment> = segments
            .iter()
            .filter(|s| wants_huge(&s.name) && !s.huge)
            .collect();
        if small.is_empty() {
            return;
        }
        let bytes: u64 = small.iter().map(|s| s.region.len() as u64).sum();
        let text = format!(
            "{} MiB on 4 KiB pages: {} huge pages of 2 MiB are free, {} are needed \
             (`sysctl vm.nr_hugepages`)",
            bytes >> 20,
            crate::sys::memory::free_huge_pages(),
            bytes / HUGE_PAGE
        );
        self.inner
            .warnings
            .write()
            .expect("nobody panics here")
            .push(text);
    }
}

fn wants_huge(name: &str) -> bool {
    !matches!(name, layout::LEDGER | layout::LIFELINES)
}

fn whole_pages(len: u64) -> u64 {
    len.max(1).next_multiple_of(HUGE_PAGE)
}

fn check_prefix(prefix: &str) -> Result<(), ArenaError> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=31).contains(&prefix.len()) && prefix.chars().all(good) {
        return Ok(());
    }
    let prefix = prefix.to_owned();
    Err(ArenaError::Prefix { prefix })
}
