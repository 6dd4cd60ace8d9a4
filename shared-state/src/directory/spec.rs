//! What a zone that is asked for shall be.

use baton_schema::{Policy, Schema};

use super::DirectoryError;
use crate::arena::layout;

/// What a zone shall be.
#[derive(Debug, Clone)]
pub struct ZoneSpec<'a> {
    /// Name, at most 63 bytes; the same over all generations.
    pub name: &'a str,
    /// What its records are.
    pub schema: &'a Schema,
    /// Generation set that makes it.
    pub generation: u16,
    /// Bytes.
    pub len: u64,
    /// What happens to it in an upgrade.
    pub policy: Policy,
    /// Records.
    pub count: u64,
    /// Bytes from one record to the next.
    pub stride: u32,
}

impl ZoneSpec<'_> {
    /// Whether an entry can say all of it.
    pub(super) fn check(&self) -> Result<(), DirectoryError> {
        let too_long = "its name is empty or longer than 63 bytes, or its schema's than 47";
        let names_fit = (1..=63).contains(&self.name.len()) && self.schema.name.len() <= 47;
        let why = match self {
            _ if !names_fit || self.name.contains('\0') => too_long,
            _ if self.len == 0 || self.len > layout::RANGE => "its length is zero or absurd",
            _ if u64::from(self.stride).saturating_mul(self.count) > self.len => {
                "its records do not fit its length"
            }
            _ => return Ok(()),
        };
        Err(DirectoryError::Spec {
            name: self.name.to_owned(),
            why,
        })
    }
}
