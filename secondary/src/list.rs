//! `list`: every zone of the instance, one row a generation.

use baton_shared_state::directory::ZoneEntry;
use serde_json::json;

use crate::instance::Instance;
use crate::listing::{Cell, Head, Listing, grouped};
use crate::view::{View, is_live};

/// Rows of all zones, by name and generation. What of the directory is damaged is not among them.
pub fn list(instance: &Instance) -> (Listing, String) {
    let heads = [
        Head::left("zone"),
        Head::left("schema"),
        Head::right("version"),
        Head::right("generation"),
        Head::left("state"),
        Head::left("policy"),
        Head::right("records"),
        Head::right("live"),
        Head::right("bytes"),
        Head::right("stride"),
        Head::left("fingerprint"),
    ];
    let mut listing = Listing::new("zones", heads.to_vec());
    let generation = instance.generation();
    listing.facts.push(("generation", json!(generation)));
    let mut entries = instance.directory.list();
    entries.sort_by(|a, b| (&a.name, a.generation, a.id).cmp(&(&b.name, b.generation, b.id)));
    listing.rows = entries.iter().map(|entry| row(instance, entry)).collect();
    let bytes: u64 = entries.iter().map(|entry| entry.len).sum();
    let using = generation.map_or("none yet".to_owned(), |generation| generation.to_string());
    let note = format!(
        "{} zones, {} bytes; generation in use: {using}",
        entries.len(),
        grouped(bytes)
    );
    (listing, note)
}

fn row(instance: &Instance, entry: &ZoneEntry) -> Vec<Cell> {
    vec![
        Cell::text(&entry.name),
        Cell::text(&entry.schema_name),
        Cell::number(entry.schema_version.into()),
        Cell::number(entry.generation.into()),
        Cell::text(entry.state.to_string()),
        Cell::text(entry.policy.to_string()),
        Cell::number(entry.count),
        live(instance, entry).map_or(
            Cell {
                text: "-".to_owned(),
                json: json!(null),
            },
            Cell::number,
        ),
        Cell::number(entry.len),
        Cell::number(entry.stride.into()),
        Cell::text(entry.fingerprint.to_string()),
    ]
}

/// Live rows, for the parts of a table that are arrays by id.
fn live(instance: &Instance, entry: &ZoneEntry) -> Option<u64> {
    let table = entry
        .name
        .strip_suffix(".key")
        .or(entry.name.strip_suffix(".hot"))
        .unwrap_or(&entry.name);
    let keys = instance.find(&format!("{table}.key"), instance.generation())?;
    let keys = View::open(instance, keys).ok().filter(View::is_keys)?;
    let live = || {
        (0..keys.count())
            .filter(|id| is_live(keys.state(*id)))
            .count() as u64
    };
    (entry.stride > 0).then(live)
}
