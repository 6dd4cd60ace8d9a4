//! The memzones of a table: how they are declared, made and opened.

use super::{MOST_BYTES, Table};
use crate::transition::Fold;
use crate::zone::{Declare, Init, Opener, Previous, Size, Zone, ZoneError, ZoneSize};
use baton_schema::{Policy, Record};
use baton_shared_state::table::{
    Dirty, Hot, HotWords, IdPlan, IdSpace, Index, Keys, RawRecords, Records,
};
use core::ops::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The head of `NAME.ids`, `NAME.index` and `NAME.dirty`: what kind of part it is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, Record)]
#[record(name = "baton.part", version = 1)]
#[repr(C)]
pub(crate) struct Part {
    /// The part's magic number.
    pub magic: u32,
    /// The part's own first number.
    pub first: u32,
}

/// Bytes before the bitmap of `NAME.dirty`: the word that says whether anybody copies.
const DIRTY_AT: usize = 64;
/// The index's hash key: fixed, so that a saved image can be read again.
const SEED: u64 = 0x6261_746f_6e5f_6964;

fn total(capacity: u32, shards: u16) -> u32 {
    plan(capacity, shards).total()
}

fn plan(capacity: u32, shards: u16) -> IdPlan {
    IdPlan::new(capacity.max(1), shards)
        .expect("`resolve::size_of` has refused every number for which there is no plan")
}

/// Ids that a shard has of a table made for `capacity` records; 0 where no such table is possible.
pub fn places(capacity: u32, shards: u16) -> u32 {
    IdPlan::new(capacity, shards).map_or(0, |plan| plan.per_shard())
}

/// Ranges with those that touch made one.
fn joined(ranges: impl Iterator<Item = Range<u32>>) -> Vec<Range<u32>> {
    let mut joined: Vec<Range<u32>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

fn sized(len: usize, count: u32, stride: usize) -> ZoneSize {
    ZoneSize {
        len: len as u64,
        count: u64::from(count),
        stride: stride as u32,
    }
}

/// Declares one part of a table beside its records.
pub(super) fn declare_index(name: &str, group: &str, declare: &mut Declare) {
    const SIZE: Size = |capacity, shards| {
        let lines = Index::lines_for(plan(capacity, shards).per_shard());
        sized(Index::bytes_for(shards, lines), total(capacity, shards), 0)
    };
    const INIT: Init = |region, capacity, shards| {
        Index::create(
            region,
            shards,
            Index::lines_for(plan(capacity, shards).per_shard()),
            SEED,
        )
        .expect("the zone has the size the index asked for");
    };
    declare.zone::<Part>(name, group, Policy::Adopt, SIZE, INIT);
}

fn corrupt(name: &str, why: &dyn core::fmt::Display) -> ZoneError {
    ZoneError::Corrupt {
        name: name.into(),
        why: why.to_string(),
    }
}

/// An older generation of hot words as an array of `total` rows.
pub(super) fn raw_hot(older: &Previous, total: u32) -> RawRecords {
    RawRecords::new(older.region, older.path.from_size(), total)
        .expect("the older zone was measured when it was opened")
}

impl<K: Record, V: Record, H: HotWords> Zone for Table<K, V, H> {
    fn declare(_field: &'static str, policy: Policy, declare: &mut Declare) {
        let group = V::NAME;
        let init: Init = |_, _, _| {};
        declare.zone::<V>(
            group,
            group,
            policy,
            |c, s| {
                sized(
                    Records::<V>::bytes_for(total(c, s)),
                    total(c, s),
                    Records::<V>::STRIDE,
                )
            },
            init,
        );
        declare.zone::<K>(
            format!("{group}.key"),
            group,
            Policy::Adopt,
            |c, s| {
                sized(
                    Keys::<K>::bytes_for(total(c, s)),
                    total(c, s),
                    Keys::<K>::STRIDE,
                )
            },
            init,
        );
        declare.zone::<H>(
            format!("{group}.hot"),
            group,
            Policy::Carry,
            |c, s| {
                sized(
                    Hot::<H>::bytes_for(total(c, s)),
                    total(c, s),
                    size_of::<H>(),
                )
            },
            init,
        );
        declare_index(&format!("{group}.index"), group, declare);
        const IDS: Size = |c, s| sized(IdSpace::bytes_for(&plan(c, s)), total(c, s), 0);
        const MAKE_IDS: Init = |region, c, s| {
            IdSpace::create(region, plan(c, s)).expect("the zone has the size the plan asked for");
        };
        declare.zone::<Part>(format!("{group}.ids"), group, Policy::Adopt, IDS, MAKE_IDS);
        const DIRTY: Size = |c, s| sized(DIRTY_AT + Dirty::bytes_for(total(c, s)), total(c, s), 0);
        const MAKE_DIRTY: Init = |region, c, s| {
            let bitmap = region
                .slice(DIRTY_AT, region.len() - DIRTY_AT)
                .expect("the zone begins with the tracking word");
            Dirty::create(bitmap, total(c, s)).expect("the zone has the size the bitmap asked for");
        };
        declare.zone::<Part>(
            format!("{group}.dirty"),
            group,
            Policy::Adopt,
            DIRTY,
            MAKE_DIRTY,
        );
    }

    fn open(
        _field: &'static str,
        _policy: Policy,
        opener: &mut Opener<'_>,
    ) -> Result<Self, ZoneError> {
        let name = V::NAME;
        let named = |suffix: &str| format!("{name}.{suffix}");
        let shard = opener.shard();
        let own = opener.zone(name)?;
        let hot = opener.zone(&named("hot"))?;
        let space = IdSpace::attach(opener.zone(&named("ids"))?.region)
            .map_err(|why| corrupt(&named("ids"), &why))?;
        let index = Index::attach(opener.zone(&named("index"))?.region)
            .map_err(|why| corrupt(&named("index"), &why))?;
        let dirty = opener.zone(&named("dirty"))?.region;
        let bitmap = dirty
            .slice(DIRTY_AT, dirty.len().saturating_sub(DIRTY_AT))
            .map_err(|why| corrupt(&named("dirty"), &why))?;
        let total = space.total();
        for older in [&own.previous, &hot.previous].into_iter().flatten() {
            RawRecords::new(older.region, older.path.from_size(), total)
                .map_err(|why| corrupt(name, &why))?;
            if older.path.from_size().max(older.path.to_size()) > MOST_BYTES {
                return Err(corrupt(
                    name,
                    &format!(
                        "a record of {} bytes; at most {MOST_BYTES} are possible",
                        older.path.to_size()
                    ),
                ));
            }
        }
        Ok(Table {
            ids: space.shard(shard),
            space,
            ranges: joined(space.ranges(shard)),
            gains: 0,
            ended: 0,
            keys: Keys::new(opener.zone(&named("key"))?.region, total)
                .map_err(|why| corrupt(&named("key"), &why))?,
            records: Records::new(own.region, total).map_err(|why| corrupt(name, &why))?,
            hot: Hot::new(hot.region, total).map_err(|why| corrupt(&named("hot"), &why))?,
            index: index.shard(shard),
            dirty: Dirty::attach(bitmap).map_err(|why| corrupt(&named("dirty"), &why))?,
            tracking: dirty.u32(0),
            older: own.previous.clone(),
            older_hot: hot.previous.clone(),
            transition: opener.transition(),
            now_s: 0,
            fold_at: 0,
            fold_way: Fold::No,
            copied: false,
            note_counted: false,
        })
    }
}
