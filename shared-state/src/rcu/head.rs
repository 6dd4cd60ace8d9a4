//! What zones of readers' words and of deferred values begin with, as a tool shows them.

use baton_schema::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{ACKED_AT, REGISTERED_AT, SLOTS_AT, TOKEN_AT, WORDS_AT};
use crate::limits::LCORE_SLOTS;

/// What a zone of a [`super::Qsbr`] begins with: its stored schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "rcu.head", version = 1)]
#[repr(C)]
pub struct QsbrHead {
    /// `qsbr`.
    #[field(kind = "text")]
    pub magic: [u8; 4],
    /// Slots of readers.
    pub slots: u32,
    /// Zero.
    pub _pad: [u8; 56],
    /// The last token that was given out.
    pub token: u64,
    /// Zero.
    pub _pad2: [u8; 56],
    /// The newest token for which all readers are known to have moved on.
    pub acked: u64,
    /// A bit for each word of `registered` that is not zero.
    pub words: u64,
    /// Zero.
    pub _pad3: [u8; 48],
    /// A bit for each slot that ever had a reader.
    pub registered: [u64; LCORE_SLOTS / 64],
}

const _: () = assert!(core::mem::offset_of!(QsbrHead, slots) == SLOTS_AT);
const _: () = assert!(core::mem::offset_of!(QsbrHead, token) == TOKEN_AT);
const _: () = assert!(core::mem::offset_of!(QsbrHead, acked) == ACKED_AT);
const _: () = assert!(core::mem::offset_of!(QsbrHead, words) == WORDS_AT);
const _: () = assert!(core::mem::offset_of!(QsbrHead, registered) == REGISTERED_AT);

/// What a zone of a [`super::DeferQueue`] begins with: its stored schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "rcu.defer", version = 1)]
#[repr(C)]
pub struct DeferHead {
    /// `dfrq`.
    #[field(kind = "text")]
    pub magic: [u8; 4],
    /// Most values that can wait.
    pub capacity: u32,
    /// Zero.
    pub _pad: [u8; 56],
    /// Values that were given back since the queue was made.
    pub head: u64,
    /// Zero.
    pub _pad2: [u8; 56],
    /// Values that were put in.
    pub tail: u64,
    /// Zero.
    pub _pad3: [u8; 56],
}

const _: () = assert!(core::mem::offset_of!(DeferHead, capacity) == super::defer::CAPACITY_AT);
const _: () = assert!(core::mem::offset_of!(DeferHead, head) == super::defer::HEAD_AT);
const _: () = assert!(core::mem::offset_of!(DeferHead, tail) == super::defer::TAIL_AT);
const _: () = assert!(size_of::<DeferHead>() == super::defer::ENTRIES_AT);
