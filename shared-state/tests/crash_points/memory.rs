//! Memory that a parent and its children share, with copies of what a dead one left.
//!
//! It is a file of which only what was touched exists: a table of 80 MiB costs what was stored in it. The file can
//! be a segment of an arena, too ([`file`]).

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Mutex;

use baton_shared_state::Region;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, ftruncate, lseek};

const PAGE: usize = 4096;

/// A shared mapping, for as long as the process lives.
pub(crate) struct Shared {
    file: OwnedFd,
    region: Region,
    bytes: usize,
}

/// The parts of a file that exist, by their offsets.
pub(crate) struct Image(Vec<(i64, Vec<u8>)>);

/// The file of the case that is under way.
static CURRENT: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// The file behind the region of the case that is under way.
pub(crate) fn file() -> OwnedFd {
    let current = CURRENT.lock().expect("one thread");
    let file = current.as_ref().expect("a case is under way");
    file.try_clone().expect("a descriptor")
}

impl Shared {
    /// `bytes` of zeros.
    pub(crate) fn new(bytes: usize) -> Shared {
        let whole = bytes.next_multiple_of(PAGE);
        let file = memfd_create("crash_points", MFdFlags::MFD_ALLOW_SEALING).expect("a file");
        ftruncate(&file, whole as i64).expect("room");
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
        let length = NonZeroUsize::new(whole).expect("a case needs memory");
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let at = unsafe { mmap(None, length, rights, MapFlags::MAP_SHARED, &file, 0) };
        let at = at.expect("a mapping").cast();
        // SAFETY: mapped readable and writable just now, never unmapped, reached by regions alone.
        let region = unsafe { Region::from_raw(at, bytes, true) };
        *CURRENT.lock().expect("one thread") = Some(file.try_clone().expect("a descriptor"));
        Shared {
            file,
            region,
            bytes: whole,
        }
    }

    pub(crate) fn region(&self) -> Region {
        self.region
    }

    /// Back to a file of which nothing exists.
    pub(crate) fn zero(&self) {
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        fallocate(&self.file, hole, 0, self.bytes as i64).expect("a hole");
    }

    pub(crate) fn copy(&self) -> Image {
        let mut parts = Vec::new();
        let mut at = 0;
        // Behind the last part that exists there is none: an error that says so.
        while let Ok(from) = lseek(self.file.as_fd(), at, Whence::SeekData) {
            let to = lseek(self.file.as_fd(), from, Whence::SeekHole).expect("an end");
            let mut part = vec![0; (to - from) as usize];
            let n = pread(&self.file, &mut part, from).expect("its bytes");
            assert_eq!(n, part.len(), "all of its bytes");
            parts.push((from, part));
            at = to;
        }
        Image(parts)
    }

    pub(crate) fn restore(&self, image: &Image) {
        self.zero();
        for (at, part) in &image.0 {
            let n = pwrite(&self.file, part, *at).expect("room");
            assert_eq!(n, part.len(), "all of its bytes");
        }
    }
}
