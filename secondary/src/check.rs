//! `check`: whether what is in memory fits together. Reads only; every finding names what was expected and found.
//!
//! In an instance that forwards, numbers change between two looks: what is counted from two places is compared again
//! a few times, and reported as a warning if it still differs.

use std::collections::BTreeMap;

use baton_shared_state::Region;
use baton_shared_state::directory::{ZoneEntry, ZoneState};
use baton_shared_state::table::{Index, hash_bytes};
use serde_json::json;

use crate::error::DumpError;
use crate::instance::Instance;
use crate::listing::{Cell, Head, Listing, grouped};
use crate::scan::ids_of;
use crate::view::{View, is_live};

/// How often numbers of a live instance are compared.
const TRIES: u32 = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Result3 {
    Ok,
    Warn,
    Fail,
}

struct Report {
    rows: Vec<Vec<Cell>>,
    failed: usize,
}

impl Report {
    fn add(&mut self, result: Result3, what: &str, found: impl Into<String>) {
        let word = match result {
            Result3::Ok => "ok",
            Result3::Warn => "WARN",
            Result3::Fail => "FAIL",
        };
        self.failed += usize::from(result == Result3::Fail);
        self.rows
            .push(vec![Cell::text(word), Cell::text(what), Cell::text(found)]);
    }

    fn judge(&mut self, what: &str, outcome: Result<String, String>) {
        match outcome {
            Ok(found) => self.add(Result3::Ok, what, found),
            Err(why) => self.add(Result3::Fail, what, why),
        }
    }
}

/// All checks as a listing, and how many failed. That directory and ledger opened is the first of them.
pub fn check(instance: &Instance) -> (Listing, usize) {
    let mut report = Report {
        rows: Vec::new(),
        failed: 0,
    };
    let entries = instance.directory.list();
    let damage = instance.directory.check();
    for problem in &damage {
        report.add(Result3::Fail, "directory", problem.to_string());
    }
    if damage.is_empty() {
        let header = "magic, layout and checksums of header, entries and schemas";
        report.add(
            Result3::Ok,
            "directory",
            format!("{header}; {} zones", entries.len()),
        );
    }
    report.judge("ledger", ledger(instance));
    report.judge("zones", overlaps(&entries));
    let mut views = Vec::new();
    for entry in entries
        .iter()
        .filter(|entry| entry.state == ZoneState::Ready)
    {
        match View::open(instance, entry.clone()) {
            Ok(view) => views.push(view),
            Err(_) if !instance.still(entry) => {}
            Err(error) => report.add(Result3::Fail, &label(entry), error.to_string()),
        }
    }
    if report.failed == 0 {
        let fits = "schema, fingerprint, records and length of each fit together";
        report.add(
            Result3::Ok,
            "schemas",
            format!("{} zones: {fits}", views.len()),
        );
    }
    for keys in views.iter().filter(|view| view.is_keys()) {
        table(instance, keys, &mut report);
    }
    let heads = vec![
        Head::left("result"),
        Head::left("what"),
        Head::left("found"),
    ];
    let mut listing = Listing::new("checks", heads);
    listing.facts.push(("failed", json!(report.failed)));
    listing.rows = report.rows;
    (listing, report.failed)
}

/// `check` as a verb: an error with exit code 8 if anything failed.
pub fn verdict(listing: &Listing, failed: usize) -> Result<String, DumpError> {
    let checks = listing.rows.len();
    if failed > 0 {
        return Err(DumpError::Checks { failed, checks });
    }
    Ok(format!("{checks} checks, none failed"))
}

fn label(entry: &ZoneEntry) -> String {
    format!("{} (generation {})", entry.name, entry.generation)
}

/// Each owner word names an lcore slot of a tenant that exists.
fn ledger(instance: &Instance) -> Result<String, String> {
    let tenants = instance.ledger.tenants();
    let mut owned = 0;
    for shard in 0..instance.ledger.shard_count() {
        let owner = instance.ledger.owner_word(shard);
        let Some(lcore) = owner.lcore else { continue };
        owned += 1;
        let tenant = baton_shared_state::ledger::tenant_of(lcore);
        if !tenants.iter().any(|entry| entry.slot == tenant) {
            return Err(format!(
                "shard {shard} belongs to lcore slot {lcore} of tenant {tenant}, which holds no slot"
            ));
        }
    }
    Ok(format!(
        "{owned} of {} shards owned, {} tenants",
        instance.ledger.shard_count(),
        tenants.len()
    ))
}

/// No byte belongs to two zones that are in use.
fn overlaps(entries: &[ZoneEntry]) -> Result<String, String> {
    let used: Vec<&ZoneEntry> = entries
        .iter()
        .filter(|entry| entry.state != ZoneState::Retired)
        .collect();
    let by_offset: BTreeMap<u64, &ZoneEntry> =
        used.iter().map(|entry| (entry.offset, *entry)).collect();
    if by_offset.len() < used.len() {
        return Err("two zones in use begin at one offset".to_owned());
    }
    for ((_, a), (_, b)) in by_offset.iter().zip(by_offset.iter().skip(1)) {
        if a.offset.saturating_add(a.len) > b.offset {
            let (one, other) = (label(a), label(b));
            return Err(format!(
                "{one} of {} bytes at {:#x} reaches into {other} at {:#x}",
                a.len, a.offset, b.offset
            ));
        }
    }
    Ok(format!("{} in use, none overlap", used.len()))
}

/// A table: its published keys are as many as its ids in use, and each is found by its index.
fn table(instance: &Instance, keys: &View, report: &mut Report) {
    let name = keys.entry.name.trim_end_matches(".key").to_owned();
    let mut outcome = Err("never compared".to_owned());
    for _ in 0..if instance.may_change { TRIES } else { 1 } {
        outcome = counts(instance, keys, &name);
        if outcome.is_ok() || !instance.still(&keys.entry) {
            break;
        }
    }
    match outcome {
        Err(why) if instance.may_change => {
            report.add(Result3::Warn, &name, format!("{why} (it is changing)"))
        }
        outcome => report.judge(&name, outcome),
    }
}

fn counts(instance: &Instance, keys: &View, name: &str) -> Result<String, String> {
    let ids = ids_of(instance, name, None).map_err(|error| error.to_string())?;
    let index = index_of(instance, name)?;
    let (mut live, mut lost, mut bytes) = (0u64, 0u64, Vec::new());
    for id in 0..keys.count() {
        if !is_live(keys.state(id)) {
            continue;
        }
        live += 1;
        keys.read(id, &mut bytes)
            .ok_or_else(|| format!("no key {id} of {}", keys.count()))?;
        let Some(index) = &index else { continue };
        let shard = ids
            .as_ref()
            .filter(|ids| id < u64::from(ids.total()))
            .map_or(0, |ids| ids.shard_of(id as u32));
        if shard >= index.shards() {
            return Err(format!(
                "id {id} belongs to shard {shard}, the index has {}",
                index.shards()
            ));
        }
        let hash = hash_bytes(index.seed(), &bytes);
        lost += u64::from(
            index
                .shard(shard)
                .find(hash, |found| u64::from(found) == id)
                .is_none(),
        );
    }
    if let Some(ids) = &ids {
        let free: u64 = (0..ids.plan().shards)
            .map(|shard| u64::from(ids.shard(shard as u16).available()))
            .sum();
        let used = u64::from(ids.total()).saturating_sub(free);
        if used != live {
            return Err(format!(
                "{} keys are published, {} ids are in use",
                grouped(live),
                grouped(used)
            ));
        }
    }
    if lost > 0 {
        return Err(format!(
            "{} of {} published keys are not found by the index",
            grouped(lost),
            grouped(live)
        ));
    }
    Ok(format!(
        "{} keys published, as many ids in use, each found by its index",
        grouped(live)
    ))
}

fn index_of(instance: &Instance, name: &str) -> Result<Option<Index>, String> {
    let Some(entry) = instance.find(&format!("{name}.index"), instance.generation()) else {
        return Ok(None);
    };
    let region: Region = View::open(instance, entry)
        .map_err(|error| error.to_string())?
        .region;
    Index::attach(region)
        .map(Some)
        .map_err(|why| format!("the index: {why}"))
}
