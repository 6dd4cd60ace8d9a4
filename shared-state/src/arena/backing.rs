//! The files behind segments: memfds, or files in a directory that outlives all processes.
//!
//! Invariants
//! - B1 A memfd is sealed against shrinking, growing and further sealing before anybody maps it,
//!   so a mapping never loses its pages.
//! - B2 Huge pages are reserved (`fallocate`) before they are mapped: no `SIGBUS` later.
//! - B3 Every file has mode 0600: another user cannot reopen it through `/proc`.
//! - B4 The `ledger` file of an instance is locked (`flock`) through the open file that all its
//!   processes share, for as long as one of them holds a descriptor or a mapping of it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Whence, lseek};

use super::error::ArenaError;
use super::layout;
use crate::limits::HUGE_PAGE;
use crate::sys;

/// Where segments live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Memory {
    /// In anonymous files that vanish with the last process that holds them.
    Memfd,
    /// In files of this directory (a hugetlbfs mount), which stay when all processes are dead.
    Hugetlbfs(PathBuf),
}

/// One file of an arena.
#[derive(Debug)]
pub(super) struct Backing {
    pub(super) fd: OwnedFd,
    pub(super) len: u64,
    pub(super) huge: bool,
}

/// A new file of at least `len` zeroed bytes.
pub(super) fn make(
    memory: &Memory,
    prefix: &str,
    segment: &str,
    len: u64,
) -> Result<Backing, ArenaError> {
    let small = matches!(segment, layout::LEDGER | layout::LIFELINES);
    match memory {
        // No file of a directory: a lifeline means nothing once all processes are dead.
        Memory::Hugetlbfs(dir) if segment != layout::LIFELINES => {
            make_file(dir, prefix, segment, len)
        }
        _ if small => make_memfd(segment, len, false),
        _ if sys::memory::free_huge_pages() * HUGE_PAGE >= len => {
            make_memfd(segment, len, true).or_else(|_| make_memfd(segment, len, false))
        }
        _ => make_memfd(segment, len, false),
    }
}

fn make_memfd(segment: &str, len: u64, huge: bool) -> Result<Backing, ArenaError> {
    let mut flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    if huge {
        flags |= MFdFlags::MFD_HUGETLB | MFdFlags::MFD_HUGE_2MB;
    }
    let failed =
        |op| move |errno: nix::errno::Errno| ArenaError::segment(segment, op)(errno.into());
    let name = format!("baton.{segment}");
    let fd = memfd_create(name.as_str(), flags).map_err(failed("memfd_create"))?;
    let size = i64::try_from(len).expect("a segment fits its place");
    nix::unistd::ftruncate(&fd, size).map_err(failed("ftruncate"))?;
    if huge {
        fallocate(&fd, FallocateFlags::empty(), 0, size).map_err(failed("fallocate"))?;
    }
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR).map_err(failed("fchmod"))?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).map_err(failed("sealing"))?;
    Ok(Backing { fd, len, huge })
}

/// Path of a segment's file.
pub(super) fn path_of(dir: &Path, prefix: &str, segment: &str) -> PathBuf {
    dir.join(format!("baton.{prefix}.{segment}"))
}

fn make_file(dir: &Path, prefix: &str, segment: &str, len: u64) -> Result<Backing, ArenaError> {
    let path = path_of(dir, prefix, segment);
    let huge = is_hugetlbfs(dir).map_err(ArenaError::file("looking at", dir))?;
    let len = if huge {
        len.next_multiple_of(HUGE_PAGE)
    } else {
        len
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(ArenaError::file("creating", &path))?;
    file.set_len(len)
        .map_err(ArenaError::file("sizing", &path))?;
    let size = i64::try_from(len).expect("a segment fits its place");
    if huge && fallocate(&file, FallocateFlags::empty(), 0, size).is_err() {
        let _ = std::fs::remove_file(&path);
        return Err(ArenaError::NoHugePages {
            path: dir.to_owned(),
            segment: segment.to_owned(),
            wanted: len,
            pages: len / HUGE_PAGE,
        });
    }
    if segment == layout::LEDGER {
        lock(&file, &path)?;
    }
    let fd = file.into();
    Ok(Backing { fd, len, huge })
}

/// Removes the files that a dead instance of this prefix left; refuses if it is alive (B4).
pub(super) fn clear_stale(memory: &Memory, prefix: &str) -> Result<(), ArenaError> {
    let Memory::Hugetlbfs(dir) = memory else {
        return Ok(());
    };
    let path = path_of(dir, prefix, layout::LEDGER);
    match File::options().read(true).write(true).open(&path) {
        Ok(ledger) => lock(&ledger, &path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(ArenaError::file("opening", &path)(error)),
    }
    for (_, path) in files(dir, prefix)? {
        std::fs::remove_file(&path).map_err(ArenaError::file("removing", &path))?;
    }
    Ok(())
}

fn lock(file: &File, path: &Path) -> Result<(), ArenaError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(ArenaError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(ArenaError::file("locking", path)(error)),
    }
}

/// The files of an instance in `dir`, by segment.
pub(super) fn files(dir: &Path, prefix: &str) -> Result<Vec<(String, PathBuf)>, ArenaError> {
    let start = format!("baton.{prefix}.");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(ArenaError::file("listing", dir))? {
        let entry = entry.map_err(ArenaError::file("listing", dir))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(segment) = name.strip_prefix(&start)
            && layout::place_of(segment).is_some()
        {
            found.push((segment.to_owned(), entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Looks at a descriptor that somebody gave us: its real length, and that it cannot shrink.
pub(super) fn inspect(segment: &str, fd: OwnedFd) -> Result<Backing, ArenaError> {
    let place = layout::place_of(segment).ok_or_else(|| ArenaError::UnknownSegment {
        name: segment.to_owned(),
    })?;
    let file = File::from(fd);
    let meta = file
        .metadata()
        .map_err(ArenaError::segment(segment, "fstat"))?;
    let (len, page) = (meta.len(), meta.blksize());
    let huge = page == HUGE_PAGE;
    let wrong = |wanted: String| ArenaError::Length {
        segment: segment.to_owned(),
        found: len,
        wanted,
    };
    if len == 0 || len > place.limit {
        return Err(wrong(format!("1 to {}", place.limit)));
    }
    let unit = match segment {
        layout::LEDGER | layout::LIFELINES => 4096,
        _ => HUGE_PAGE,
    };
    if !len.is_multiple_of(unit) {
        return Err(wrong(format!("a multiple of {unit}")));
    }
    let least = match segment {
        layout::LEDGER => layout::LEDGER_LEN,
        layout::LIFELINES => layout::LIFELINES_LEN,
        _ => unit,
    };
    if len < least {
        return Err(wrong(format!("at least {least}")));
    }
    if !cannot_shrink(file.as_fd()) {
        return Err(ArenaError::Unsealed {
            segment: segment.to_owned(),
        });
    }
    let fd = file.into();
    Ok(Backing { fd, len, huge })
}

/// A memfd must carry the seal; files in a directory know no seals (B4 keeps others away).
fn cannot_shrink(fd: BorrowedFd<'_>) -> bool {
    match fcntl(fd, FcntlArg::F_GET_SEALS) {
        Ok(bits) if is_linked(fd) => bits >= 0,
        Ok(bits) => SealFlag::from_bits_truncate(bits).contains(SealFlag::F_SEAL_SHRINK),
        Err(_) => true,
    }
}

/// Whether the file has a name somewhere; a memfd has none.
fn is_linked(fd: BorrowedFd<'_>) -> bool {
    nix::sys::stat::fstat(fd).is_ok_and(|stat| stat.st_nlink > 0)
}

/// A second descriptor of the same file that can only be read, for tools.
pub(super) fn reopen_read_only(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    Ok(File::open(path)?.into())
}

/// Reads a whole file into a zeroed region of its length; its holes cost nothing.
pub(super) fn read_into(file: &File, region: &crate::Region) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for mut range in data_ranges(file.as_fd(), region.len()) {
        while !range.is_empty() {
            let n = buffer.len().min(range.len());
            file.read_exact_at(&mut buffer[..n], range.start as u64)?;
            region.copy_in(range.start, &buffer[..n]);
            range.start += n;
        }
    }
    Ok(())
}

/// Writes a region to a file; pages of zeros become holes. Holes of `source`, the region's own
/// file, are not even looked at: a look through the mapping would fill them.
pub(super) fn write_from(
    file: &File,
    region: &crate::Region,
    source: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    const PIECE: usize = 4096;
    file.set_len(region.len() as u64)?;
    let whole = || std::iter::once(0..region.len()).collect();
    let ranges = source.map_or_else(whole, |source| data_ranges(source, region.len()));
    let mut buffer = [0; PIECE];
    for range in ranges {
        for offset in range.clone().step_by(PIECE) {
            let n = PIECE.min(range.end - offset);
            region.copy_out(offset, &mut buffer[..n]);
            if buffer[..n].iter().any(|byte| *byte != 0) {
                file.write_all_at(&buffer[..n], offset as u64)?;
            }
        }
    }
    Ok(())
}

/// The parts of a file that are no holes; all of it where the filesystem cannot tell. Moves the
/// descriptor's file position, which nobody uses here.
fn data_ranges(fd: BorrowedFd<'_>, len: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < len {
        let from = at as i64;
        let start = match lseek(fd, from, Whence::SeekData) {
            Ok(start) => start,
            Err(nix::errno::Errno::ENXIO) => break,
            Err(_) => return std::iter::once(0..len).collect(),
        };
        let end = lseek(fd, start, Whence::SeekHole).map_or(len, |end| (end as usize).min(len));
        ranges.push((start as usize).min(end)..end);
        at = end.max(at + 1);
    }
    ranges
}

/// `HUGETLBFS_MAGIC` of `linux/magic.h`.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

fn is_hugetlbfs(dir: &Path) -> io::Result<bool> {
    let stat = nix::sys::statfs::statfs(dir)?;
    Ok(stat.filesystem_type().0 as u64 == HUGETLBFS_MAGIC)
}
