//! A second way into a table: another hash to the same ids, rebuilt from the rows whenever in doubt.

use crate::table::zones::declare_index;
use crate::zone::{Declare, Gain, Live, Opener, Zone, ZoneError};
use baton_schema::Policy;
use baton_shared_state::table::{Full, Index, IndexShard};

/// What a second index leads to: names the table whose ids it holds, and the memzone of its own.
pub trait Leads: Send + 'static {
    /// The record name of the table.
    const TABLE: &'static str;
    /// The memzone's name.
    const NAME: &'static str;
}

/// A shard's view of a second index of table `L::TABLE`. It holds ids; the caller compares.
#[derive(Debug)]
pub struct SecondIndex<L> {
    index: IndexShard,
    stale: bool,
    of: core::marker::PhantomData<fn() -> L>,
}

impl<L: Leads> SecondIndex<L> {
    /// The hash under which `bytes` are to be found.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.index.hash(bytes)
    }

    /// The id under `hash` for which `same` holds.
    #[inline]
    pub fn find(&self, hash: u64, same: impl FnMut(u32) -> bool) -> Option<u32> {
        self.index.find(hash, same)
    }

    /// Brings the line where a hash leads to into the processor's cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The id that a hash leads to, or [`baton_shared_state::table::NO_ID`], with nothing compared yet.
    #[inline]
    pub fn candidate(&self, hash: u64) -> u32 {
        self.index.candidate(hash)
    }

    /// Publishes an id.
    ///
    /// # Errors
    /// [`Full`] when no entry is free.
    #[inline]
    pub fn insert(&mut self, hash: u64, id: u32) -> Result<(), Full> {
        self.index.insert(hash, id)
    }

    /// Takes an id out; whether it was there.
    #[inline]
    pub fn remove(&mut self, hash: u64, id: u32) -> bool {
        self.index.remove(hash, id)
    }

    /// Whether it must be made anew before it is used: its last writer died.
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Makes it anew from all rows of the shard.
    ///
    /// # Errors
    /// [`Full`] when the rows do not fit.
    pub fn rebuild(&mut self, rows: impl IntoIterator<Item = (u64, u32)>) -> Result<u64, Full> {
        self.stale = false;
        self.index.rebuild(rows)
    }
}

impl<L: Leads> Live for SecondIndex<L> {
    fn gain(&mut self, how: Gain) -> u64 {
        self.stale = how == Gain::FromDead;
        0
    }
}

impl<L: Leads> Zone for SecondIndex<L> {
    fn declare(_field: &'static str, _policy: Policy, declare: &mut Declare) {
        declare_index(L::NAME, L::TABLE, declare);
    }

    fn open(
        _field: &'static str,
        _policy: Policy,
        opener: &mut Opener<'_>,
    ) -> Result<Self, ZoneError> {
        let region = opener.zone(L::NAME)?.region;
        let index = Index::attach(region).map_err(|why| ZoneError::Corrupt {
            name: L::NAME.into(),
            why: why.to_string(),
        })?;
        Ok(SecondIndex {
            index: index.shard(opener.shard()),
            stale: false,
            of: core::marker::PhantomData,
        })
    }
}
