//! Rings of `u32` in shared memory: how mbuf indices travel between threads and processes.
//!
//! [`SpscRing`] has one producer and one consumer at a time (a steering ring between two shards);
//! [`MpmcRing`] has any number of both (the common pool of mbufs). Both are `Copy` views over a
//! [`Region`], hold up to a power of two of elements, move up to a burst at a call, and may be
//! used from several processes that map the memory at different addresses.
//!
//! Each file states its own layout, order of stores, and what a death leaves behind. In short: an
//! element is either in the ring, which [`SpscRing::window`] and [`MpmcRing::window`] show, or in
//! the hands of whoever was about to put it there or had just taken it; never in both, and the
//! ring itself stays usable whoever dies where.

#[cfg(not(loom))]
mod layout;
mod mpmc;
mod spsc;

#[cfg(not(loom))]
pub use layout::{MAX_CAPACITY, RingError};
pub use mpmc::MpmcRing;
pub use spsc::SpscRing;

/// Not an element: the one `u32` a ring does not carry.
pub const NONE: u32 = u32::MAX;

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod tests;
