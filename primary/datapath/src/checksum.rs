//! What: the Internet checksum, whole (RFC 1071) and incremental (RFC 1624), and the unfinished
//! checksums that kernel neighbours hand over.
//!
//! The work is done in [`baton_shared_state::checksum`], where the processor's vector instructions
//! may be used; this crate stays without `unsafe`. Nothing of it touches shared memory.

pub use baton_shared_state::checksum::{
    Delta, Sum, fold, is_unfinished, never_zero, of, pseudo_header,
};
