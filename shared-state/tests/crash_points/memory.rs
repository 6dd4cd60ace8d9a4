//! Memory that a parent and its children share, with copies of what a dead one left.

use baton_shared_state::Region;
use std::ptr::NonNull;

/// A shared mapping, for as long as the process lives.
pub(crate) struct Shared {
    region: Region,
}

impl Shared {
    /// `bytes` of zeros.
    pub(crate) fn new(bytes: usize) -> Shared {
        let (rights, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, kind, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED, "{bytes} bytes of shared memory");
        let at = NonNull::new(at.cast()).expect("not at zero");
        // SAFETY: mapped readable and writable just now, never unmapped, reached by this region alone.
        let region = unsafe { Region::from_raw(at, bytes, true) };
        Shared { region }
    }

    pub(crate) fn region(&self) -> Region {
        self.region
    }

    pub(crate) fn zero(&self) {
        self.region.zero();
    }

    pub(crate) fn copy(&self) -> Vec<u8> {
        self.region.to_vec(0, self.region.len())
    }

    pub(crate) fn restore(&self, bytes: &[u8]) {
        self.region.copy_in(0, bytes);
    }
}
