//! Where the words of a ring lie in its region, and how a process finds them.
//!
//! ```text
//!   0 magic u32, capacity u32      64 producers' position      128 consumers' position
//!   12 bytes of an element, u32, where they are not four
//! 192 slots: capacity x element (SPSC) or u64 (MPMC)
//! ```
//! and as `multi` says for a [`Ring`].
//!
//! The magic number is the last store of `create` and the first load of `attach`. It says whether the elements have
//! four bytes: rings of those are what they were before there were others, in every byte, and a version that
//! knows no others refuses these by their magic number.

use thiserror::Error;

use super::element::{Element, SlotWords, bytes_of};
use super::mpmc::pack;
use super::multi::{self, Start};
use super::slots::Slots;
use super::{Mode, MpmcRing, NONE, RingOf, SpscRingOf};
use crate::region::{Region, RegionError};
use crate::sync::Ordering;

/// Most elements a ring may hold, so that free-running 32-bit positions compare safely.
pub const MAX_CAPACITY: usize = 1 << 30;

const SPSC: Kind = Kind::new(*b"spsc", *b"spse");
const MPMC: Kind = Kind::new(*b"mpmc", *b"mpmc");
/// Bytes of an element whose size the header does not tell.
const WORD: usize = size_of::<u32>();
const MAGIC_AT: usize = 0;
const CAPACITY_AT: usize = 4;
const ELEMENT_AT: usize = 12;
/// Bytes of the header line.
const HEADER: usize = 64;
/// The producers' position, on a cache line of its own.
const FIRST_AT: usize = 64;
/// The consumers' position, on the next one.
const SECOND_AT: usize = 128;
const SLOTS_AT: usize = 192;

const MULTI: Kind = Kind::new(*b"ring", *b"rine");
const MODES_AT: usize = 8;
const _: () = assert!(multi::SLOTS_AT == 4736);

/// Why a region is not a ring.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum RingError {
    /// A capacity that positions cannot wrap over.
    #[error("ring of {capacity} elements asked for, possible are powers of two up to {max}")]
    Capacity {
        /// What was asked for, or found.
        capacity: usize,
        /// The largest possible.
        max: usize,
    },
    /// The bytes do not start as this kind of ring does.
    #[error("ring of kind {wanted:#010x} expected, {found:#010x} found")]
    Kind {
        /// The magic number found.
        found: u32,
        /// The magic number of this kind.
        wanted: u32,
    },
    /// The elements are of another size.
    #[error(
        "ring of elements of {wanted} bytes expected, of {found} bytes found: attach it with an element type \
         of {found} bytes, or retire it and make one of {wanted}"
    )]
    Element {
        /// Bytes of an element there.
        found: usize,
        /// Bytes of an element of the type it was attached with.
        wanted: usize,
    },
    /// The modes are none that this version knows.
    #[error("ring of modes {modes:#06x}, known are 2 to 4 for each side")]
    Modes {
        /// What was found.
        modes: u32,
    },
    /// The region is smaller than the ring.
    #[error("region too small for a ring: {0}")]
    Region(#[from] RegionError),
}

impl<E: Element> SpscRingOf<E> {
    /// Bytes that a ring of `capacity` elements takes.
    pub const fn bytes_for(capacity: usize) -> usize {
        SLOTS_AT + capacity * bytes_of::<E>()
    }

    /// Makes an empty ring in a region nobody else uses yet.
    pub fn create(region: Region, capacity: usize) -> Result<SpscRingOf<E>, RingError> {
        let stored = check_capacity(capacity)?;
        let region = region.slice(0, Self::bytes_for(capacity))?;
        region.u32(FIRST_AT).store(0, Ordering::Relaxed);
        region.u32(SECOND_AT).store(0, Ordering::Relaxed);
        write_header(&region, SPSC, bytes_of::<E>(), stored);
        Ok(Self::view(region, capacity))
    }

    /// Opens a ring that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<SpscRingOf<E>, RingError> {
        let capacity = read_header(&region, SPSC, bytes_of::<E>())?;
        let region = region.slice(0, Self::bytes_for(capacity))?;
        Ok(Self::view(region, capacity))
    }

    fn view(region: Region, capacity: usize) -> SpscRingOf<E> {
        SpscRingOf {
            prod: region.u32(FIRST_AT),
            cons: region.u32(SECOND_AT),
            slots: slots(&region, SLOTS_AT, capacity),
        }
    }
}

impl MpmcRing {
    /// Bytes that a ring of `capacity` elements takes.
    pub const fn bytes_for(capacity: usize) -> usize {
        SLOTS_AT + capacity * size_of::<u64>()
    }

    /// Makes an empty ring in a region nobody else uses yet.
    pub fn create(region: Region, capacity: usize) -> Result<MpmcRing, RingError> {
        let stored = check_capacity(capacity)?;
        let region = region.slice(0, Self::bytes_for(capacity))?;
        let ring = Self::view(region, capacity);
        ring.tail.store(0, Ordering::Relaxed);
        ring.head.store(0, Ordering::Relaxed);
        for (position, slot) in (0u32..).zip(ring.slots) {
            slot.store(pack(position, NONE), Ordering::Relaxed);
        }
        write_header(&region, MPMC, WORD, stored);
        Ok(ring)
    }

    /// Opens a ring that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<MpmcRing, RingError> {
        let capacity = read_header(&region, MPMC, WORD)?;
        let region = region.slice(0, Self::bytes_for(capacity))?;
        Ok(Self::view(region, capacity))
    }

    fn view(region: Region, capacity: usize) -> MpmcRing {
        MpmcRing {
            tail: region.u32(FIRST_AT),
            head: region.u32(SECOND_AT),
            slots: region.u64s(SLOTS_AT, capacity),
        }
    }
}

impl<E: Element> RingOf<E> {
    /// Bytes that a ring of `capacity` elements takes.
    pub const fn bytes_for(capacity: usize) -> usize {
        multi::SLOTS_AT + capacity * bytes_of::<E>()
    }

    /// Makes an empty ring in a region nobody else uses yet.
    pub fn create(
        region: Region,
        capacity: usize,
        producers: Mode,
        consumers: Mode,
    ) -> Result<RingOf<E>, RingError> {
        let stored = check_capacity(capacity)?;
        let region = region.slice(0, Self::bytes_for(capacity))?;
        region.slice(0, multi::SLOTS_AT)?.zero();
        let modes = producers as u32 | (consumers as u32) << 8;
        region.u32(MODES_AT).store(modes, Ordering::Relaxed);
        write_header(&region, MULTI, bytes_of::<E>(), stored);
        Self::attach(region)
    }

    /// Opens a ring that another process made; stores nothing.
    pub fn attach(region: Region) -> Result<RingOf<E>, RingError> {
        let capacity = read_header(&region, MULTI, bytes_of::<E>())?;
        let region = region.slice(0, Self::bytes_for(capacity))?;
        let modes = region.u32(MODES_AT).load(Ordering::Relaxed);
        let known = |mode| Mode::from_number(mode).ok_or(RingError::Modes { modes });
        let modes = [known(modes & 0xff)?, known(modes >> 8)?];
        Ok(RingOf {
            start: Start::in_region(&region, capacity),
            capacity: check_capacity(capacity)?,
            modes,
        })
    }
}

impl Mode {
    fn from_number(number: u32) -> Option<Mode> {
        [Mode::Mt, Mode::Rts, Mode::Hts]
            .into_iter()
            .find(|mode| *mode as u32 == number)
    }
}

fn check_capacity(capacity: usize) -> Result<u32, RingError> {
    if capacity.is_power_of_two() && capacity <= MAX_CAPACITY {
        return Ok(u32::try_from(capacity).expect("MAX_CAPACITY fits 32 bits"));
    }
    let max = MAX_CAPACITY;
    Err(RingError::Capacity { capacity, max })
}

/// The slots of a ring, in a region that was checked to hold them.
fn slots<E: Element>(region: &Region, at: usize, capacity: usize) -> Slots<E> {
    let words = region.u32s(at, capacity * bytes_of::<E>() / WORD);
    Slots(<E::Slot as SlotWords>::many(words))
}

/// What a ring's header starts with.
#[derive(Clone, Copy)]
struct Kind {
    /// Its elements have four bytes.
    words: u32,
    /// They have as many as the header says.
    others: u32,
}

impl Kind {
    const fn new(words: [u8; 4], others: [u8; 4]) -> Kind {
        Kind {
            words: u32::from_le_bytes(words),
            others: u32::from_le_bytes(others),
        }
    }

    /// The magic number of rings of elements of so many bytes.
    fn magic(self, element: usize) -> u32 {
        if element == WORD {
            self.words
        } else {
            self.others
        }
    }
}

/// Writes the header; the magic number is the last store and says that the ring is whole.
fn write_header(region: &Region, kind: Kind, element: usize, capacity: u32) {
    region.u32(CAPACITY_AT).store(capacity, Ordering::Relaxed);
    if element != WORD {
        let bytes = u32::try_from(element).expect("an element has 64 bytes at most");
        region.u32(ELEMENT_AT).store(bytes, Ordering::Relaxed);
    }
    let magic = kind.magic(element);
    region.u32(MAGIC_AT).store(magic, Ordering::Release);
}

/// Checks the header and gives the capacity.
fn read_header(region: &Region, kind: Kind, wanted: usize) -> Result<usize, RingError> {
    region.slice(0, HEADER)?;
    let magic = region.u32(MAGIC_AT).load(Ordering::Acquire);
    let found = if magic == kind.words {
        WORD
    } else if magic == kind.others {
        region.u32(ELEMENT_AT).load(Ordering::Relaxed) as usize
    } else {
        let (found, wanted) = (magic, kind.magic(wanted));
        return Err(RingError::Kind { found, wanted });
    };
    if found != wanted {
        return Err(RingError::Element { found, wanted });
    }
    let capacity = region.u32(CAPACITY_AT).load(Ordering::Relaxed) as usize;
    check_capacity(capacity)?;
    Ok(capacity)
}
