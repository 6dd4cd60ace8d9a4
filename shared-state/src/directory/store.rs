//! The schemas stored beside the zones: each layout once, so that a tool of any version can decode
//! what a version it has never seen has written.
//!
//! ```text
//!  0  length of the encoded schema   4        records follow one another, each begins on 16 bytes;
//!  4  spare                          4        the end (in the header) is stored last
//!  8  checksum of the bytes          8
//! 16  fingerprint                   16
//! 32  the schema as baton_schema::wire encodes it
//! ```

use baton_schema::{Fingerprint, Schema, wire};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::entry::{join, split};
use super::{DirectoryError, ZoneEntry, checksum, header};
use crate::ledger::layout::SCHEMAS;
use crate::region::Region;
use crate::sync::Ordering;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct Head {
    length: u32,
    spare: u32,
    checksum: u64,
    fingerprint: [u64; 2],
}

const HEAD: usize = size_of::<Head>();

/// Where a schema lies: offset of its record in the ledger segment, and its encoded length.
pub(super) struct Stored {
    pub(super) at: u64,
    pub(super) len: u32,
}

/// Stores a schema unless it is there already.
pub(super) fn put(ledger: Region, zone: &str, schema: &Schema) -> Result<Stored, DirectoryError> {
    let fingerprint = schema.fingerprint();
    let end = end_of(ledger);
    if let Some(stored) = find(ledger, end, fingerprint) {
        return Ok(stored);
    }
    let bytes = wire::encode(schema).map_err(|source| DirectoryError::Schema {
        zone: zone.to_owned(),
        source,
    })?;
    let (wanted, free) = (HEAD + bytes.len(), ledger.len() - end);
    if wanted > free {
        return Err(DirectoryError::NoSchemaSpace { wanted, free });
    }
    let len = bytes.len() as u32;
    let head = Head {
        length: len,
        spare: 0,
        checksum: checksum(&bytes),
        fingerprint: split(fingerprint),
    };
    ledger.write(end, &head);
    ledger.copy_in(end + HEAD, &bytes);
    let next = (end + wanted).next_multiple_of(16).min(ledger.len());
    header::schema_end(ledger).store(next as u64, Ordering::Release);
    let at = end as u64;
    Ok(Stored { at, len })
}

/// Reads and checks the schema of an entry.
pub(super) fn get(ledger: Region, entry: &ZoneEntry) -> Result<Schema, DirectoryError> {
    let what = || format!("schema of zone \"{}\"", entry.name);
    let outside = |_| DirectoryError::Senseless {
        what: what(),
        why: "it lies outside the ledger",
    };
    let at = usize::try_from(entry.schema_at).unwrap_or(usize::MAX);
    let len = entry.schema_len as usize;
    let record = ledger
        .slice(at, HEAD.saturating_add(len))
        .map_err(outside)?;
    let head: Head = record.read(0);
    let bytes = record.to_vec(HEAD, len);
    let computed = checksum(&bytes);
    if head.length as usize != len || head.checksum != computed {
        return Err(DirectoryError::Corrupt {
            what: what(),
            found: head.checksum,
            computed,
        });
    }
    let zone = || entry.name.clone();
    let schema: Schema = wire::decode(&bytes).map_err(|source| DirectoryError::Schema {
        zone: zone(),
        source,
    })?;
    let sense = |source| DirectoryError::SchemaSense {
        zone: zone(),
        source,
    };
    schema.check().map_err(sense)?;
    if schema.fingerprint() != entry.fingerprint {
        return Err(DirectoryError::Senseless {
            what: what(),
            why: "its fingerprint is not the one of the entry",
        });
    }
    Ok(schema)
}

fn find(ledger: Region, end: usize, wanted: Fingerprint) -> Option<Stored> {
    let mut at = SCHEMAS;
    while at + HEAD <= end {
        let head: Head = ledger.read(at);
        let len = head.length as usize;
        if join(head.fingerprint) == wanted && at + HEAD + len <= end {
            let intact = checksum(&ledger.to_vec(at + HEAD, len)) == head.checksum;
            if intact {
                let at = at as u64;
                return Some(Stored {
                    at,
                    len: head.length,
                });
            }
        }
        at = (at + HEAD + len).next_multiple_of(16);
    }
    None
}

fn end_of(ledger: Region) -> usize {
    let end = header::schema_end(ledger).load(Ordering::Acquire);
    usize::try_from(end)
        .unwrap_or(usize::MAX)
        .clamp(SCHEMAS, ledger.len())
}
