//! From one version of a record to the next and back: pure functions, chained by `follows`.
//!
//! ```text
//!   V1 --up--> V2 --up--> V3        a Path is any tail of this chain; up and down run over all of its steps
//!      <-down--    <-down--
//! ```
//!
//! * I1 `down(up(x)) == x` for every `x`: what was made by the older program is given back to it unchanged.
//!   [`check_round_trip`] is the test, property-tested by each record's owner.
//! * I2 What `down` cannot give back is listed in [`Migrate::LOSES`], and printed before anything happens.
//! * I3 No clock, no config, no other record: a step sees the record alone.

use crate::fingerprint::Fingerprint;
use crate::record::Record;
use crate::schema::Schema;

/// One step: from `Old` up to `Self`, and its inverse beside it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` says that it follows `{Old}`, but nothing says how to get from one to the other",
    label = "no migration from `{Old}` to `{Self}`",
    note = "write `impl Migrate<{Old}> for {Self}` with `up`, its inverse `down`, and in `LOSES` the fields that `down` cannot give back"
)]
pub trait Migrate<Old: Record>: Record {
    /// What is gone after `down`; empty if nothing is.
    const LOSES: &'static [Loss];

    /// The older record as the newer program stores it.
    fn up(old: Old) -> Self;

    /// The newer record as the older program knows it.
    fn down(new: Self) -> Old;
}

/// Something (usually a field) that the way down cannot give back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loss(pub &'static str);

/// Every version of one record this program knows, oldest first, with the steps between them.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Oldest first; the last is what this program writes.
    pub schemas: Vec<Schema>,
    steps: Vec<Step>,
}

/// The way from one stored version to the one this program writes.
#[derive(Clone, Debug)]
pub struct Path {
    steps: Vec<Step>,
    from_size: usize,
    to_size: usize,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    up: fn(&[u8], &mut [u8]),
    down: fn(&[u8], &mut [u8]),
    old_size: usize,
    new_size: usize,
    loses: &'static [Loss],
}

/// Records up to this size are migrated over several steps without allocation.
const ON_STACK: usize = 512;

impl Chain {
    /// The chain of `R`.
    pub fn of<R: Record>() -> Chain {
        R::chain()
    }

    /// A chain that begins with `R`: what a record without `follows` has.
    pub fn first<R: Record>() -> Chain {
        Chain {
            schemas: vec![R::schema()],
            steps: Vec::new(),
        }
    }

    /// This chain with one more step; `Old` is its last record.
    pub fn then<Old: Record, New: Migrate<Old>>(mut self) -> Chain {
        self.schemas.push(New::schema());
        self.steps.push(Step {
            up: step_up::<Old, New>,
            down: step_down::<Old, New>,
            old_size: size_of::<Old>(),
            new_size: size_of::<New>(),
            loses: New::LOSES,
        });
        self
    }

    /// What this program writes.
    pub fn newest(&self) -> &Schema {
        self.schemas
            .last()
            .expect("a chain holds at least the record it was made of")
    }

    /// All versions this program reads, oldest first.
    pub fn versions(&self) -> Vec<u32> {
        self.schemas.iter().map(|schema| schema.version).collect()
    }

    /// The way from the layout with this fingerprint to the newest, if the chain holds it.
    pub fn path(&self, from: Fingerprint) -> Option<Path> {
        let at = self
            .schemas
            .iter()
            .position(|schema| schema.fingerprint() == from)?;
        Some(Path {
            steps: self.steps[at..].to_vec(),
            from_size: self.schemas[at].size as usize,
            to_size: self.newest().size as usize,
        })
    }

    /// What is lost on the way from the newest back to version `to`; empty if `to` is not in the chain.
    pub fn losses_back(&self, to: u32) -> Vec<String> {
        let Some(at) = self.schemas.iter().position(|schema| schema.version == to) else {
            return Vec::new();
        };
        self.steps[at..]
            .iter()
            .flat_map(|step| step.loses)
            .map(|loss| loss.0.to_owned())
            .collect()
    }
}

impl Path {
    /// Bytes of the stored record.
    pub fn from_size(&self) -> usize {
        self.from_size
    }

    /// Bytes of the record this program writes.
    pub fn to_size(&self) -> usize {
        self.to_size
    }

    /// Whether both ends are the same layout.
    pub fn is_identity(&self) -> bool {
        self.steps.is_empty()
    }

    /// `old` in the stored layout becomes `new`. Both slices may be longer than their records (a stride).
    pub fn up(&self, old: &[u8], new: &mut [u8]) {
        let (old, new) = (&old[..self.from_size], &mut new[..self.to_size]);
        match self.steps.as_slice() {
            [] => new.copy_from_slice(old),
            [step] => (step.up)(old, new),
            steps => run(
                steps.iter().map(|step| (step.up, step.new_size)),
                self.widest(),
                old,
                new,
            ),
        }
    }

    /// The inverse of [`up`](Path::up).
    pub fn down(&self, new: &[u8], old: &mut [u8]) {
        let (new, old) = (&new[..self.to_size], &mut old[..self.from_size]);
        match self.steps.as_slice() {
            [] => old.copy_from_slice(new),
            [step] => (step.down)(new, old),
            steps => run(
                steps.iter().rev().map(|step| (step.down, step.old_size)),
                self.widest(),
                new,
                old,
            ),
        }
    }

    fn widest(&self) -> usize {
        self.steps
            .iter()
            .map(|step| step.old_size.max(step.new_size))
            .max()
            .unwrap_or(0)
    }
}

/// `x` (the bytes of an `Old`) up and down again: `Err` names the first byte that differs.
pub fn check_round_trip<New: Migrate<Old>, Old: Record>(
    bytes: &[u8],
) -> Result<(), RoundTripError> {
    let (name, old, new) = (Old::NAME, Old::VERSION, New::VERSION);
    let Ok(before) = Old::read_from_bytes(bytes) else {
        return Err(RoundTripError::Size {
            name,
            old,
            expected: size_of::<Old>(),
            found: bytes.len(),
        });
    };
    let after = New::down(New::up(before));
    match bytes
        .iter()
        .zip(after.as_bytes())
        .position(|(before, after)| before != after)
    {
        None => Ok(()),
        Some(at) => Err(RoundTripError::Differs {
            name,
            old,
            new,
            field: field_at::<Old>(at),
            at,
        }),
    }
}

/// Why a record did not come back as it went.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RoundTripError {
    /// Not one record.
    #[error("record \"{name}\" v{old} has {expected} bytes, {found} were given")]
    Size {
        /// The record's name.
        name: &'static str,
        /// Its version.
        old: u32,
        /// Its size.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// `down(up(x)) != x`.
    #[error(
        "record \"{name}\": v{old} -> v{new} -> v{old} changes field \"{field}\" (byte {at}); `down` must give back what `up` was given"
    )]
    Differs {
        /// The record's name.
        name: &'static str,
        /// The older version.
        old: u32,
        /// The newer version.
        new: u32,
        /// The first field that differs.
        field: &'static str,
        /// The first byte that differs.
        at: usize,
    },
}

fn field_at<R: Record>(at: usize) -> &'static str {
    R::FIELDS
        .iter()
        .rev()
        .find(|field| field.offset as usize <= at)
        .map_or("?", |field| field.name)
}

fn step_up<Old: Record, New: Migrate<Old>>(old: &[u8], new: &mut [u8]) {
    let old = Old::read_from_bytes(old).expect("a path hands each step exactly its record");
    new.copy_from_slice(New::up(old).as_bytes());
}

fn step_down<Old: Record, New: Migrate<Old>>(new: &[u8], old: &mut [u8]) {
    let new = New::read_from_bytes(new).expect("a path hands each step exactly its record");
    old.copy_from_slice(New::down(new).as_bytes());
}

type Convert = (fn(&[u8], &mut [u8]), usize);

/// Runs the steps from `from` into `to` over two buffers that change places.
fn run(steps: impl Iterator<Item = Convert>, widest: usize, from: &[u8], to: &mut [u8]) {
    if widest <= ON_STACK {
        relay(steps, from, to, &mut [0; ON_STACK], &mut [0; ON_STACK]);
    } else {
        relay(steps, from, to, &mut vec![0; widest], &mut vec![0; widest]);
    }
}

fn relay(
    steps: impl Iterator<Item = Convert>,
    from: &[u8],
    to: &mut [u8],
    a: &mut [u8],
    b: &mut [u8],
) {
    let (mut here, mut next) = (a, b);
    here[..from.len()].copy_from_slice(from);
    let mut len = from.len();
    for (convert, out) in steps {
        convert(&here[..len], &mut next[..out]);
        std::mem::swap(&mut here, &mut next);
        len = out;
    }
    to.copy_from_slice(&here[..len]);
}

#[cfg(test)]
mod tests;
