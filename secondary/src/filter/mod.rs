//! `--where 'dst_port==443 && idle<10s'`: which rows are shown.
//!
//! ```text
//!   any        = all ("||" all)*
//!   all        = one ("&&" one)*
//!   one        = "!" one | "(" any ")" | field compare literal
//!   compare    = == != < <= > >=
//!   literal    = number | IPv4 address | duration | name | "text"
//! ```
//!
//! A field that holds a point in time is compared by how long ago it was. Where a zone has no field of that name,
//! `age` stands for the one whose name begins with `created`, `idle` for `last_seen`, `src_port` and `dst_port` for
//! `inside_port` and `remote_port`, and so on. Every mistake is told with its place in the text.

mod literal;
mod parse;
mod token;

use std::fmt;

use baton_schema::{Kind, Value};

use crate::rows::Column;
use literal::Literal;
use token::{Compare, Span};

/// An expression, bound to the columns of one listing.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Node,
}

/// A mistake in an expression, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct FilterError {
    text: String,
    at: usize,
    len: usize,
    why: String,
}

#[derive(Clone, Debug)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Not(Box<Node>),
    Compare {
        column: usize,
        compare: Compare,
        literal: Literal,
    },
}

impl Filter {
    /// Parses `text` and finds its fields among `columns`.
    pub fn new(text: &str, columns: &[Column]) -> Result<Filter, FilterError> {
        parse::Parser::new(text, columns)?
            .whole()
            .map(|root| Filter { root })
    }

    /// Whether a row is wanted; `now_ns` is what "ago" counts from.
    pub fn wants(&self, row: &[Value], now_ns: u64) -> bool {
        self.root.wants(row, now_ns)
    }
}

impl Node {
    fn wants(&self, row: &[Value], now_ns: u64) -> bool {
        match self {
            Node::Any(nodes) => nodes.iter().any(|node| node.wants(row, now_ns)),
            Node::All(nodes) => nodes.iter().all(|node| node.wants(row, now_ns)),
            Node::Not(node) => !node.wants(row, now_ns),
            Node::Compare {
                column,
                compare,
                literal,
            } => row
                .get(*column)
                .is_some_and(|value| compares(value, *compare, literal, now_ns)),
        }
    }
}

fn compares(value: &Value, compare: Compare, literal: &Literal, now_ns: u64) -> bool {
    let ago = elapsed_ns(value, now_ns).map(i128::from);
    let order = match literal {
        Literal::Number(seconds) if ago.is_some() => {
            ago.map(|ago| ago.cmp(&(seconds * 1_000_000_000)))
        }
        Literal::Number(number) => value.number().map(|found| found.cmp(number)),
        Literal::Duration(nanos) => ago.map(|ago| ago.cmp(nanos)),
        Literal::Ipv4(address) => match value {
            Value::Ipv4(found) => Some(found.cmp(address)),
            _ => None,
        },
        Literal::Text(text) => Some(value.to_string().as_str().cmp(text)),
    };
    match (order, compare) {
        (None, _) => false,
        (Some(order), Compare::Equal) => order.is_eq(),
        (Some(order), Compare::Differs) => order.is_ne(),
        (Some(order), Compare::Less) => order.is_lt(),
        (Some(order), Compare::LessOrEqual) => order.is_le(),
        (Some(order), Compare::Greater) => order.is_gt(),
        (Some(order), Compare::GreaterOrEqual) => order.is_ge(),
    }
}

/// How long ago a point in time was; `None` for what is none, and for "never".
pub fn elapsed_ns(value: &Value, now_ns: u64) -> Option<u64> {
    match value {
        Value::TimeSec(0) | Value::TimeNs(0) => None,
        Value::TimeSec(at) => Some(now_ns.saturating_sub(at.saturating_mul(1_000_000_000))),
        Value::TimeNs(at) => Some(now_ns.saturating_sub(*at)),
        _ => None,
    }
}

pub(crate) fn is_time(kind: Kind) -> bool {
    matches!(kind, Kind::TimeSec | Kind::TimeNs)
}

impl FilterError {
    fn new(text: &str, span: Span, why: impl Into<String>) -> FilterError {
        FilterError {
            text: text.to_owned(),
            at: span.at,
            len: span.len.max(1),
            why: short(&why.into(), LONGEST_WHY),
        }
    }

    /// Byte offset in the text, from 0.
    pub fn at(&self) -> usize {
        self.at
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text[..self.at].chars().count();
        writeln!(f, "--where: {} (column {})", self.why, before + 1)?;
        let skip = before.saturating_sub(SHOWN / 2);
        let shown: String = self.text.chars().skip(skip).take(SHOWN).collect();
        let room = shown.chars().count().saturating_sub(before - skip).max(1);
        let (pad, marks) = (before - skip, self.len.min(room));
        writeln!(f, "  | {}", shown.replace(char::is_control, " "))?;
        write!(f, "  | {}{}", " ".repeat(pad), "^".repeat(marks))
    }
}

/// Characters of the expression that an error shows, around its place.
const SHOWN: usize = 120;

/// Characters of the sentence: it may name a word of the expression, and all fields of a zone.
const LONGEST_WHY: usize = 600;

/// The beginning of a text that is too long.
fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
