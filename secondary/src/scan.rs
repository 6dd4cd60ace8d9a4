//! Rows of a zone: the records of an array, or a table's keys, records and counters joined by id.
//!
//! ```text
//!   X.key   state, key   -- says which ids are live
//!   X       record        } the generation in use
//!   X.hot   counters      }  + those of the generation before, unless the row is newer than it (carry)
//! ```
//!
//! Order: state (Acquire), copies, state again: a row that changed hands in between is read again, or left out if it
//! is gone. After each batch the zones' entries are looked at again: bytes of a retired zone are never shown.

use std::ops::Range;

use baton_schema::{Kind, Schema, Value};
use baton_shared_state::directory::ZoneEntry;
use baton_shared_state::sync::{Ordering, fence};
use baton_shared_state::table::{FRESH, IdSpace};

use crate::error::DumpError;
use crate::instance::Instance;
use crate::rows::{Column, columns_of, values_of};
use crate::view::{View, is_live};

/// Rows between two looks at the directory.
const BATCH: u64 = 4096;

/// How often a row that keeps changing is read again.
const TRIES: u32 = 16;

/// A zone, or the zones of a table, as rows.
#[derive(Debug)]
pub struct Scan<'a> {
    instance: &'a Instance,
    records: View,
    keys: Option<View>,
    hot: Option<View>,
    /// The counters' older generation, frozen while the newer counts from zero.
    hot_base: Option<View>,
    columns: Vec<Column>,
}

/// How many rows there were.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counted {
    /// Live rows, shown or not.
    pub live: u64,
    /// Slots that hold nothing.
    pub free: u64,
}

impl<'a> Scan<'a> {
    /// Finds a zone, and what belongs to it, in `generation` or in the set in use.
    pub fn open(
        instance: &'a Instance,
        name: &str,
        generation: Option<u16>,
    ) -> Result<Scan<'a>, DumpError> {
        let records = View::open(instance, instance.zone(name, generation)?)?;
        let set = generation.or_else(|| instance.generation());
        let part = |suffix: &str| instance.find(&format!("{name}.{suffix}"), set);
        let open =
            |entry: Option<ZoneEntry>| entry.map(|entry| View::open(instance, entry)).transpose();
        let keys = match records.is_keys() {
            true => None,
            false => open(part("key"))?.filter(View::is_keys),
        };
        let hot = if keys.is_some() {
            open(part("hot"))?
        } else {
            None
        };
        let older = hot
            .as_ref()
            .and_then(|hot| hot.entry.generation.checked_sub(1));
        let hot_base =
            open(older.and_then(|older| instance.find(&format!("{name}.hot"), Some(older))))?;
        let mut scan = Scan {
            instance,
            records,
            keys,
            hot,
            hot_base,
            columns: Vec::new(),
        };
        scan.columns = scan.make_columns();
        Ok(scan)
    }

    /// Names and kinds of the values in each row.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Which columns tell one row from another: the key's, else the id's.
    pub fn key_columns(&self) -> Range<usize> {
        match &self.keys {
            Some(keys) => 1..1 + shown_names(&keys.schema).count(),
            None => 0..usize::from(self.records.is_array()),
        }
    }

    /// The zone that was asked for.
    pub fn records(&self) -> &View {
        &self.records
    }

    /// Every zone that takes part.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        [
            Some(&self.records),
            self.keys.as_ref(),
            self.hot.as_ref(),
            self.hot_base.as_ref(),
        ]
        .into_iter()
        .flatten()
    }

    /// Hands out the rows by batches, each validated; `each` returns false when it wants no more rows, only their number.
    pub fn run(
        &self,
        mut each: impl FnMut(Vec<Vec<Value>>) -> Result<bool, DumpError>,
    ) -> Result<Counted, DumpError> {
        let mut counted = Counted::default();
        let mut wanted = true;
        let count = self.count();
        for start in (0..count).step_by(BATCH as usize) {
            let mut batch = Vec::new();
            for id in start..count.min(start + BATCH) {
                if !self.is_used(id) {
                    counted.free += 1;
                } else if !wanted {
                    counted.live += 1;
                } else if let Some(row) = self.row(id) {
                    counted.live += 1;
                    batch.push(row);
                }
            }
            self.check_still_there()?;
            wanted = wanted && each(batch)?;
        }
        Ok(counted)
    }

    /// All rows at once, for tests and comparisons.
    pub fn collect(&self) -> Result<Vec<Vec<Value>>, DumpError> {
        let mut rows = Vec::new();
        self.run(|mut batch| {
            rows.append(&mut batch);
            Ok(true)
        })?;
        Ok(rows)
    }

    fn make_columns(&self) -> Vec<Column> {
        let mut columns = Vec::new();
        if self.records.is_array() {
            columns.push(Column::plain("id", Kind::U32));
        }
        if let Some(keys) = &self.keys {
            columns.extend(columns_of(&keys.schema, &columns, "key"));
        }
        columns.extend(columns_of(&self.records.schema, &columns, "record"));
        if let Some(hot) = &self.hot {
            columns.extend(columns_of(&hot.schema, &columns, "hot"));
        }
        columns
    }

    /// The zones of a table were made for the same ids; the least number counts.
    fn count(&self) -> u64 {
        let parts = [Some(&self.records), self.keys.as_ref(), self.hot.as_ref()];
        parts
            .into_iter()
            .flatten()
            .map(View::count)
            .min()
            .unwrap_or(0)
    }

    fn is_used(&self, id: u64) -> bool {
        match self.key_view() {
            Some(keys) => is_live(keys.state(id)),
            None if !self.records.is_array() => true,
            None => {
                let mut bytes = Vec::new();
                self.records.read(id, &mut bytes).is_some() && bytes.iter().any(|byte| *byte != 0)
            }
        }
    }

    fn key_view(&self) -> Option<&View> {
        self.keys
            .as_ref()
            .or_else(|| self.records.is_keys().then_some(&self.records))
    }

    /// `None` if the row ended meanwhile, or changes faster than it can be read.
    fn row(&self, id: u64) -> Option<Vec<Value>> {
        let Some(keys) = self.key_view() else {
            return self.copy(id);
        };
        for _ in 0..TRIES {
            let before = keys.state(id);
            if !is_live(before) {
                return None;
            }
            let row = self.copy(id)?;
            fence(Ordering::Acquire);
            if keys.state(id) == before {
                return Some(row);
            }
        }
        None
    }

    fn copy(&self, id: u64) -> Option<Vec<Value>> {
        let mut row = Vec::with_capacity(self.columns.len());
        if self.records.is_array() {
            row.push(Value::Unsigned(id));
        }
        let mut bytes = Vec::new();
        if let Some(keys) = &self.keys {
            keys.read(id, &mut bytes)?;
            row.extend(values_of(&keys.schema, &bytes));
        }
        self.records.read(id, &mut bytes)?;
        row.extend(values_of(&self.records.schema, &bytes));
        if let Some(hot) = &self.hot {
            hot.read(id, &mut bytes)?;
            let counted = values_of(&hot.schema, &bytes).collect();
            row.extend(self.with_base(id, &hot.schema, counted));
        }
        Some(row)
    }

    /// Counters of the older generation are added unless the row is younger than it.
    fn with_base(&self, id: u64, schema: &Schema, mut newer: Vec<Value>) -> Vec<Value> {
        let Some(base) = &self.hot_base else {
            return newer;
        };
        let names: Vec<&str> = shown_names(schema).collect();
        let flags = names
            .iter()
            .position(|name| *name == "flags")
            .and_then(|at| newer[at].number());
        let fresh = flags.is_some_and(|flags| flags & i128::from(FRESH) != 0);
        let mut bytes = Vec::new();
        if fresh || base.read(id, &mut bytes).is_none() {
            return newer;
        }
        let older: Vec<(String, Value)> = base.schema.decode(&bytes);
        for (name, value) in names.iter().zip(&mut newer) {
            if let Some((_, older)) = older.iter().find(|(found, _)| found == name) {
                *value = together(value, older);
            }
        }
        newer
    }

    fn check_still_there(&self) -> Result<(), DumpError> {
        for view in self.views() {
            if !self.instance.still(&view.entry) {
                let (zone, generation) = (view.entry.name.clone(), view.entry.generation);
                return Err(DumpError::Retired { zone, generation });
            }
        }
        Ok(())
    }
}

fn shown_names(schema: &Schema) -> impl Iterator<Item = &str> {
    schema
        .fields
        .iter()
        .filter(|field| field.kind != Kind::Pad)
        .map(|field| field.name.as_str())
}

/// Counters add up, of times the later one holds, the rest is the newer one's.
fn together(newer: &Value, older: &Value) -> Value {
    match (newer, older) {
        (Value::Unsigned(newer), Value::Unsigned(older)) => {
            Value::Unsigned(newer.wrapping_add(*older))
        }
        (Value::TimeSec(newer), Value::TimeSec(older)) => Value::TimeSec(*newer.max(older)),
        (Value::TimeNs(newer), Value::TimeNs(older)) => Value::TimeNs(*newer.max(older)),
        _ => newer.clone(),
    }
}

/// The free lists of table `name`, if it has any.
pub fn ids_of(
    instance: &Instance,
    name: &str,
    generation: Option<u16>,
) -> Result<Option<IdSpace>, DumpError> {
    let set = generation.or_else(|| instance.generation());
    let Some(entry) = instance.find(&format!("{name}.ids"), set) else {
        return Ok(None);
    };
    let view = View::open(instance, entry)?;
    IdSpace::attach(view.region)
        .map(Some)
        .map_err(|why| view.corrupt(why.to_string()))
}
