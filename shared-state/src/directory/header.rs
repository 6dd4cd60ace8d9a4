//! The header of an arena: what it is, which boot and instance it belongs to. 4 KiB, frozen.
//!
//! ```text
//!     0  header    104   ends in a checksum over itself; the magic is stored last
//!  1024  next id     4   of zones
//!  1032  schemas     8   end of the stored schemas, an offset in the segment
//! ```

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{DirectoryError, checksum, text};
use crate::arena::layout::LEDGER_LEN;
use crate::ledger::layout::{HEADER, SCHEMAS};
use crate::region::Region;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// First bytes of every arena.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BTNARENA");

/// The newest layout of header and entries that this build reads, and the one it writes.
pub const LAYOUT: u32 = 1;

const NEXT_ID: usize = HEADER + 1024;
const SCHEMA_END: usize = HEADER + 1032;

/// What the header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The boot in which the arena was made.
    pub boot_id: [u8; 16],
    /// Name of this arena among all.
    pub uuid: [u8; 16],
    /// Name of the instance.
    pub prefix: String,
    /// When it was made, nanoseconds since 1970.
    pub created_ns: u64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Bytes {
    magic: u64,
    layout: u32,
    length: u32,
    boot_id: [u8; 16],
    uuid: [u8; 16],
    prefix: [u8; 32],
    created_ns: u64,
    spare: [u8; 8],
    checksum: u64,
}

const _: () = assert!(size_of::<Bytes>() == 104);

impl Bytes {
    /// Everything between the magic, which is stored last, and the checksum.
    fn computed(&self) -> u64 {
        checksum(&self.as_bytes()[8..size_of::<Bytes>() - 8])
    }
}

impl Header {
    pub(super) fn write(&self, ledger: Region) {
        let mut bytes = Bytes {
            magic: 0,
            layout: LAYOUT,
            length: size_of::<Bytes>() as u32,
            boot_id: self.boot_id,
            uuid: self.uuid,
            prefix: [0; 32],
            created_ns: self.created_ns,
            spare: [0; 8],
            checksum: 0,
        };
        let n = self.prefix.len().min(31);
        bytes.prefix[..n].copy_from_slice(&self.prefix.as_bytes()[..n]);
        bytes.checksum = bytes.computed();
        ledger.write(HEADER, &bytes);
        next_id(ledger).store(1, Ordering::Relaxed);
        schema_end(ledger).store(SCHEMAS as u64, Ordering::Relaxed);
        ledger.u64(HEADER).store(MAGIC, Ordering::Release);
    }

    pub(super) fn read(ledger: Region) -> Result<Header, DirectoryError> {
        let (found, wanted) = (ledger.len(), LEDGER_LEN as usize);
        if found < wanted {
            return Err(DirectoryError::Truncated { found, wanted });
        }
        let magic = ledger.u64(HEADER).load(Ordering::Acquire);
        if magic != MAGIC {
            return Err(DirectoryError::Magic {
                found: magic,
                wanted: MAGIC,
            });
        }
        let bytes: Bytes = ledger.read(HEADER);
        if bytes.layout > LAYOUT {
            return Err(DirectoryError::FromTheFuture {
                what: "arena",
                found: bytes.layout,
                reads: LAYOUT,
            });
        }
        let computed = bytes.computed();
        if bytes.checksum != computed {
            return Err(DirectoryError::Corrupt {
                what: "header of the arena".to_owned(),
                found: bytes.checksum,
                computed,
            });
        }
        let prefix = text(&bytes.prefix).ok_or_else(|| DirectoryError::Senseless {
            what: "header of the arena".to_owned(),
            why: "its prefix is no text",
        })?;
        Ok(Header {
            boot_id: bytes.boot_id,
            uuid: bytes.uuid,
            prefix,
            created_ns: bytes.created_ns,
        })
    }
}

pub(super) fn next_id(ledger: Region) -> &'static AtomicU32 {
    ledger.u32(NEXT_ID)
}

pub(super) fn schema_end(ledger: Region) -> &'static AtomicU64 {
    ledger.u64(SCHEMA_END)
}
