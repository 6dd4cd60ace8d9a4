//! `diff A B`: what is in one instance or image and not in the other, zone by zone, whatever versions wrote them.
//!
//! Rows of a table are the same row if their keys are equal; rows of other arrays if their ids are. Fields are
//! compared by name, so that two versions of a record can be: a field that one side has not is no difference.

use std::collections::{BTreeMap, BTreeSet};

use baton_schema::Value;
use serde_json::json;

use crate::error::DumpError;
use crate::instance::Instance;
use crate::listing::{Cell, Head, Listing, grouped};
use crate::scan::Scan;

/// Parts of a table that `show` joins or that are derived: they are not compared by themselves.
const PARTS: [&str; 5] = [".key", ".hot", ".ids", ".index", ".dirty"];

/// Fields that change with every packet, and the id, which is a place.
const VOLATILE: [&str; 6] = ["id", "packets", "bytes", "last_seen", "flags", "hot.flags"];

type Row = BTreeMap<String, Value>;

/// Rows that were added, removed or changed between `a` and `b`; at most `limit` of them, all counted.
pub fn diff(
    a: &Instance,
    b: &Instance,
    zone: Option<&str>,
    limit: u64,
) -> Result<(Listing, String), DumpError> {
    let heads = ["change", "zone", "row", "field", "a", "b"].map(Head::left);
    let mut listing = Listing::new("differences", heads.to_vec());
    let mut total = 0u64;
    let names = zone.map_or_else(|| zones(a, b), |zone| BTreeSet::from([zone.to_owned()]));
    for name in &names {
        for row in compare(a, b, name)? {
            total += 1;
            if total <= limit {
                listing.rows.push(row.iter().map(Cell::text).collect());
            }
        }
    }
    listing
        .facts
        .extend([("zones", json!(names)), ("differences", json!(total))]);
    Ok((
        listing,
        format!("{} differences in {} zones", grouped(total), names.len()),
    ))
}

fn zones(a: &Instance, b: &Instance) -> BTreeSet<String> {
    let is_part = |name: &str| PARTS.iter().any(|part| name.ends_with(part));
    let entries = a.directory.list().into_iter().chain(b.directory.list());
    entries
        .map(|entry| entry.name)
        .filter(|name| !is_part(name) && usable(a, name) | usable(b, name))
        .collect()
}

fn usable(instance: &Instance, name: &str) -> bool {
    instance.zone(name, None).is_ok()
}

fn compare(a: &Instance, b: &Instance, name: &str) -> Result<Vec<[String; 6]>, DumpError> {
    let line = |change: &str, row: &str, field: &str, a: String, b: String| {
        [
            change.to_owned(),
            name.to_owned(),
            row.to_owned(),
            field.to_owned(),
            a,
            b,
        ]
    };
    let whole = |change, a: &str, b: &str| line(change, "", "", a.to_owned(), b.to_owned());
    let mut found = Vec::new();
    match (usable(a, name), usable(b, name)) {
        (true, true) => {}
        (true, false) => return Ok(vec![whole("removed", "zone", "")]),
        (false, true) => return Ok(vec![whole("added", "", "zone")]),
        (false, false) => {
            a.zone(name, None)?;
        }
    }
    let ((from, old), (to, new)) = (rows(a, name)?, rows(b, name)?);
    if from != to {
        found.push(line("changed", "", "version", from, to));
    }
    for (key, row) in &old {
        let Some(other) = new.get(key) else {
            found.push(line("removed", key, "", text(row), String::new()));
            continue;
        };
        for (field, value) in row {
            if let Some(now) = other.get(field).filter(|now| *now != value) {
                found.push(line(
                    "changed",
                    key,
                    field,
                    value.to_string(),
                    now.to_string(),
                ));
            }
        }
    }
    let added = new.iter().filter(|(key, _)| !old.contains_key(*key));
    found.extend(added.map(|(key, row)| line("added", key, "", String::new(), text(row))));
    Ok(found)
}

/// The record's version, and the rows by key.
fn rows(instance: &Instance, name: &str) -> Result<(String, BTreeMap<String, Row>), DumpError> {
    let scan = Scan::open(instance, name, None)?;
    let version = format!("v{}", scan.records().schema.version);
    let keys = scan.key_columns();
    let mut rows = BTreeMap::new();
    scan.run(|batch| {
        for values in batch {
            let key = keys
                .clone()
                .map(|at| values[at].to_string())
                .collect::<Vec<_>>()
                .join(" ");
            let named = scan
                .columns()
                .iter()
                .zip(values)
                .enumerate()
                .filter(|(at, _)| !keys.contains(at));
            let row = named.map(|(_, (column, value))| (column.name.clone(), value));
            rows.insert(
                key,
                row.filter(|(name, _)| !VOLATILE.contains(&name.as_str()))
                    .collect(),
            );
        }
        Ok(true)
    })?;
    Ok((version, rows))
}

fn text(row: &Row) -> String {
    row.iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join(" ")
}
