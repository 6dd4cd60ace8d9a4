//! `list`: every zone of the instance, one row a generation.

use baton_shared_state::directory::ZoneEntry;
use serde_json::json;

use crate::instance::Instance;
use crate::listing::{Cell, Head, Listing, grouped};

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
        Head::right("bytes"),
        Head::right("stride"),
        Head::left("fingerprint"),
    ];
    let mut listing = Listing::new("zones", heads.to_vec());
    let generation = instance.generation();
    listing.facts.push(("generation", json!(generation)));
    let mut entries = instance.directory.list();
    entries.sort_by(|a, b| (&a.name, a.generation, a.id).cmp(&(&b.name, b.generation, b.id)));
    listing.rows = entries.iter().map(row).collect();
    let bytes: u64 = entries.iter().map(|entry| entry.len).sum();
    let using = generation.map_or("none yet".to_owned(), |generation| generation.to_string());
    let note = format!(
        "{} zones, {} bytes; generation in use: {using}",
        entries.len(),
        grouped(bytes)
    );
    (listing, note)
}

fn row(entry: &ZoneEntry) -> Vec<Cell> {
    vec![
        Cell::text(&entry.name),
        Cell::text(&entry.schema_name),
        Cell::number(entry.schema_version.into()),
        Cell::number(entry.generation.into()),
        Cell::text(entry.state.to_string()),
        Cell::text(entry.policy.to_string()),
        Cell::number(entry.count),
        Cell::number(entry.len),
        Cell::number(entry.stride.into()),
        Cell::text(entry.fingerprint.to_string()),
    ]
}
