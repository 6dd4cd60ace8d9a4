//! One zone's bytes with the schema stored beside it.

use baton_schema::Schema;
use baton_shared_state::Region;
use baton_shared_state::directory::ZoneEntry;

use crate::error::DumpError;
use crate::instance::Instance;

/// A zone whose numbers have been checked against each other.
#[derive(Clone, Debug)]
pub struct View {
    /// Its entry in the directory.
    pub entry: ZoneEntry,
    /// How to read its records.
    pub schema: Schema,
    /// Its bytes.
    pub region: Region,
}

impl View {
    /// Reads schema and numbers of an entry, none of which is trusted.
    pub fn open(instance: &Instance, entry: ZoneEntry) -> Result<View, DumpError> {
        let schema = instance.directory.schema_of(&entry)?;
        let (zone, generation) = (entry.name.clone(), entry.generation);
        schema.check().map_err(|source| DumpError::Schema {
            zone,
            generation,
            source,
        })?;
        let region = instance.directory.zone_region(&entry)?;
        let view = View {
            entry,
            schema,
            region,
        };
        match view.mistake().or_else(|| view.foreign_keys(instance)) {
            None => Ok(view),
            Some(why) => Err(view.corrupt(why)),
        }
    }

    /// Whether the zone is an array of its records.
    pub fn is_array(&self) -> bool {
        self.entry.stride > 0
    }

    /// Whether the zone is the keys of a table: behind the last one their states, four bytes each.
    pub fn is_keys(&self) -> bool {
        let ZoneEntry {
            name, stride, len, ..
        } = &self.entry;
        let slot = u64::from(self.schema.size).next_multiple_of(8);
        let states = self.count().saturating_mul(u64::from(*stride) + 4) <= *len;
        name.ends_with(".key") && u64::from(*stride) == slot && states
    }

    /// Records in it; one if it is no array.
    pub fn count(&self) -> u64 {
        if self.is_array() { self.entry.count } else { 1 }
    }

    /// Where record `id` begins.
    pub fn at(&self, id: u64) -> usize {
        (id * u64::from(self.entry.stride)) as usize
    }

    /// Copies record `id` out; `None` if there is no such record.
    pub fn read(&self, id: u64, to: &mut Vec<u8>) -> Option<()> {
        to.resize(self.schema.size as usize, 0);
        (id < self.count()).then(|| self.region.copy_out(self.at(id), to))
    }

    /// The state of a key.
    pub fn state(&self, id: u64) -> u32 {
        let states = self.at(self.count());
        self.region
            .u32(states + 4 * id as usize)
            .load(baton_shared_state::sync::Ordering::Acquire)
    }

    /// This zone as the subject of an error.
    pub fn corrupt(&self, why: String) -> DumpError {
        DumpError::Corrupt {
            zone: self.entry.name.clone(),
            generation: self.entry.generation,
            why,
        }
    }

    /// Keys of a table that lie as another build has them: read like ours, they would say anything.
    fn foreign_keys(&self, instance: &Instance) -> Option<String> {
        let ZoneEntry {
            name,
            generation,
            stride,
            ..
        } = &self.entry;
        let index = format!("{}.index", name.strip_suffix(".key")?);
        instance.find(&index, Some(*generation))?;
        let wanted = self.schema.size.next_multiple_of(8);
        (!self.is_keys()).then(|| {
            format!(
                "keys {wanted} bytes apart and their states behind them expected, {stride} bytes found: use the \
                 baton-dump of the build that made them"
            )
        })
    }

    /// What in the entry contradicts the schema or the zone's length.
    fn mistake(&self) -> Option<String> {
        let ZoneEntry {
            stride,
            count,
            len,
            fingerprint,
            offset,
            ..
        } = &self.entry;
        let (size, found) = (self.schema.size, self.schema.fingerprint());
        if found != *fingerprint {
            return Some(format!(
                "its entry has fingerprint {fingerprint}, the schema beside it {found}"
            ));
        }
        if !offset.is_multiple_of(8) || self.region.len() as u64 != *len {
            return Some(format!(
                "{len} bytes at {offset:#x} expected at a multiple of 8, {} mapped",
                self.region.len()
            ));
        }
        if *stride == 0 {
            let head = u64::from(size) > *len;
            return head.then(|| format!("{len} bytes hold no \"{}\" of {size}", self.schema.name));
        }
        if !stride.is_multiple_of(4) || *stride < size {
            return Some(format!(
                "records of {size} bytes stand {stride} bytes apart"
            ));
        }
        match count.checked_mul(u64::from(*stride)) {
            Some(need) if need <= *len => None,
            _ => Some(format!(
                "{count} records of {stride} bytes do not fit its {len} bytes"
            )),
        }
    }
}

/// Whether a state word says that the row is live: even, and not 0.
pub const fn is_live(state: u32) -> bool {
    state != 0 && state & 1 == 0
}
