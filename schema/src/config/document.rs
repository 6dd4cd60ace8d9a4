//! A TOML text and the places of its keys.

use super::hint;
use core::fmt;
use core::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Characters of a line that are printed at the most, around the mistake.
const SHOWN: usize = 160;

/// Characters of a sentence: it may quote a value of any length.
const LONGEST: usize = 600;

/// The beginning of a text that is too long.
fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A mistake that the parser cannot see, by the key it stands under: `port[0].vdev`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct Mistake {
    /// From the top of the file, tables of an array by number from 0.
    pub key: String,
    /// Expected, found, the way out.
    pub what: String,
}

impl Mistake {
    /// A mistake at a key.
    pub fn at(key: impl Into<String>, what: impl Into<String>) -> Mistake {
        let (key, what) = (key.into(), what.into());
        Mistake { key, what }
    }
}

/// A file's text under the name that errors give it.
#[derive(Clone, Debug)]
pub struct Document {
    name: String,
    text: String,
}

impl Document {
    /// A document; `name` stands in front of every mistake.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Document {
        let (name, text) = (name.into(), text.into());
        Document { name, text }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A mistake found after parsing, with its place: the key's value, or the nearest table above a
    /// key that is not there.
    pub fn tell(&self, mistake: &Mistake) -> String {
        let (key, what) = (short(&mistake.key), short(&mistake.what));
        let root = DeTable::parse(&self.text).ok();
        match root.and_then(|root| place(root.get_ref(), &mistake.key)) {
            Some(span) => self.show(&span, &format!("{key}: {what}")),
            None => format!("{}: {key}: {what}", self.name),
        }
    }

    /// A mistake of the parser, with its place, its key, and the question whether a near name was meant.
    pub fn explain(&self, error: &toml::de::Error) -> String {
        let what = error.message().trim_end().replace('\n', ", ");
        let what = match hint::suggestion(&what) {
            Some(near) => format!("{what}; did you mean `{near}`?"),
            None => what,
        };
        let what = short(&what);
        let Some(span) = error.span() else {
            return format!("{}: {what}", self.name);
        };
        let root = DeTable::parse(&self.text).ok();
        let key = root.and_then(|root| key_at(root.get_ref(), &span));
        let what = key.map_or(what.clone(), |key| format!("{}: {what}", short(&key)));
        self.show(&span, &what)
    }

    fn show(&self, span: &Range<usize>, what: &str) -> String {
        Shown {
            name: &self.name,
            text: &self.text,
            span,
            what,
        }
        .to_string()
    }
}

/// `FILE:LINE:COLUMN: what`, and the line.
struct Shown<'a> {
    name: &'a str,
    text: &'a str,
    span: &'a Range<usize>,
    what: &'a str,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.text.floor_char_boundary(self.span.start);
        let before = &self.text[..at];
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let number = before.matches('\n').count() + 1;
        let line = self.text[begin..].lines().next().unwrap_or_default();
        let column = self.text[begin..at].chars().count();
        writeln!(f, "{}:{number}:{}: {}", self.name, column + 1, self.what)?;
        let skip = column.saturating_sub(SHOWN / 2);
        let shown: String = line.chars().skip(skip).take(SHOWN).collect();
        let meant = self.text.get(at..self.span.end).unwrap_or_default();
        let meant = meant.lines().next().unwrap_or_default().chars().count();
        let room = shown.chars().count().saturating_sub(column - skip);
        let (number, pad) = (number.to_string(), " ".repeat(column - skip));
        let margin = " ".repeat(number.len());
        writeln!(f, "{margin} |\n{number} | {shown}")?;
        write!(f, "{margin} | {pad}{}", "^".repeat(meant.min(room).max(1)))
    }
}

/// One step down: a name, or a place in an array.
enum Step<'a> {
    Name(&'a str),
    Number(usize),
}

fn steps(key: &str) -> impl Iterator<Item = Step<'_>> {
    let parts = key.split(['.', '[']).filter(|part| !part.is_empty());
    parts.map(|part| match part.strip_suffix(']').map(str::parse) {
        Some(Ok(number)) => Step::Number(number),
        _ => Step::Name(part),
    })
}

/// Where the value of a key stands, or the nearest table or array that holds it.
fn place(root: &DeTable<'_>, key: &str) -> Option<Range<usize>> {
    let mut found: Option<&Spanned<DeValue<'_>>> = None;
    for step in steps(key) {
        let next = match (step, found.map(Spanned::get_ref)) {
            (Step::Name(name), None) => child(root, name),
            (Step::Name(name), Some(DeValue::Table(table))) => child(table, name),
            (Step::Number(number), Some(DeValue::Array(array))) => array.get(number),
            _ => None,
        };
        match next {
            Some(value) => found = Some(value),
            None => break,
        }
    }
    found.map(Spanned::span)
}

fn child<'a, 'i>(table: &'a DeTable<'i>, name: &str) -> Option<&'a Spanned<DeValue<'i>>> {
    let mut entries = table.iter();
    let found = entries.find(|(key, _)| key.get_ref().as_ref() == name);
    found.map(|(_, value)| value)
}

/// The key whose name or value is closest around a place.
fn key_at(root: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let mut best = None;
    look_in_table(root, "", span, &mut best);
    best.map(|(_, key)| key)
}

type Best = Option<(usize, String)>;

fn look_in_table(table: &DeTable<'_>, above: &str, span: &Range<usize>, best: &mut Best) {
    for (name, value) in table.iter() {
        let key = match above {
            "" => name.get_ref().to_string(),
            above => format!("{above}.{}", name.get_ref()),
        };
        offer(&name.span(), &key, span, best);
        look_in(value, &key, span, best);
    }
}

fn look_in(value: &Spanned<DeValue<'_>>, key: &str, span: &Range<usize>, best: &mut Best) {
    offer(&value.span(), key, span, best);
    match value.get_ref() {
        DeValue::Table(table) => look_in_table(table, key, span, best),
        DeValue::Array(array) => {
            for (at, item) in array.iter().enumerate() {
                look_in(item, &format!("{key}[{at}]"), span, best);
            }
        }
        _ => {}
    }
}

/// The deepest of equals wins: a table's header is the header of its first key, too.
fn offer(around: &Range<usize>, key: &str, span: &Range<usize>, best: &mut Best) {
    let holds = around.start <= span.start && span.start < around.end;
    if holds && best.as_ref().is_none_or(|(len, _)| around.len() <= *len) {
        *best = Some((around.len(), key.to_owned()));
    }
}
