//! The words of an expression, each with its place in the text.

use super::FilterError;

/// One word or sign.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A field name, number, address, duration or name of a value.
    Word(String),
    /// Text in quotes.
    Quoted(String),
    Compare(Compare),
    And,
    Or,
    Not,
    Open,
    Close,
}

/// A comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compare {
    Equal,
    Differs,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Where a token stands: byte offset and length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) at: usize,
    pub(super) len: usize,
}

const SIGNS: &[(&str, Token)] = &[
    ("==", Token::Compare(Compare::Equal)),
    ("!=", Token::Compare(Compare::Differs)),
    ("<=", Token::Compare(Compare::LessOrEqual)),
    (">=", Token::Compare(Compare::GreaterOrEqual)),
    ("&&", Token::And),
    ("||", Token::Or),
    ("<", Token::Compare(Compare::Less)),
    (">", Token::Compare(Compare::Greater)),
    ("=", Token::Compare(Compare::Equal)),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
];

/// Cuts the text into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Span)>, FilterError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_whitespace() {
            at += c.len_utf8();
        } else if let Some((sign, token)) = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            found.push((
                token.clone(),
                Span {
                    at,
                    len: sign.len(),
                },
            ));
            at += sign.len();
        } else if c == '"' || c == '\'' {
            let Some(end) = rest[1..].find(c) else {
                return Err(FilterError::new(
                    text,
                    Span {
                        at,
                        len: rest.len(),
                    },
                    "text without its closing quote",
                ));
            };
            found.push((
                Token::Quoted(rest[1..=end].to_owned()),
                Span { at, len: end + 2 },
            ));
            at += end + 2;
        } else if is_word(c) {
            let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            found.push((Token::Word(rest[..len].to_owned()), Span { at, len }));
            at += len;
        } else {
            let span = Span {
                at,
                len: c.len_utf8(),
            };
            let why = format!(
                "{c:?} has no meaning here; known are == != < <= > >= && || ! ( ) and quotes"
            );
            return Err(FilterError::new(text, span, why));
        }
    }
    Ok(found)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-')
}
