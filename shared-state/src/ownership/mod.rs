//! Who owns a shard, and how it changes hands: two 64-bit words, changed only by
//! compare-and-swap of the whole word that was read.
//!
//! Layout
//! ```text
//! owner    | generation 16 | spare 1 | repair 1 | lcore slot 14 | epoch 32 |   high to low
//! request  | generation 16 | state 2 | next slot  14 | epoch 32 |   epoch: the owner's it is for
//! ```
//! ```text
//!             ask                accept              hand_over
//!   none ----------> asked ----------------> accepted ----------> owner word: next, epoch + 1
//!     ^    withdraw    |                         |
//!     +----------------+                         | the owner dies: take_from_dead, epoch + 1
//! ```
//! Invariants
//! - O1 Every change of an owner word adds 1 to its epoch.
//! - O2 A request is void unless its epoch is the owner word's.
//! - O3 Of `withdraw` and `accept` on one request exactly one succeeds.
//! - O4 An owner word changes only by its owner's consent ([`hand_over`], [`release`]) or after its
//!   owner's lifeline read dead ([`take_from_dead`]). Time never moves a shard.
//! - O5 An owner that was not handed the shard by its predecessor has the repair bit, set in the same
//!   swap that made it the owner: it repairs before it polls. Nothing else tells the two apart: a
//!   request that names the taker may have been standing when the owner died.
//!
//! Order: success is `AcqRel`, so whoever reads an owner word with `Acquire` and finds itself sees
//! everything its predecessor stored. The bare decisions (`RequestWord::asked` and so on) have no
//! memory of their own; an explorer in the tests drives them through every interleaving, and
//! `tests/ownership_loom.rs` does it with the atomics of `loom`.
//!
//! Failure: an owner that dies after `accept` leaves a request that its taker's epoch makes void.

#[cfg(all(test, not(loom)))]
mod tests;

use thiserror::Error;

use crate::sync::{AtomicU64, Ordering};

/// The 14 bits that name no lcore.
const NOBODY: u64 = 0x3fff;
/// The bit of an owner word that says: not handed over, repair first.
const REPAIR: u64 = 1 << 46;

/// Who owns a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OwnerWord {
    /// How often the shard has changed hands.
    pub epoch: u32,
    /// The owner's lcore slot; `None` before the first owner and after a release.
    pub lcore: Option<u16>,
    /// The generation set the owner works on.
    pub generation: u16,
    /// The owner did not get it from its predecessor's hand: it repairs before it polls (O5).
    pub repair: bool,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestState {
    /// Nothing is asked for.
    None,
    /// The owner is asked to hand over at its next burst boundary.
    Asked,
    /// The owner has agreed; the swap completes or the owner dies.
    Accepted,
}

/// What the owner of a shard is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestWord {
    /// The epoch of the owner word that is meant.
    pub epoch: u32,
    /// The lcore slot that shall own the shard next.
    pub next: u16,
    /// How far it has come.
    pub state: RequestState,
    /// The generation set the next owner works on.
    pub generation: u16,
}

/// Why a shard could not be asked for.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum AskError {
    /// Nobody owns it, so nobody can consent.
    #[error("the shard has no owner (epoch {epoch}): give it a first owner instead of asking")]
    NoOwner {
        /// Epoch of the owner word.
        epoch: u32,
    },
    /// A request stands already.
    #[error(
        "lcore slot {next} was asked in for epoch {epoch} already and the request is {state:?}: \
         withdraw it or wait for the swap"
    )]
    Standing {
        /// Epoch of the standing request.
        epoch: u32,
        /// Whom it names.
        next: u16,
        /// How far it has come.
        state: RequestState,
    },
}

/// A shard that is no longer what the caller read: somebody took it after its owner was dead.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("the shard is at {found:?}, not at {expected:?}: this owner was taken for dead")]
pub struct Lost {
    /// What the caller had read.
    pub expected: OwnerWord,
    /// What stands there.
    pub found: OwnerWord,
}

impl OwnerWord {
    /// The word as it lies in memory.
    pub fn pack(self) -> u64 {
        let lcore = self.lcore.map_or(NOBODY, u64::from);
        debug_assert!(self.lcore.is_none_or(|slot| u64::from(slot) < NOBODY));
        let repair = if self.repair { REPAIR } else { 0 };
        u64::from(self.generation) << 48 | repair | (lcore & NOBODY) << 32 | u64::from(self.epoch)
    }

    /// Reads a word; any bits are some word.
    pub fn unpack(word: u64) -> OwnerWord {
        let lcore = word >> 32 & NOBODY;
        OwnerWord {
            epoch: word as u32,
            lcore: (lcore != NOBODY).then_some(lcore as u16),
            generation: (word >> 48) as u16,
            repair: word & REPAIR != 0,
        }
    }

    /// The word of a shard that nobody has owned yet.
    pub fn unowned() -> OwnerWord {
        OwnerWord {
            epoch: 0,
            lcore: None,
            generation: 0,
            repair: false,
        }
    }

    /// The word after this one: passed on by its owner, at a burst boundary.
    pub fn passed_to(self, lcore: Option<u16>, generation: u16) -> OwnerWord {
        OwnerWord {
            epoch: self.epoch.wrapping_add(1),
            lcore,
            generation,
            repair: false,
        }
    }

    /// The word after this one: taken by `lcore`, which repairs first. The very first owner need not.
    pub fn taken_by(self, lcore: u16, generation: u16) -> OwnerWord {
        OwnerWord {
            repair: self != OwnerWord::unowned(),
            ..self.passed_to(Some(lcore), generation)
        }
    }
}

impl RequestWord {
    /// The word as it lies in memory.
    pub fn pack(self) -> u64 {
        debug_assert!(u64::from(self.next) <= NOBODY);
        let state = match self.state {
            RequestState::None => 0u64,
            RequestState::Asked => 1,
            RequestState::Accepted => 2,
        };
        let next = u64::from(self.next) & NOBODY;
        u64::from(self.generation) << 48 | state << 46 | next << 32 | u64::from(self.epoch)
    }

    /// Reads a word; the state that does not exist reads as none.
    pub fn unpack(word: u64) -> RequestWord {
        RequestWord {
            epoch: word as u32,
            next: (word >> 32 & NOBODY) as u16,
            state: match word >> 46 & 3 {
                1 => RequestState::Asked,
                2 => RequestState::Accepted,
                _ => RequestState::None,
            },
            generation: (word >> 48) as u16,
        }
    }

    /// The request that may follow this one under `owner`, which asks for `next`.
    pub fn asked(self, owner: OwnerWord, next: u16, generation: u16) -> Result<Self, AskError> {
        let epoch = owner.epoch;
        if owner.lcore.is_none() {
            return Err(AskError::NoOwner { epoch });
        }
        if self.state != RequestState::None && self.epoch == epoch {
            return Err(AskError::Standing {
                epoch,
                next: self.next,
                state: self.state,
            });
        }
        Ok(RequestWord {
            epoch,
            next,
            state: RequestState::Asked,
            generation,
        })
    }

    /// This request accepted by lcore `me`, if it is asked of it and not void (O2).
    pub fn accepted(self, owner: OwnerWord, me: u16) -> Option<RequestWord> {
        let mine = owner.lcore == Some(me) && owner.epoch == self.epoch;
        (mine && self.state == RequestState::Asked).then_some(RequestWord {
            state: RequestState::Accepted,
            ..self
        })
    }

    /// This request with nothing asked any more.
    pub fn withdrawn(self) -> RequestWord {
        RequestWord {
            state: RequestState::None,
            ..self
        }
    }
}

/// Asks the owner of a shard to hand it to lcore slot `next`. The supervisor's side.
pub fn ask(
    owner: &AtomicU64,
    request: &AtomicU64,
    next: u16,
    generation: u16,
) -> Result<RequestWord, AskError> {
    loop {
        let old = request.load(Ordering::Acquire);
        let seen = OwnerWord::unpack(owner.load(Ordering::Acquire));
        let new = RequestWord::unpack(old).asked(seen, next, generation)?;
        if swap(request, old, new.pack()).is_ok() {
            return Ok(new);
        }
    }
}

/// Takes a request back; false if the owner has accepted it (the swap goes on) or it is void.
pub fn withdraw(request: &AtomicU64, asked: RequestWord) -> bool {
    swap(request, asked.pack(), asked.withdrawn().pack()).is_ok()
}

/// The owner's side, at a burst boundary: agrees to a request that is meant for it. One load when
/// nothing is asked.
#[inline]
pub fn accept(owner: &AtomicU64, request: &AtomicU64, me: u16) -> Option<RequestWord> {
    let old = request.load(Ordering::Acquire);
    let asked = RequestWord::unpack(old);
    if asked.state != RequestState::Asked {
        return None;
    }
    let new = asked.accepted(OwnerWord::unpack(owner.load(Ordering::Acquire)), me)?;
    swap(request, old, new.pack()).ok().map(|_| new)
}

/// Gives the shard to the lcore that the accepted request names. After this the caller touches
/// nothing of the shard; it wakes the sleepers on the owner word's low half.
pub fn hand_over(owner: &AtomicU64, accepted: RequestWord, me: u16) -> Result<OwnerWord, Lost> {
    let found = OwnerWord::unpack(owner.load(Ordering::Acquire));
    let expected = OwnerWord {
        epoch: accepted.epoch,
        lcore: Some(me),
        ..found
    };
    let new = expected.passed_to(Some(accepted.next), accepted.generation);
    match swap(owner, expected.pack(), new.pack()) {
        Ok(_) => Ok(new),
        Err(word) => Err(Lost {
            expected,
            found: OwnerWord::unpack(word),
        }),
    }
}

/// Takes the shard of an owner whose lifeline **read dead after `seen` was read**; of several
/// takers one succeeds. The winner repairs before it polls.
pub fn take_from_dead(owner: &AtomicU64, seen: OwnerWord, me: u16, generation: u16) -> bool {
    let new = seen.taken_by(me, generation);
    seen.lcore.is_some() && swap(owner, seen.pack(), new.pack()).is_ok()
}

/// Gives a shard that nobody owns to its first owner, or to the next one after a release.
pub fn claim_first(owner: &AtomicU64, lcore: u16, generation: u16) -> Result<OwnerWord, Lost> {
    let old = owner.load(Ordering::Acquire);
    let found = OwnerWord::unpack(old);
    let expected = OwnerWord {
        lcore: None,
        ..found
    };
    let new = found.taken_by(lcore, generation);
    if found.lcore.is_none() && swap(owner, old, new.pack()).is_ok() {
        return Ok(new);
    }
    let found = OwnerWord::unpack(owner.load(Ordering::Acquire));
    Err(Lost { expected, found })
}

/// The owner's side of an orderly end with nobody to follow: the shard is nobody's.
pub fn release(owner: &AtomicU64, seen: OwnerWord) -> bool {
    let new = seen.passed_to(None, seen.generation);
    swap(owner, seen.pack(), new.pack()).is_ok()
}

fn swap(word: &AtomicU64, old: u64, new: u64) -> Result<u64, u64> {
    word.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
}
