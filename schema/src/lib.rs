//! What bytes mean: records and their versions, migrations, control messages.
//!
//! * [`record`]: the [`Record`] trait, written by `#[derive(Record)]`, never by hand.
//! * [`schema`]: a record's layout as data, stored beside the bytes, so that any tool can decode any version.
//! * [`migrate`]: one step up and its inverse, chained by `follows`; a forgotten step does not compile.
//! * [`manifest`]: what a binary reads and writes, and [`Policy`], what happens to a zone in an upgrade.
//! * [`config`]: the tables of the instance's file that more than one process reads.
//! * [`wire`] and [`control`]: the messages between the processes of an instance.
//!
//! No I/O here (except the test helper [`golden`]), no shared memory, no `unsafe`. `LAYOUT.md` beside this
//! crate tells how to add a version.
#![forbid(unsafe_code)]

// The derives name this crate by its path, also in its own tests.
extern crate self as baton_schema;

#[cfg(target_endian = "big")]
compile_error!("records are little-endian: baton runs on little-endian machines only");

pub mod config;
pub mod control;
pub mod fingerprint;
pub mod golden;
pub mod kind;
pub mod manifest;
pub mod migrate;
pub mod policy;
pub mod reason;
pub mod record;
pub mod schema;
pub mod stats;
pub mod value;
pub mod wire;

pub use baton_schema_derive::{Reason, Record, Zones};
pub use fingerprint::Fingerprint;
pub use kind::Kind;
pub use manifest::{Manifest, ZoneManifest};
pub use migrate::{Chain, Loss, Migrate, Path};
pub use policy::Policy;
pub use reason::Reason;
pub use record::{FieldDef, FieldType, Record};
pub use schema::{Field, Schema};
pub use value::Value;
