//! Tokens become a tree whose fields are columns.

use baton_schema::Kind;

use super::literal::Literal;
use super::token::{Compare, Span, Token, tokens};
use super::{FilterError, Node, is_time, short};
use crate::rows::Column;

/// Deepest nesting of parentheses and `!`: the parser calls itself once for each.
const DEEPEST: usize = 64;

/// What people write, and the field they mean where the zone has no field of that name.
const ALIASES: &[(&str, &str)] = &[
    ("idle", "last_seen"),
    ("proto", "protocol"),
    ("state", "tcp_state"),
    ("pkts", "packets"),
    ("src", "inside_addr"),
    ("src_port", "inside_port"),
    ("dst", "remote_addr"),
    ("dst_port", "remote_port"),
];

pub(super) struct Parser<'a> {
    text: &'a str,
    columns: &'a [Column],
    tokens: Vec<(Token, Span)>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, columns: &'a [Column]) -> Result<Parser<'a>, FilterError> {
        Ok(Parser {
            text,
            columns,
            tokens: tokens(text)?,
            at: 0,
            depth: 0,
        })
    }

    pub(super) fn whole(mut self) -> Result<Node, FilterError> {
        let node = self.any()?;
        match self.tokens.get(self.at) {
            None => Ok(node),
            Some((Token::Close, span)) => Err(self.error(*span, "this parenthesis closes nothing")),
            Some((_, span)) => Err(self.error(*span, "&& or || expected here")),
        }
    }

    fn any(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.all()?];
        while self.take(&Token::Or) {
            nodes.push(self.all()?);
        }
        Ok(Node::Any(nodes))
    }

    fn all(&mut self) -> Result<Node, FilterError> {
        let mut nodes = vec![self.one()?];
        while self.take(&Token::And) {
            nodes.push(self.one()?);
        }
        Ok(Node::All(nodes))
    }

    fn one(&mut self) -> Result<Node, FilterError> {
        let Some((token, span)) = self.next() else {
            return Err(self.error(self.end(), "a comparison expected here: field == value"));
        };
        if matches!(token, Token::Not | Token::Open) {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err(self.error(span, "nested too deep"));
            }
        }
        let node = match token {
            Token::Not => Node::Not(Box::new(self.one()?)),
            Token::Open => self.parenthesis(span)?,
            Token::Word(name) => return self.comparison(&name, span),
            _ => return Err(self.error(span, "the name of a field expected here")),
        };
        self.depth -= 1;
        Ok(node)
    }

    fn parenthesis(&mut self, open: Span) -> Result<Node, FilterError> {
        let node = self.any()?;
        if self.take(&Token::Close) {
            return Ok(node);
        }
        match self.next() {
            Some((_, span)) => Err(self.error(span, "&&, || or ) expected here")),
            None => Err(self.error(open, "this parenthesis is not closed")),
        }
    }

    fn comparison(&mut self, name: &str, span: Span) -> Result<Node, FilterError> {
        let column = self.column(name, span)?;
        let (compare, sign) = match self.next() {
            Some((Token::Compare(compare), sign)) => (compare, sign),
            Some((_, span)) => return Err(self.error(span, "==, !=, <, <=, > or >= expected here")),
            None => return Err(self.error(self.end(), "==, !=, <, <=, > or >= expected here")),
        };
        let (literal, at) = match self.next() {
            Some((Token::Word(word), at)) => (Literal::of(&word), at),
            Some((Token::Quoted(text), at)) => (Literal::Text(text), at),
            Some((_, span)) => return Err(self.error(span, "a value expected here")),
            None => return Err(self.error(self.end(), "a value expected here")),
        };
        self.check(&self.columns[column], compare, sign, &literal, at)?;
        Ok(Node::Compare {
            column,
            compare,
            literal,
        })
    }

    fn column(&self, name: &str, span: Span) -> Result<usize, FilterError> {
        let find = |wanted: &dyn Fn(&Column) -> bool| self.columns.iter().position(wanted);
        let found = find(&|column| column.name == name)
            .or_else(|| {
                let (_, other) = ALIASES.iter().find(|(alias, _)| *alias == name)?;
                find(&|column| column.name == *other)
            })
            .or_else(|| match name {
                "age" => find(&|column| is_time(column.kind) && column.name.starts_with("created")),
                _ => None,
            });
        found.ok_or_else(|| {
            let known: Vec<&str> = self
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            self.error(
                span,
                format!(
                    "no field \"{}\" here; there are {}",
                    short(name, 40),
                    known.join(", ")
                ),
            )
        })
    }

    /// Refuses what could never be true.
    fn check(
        &self,
        column: &Column,
        compare: Compare,
        sign: Span,
        literal: &Literal,
        at: Span,
    ) -> Result<(), FilterError> {
        let ordered = !matches!(compare, Compare::Equal | Compare::Differs);
        let wanted = match (column.kind, literal) {
            (kind, Literal::Number(_) | Literal::Duration(_)) if is_time(kind) => None,
            (kind, _) if is_time(kind) => Some("a duration, for example 10s"),
            (Kind::Ipv4 | Kind::Ipv4Host, Literal::Ipv4(_)) => None,
            (Kind::Ipv4 | Kind::Ipv4Host, _) => Some("an IPv4 address"),
            (_, Literal::Duration(_) | Literal::Ipv4(_)) => {
                Some(if column.named { "a name" } else { "a number" })
            }
            (_, Literal::Text(_)) if ordered => {
                return Err(self.error(sign, "names can be compared with == and != only"));
            }
            _ => None,
        };
        match wanted {
            None => Ok(()),
            Some(wanted) => {
                let why = format!(
                    "\"{}\" is compared with {wanted}, this is {}",
                    column.name,
                    literal.what()
                );
                Err(self.error(at, why))
            }
        }
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let found = self
            .tokens
            .get(self.at)
            .is_some_and(|(token, _)| token == wanted);
        self.at += usize::from(found);
        found
    }

    fn next(&mut self) -> Option<(Token, Span)> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    fn end(&self) -> Span {
        Span {
            at: self.text.len(),
            len: 1,
        }
    }

    fn error(&self, span: Span, why: impl Into<String>) -> FilterError {
        FilterError::new(self.text, span, why)
    }
}
