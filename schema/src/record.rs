//! The [`Record`] trait: a `#[repr(C)]` struct that several versions of a program share.
//!
//! Written by `#[derive(Record)]`:
//!
//! ```
//! use baton_schema::Record;
//! use zerocopy::{FromBytes, Immutable, IntoBytes};
//!
//! /// What 1.0 stores.
//! #[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
//! #[record(name = "lb.flow", version = 1)]
//! #[repr(C)]
//! struct Flow {
//!     /// The server this flow first met.
//!     #[field(kind = "ipv4")]
//!     server: [u8; 4],
//!     hits: u32,
//! }
//! assert_eq!(Flow::schema().fields[1].name, "hits");
//! ```
//!
//! Invariants, each a compile error with a sentence:
//! * I1 Fixed-width integers and arrays of them only: no `bool`, enum, `usize`, pointer, float.
//! * I2 No implicit padding; explicit padding is a field whose name begins with `_`.
//! * I3 A record that `follows` another has its name, a higher version, and a [`Migrate`](crate::Migrate) from it.

use zerocopy::{FromBytes, Immutable, IntoBytes, network_endian};

use crate::fingerprint::Fingerprint;
use crate::kind::Kind;
use crate::migrate::Chain;
use crate::schema::Schema;

/// A released struct: bytes that outlive the program which wrote them. Derived, never written by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a record: its bytes would have no name, no version and no way to the next layout",
    label = "not a record",
    note = "put `#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]`, `#[record(name = \"...\", version = 1)]` and `#[repr(C)]` on it"
)]
pub trait Record: FromBytes + IntoBytes + Immutable + Copy + Send + Sync + 'static {
    /// The same in all versions, for example `nat.session`.
    const NAME: &'static str;
    /// Starts at 1.
    const VERSION: u32;
    /// In the order of their offsets, without holes.
    const FIELDS: &'static [FieldDef];
    /// The struct's doc comment.
    const DOC: &'static str;
    /// Of [`schema`](Record::schema), at compile time.
    const FINGERPRINT: Fingerprint =
        Fingerprint::of_record(Self::NAME, Self::VERSION, size_of::<Self>(), Self::FIELDS);

    /// The layout as data.
    fn schema() -> Schema {
        Schema::of::<Self>()
    }

    /// Every step from the oldest version this program still reads.
    fn chain() -> Chain;
}

/// One field of a [`Record`], as the derive writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDef {
    /// As in the struct.
    pub name: &'static str,
    /// From the record's first byte.
    pub offset: u32,
    /// All elements together.
    pub size: u32,
    /// Of one element.
    pub kind: Kind,
    /// Names of the values 0, 1, ...; empty if the field is a plain number.
    pub names: &'static [&'static str],
    /// The field's doc comment.
    pub doc: &'static str,
}

/// A type a record's field may have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a field of a record",
    label = "not a fixed-width integer or an array of them",
    note = "use u8..u64, i8..i64, zerocopy's network_endian integers, or arrays of these; store an enum as an integer with #[field(names(\"...\"))]"
)]
pub trait FieldType {
    /// What the bytes mean unless `#[field(kind = "...")]` says more.
    const KIND: Kind;
}

macro_rules! field_type {
    ($($ty:ty => $kind:ident),+ $(,)?) => { $(impl FieldType for $ty { const KIND: Kind = Kind::$kind; })+ };
}
field_type! {
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    network_endian::U16 => U16Be, network_endian::U32 => U32Be, network_endian::U64 => U64Be,
}

impl<T: FieldType, const N: usize> FieldType for [T; N] {
    const KIND: Kind = match T::KIND {
        Kind::U8 => Kind::Bytes,
        kind => kind,
    };
}

/// I3 for the derive: panics (at compile time) unless `this` may follow `previous`.
#[doc(hidden)]
pub const fn check_follows(name: &str, version: u32, previous_name: &str, previous_version: u32) {
    assert!(
        equal(name.as_bytes(), previous_name.as_bytes()),
        "a record must have the name of the one it follows: a zone is found by that name in every version"
    );
    assert!(
        version > previous_version,
        "a record must have a higher version than the one it follows"
    );
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
