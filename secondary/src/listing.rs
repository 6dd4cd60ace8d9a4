//! What a verb prints: rows of cells as an aligned table, as one JSON object, or as one JSON object a line.
//!
//! Data goes to stdout. What is said about the data (how many rows there were, what to do next) goes to stderr.

use std::io::{self, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::{Map, Value as Json, json};

/// How data is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One object, with `"schema": "baton.<noun>/1"`.
    Json,
    /// One object a row.
    Jsonl,
}

/// Whether tables have colors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Also into a pipe.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether stdout gets colors.
    pub fn enabled(self) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !refused && io::stdout().is_terminal()
            }
        }
    }
}

/// One value, as people and as programs read it.
#[derive(Clone, PartialEq, Debug)]
pub struct Cell {
    /// In a table.
    pub text: String,
    /// In JSON.
    pub json: Json,
}

impl Cell {
    /// A word.
    pub fn text(text: impl Into<String>) -> Cell {
        let text = text.into();
        Cell {
            json: Json::String(text.clone()),
            text,
        }
    }

    /// A number, with its thousands apart in tables.
    pub fn number(number: u64) -> Cell {
        Cell {
            text: grouped(number),
            json: json!(number),
        }
    }
}

/// One column of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its name, also in JSON.
    pub name: String,
    /// Whether its cells are aligned to the right.
    pub right: bool,
}

impl Head {
    /// A column of words.
    pub fn left(name: &str) -> Head {
        Head {
            name: name.to_owned(),
            right: false,
        }
    }

    /// A column of numbers.
    pub fn right(name: &str) -> Head {
        Head {
            name: name.to_owned(),
            right: true,
        }
    }
}

/// Rows under their columns, and facts about them all.
#[derive(Clone, PartialEq, Debug)]
pub struct Listing {
    /// `baton.<noun>/1`.
    pub noun: &'static str,
    /// For JSON only, beside the rows.
    pub facts: Vec<(&'static str, Json)>,
    /// The columns.
    pub heads: Vec<Head>,
    /// A cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

impl Listing {
    /// No rows yet.
    pub fn new(noun: &'static str, heads: Vec<Head>) -> Listing {
        Listing {
            noun,
            facts: Vec::new(),
            heads,
            rows: Vec::new(),
        }
    }

    /// Writes it all.
    pub fn write(&self, out: &mut dyn Write, format: Format, color: bool) -> io::Result<()> {
        match format {
            Format::Table => self.write_table(out, color),
            Format::Jsonl => self
                .rows
                .iter()
                .try_for_each(|row| writeln!(out, "{}", self.object(row))),
            Format::Json => {
                let mut whole = Map::new();
                whole.insert("schema".to_owned(), json!(format!("baton.{}/1", self.noun)));
                whole.extend(
                    self.facts
                        .iter()
                        .map(|(name, fact)| ((*name).to_owned(), fact.clone())),
                );
                whole.insert(
                    "rows".to_owned(),
                    self.rows.iter().map(|row| self.object(row)).collect(),
                );
                writeln!(out, "{}", Json::Object(whole))
            }
        }
    }

    fn object(&self, row: &[Cell]) -> Json {
        self.heads
            .iter()
            .zip(row)
            .map(|(head, cell)| (head.name.clone(), cell.json.clone()))
            .collect::<Map<_, _>>()
            .into()
    }

    fn write_table(&self, out: &mut dyn Write, color: bool) -> io::Result<()> {
        if self.heads.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(
            self.heads
                .iter()
                .map(|head| head.name.as_str())
                .collect::<Vec<_>>(),
        );
        for row in &self.rows {
            table.add_row(
                row.iter()
                    .map(|cell| cell.text.as_str())
                    .collect::<Vec<_>>(),
            );
        }
        for (at, head) in self.heads.iter().enumerate() {
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, 2));
                column.set_cell_alignment(if head.right {
                    CellAlignment::Right
                } else {
                    CellAlignment::Left
                });
            }
        }
        for (at, line) in table.lines().enumerate() {
            let line = line.trim_end();
            match color {
                true => writeln!(out, "{}{line}\x1b[0m", self.paint(at))?,
                false => writeln!(out, "{line}")?,
            }
        }
        Ok(())
    }

    /// The header is bold; a row that says FAIL is red, one that says WARN yellow.
    fn paint(&self, line: usize) -> &'static str {
        let Some(row) = line.checked_sub(1).and_then(|row| self.rows.get(row)) else {
            return "\x1b[1m";
        };
        match row.first().map(|cell| cell.text.as_str()) {
            Some("FAIL") => "\x1b[31m",
            Some("WARN") => "\x1b[33m",
            _ => "",
        }
    }
}

/// `962000` as `962,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A span of time as people say it: `0.4 s`, `3 m 20 s`, `12 d 4 h`.
pub fn span_text(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    match seconds {
        0..60 => format!("{}.{} s", seconds, nanos % 1_000_000_000 / 100_000_000),
        60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Listing {
        let mut listing =
            Listing::new("checks", vec![Head::left("result"), Head::right("records")]);
        listing.facts.push(("prefix", json!("edge1")));
        listing
            .rows
            .push(vec![Cell::text("ok"), Cell::number(962_000)]);
        listing.rows.push(vec![Cell::text("FAIL"), Cell::number(1)]);
        listing
    }

    fn written(format: Format, color: bool) -> String {
        let mut out = Vec::new();
        sample().write(&mut out, format, color).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_are_aligned_and_numbers_grouped() {
        assert_eq!(
            written(Format::Table, false),
            "result  records\nok      962,000\nFAIL          1\n"
        );
        assert!(written(Format::Table, true).contains("\x1b[31mFAIL          1\x1b[0m"));
    }

    #[test]
    fn json_says_what_it_is() {
        let whole: Json = serde_json::from_str(&written(Format::Json, true)).unwrap();
        assert_eq!(whole["schema"], "baton.checks/1");
        assert_eq!(whole["prefix"], "edge1");
        assert_eq!(
            whole["rows"][0],
            json!({"result": "ok", "records": 962_000})
        );
        assert_eq!(written(Format::Jsonl, false).lines().count(), 2);
    }

    #[test]
    fn spans_and_numbers_are_readable() {
        assert_eq!(span_text(400_000_000), "0.4 s");
        assert_eq!(span_text(59_990_000_000), "59.9 s");
        assert_eq!(span_text(200_000_000_000), "3 m 20 s");
        assert_eq!(span_text(7_440_000_000_000), "2 h 4 m");
        assert_eq!(span_text(1_051_200_000_000_000), "12 d 4 h");
        assert_eq!(
            (grouped(0), grouped(999), grouped(1000)),
            ("0".into(), "999".into(), "1,000".into())
        );
    }
}
