//! Zones as a program declares them and a tenant opens them.
//!
//! `#[derive(Zones)]` on a program's `State` writes [`Zones`] from its fields; each field's type is a
//! [`Zone`]: it declares its memzones (name, schema, policy, size) for the manifest, and opens its
//! view of one shard's part. [`Live`] is what the runtime does with an open zone at a takeover.

use crate::transition::Transition;
use baton_schema::{Chain, Path, Policy, Record, Schema};
use baton_shared_state::Region;
use std::collections::HashMap;
use std::sync::Arc;

/// Why a zone could not be declared, opened or taken over.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// A zone that the program declares was not resolved.
    #[error(
        "memzone {name:?} is not part of this arena: the program's declaration and its use differ"
    )]
    Missing {
        /// The zone's name.
        name: String,
    },
    /// The arena holds a layout that neither side can turn into ours.
    #[error(
        "memzone {name:?}: no path from v{found} (in the arena) to v{wanted} (this program reads {reads}); upgrade to a version in between first"
    )]
    NoPath {
        /// The zone's name.
        name: String,
        /// The version in the arena.
        found: u32,
        /// The version this program writes.
        wanted: u32,
        /// All versions it reads.
        reads: String,
    },
    /// Bytes in a zone are not what its schema says.
    #[error("memzone {name:?}: {why}")]
    Corrupt {
        /// The zone's name.
        name: String,
        /// What was expected and what was found.
        why: String,
    },
    /// The supervisor refused a new zone.
    #[error("memzone {name:?} could not be made: {why}")]
    Refused {
        /// The zone's name.
        name: String,
        /// The reason given.
        why: String,
    },
}

/// Bytes, records and stride of a zone for a capacity and a number of shards.
pub type Size = fn(capacity: u32, shards: u16) -> ZoneSize;

/// How large a zone is.
#[derive(Clone, Copy, Debug)]
pub struct ZoneSize {
    /// Bytes.
    pub len: u64,
    /// Records; the capacity the zone was made for.
    pub count: u64,
    /// Bytes from one record to the next; 0 where the zone is no array.
    pub stride: u32,
}

/// Makes a new zone valid and empty; its bytes are zero before.
pub type Init = fn(region: Region, capacity: u32, shards: u16);

/// One memzone of a program.
#[derive(Clone, Debug)]
pub struct ZoneDecl {
    /// The memzone's name.
    pub name: String,
    /// The name whose capacity it shares.
    pub group: String,
    /// What an upgrade does with it.
    pub policy: Policy,
    /// All layouts it can come from, the last its own.
    pub chain: Chain,
    /// Its size.
    pub size: Size,
    /// How it is made.
    pub init: Init,
}

impl ZoneDecl {
    /// The layout this program writes.
    pub fn schema(&self) -> &Schema {
        self.chain
            .schemas
            .last()
            .expect("a chain holds at least its own record's schema")
    }
}

/// Collects a program's memzones.
#[derive(Debug, Default)]
pub struct Declare {
    zones: Vec<ZoneDecl>,
}

impl Declare {
    /// Declares an array of `R`, or a zone described by it.
    pub fn zone<R: Record>(
        &mut self,
        name: impl Into<String>,
        group: &str,
        policy: Policy,
        size: Size,
        init: Init,
    ) {
        let chain = Chain::of::<R>();
        self.zones.push(ZoneDecl {
            name: name.into(),
            group: group.into(),
            policy,
            chain,
            size,
            init,
        });
    }

    /// All of them.
    pub fn into_zones(self) -> Vec<ZoneDecl> {
        self.zones
    }
}

/// An older generation of a zone, and the way between it and ours.
#[derive(Clone, Debug)]
pub struct Previous {
    /// Its bytes.
    pub region: Region,
    /// Bytes from one record to the next.
    pub stride: u32,
    /// From its layout (`up`) and back to it (`down`).
    pub path: Path,
}

/// A memzone this tenant may use.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its bytes.
    pub region: Region,
    /// Records it was made for.
    pub capacity: u32,
    /// The generation it replaces, while an upgrade is under way.
    pub previous: Option<Previous>,
}

/// Hands a shard's state its zones.
#[derive(Debug)]
pub struct Opener<'a> {
    zones: &'a HashMap<String, Opened>,
    shard: u16,
    shards: u16,
    transition: Arc<Transition>,
}

impl<'a> Opener<'a> {
    /// An opener over resolved zones, for one shard.
    pub fn new(
        zones: &'a HashMap<String, Opened>,
        shard: u16,
        shards: u16,
        transition: Arc<Transition>,
    ) -> Opener<'a> {
        Opener {
            zones,
            shard,
            shards,
            transition,
        }
    }

    /// The memzone of this name.
    ///
    /// # Errors
    /// [`ZoneError::Missing`] when it was not declared.
    pub fn zone(&self, name: &str) -> Result<&'a Opened, ZoneError> {
        self.zones
            .get(name)
            .ok_or_else(|| ZoneError::Missing { name: name.into() })
    }

    /// The shard to open for.
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// This process's standing between generations.
    pub fn transition(&self) -> Arc<Transition> {
        self.transition.clone()
    }
}

/// How a shard came to this tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gain {
    /// Nobody had it: the first start.
    First,
    /// Handed over by a live tenant.
    Handed,
    /// Taken from a dead one: derived structures are made anew.
    FromDead,
}

/// What a copy between generations did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Live records copied.
    pub records: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Records whose way there and back did not give the same bytes, losses apart.
    pub differences: u64,
}

/// What the runtime does with an open zone of one shard. Everything has a default for zones that
/// do not care.
pub trait Live {
    /// Fills what is derived from the set-up, in warm; shard by shard, the first shard first.
    fn build(&mut self, _setup: &crate::setup::Setup) {}

    /// Marks every changed record from here on, for a copy that goes on beside it.
    fn track(&self, _on: bool) {}

    /// Copies this shard's records from the older generation, while its owner writes: all of them at
    /// first, then what has changed since. `None` where nothing is copied; else the memzone's name.
    fn precopy(&mut self) -> Option<(&'static str, Copied)> {
        None
    }

    /// The shard will be this tenant's at once: looks at what [`Live::gain`] will need, so that the processor
    /// has it at hand when nobody polls. Called between two bursts of the owner, again and again.
    fn expect_gain(&self) {}

    /// Copies what changed since, after the owner has stopped. Returns the number of records.
    fn gain(&mut self, _how: Gain) -> u64 {
        0
    }

    /// Keeps these older generations current from here on, by memzone name; none of them ends that.
    fn export(&mut self, _older: &HashMap<String, Previous>) {}

    /// Copies all records down into the exported generations, beside the shard's owner.
    fn copy_down(&mut self) -> u64 {
        0
    }

    /// The shard will be asked for at once: what can be done before the last burst is done now.
    fn expect_release(&mut self) {}

    /// The last thing before the shard goes to another tenant.
    fn release(&mut self) {}

    /// Some of the work that has no deadline; `true` when nothing is left.
    fn fold(&mut self, _limit: u32) -> bool {
        true
    }

    /// The time of this round, in seconds since boot.
    fn set_time(&mut self, _now_s: u32) {}

    /// Live records of this shard.
    fn records(&self) -> u64 {
        0
    }

    /// Whether the shard's records agree with each other.
    ///
    /// # Errors
    /// What was expected and what was found.
    fn verify(&self) -> Result<(), ZoneError> {
        Ok(())
    }
}

/// A field type of a program's `State`.
pub trait Zone: Live + Sized {
    /// Declares the memzones behind it.
    fn declare(field: &'static str, policy: Policy, declare: &mut Declare);

    /// Opens one shard's view.
    ///
    /// # Errors
    /// When a memzone is missing or its bytes are not what they should be.
    fn open(
        field: &'static str,
        policy: Policy,
        opener: &mut Opener<'_>,
    ) -> Result<Self, ZoneError>;
}

/// A program's `State`: written by `#[derive(Zones)]`.
pub trait Zones: Sized + Send {
    /// Declares the memzones of all fields.
    fn declare(declare: &mut Declare);

    /// Opens one shard's view of all fields.
    ///
    /// # Errors
    /// The first field's that fails.
    fn open(opener: &mut Opener<'_>) -> Result<Self, ZoneError>;

    /// Visits all fields.
    fn each(&mut self, visit: &mut dyn FnMut(&'static str, &mut dyn Live));
}
