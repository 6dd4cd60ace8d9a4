//! System calls with safe faces: everything raw that the workspace needs from the kernel.
//!
//! - [`memory`] anonymous and shared mappings, locked-memory limit, huge pages
//! - [`node`] NUMA nodes of CPUs and of pages
//! - [`futex`] sleeping on shared words, one or many
//! - [`thread`] the calling thread: id, core, priority
//! - [`robust`] a word that the kernel marks when its thread ends
//! - [`process`] other processes: pidfds, start times; this one: capabilities, dumpable
//! - [`clock`] boot time and boot id
//!
//! Callers see `io::Error`; what was tried is added where the error is handled.

pub mod clock;
pub mod futex;
pub mod memory;
pub mod node;
pub mod process;
pub mod robust;
pub mod thread;

pub use clock::{boot_id, clock_boottime_ns};
pub use futex::{WaitOutcome, futex_wait, futex_waitv, futex_wake};
pub use memory::map_private;
pub use process::{
    Capability, missing_capabilities, open_path, pidfd_open, pidfd_send_signal, pidfd_wait,
    process_start_time, set_dumpable,
};
pub use thread::{gettid, set_affinity, set_autogroup_nice, set_nice};

use std::io;

/// The result of a raw system call: −1 means "see errno".
pub(crate) fn checked(result: libc::c_long) -> io::Result<libc::c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}
