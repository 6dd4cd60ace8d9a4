//! `show ZONE`: its rows, decoded, filtered, joined.

use std::io::{self, Write};

use baton_schema::{Kind, Value};
use serde_json::json;

use crate::error::DumpError;
use crate::filter::{Filter, elapsed_ns, is_time};
use crate::instance::Instance;
use crate::listing::{Cell, Format, Head, Listing, grouped, span_text};
use crate::rows::Column;
use crate::scan::{Counted, Scan};

/// What to show of a zone.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its name.
    pub zone: String,
    /// Only rows for which this holds.
    pub filter: Option<String>,
    /// At most so many rows.
    pub limit: Option<u64>,
    /// In this generation instead of the one in use.
    pub generation: Option<u16>,
}

/// How often a zone that is retired under our eyes is looked for anew.
const TRIES: u32 = 3;

/// Writes the rows; gives the sentence for stderr.
pub fn show(
    instance: &Instance,
    wanted: &Wanted,
    out: &mut dyn Write,
    format: Format,
    color: bool,
) -> Result<String, DumpError> {
    let mut tries = 1;
    loop {
        let scan = Scan::open(instance, &wanted.zone, wanted.generation)?;
        let filter = wanted
            .filter
            .as_deref()
            .map(|text| Filter::new(text, scan.columns()))
            .transpose()?;
        let mut shown = Shown {
            instance,
            filter,
            limit: wanted.limit.unwrap_or(u64::MAX),
            matched: 0,
            rows: Vec::new(),
        };
        // Lines are written as they come; the other formats need all rows first.
        let lines = format == Format::Jsonl;
        let counted = scan.run(|batch| {
            shown.take(batch);
            if lines {
                let rows = std::mem::take(&mut shown.rows);
                listing(instance, &scan, format, &rows)
                    .write(out, format, color)
                    .map_err(stdout)?;
            }
            Ok(shown.matched < shown.limit)
        });
        match counted {
            Err(DumpError::Retired { .. }) if tries < TRIES && !(lines && shown.matched > 0) => {
                tries += 1
            }
            Err(error) => return Err(error),
            Ok(counted) => {
                if !lines {
                    let mut listing = listing(instance, &scan, format, &shown.rows);
                    listing.facts.extend([
                        ("shown", json!(shown.matched)),
                        ("live", json!(counted.live)),
                    ]);
                    listing.write(out, format, color).map_err(stdout)?;
                }
                return Ok(note(&scan, shown.matched, counted));
            }
        }
    }
}

struct Shown<'a> {
    instance: &'a Instance,
    filter: Option<Filter>,
    limit: u64,
    matched: u64,
    rows: Vec<Vec<Value>>,
}

impl Shown<'_> {
    fn take(&mut self, batch: Vec<Vec<Value>>) {
        for row in batch {
            if self.matched >= self.limit {
                return;
            }
            if self
                .filter
                .as_ref()
                .is_none_or(|filter| filter.wants(&row, self.instance.now_ns))
            {
                self.matched += 1;
                self.rows.push(row);
            }
        }
    }
}

fn note(scan: &Scan<'_>, matched: u64, counted: Counted) -> String {
    let (entry, schema) = (&scan.records().entry, &scan.records().schema);
    format!(
        "{} of {} shown, {} slots free   (schema {} v{}, generation {})",
        grouped(matched),
        grouped(counted.live),
        grouped(counted.free),
        schema.name,
        schema.version,
        entry.generation
    )
}

/// The rows as they are printed: in tables an address and its port are one column, a time is how long ago it was.
fn listing(instance: &Instance, scan: &Scan<'_>, format: Format, rows: &[Vec<Value>]) -> Listing {
    let columns = scan.columns();
    let plan = plan(columns, format);
    let mut listing = Listing::new("rows", plan.iter().map(|part| part.head(columns)).collect());
    let (entry, schema) = (&scan.records().entry, &scan.records().schema);
    listing.facts = vec![
        ("zone", json!(entry.name)),
        (
            "record",
            json!({"name": schema.name, "version": schema.version, "fingerprint": schema.fingerprint()}),
        ),
        ("generation", json!(entry.generation)),
    ];
    listing.rows = rows
        .iter()
        .map(|row| {
            plan.iter()
                .map(|part| part.cell(columns, row, instance.now_ns))
                .collect()
        })
        .collect();
    listing
}

/// One printed column, by index into the scanned ones.
enum Part {
    One(usize),
    /// `inside_addr` and `inside_port` as `inside`.
    End {
        address: usize,
        port: usize,
    },
    /// `last_seen` as `last_seen_ago_ns`, beside the raw number in JSON.
    Ago(usize),
}

fn plan(columns: &[Column], format: Format) -> Vec<Part> {
    let mut plan = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let port = || {
            columns
                .iter()
                .position(|port| column.kind == Kind::Ipv4 && is_end(&column.name, &port.name))
        };
        let joined = columns
            .iter()
            .any(|address| address.kind == Kind::Ipv4 && is_end(&address.name, &column.name));
        match (format, port()) {
            (Format::Table, Some(port)) => plan.push(Part::End { address: at, port }),
            (Format::Table, None) if joined || column.name.ends_with("hot.flags") => {}
            (Format::Table, None) => plan.push(Part::One(at)),
            _ => {
                plan.push(Part::One(at));
                if is_time(column.kind) {
                    plan.push(Part::Ago(at));
                }
            }
        }
    }
    plan
}

/// Whether two fields are the address and the port of one end.
fn is_end(address: &str, port: &str) -> bool {
    port.strip_suffix("_port")
        .is_some_and(|end| address.strip_suffix("_addr") == Some(end))
}

impl Part {
    fn head(&self, columns: &[Column]) -> Head {
        match self {
            Part::One(at) => Head {
                name: columns[*at].name.clone(),
                right: is_number(&columns[*at]),
            },
            Part::End { address, .. } => {
                Head::left(columns[*address].name.trim_end_matches("_addr"))
            }
            Part::Ago(at) => Head::right(&format!("{}_ago_ns", columns[*at].name)),
        }
    }

    fn cell(&self, columns: &[Column], row: &[Value], now_ns: u64) -> Cell {
        match self {
            Part::End { address, port } => Cell::text(format!("{}:{}", row[*address], row[*port])),
            Part::Ago(at) => {
                let ago = elapsed_ns(&row[*at], now_ns);
                Cell {
                    text: ago.map_or("-".to_owned(), span_text),
                    json: json!(ago),
                }
            }
            Part::One(at) => {
                let (column, value) = (&columns[*at], &row[*at]);
                let text = match value {
                    _ if is_time(column.kind) => {
                        elapsed_ns(value, now_ns).map_or("-".to_owned(), span_text)
                    }
                    Value::Unsigned(number) if is_number(column) => grouped(*number),
                    _ => value.to_string(),
                };
                Cell {
                    text,
                    json: serde_json::to_value(value).unwrap_or_default(),
                }
            }
        }
    }
}

fn is_number(column: &Column) -> bool {
    matches!(
        column.kind,
        Kind::U16 | Kind::U32 | Kind::U64 | Kind::TimeSec | Kind::TimeNs
    ) && !column.named
}

pub(crate) fn stdout(source: io::Error) -> DumpError {
    DumpError::File {
        op: "writing",
        path: "stdout".into(),
        source,
    }
}
