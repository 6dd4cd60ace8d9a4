//! A record's layout as data: stored beside the bytes, sent in manifests, printed in golden files.
//!
//! A schema may come from shared memory or from a newer program, so nothing here trusts it: a field that
//! reaches past the bytes decodes to [`Value::Missing`], and [`Schema::check`] says what is wrong.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::kind::Kind;
use crate::record::Record;
use crate::value::Value;

/// The layout of one version of one record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Schema {
    /// The same in all versions.
    pub name: String,
    /// Starts at 1.
    pub version: u32,
    /// Bytes of one record.
    pub size: u32,
    /// Alignment the writer's compiler gave it.
    pub align: u32,
    /// In the order of their offsets.
    pub fields: Vec<Field>,
    /// For people.
    pub doc: String,
}

/// One field of a [`Schema`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Field {
    /// As in the struct.
    pub name: String,
    /// From the record's first byte.
    pub offset: u32,
    /// All elements together.
    pub size: u32,
    /// Of one element.
    pub kind: Kind,
    /// Names of the values 0, 1, ...; empty for a plain number.
    pub names: Vec<String>,
    /// For people.
    pub doc: String,
}

/// What is wrong with a schema that was read from somewhere.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SchemaError {
    /// A record without a name.
    #[error("schema without a name (version {version})")]
    NoName {
        /// As found.
        version: u32,
    },
    /// A field ends after the record.
    #[error(
        "schema \"{schema}\" v{version}: field \"{field}\" at {offset} with {size} bytes ends after the record's {record} bytes"
    )]
    Outside {
        /// Its name.
        schema: String,
        /// Its version.
        version: u32,
        /// The field's name.
        field: String,
        /// Where it begins.
        offset: u32,
        /// How long it is.
        size: u32,
        /// How long the record is.
        record: u32,
    },
    /// A field begins before the one in front of it ends, or leaves a hole.
    #[error(
        "schema \"{schema}\" v{version}: field \"{field}\" begins at {offset}, the one before it ends at {expected}"
    )]
    Order {
        /// Its name.
        schema: String,
        /// Its version.
        version: u32,
        /// The field's name.
        field: String,
        /// Where it begins.
        offset: u32,
        /// Where it should begin.
        expected: u64,
    },
    /// A field's size is no multiple of its kind's width.
    #[error(
        "schema \"{schema}\" v{version}: field \"{field}\" has {size} bytes, a {kind} has {width}"
    )]
    Width {
        /// Its name.
        schema: String,
        /// Its version.
        version: u32,
        /// The field's name.
        field: String,
        /// How long it is.
        size: u32,
        /// What it should hold.
        kind: Kind,
        /// How long one of these is.
        width: u32,
    },
}

impl Schema {
    /// The layout of `R`.
    pub fn of<R: Record>() -> Schema {
        let fields = R::FIELDS.iter().map(|field| Field {
            name: field.name.to_owned(),
            offset: field.offset,
            size: field.size,
            kind: field.kind,
            names: field.names.iter().map(|name| (*name).to_owned()).collect(),
            doc: field.doc.to_owned(),
        });
        Schema {
            name: R::NAME.to_owned(),
            version: R::VERSION,
            size: u32::try_from(size_of::<R>()).expect("a record is smaller than 4 GiB"),
            align: u32::try_from(align_of::<R>()).expect("an alignment is smaller than 4 GiB"),
            fields: fields.collect(),
            doc: R::DOC.to_owned(),
        }
    }

    /// 128 bits that are equal when two layouts are; the docs do not count.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_schema(self)
    }

    /// Each field that is not padding, by name. Never panics, whatever the schema and the bytes are.
    pub fn decode(&self, bytes: &[u8]) -> Vec<(String, Value)> {
        let shown = self.fields.iter().filter(|field| field.kind != Kind::Pad);
        shown
            .map(|field| (field.name.clone(), field.decode(bytes)))
            .collect()
    }

    /// The field with this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Whether the fields lie in the record one after the other, each a whole number of elements.
    pub fn check(&self) -> Result<(), SchemaError> {
        if self.name.is_empty() {
            return Err(SchemaError::NoName {
                version: self.version,
            });
        }
        let mut end = 0u64;
        for field in &self.fields {
            field.check(self, end)?;
            end = u64::from(field.offset) + u64::from(field.size);
        }
        Ok(())
    }

    /// The content of a golden file: what a released version looks like, forever.
    pub fn text(&self) -> String {
        let mut text = format!(
            "record {}\nversion {}\nsize {}\nalign {}\n",
            self.name, self.version, self.size, self.align
        );
        let _ = writeln!(text, "fingerprint {}", self.fingerprint());
        for field in &self.fields {
            let _ = write!(
                text,
                "{:>5} {:>5}  {:<10} {}",
                field.offset,
                field.size,
                field.kind.name(),
                field.name
            );
            if !field.names.is_empty() {
                let _ = write!(text, " = {}", field.names.join(" | "));
            }
            text.push('\n');
        }
        text
    }
}

impl Field {
    /// This field's value within a record's bytes.
    pub fn decode(&self, record: &[u8]) -> Value {
        let start = self.offset as usize;
        match start
            .checked_add(self.size as usize)
            .and_then(|end| record.get(start..end))
        {
            Some(bytes) => Value::decode(self.kind, &self.names, bytes),
            None => Value::Missing,
        }
    }

    fn check(&self, schema: &Schema, expected: u64) -> Result<(), SchemaError> {
        let (name, version, field) = (schema.name.clone(), schema.version, self.name.clone());
        let end = u64::from(self.offset) + u64::from(self.size);
        if end > u64::from(schema.size) {
            let (offset, size, record) = (self.offset, self.size, schema.size);
            return Err(SchemaError::Outside {
                schema: name,
                version,
                field,
                offset,
                size,
                record,
            });
        }
        if u64::from(self.offset) != expected {
            return Err(SchemaError::Order {
                schema: name,
                version,
                field,
                offset: self.offset,
                expected,
            });
        }
        if !self.kind.fits(self.size as usize) {
            let (size, kind, width) = (self.size, self.kind, self.kind.width());
            return Err(SchemaError::Width {
                schema: name,
                version,
                field,
                size,
                kind,
                width,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::{FromBytes, Immutable, IntoBytes};

    use super::*;
    use crate::Record;

    /// A session as the dump tool shows it.
    #[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
    #[record(name = "nat.session", version = 3)]
    #[repr(C)]
    struct Session {
        /// The host behind us.
        #[field(kind = "ipv4")]
        inside: [u8; 4],
        #[field(kind = "port")]
        inside_port: [u8; 2],
        #[field(kind = "protocol")]
        protocol: u8,
        #[field(names("new", "established"))]
        state: u8,
        #[field(kind = "mac")]
        mac: [u8; 6],
        _pad: [u8; 2],
        sizes: [u16; 2],
        #[field(kind = "time_sec")]
        created: u32,
    }

    fn sample() -> Session {
        Session {
            inside: [10, 0, 7, 20],
            inside_port: [0xc8, 0x23],
            protocol: 6,
            state: 1,
            mac: [2, 0, 0, 0, 0, 0xfe],
            _pad: [0; 2],
            sizes: [3, 400],
            created: 77,
        }
    }

    #[test]
    fn a_record_decodes_by_its_schema_alone() {
        let shown: Vec<String> = Session::schema()
            .decode(sample().as_bytes())
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            shown,
            [
                "inside=10.0.7.20",
                "inside_port=51235",
                "protocol=tcp",
                "state=established",
                "mac=02:00:00:00:00:fe",
                "sizes=[3 400]",
                "created=77",
            ]
        );
    }

    #[test]
    fn the_fingerprint_is_the_same_at_compile_time_and_from_data() {
        let schema = Session::schema();
        assert_eq!(schema.fingerprint(), Session::FINGERPRINT);
        assert_eq!(schema.check(), Ok(()));
        let bytes = crate::wire::encode(&schema).unwrap();
        assert_eq!(crate::wire::decode::<Schema>(&bytes).unwrap(), schema);
    }

    #[test]
    fn anything_that_changes_the_meaning_changes_the_fingerprint() {
        let changes: [fn(&mut Schema); 7] = [
            |s| s.name.push('x'),
            |s| s.version += 1,
            |s| s.size += 4,
            |s| s.fields[0].name.push('x'),
            |s| s.fields[1].kind = Kind::U16,
            |s| s.fields[3].names.swap(0, 1),
            |s| s.fields.swap(0, 1),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut schema = Session::schema();
            change(&mut schema);
            assert_ne!(schema.fingerprint(), Session::FINGERPRINT, "change {at}");
        }
        let mut schema = Session::schema();
        schema.fields[0].doc = "a mended comment".to_owned();
        assert_eq!(
            schema.fingerprint(),
            Session::FINGERPRINT,
            "docs do not count"
        );
    }

    #[test]
    fn a_schema_that_does_not_hold_together_is_named() {
        let mut schema = Session::schema();
        schema.fields[6].offset = u32::MAX;
        assert_eq!(
            schema.check().unwrap_err().to_string(),
            "schema \"nat.session\" v3: field \"sizes\" at 4294967295 with 4 bytes ends after the record's 24 bytes"
        );
        let mut schema = Session::schema();
        schema.fields.remove(1);
        assert_eq!(
            schema.check().unwrap_err().to_string(),
            "schema \"nat.session\" v3: field \"protocol\" begins at 6, the one before it ends at 4"
        );
        let mut schema = Session::schema();
        schema.fields[1].kind = Kind::Mac;
        assert_eq!(
            schema.check().unwrap_err().to_string(),
            "schema \"nat.session\" v3: field \"inside_port\" has 2 bytes, a mac has 6"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_under_any_schema_decode_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            fields in prop::collection::vec((any::<u32>(), 0u32..40, 0..Kind::ALL.len()), 0..8),
            small in any::<bool>(),
        ) {
            let fields = fields.into_iter().map(|(offset, size, kind)| Field {
                name: "f".to_owned(),
                offset: if small { offset % 48 } else { offset },
                size,
                kind: Kind::ALL[kind].0,
                names: vec!["zero".to_owned()],
                doc: String::new(),
            });
            let schema = Schema {
                name: "x".to_owned(), version: 1, size: 48, align: 1, fields: fields.collect(), doc: String::new(),
            };
            let _ = schema.check();
            for (_, value) in schema.decode(&bytes) {
                let _ = (value.to_string(), value.number(), serde_json::to_string(&value).unwrap());
            }
        }
    }
}
