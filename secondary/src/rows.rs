//! Rows of decoded fields, whatever zone and version they come from.

use baton_schema::{Kind, Schema, Value};

/// One column of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Column {
    /// The field's name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Whether its values have names.
    pub named: bool,
}

impl Column {
    /// A column that no record has.
    pub fn plain(name: &str, kind: Kind) -> Column {
        Column {
            name: name.to_owned(),
            kind,
            named: false,
        }
    }
}

/// The columns of a record; a name that `taken` has already gets `prefix` in front.
pub fn columns_of(schema: &Schema, taken: &[Column], prefix: &str) -> Vec<Column> {
    let shown = schema.fields.iter().filter(|field| field.kind != Kind::Pad);
    let unique = |name: &str| match taken.iter().any(|column| column.name == name) {
        true => format!("{prefix}.{name}"),
        false => name.to_owned(),
    };
    shown
        .map(|field| Column {
            name: unique(&field.name),
            kind: field.kind,
            named: !field.names.is_empty(),
        })
        .collect()
}

/// The values of a record, in the order of [`columns_of`].
pub fn values_of(schema: &Schema, bytes: &[u8]) -> impl Iterator<Item = Value> {
    schema.decode(bytes).into_iter().map(|(_, value)| value)
}
