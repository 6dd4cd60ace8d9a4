//! System calls with safe faces: everything raw that the workspace needs from the kernel.

use core::ptr::NonNull;
use std::io;

use crate::region::Region;

/// Anonymous zeroed memory of this process, never freed.
pub fn map_private(len: usize) -> io::Result<Region> {
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing.
    let ptr = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            len.max(1),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if ptr == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let ptr = NonNull::new(ptr.cast::<u8>()).expect("the kernel never maps page zero unasked");
    // SAFETY: just mapped readable and writable, and nothing unmaps it.
    Ok(unsafe { Region::from_raw(ptr, len, true) })
}
