//! One entry of the directory: 256 frozen bytes.
//!
//! ```text
//!   0  body    192   name, schema, place; ends in a checksum over itself
//! 192  state     4   0 empty, 1 building, 2 ready, 3 retired
//! 196  sequence  4   odd while the body changes; another number: another zone
//! 200  retired   8   when, CLOCK_BOOTTIME
//! ```
//! Order: the writer makes the sequence odd, stores the body, then the state, then the even
//! sequence. A reader that finds the same even sequence before and after has a whole body.
//!
//! Failure: a writer that dies in between leaves an odd sequence, which reads as empty.

use baton_schema::{Fingerprint, Policy};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{DirectoryError, checksum, text};
use crate::ledger::layout::{DIRECTORY, ENTRIES, ENTRY_STRIDE};
use crate::region::Region;
use crate::sync::{Ordering, fence};

/// Where a zone stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ZoneState {
    /// Its asker fills it.
    Building,
    /// To be used.
    Ready,
    /// Not to be used any more; its bytes stay for a second.
    Retired,
}

/// A zone as its entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneEntry {
    /// Number of this zone, never used again.
    pub id: u32,
    /// Name, the same over all generations.
    pub name: String,
    /// Name of its records' schema.
    pub schema_name: String,
    /// Version of that schema.
    pub schema_version: u32,
    /// Fingerprint of that schema.
    pub fingerprint: Fingerprint,
    /// Generation set that made it.
    pub generation: u16,
    /// Where it stands.
    pub state: ZoneState,
    /// Arena offset of its first byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// Records.
    pub count: u64,
    /// Bytes from one record to the next.
    pub stride: u32,
    /// What happens to it in an upgrade.
    pub policy: Policy,
    /// Over the entry's body.
    pub checksum: u64,
    pub(super) slot: usize,
    pub(super) sequence: u32,
    pub(super) retired_ns: u64,
    pub(super) schema_at: u64,
    pub(super) schema_len: u32,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Body {
    pub(super) name: [u8; 64],
    pub(super) schema_name: [u8; 48],
    pub(super) fingerprint: [u64; 2],
    pub(super) schema_at: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) count: u64,
    pub(super) schema_version: u32,
    pub(super) schema_len: u32,
    pub(super) id: u32,
    pub(super) stride: u32,
    pub(super) policy: u32,
    pub(super) generation: u16,
    pub(super) spare: u16,
    pub(super) checksum: u64,
}

const BODY_LEN: usize = size_of::<Body>();
const STATE: usize = 192;
const SEQUENCE: usize = 196;
const RETIRED: usize = 200;

const _: () = assert!(BODY_LEN == STATE && RETIRED + 8 <= ENTRY_STRIDE);

const EMPTY: u32 = 0;

/// Times a reader begins again while the writer is inside an entry.
const TRIES: usize = 100;

impl ZoneState {
    fn to_u32(self) -> u32 {
        match self {
            ZoneState::Building => 1,
            ZoneState::Ready => 2,
            ZoneState::Retired => 3,
        }
    }
}

impl core::fmt::Display for ZoneState {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(match self {
            ZoneState::Building => "building",
            ZoneState::Ready => "ready",
            ZoneState::Retired => "retired",
        })
    }
}

impl Body {
    pub(super) fn seal(&mut self) {
        self.checksum = self.computed();
    }

    fn computed(&self) -> u64 {
        checksum(&self.as_bytes()[..BODY_LEN - 8])
    }
}

/// One slot of the directory in the ledger segment.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    region: Region,
    index: usize,
}

impl Slot {
    pub(super) fn all(ledger: Region) -> impl Iterator<Item = Slot> {
        (0..ENTRIES).map(move |index| Slot::new(ledger, index))
    }

    /// The caller has checked that the segment is as long as a ledger.
    pub(super) fn new(ledger: Region, index: usize) -> Slot {
        let region = ledger.slice(DIRECTORY + index * ENTRY_STRIDE, ENTRY_STRIDE);
        Slot {
            region: region.expect("the length of the ledger was checked"),
            index,
        }
    }

    /// The zone in this slot, if there is one and its bytes make sense.
    pub(super) fn read(&self) -> Result<Option<ZoneEntry>, DirectoryError> {
        for _ in 0..TRIES {
            let sequence = self.region.u32(SEQUENCE).load(Ordering::Acquire);
            let state = self.region.u32(STATE).load(Ordering::Acquire);
            let retired_ns = self.region.u64(RETIRED).load(Ordering::Relaxed);
            let body: Body = self.region.read(0);
            fence(Ordering::Acquire);
            let after = self.region.u32(SEQUENCE).load(Ordering::Relaxed);
            if sequence.is_multiple_of(2) && sequence == after {
                return match state {
                    EMPTY => Ok(None),
                    state => self.parse(&body, state, sequence, retired_ns).map(Some),
                };
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    fn parse(
        &self,
        body: &Body,
        state: u32,
        sequence: u32,
        retired_ns: u64,
    ) -> Result<ZoneEntry, DirectoryError> {
        let what = || format!("zone entry {}", self.index);
        let computed = body.computed();
        if body.checksum != computed {
            let found = body.checksum;
            return Err(DirectoryError::Corrupt {
                what: what(),
                found,
                computed,
            });
        }
        let senseless = |why| DirectoryError::Senseless { what: what(), why };
        let state = match state {
            1 => ZoneState::Building,
            2 => ZoneState::Ready,
            3 => ZoneState::Retired,
            _ => return Err(senseless("its state is none that exists")),
        };
        let policy = Policy::from_u32(body.policy);
        Ok(ZoneEntry {
            id: body.id,
            name: text(&body.name).ok_or_else(|| senseless("its name is no text"))?,
            schema_name: text(&body.schema_name)
                .ok_or_else(|| senseless("its schema's name is no text"))?,
            schema_version: body.schema_version,
            fingerprint: join(body.fingerprint),
            generation: body.generation,
            state,
            offset: body.offset,
            len: body.len,
            count: body.count,
            stride: body.stride,
            policy: policy.ok_or_else(|| senseless("its policy is none that exists"))?,
            checksum: body.checksum,
            slot: self.index,
            sequence,
            retired_ns,
            schema_at: body.schema_at,
            schema_len: body.schema_len,
        })
    }

    /// Enters a zone that is being built.
    pub(super) fn enter(&self, body: &Body) {
        let sequence = self.region.u32(SEQUENCE);
        let odd = sequence.load(Ordering::Relaxed) | 1;
        sequence.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        self.region.write(0, body);
        self.region.u64(RETIRED).store(0, Ordering::Relaxed);
        let building = ZoneState::Building.to_u32();
        self.region.u32(STATE).store(building, Ordering::Release);
        sequence.store(odd.wrapping_add(1), Ordering::Release);
    }

    /// Everything that was stored in the zone comes before its being ready.
    pub(super) fn set_ready(&self) {
        let ready = ZoneState::Ready.to_u32();
        self.region.u32(STATE).store(ready, Ordering::Release);
    }

    pub(super) fn set_retired(&self, now_ns: u64) {
        self.region.u64(RETIRED).store(now_ns, Ordering::Relaxed);
        let retired = ZoneState::Retired.to_u32();
        self.region.u32(STATE).store(retired, Ordering::Release);
    }

    /// Whether the slot still holds what a reader saw, in the same state.
    pub(super) fn is_still(&self, entry: &ZoneEntry) -> bool {
        fence(Ordering::Acquire);
        self.region.u32(SEQUENCE).load(Ordering::Relaxed) == entry.sequence
            && self.region.u32(STATE).load(Ordering::Relaxed) == entry.state.to_u32()
    }
}

pub(super) fn split(fingerprint: Fingerprint) -> [u64; 2] {
    [fingerprint.0 as u64, (fingerprint.0 >> 64) as u64]
}

pub(super) fn join(halves: [u64; 2]) -> Fingerprint {
    Fingerprint(u128::from(halves[0]) | u128::from(halves[1]) << 64)
}
