//! What can happen to a packet: parse, checksum, translate, answer, route.
//!
//! Every function here is pure: bytes in, bytes out, no process, no clock, no table. What a
//! gateway remembers is the gateway's; what a header looks like after a translation stands here.
//!
//! Invariants, each with tests in its module:
//!
//! - D1 no input makes a function panic: offsets are checked once by [`mod@parse`], and a [`Headers`]
//!   is only ever used with the frame it was made from;
//! - D2 a checksum that was right before a rewrite is right after it, and one that was wrong stays
//!   wrong: a translation never repairs what a link broke. The exception is a checksum that was
//!   never finished ([`checksum`]);
//! - D3 [`bucket::of_flow`] is frozen: buckets outlive binaries, so its values are pinned by a test.

#![forbid(unsafe_code)]

pub mod arp;
pub mod bucket;
pub mod checksum;
pub mod common;
pub mod generate;
pub mod icmp_error;
pub mod parse;
pub mod rate;
pub mod rewrite;
pub mod tcp_state;

pub use parse::{Headers, L4, Mac, Parsed, Refused, parse};

#[cfg(test)]
mod frames;
