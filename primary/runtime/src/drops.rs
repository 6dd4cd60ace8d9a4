//! The drop counters of a program: one word a reason and shard, in a memzone whose schema names them.
//!
//! A version with other reasons gets a generation of its own; numbers of reasons both know are carried
//! over when it is opened, so a counter never falls behind by more than what an upgrade takes.

use crate::counters::Words;
use crate::datapath::Datapath;
use crate::resolve::{Resolver, Wanted};
use crate::zone::ZoneError;
use baton_schema::{Field, Kind, Policy, Reason, Schema};
use baton_shared_state::directory::ZoneEntry;

/// The memzone's name.
pub(crate) fn zone_name<D: Datapath>() -> String {
    format!("{}.drops", D::name())
}

fn schema<D: Datapath>() -> Schema {
    let names = <D::Drop as Reason>::NAMES;
    let fields = names.iter().enumerate().map(|(at, name)| Field {
        name: (*name).to_owned(),
        offset: at as u32 * 8,
        names: Vec::new(),
        size: 8,
        kind: Kind::U64,
        doc: "packets dropped for this reason".into(),
    });
    Schema {
        name: zone_name::<D>(),
        version: 1,
        size: names.len() as u32 * 8,
        align: 8,
        fields: fields.collect(),
        doc: "Packets dropped, by reason; one record a shard.".into(),
    }
}

/// Opens the counters of all shards.
pub(crate) fn open<D: Datapath>(resolver: &mut Resolver<'_>) -> Result<Vec<Words>, ZoneError> {
    let (name, schema) = (zone_name::<D>(), schema::<D>());
    let reasons = schema.fields.len();
    let stride = schema.size;
    let current = resolver
        .live
        .and_then(|live| resolver.directory.find(&name, live));
    let region = match &current {
        Some(entry) if entry.fingerprint == schema.fingerprint() => resolver
            .directory
            .zone_region(entry)
            .map_err(|why| ZoneError::Corrupt {
                name: name.clone(),
                why: why.to_string(),
            })?,
        _ => {
            let shards = u64::from(resolver.shards);
            let wanted = Wanted {
                name: &name,
                schema: &schema,
                policy: Policy::Rebuild,
                len: shards * u64::from(stride),
                count: shards,
                stride,
            };
            let (id, region) =
                resolver
                    .authority
                    .create(resolver.arena, resolver.generation, &wanted)?;
            if let Some(entry) = &current {
                carry(resolver, entry, &schema, &region);
            }
            resolver.authority.ready(&name, id)?;
            region
        }
    };
    Ok((0..usize::from(resolver.shards))
        .map(|shard| Words::at(&region, shard * stride as usize, reasons))
        .collect())
}

/// Copies the numbers of reasons that both layouts name.
fn carry(
    resolver: &Resolver<'_>,
    entry: &ZoneEntry,
    schema: &Schema,
    region: &baton_shared_state::Region,
) {
    let (Ok(old_schema), Ok(old)) = (
        resolver.directory.schema_of(entry),
        resolver.directory.zone_region(entry),
    ) else {
        return;
    };
    for shard in 0..usize::from(resolver.shards) {
        let from = Words::at(
            &old,
            shard * old_schema.size as usize,
            old_schema.fields.len(),
        );
        let to = Words::at(region, shard * schema.size as usize, schema.fields.len());
        for (at, field) in schema.fields.iter().enumerate() {
            if let Some(before) = old_schema
                .fields
                .iter()
                .position(|old| old.name == field.name)
            {
                to.add(at, from.get(before));
            }
        }
    }
}
