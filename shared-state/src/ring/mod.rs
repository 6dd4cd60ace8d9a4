//! Rings in shared memory: how mbuf indices, and records of up to 64 bytes, travel between threads and processes.
//!
//! | Ring | Producers and consumers | After a death |
//! |---|---|---|
//! | [`SpscRing`] | one of each at a time (a steering ring between two shards) | nothing to repair |
//! | [`Ring`] | up to 64 parties in DPDK's modes MT, RTS, HTS: as fast as `rte_ring` | [`Ring::repair`] |
//! | [`MpmcRing`] | any number (the common pool of mbufs); a compare-and-swap for each element | nothing to repair |
//!
//! The first two carry `u32` or, as [`SpscRingOf`] and [`RingOf`], any [`Element`]; the third `u32` alone.
//! All are `Copy` views over a [`Region`](crate::region::Region), hold up to a power of two of elements, and may be
//! used from several processes that map the memory at different addresses.
//!
//! Each file states its own layout, order of stores, and what a death leaves behind. In short: an
//! element is either in the ring, which its `window` shows, or in the hands of whoever was about to
//! put it there or had just taken it; never in both.

mod element;
#[cfg(not(loom))]
mod layout;
mod mpmc;
mod multi;
mod slots;
mod spsc;

pub use element::{Element, Slot, Words};
#[cfg(not(loom))]
pub use layout::{MAX_CAPACITY, RingError};
pub use mpmc::MpmcRing;
pub use multi::{Hold, Mode, Party, Ring, RingOf, Stalled};
pub use spsc::{SpscRing, SpscRingOf};

/// Not an element: the one `u32` a ring does not carry ([`Element::NONE`]).
pub const NONE: u32 = u32::MAX;

#[cfg(all(test, loom))]
mod loom;
#[cfg(all(test, not(loom)))]
mod samples;
#[cfg(all(test, not(loom)))]
mod tests;
