//! The attributes `#[record(...)]` and `#[field(...)]`, and doc comments.

use proc_macro2::{Ident, Span};
use syn::{
    Attribute, DeriveInput, Expr, ExprLit, Field, Lit, LitInt, LitStr, Meta, Result, Token, Type,
};

/// Kinds by the name they have in `#[field(kind = "...")]`, with their variant of `Kind`.
const KINDS: &[(&str, &str)] = &[
    ("u8", "U8"),
    ("u16", "U16"),
    ("u32", "U32"),
    ("u64", "U64"),
    ("i8", "I8"),
    ("i16", "I16"),
    ("i32", "I32"),
    ("i64", "I64"),
    ("u16_be", "U16Be"),
    ("u32_be", "U32Be"),
    ("u64_be", "U64Be"),
    ("bytes", "Bytes"),
    ("pad", "Pad"),
    ("ipv4", "Ipv4"),
    ("ipv4_host", "Ipv4Host"),
    ("ipv6", "Ipv6"),
    ("mac", "Mac"),
    ("port", "Port"),
    ("port_host", "PortHost"),
    ("protocol", "Protocol"),
    ("time_sec", "TimeSec"),
    ("time_ns", "TimeNs"),
    ("flags", "Flags"),
    ("text", "Text"),
];

/// `#[record(name = "...", version = N, follows = Type)]`.
pub(crate) struct RecordAttribute {
    pub(crate) name: LitStr,
    pub(crate) version: LitInt,
    pub(crate) follows: Option<Type>,
}

impl RecordAttribute {
    pub(crate) fn of(input: &DeriveInput) -> Result<RecordAttribute> {
        let Some(attribute) = input
            .attrs
            .iter()
            .find(|attribute| attribute.path().is_ident("record"))
        else {
            return Err(syn::Error::new_spanned(
                &input.ident,
                "a record needs its name and version: #[record(name = \"...\", version = 1)]",
            ));
        };
        let (mut name, mut version, mut follows) = (None::<LitStr>, None::<LitInt>, None);
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("name") {
                name = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("version") {
                version = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("follows") {
                follows = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error("known here: name, version, follows"));
            }
            Ok(())
        })?;
        let missing =
            |what| syn::Error::new_spanned(attribute, format!("#[record(...)] lacks its {what}"));
        let name = name.ok_or_else(|| missing("name = \"...\""))?;
        let version = version.ok_or_else(|| missing("version = 1"))?;
        check_name(&name)?;
        if version.base10_parse::<u32>()? == 0 {
            return Err(syn::Error::new_spanned(version, "versions start at 1"));
        }
        Ok(RecordAttribute {
            name,
            version,
            follows,
        })
    }
}

/// Names are words of `a-z 0-9 _` with dots between them, at most 48 bytes: they stand in the directory.
fn check_name(name: &LitStr) -> Result<()> {
    let text = name.value();
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if text.len() <= 48 && text.split('.').all(word) {
        return Ok(());
    }
    Err(syn::Error::new_spanned(
        name,
        "a record's name is made of lower-case words with dots between them, at most 48 bytes: \"nat.session\"",
    ))
}

/// `#[field(kind = "ipv4", names("new", "established"))]`.
#[derive(Default)]
pub(crate) struct FieldAttribute {
    pub(crate) kind: Option<Ident>,
    pub(crate) names: Vec<LitStr>,
}

impl FieldAttribute {
    pub(crate) fn of(field: &Field) -> Result<FieldAttribute> {
        let mut found = FieldAttribute::default();
        for attribute in field
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("field"))
        {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("kind") {
                    found.kind = Some(kind(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("names") {
                    let content;
                    syn::parenthesized!(content in meta.input);
                    let names = content
                        .parse_terminated(<LitStr as syn::parse::Parse>::parse, Token![,])?;
                    found.names = names.into_iter().collect();
                } else {
                    return Err(meta.error("known here: kind = \"...\", names(\"...\", ...)"));
                }
                Ok(())
            })?;
        }
        Ok(found)
    }
}

fn kind(text: &LitStr) -> Result<Ident> {
    let wanted = text.value();
    match KINDS.iter().find(|(name, _)| *name == wanted) {
        Some((_, variant)) => Ok(Ident::new(variant, Span::call_site())),
        None => {
            let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            Err(syn::Error::new_spanned(
                text,
                format!("unknown kind; known are: {}", known.join(", ")),
            ))
        }
    }
}

/// The doc comment as one text.
pub(crate) fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
                Expr::Lit(ExprLit {
                    lit: Lit::Str(line),
                    ..
                }) => Some(line.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        });
    lines.collect::<Vec<_>>().join(" ").trim().to_owned()
}
