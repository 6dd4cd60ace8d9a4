//! The system calls of the drivers with safe faces: the only `unsafe` of this crate is here.
//!
//! Memory that the kernel shares with us (rings) is mapped once and never unmapped, and handed out
//! as a [`baton_shared_state::Region`], which touches it by bounds-checked atomics alone.

pub(crate) mod bpf;
pub(crate) mod netif;
pub(crate) mod socket;
pub(crate) mod tun;
