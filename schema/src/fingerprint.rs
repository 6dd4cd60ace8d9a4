//! A schema's fingerprint: 128 bits over everything that gives its bytes their meaning.
//!
//! FNV-1a with 128 bits, because it is a `const fn` of ten lines: two layouts are compared by it, nobody is
//! kept out by it. It covers name, version, size, and each field's name, offset, size, kind and value names;
//! not the docs, which may be mended in a released record.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::FieldDef;
use crate::schema::Schema;

/// 128 bits that are equal when two schemas are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// The fingerprint of a record, at compile time.
    pub const fn of_record(
        name: &str,
        version: u32,
        size: usize,
        fields: &[FieldDef],
    ) -> Fingerprint {
        let mut hash = Fnv::new()
            .text(name)
            .number(version as u64)
            .number(size as u64);
        let mut at = 0;
        while at < fields.len() {
            let field = &fields[at];
            hash = hash
                .text(field.name)
                .number(field.offset as u64)
                .number(field.size as u64);
            hash = hash
                .number(field.kind as u64)
                .number(field.names.len() as u64);
            let mut name = 0;
            while name < field.names.len() {
                hash = hash.text(field.names[name]);
                name += 1;
            }
            at += 1;
        }
        Fingerprint(hash.0)
    }

    /// The fingerprint of a schema that was read from somewhere; equal to that of the record it describes.
    pub fn of_schema(schema: &Schema) -> Fingerprint {
        let mut hash = Fnv::new()
            .text(&schema.name)
            .number(u64::from(schema.version))
            .number(u64::from(schema.size));
        for field in &schema.fields {
            hash = hash
                .text(&field.name)
                .number(u64::from(field.offset))
                .number(u64::from(field.size));
            hash = hash
                .number(field.kind as u64)
                .number(field.names.len() as u64);
            for name in &field.names {
                hash = hash.text(name);
            }
        }
        Fingerprint(hash.0)
    }

    /// The fingerprint of bytes that are no record (a port's parameters, a config).
    pub const fn of_bytes(bytes: &[u8]) -> Fingerprint {
        Fingerprint(Fnv::new().bytes(bytes).0)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u128::deserialize(deserializer).map(Fingerprint);
        }
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16)
            .map(Fingerprint)
            .map_err(|_| {
                serde::de::Error::custom(format!(
                    "fingerprint {text:?}: 32 hexadecimal digits expected"
                ))
            })
    }
}

/// FNV-1a, 128 bits (Fowler, Noll, Vo; constants of the reference).
struct Fnv(u128);

impl Fnv {
    const BASIS: u128 = 0x6c62272e07bb014262b821756295c58d;
    const PRIME: u128 = 0x0000000001000000000000000000013b;

    const fn new() -> Fnv {
        Fnv(Fnv::BASIS)
    }

    const fn bytes(self, bytes: &[u8]) -> Fnv {
        let mut hash = self.0;
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u128).wrapping_mul(Fnv::PRIME);
            at += 1;
        }
        Fnv(hash)
    }

    const fn number(self, number: u64) -> Fnv {
        self.bytes(&number.to_le_bytes())
    }

    /// Length first, so that no two lists of texts run into one another.
    const fn text(self, text: &str) -> Fnv {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_gives_the_published_values() {
        assert_eq!(
            Fingerprint::of_bytes(b"").0,
            0x6c62272e07bb014262b821756295c58d
        );
        assert_eq!(
            Fingerprint::of_bytes(b"foobar").0,
            0x343e1662793c64bf6f0d3597ba446f18
        );
    }

    #[test]
    fn texts_that_run_together_differ() {
        let ab_c = Fnv::new().text("ab").text("c");
        let a_bc = Fnv::new().text("a").text("bc");
        assert_ne!(ab_c.0, a_bc.0);
    }

    #[test]
    fn json_shows_hexadecimal_and_reads_it_back() {
        let fingerprint = Fingerprint::of_bytes(b"x");
        let json = serde_json::to_string(&fingerprint).unwrap();
        assert_eq!(json, format!("\"{fingerprint}\""));
        assert_eq!(
            serde_json::from_str::<Fingerprint>(&json).unwrap(),
            fingerprint
        );
        assert!(serde_json::from_str::<Fingerprint>("\"zz\"").is_err());
    }
}
