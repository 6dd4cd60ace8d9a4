//! One side of a ring of many, producers' or consumers': its words, its parties' notes, and what
//! is the same in every mode.

use super::words::{Note, Word, ahead};
use super::{Mode, Stalled};
use crate::sync::{AtomicU64, Ordering};

/// Words of a party's line: its note as producer and as consumer, then how far it has last seen
/// the consumers (as producer) and the producers (as consumer).
pub(in crate::ring) const LINE_WORDS: usize = 8;
const SEEN_AT: usize = 2;

/// The modes, as code is compiled for each.
pub(super) const MT: u8 = Mode::Mt as u8;
pub(super) const RTS: u8 = Mode::Rts as u8;
pub(super) const HTS: u8 = Mode::Hts as u8;

/// The words of a side.
#[derive(Clone, Copy)]
pub(in crate::ring) struct Side {
    pub(in crate::ring) mode: Mode,
    /// Up to where elements are reserved, and by whom last.
    pub(in crate::ring) head: &'static AtomicU64,
    /// Up to where they are done, which is what the other side looks at. HTS: the same word.
    pub(in crate::ring) tail: &'static AtomicU64,
    /// The lines of all parties.
    pub(in crate::ring) lines: &'static [AtomicU64],
    /// Which word of a line is this side's note.
    pub(in crate::ring) at: usize,
}

impl Side {
    #[inline]
    pub(super) fn note(&self, party: usize) -> &'static AtomicU64 {
        &self.lines[party * LINE_WORDS + self.at]
    }

    #[inline]
    pub(super) fn load_note(&self, party: usize) -> Note {
        Note(self.note(party).load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn load_head(&self) -> Word {
        Word(self.head.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn load_tail(&self) -> Word {
        Word(self.tail.load(Ordering::Acquire))
    }

    /// Parties there may be.
    pub(super) fn parties(&self) -> usize {
        self.lines.len() / LINE_WORDS
    }

    /// What a party that moves no more has reserved and not finished.
    pub(super) fn in_flight(&self, party: usize, capacity: usize) -> Option<Held> {
        let held = match self.mode {
            Mode::Mt => self.mt_in_flight(party, capacity),
            Mode::Rts => self.rts_in_flight(party),
            Mode::Hts => self.hts_in_flight(party),
        };
        // More than that no party ever holds: bytes that were damaged.
        held.filter(|held| held.n <= capacity)
    }
}

/// A reservation: these positions are its holder's alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) start: u64,
    pub(super) n: usize,
    /// The operation's number (RTS).
    pub(super) turn: u64,
}

/// A party at one side.
#[derive(Clone, Copy)]
pub(super) struct Hand {
    pub(super) side: Side,
    /// The tail of the other side.
    other: &'static AtomicU64,
    pub(super) note: &'static AtomicU64,
    /// What this party has last seen in `other`, which is there at least.
    seen: &'static AtomicU64,
    pub(super) me: usize,
    capacity: u64,
    /// How far this side may be ahead of the other: the capacity for producers, 0 for consumers.
    lead: u64,
}

impl Hand {
    pub(super) fn new(side: Side, other: Side, me: usize, capacity: usize, lead: usize) -> Hand {
        Hand {
            side,
            other: other.tail,
            note: side.note(me),
            seen: &side.lines[me * LINE_WORDS + SEEN_AT + side.at],
            me,
            capacity: capacity as u64,
            lead: lead as u64,
        }
    }

    /// How many positions from `start` on may be reserved, of which `want` are wanted; `None` if
    /// `start` is of the past; if the head still stands there, the words are of no ring. Looks at
    /// the other side only when what was seen of it is not enough.
    #[inline(always)]
    pub(super) fn available(&self, start: u64, want: usize) -> Option<usize> {
        let upto = |seen: u64| ahead(seen.wrapping_add(self.lead), start);
        let known = upto(self.seen.load(Ordering::Relaxed));
        if known >= want as u64 && known <= self.capacity {
            return Some(known as usize);
        }
        let now = Word(self.other.load(Ordering::Acquire)).position();
        self.seen.store(now, Ordering::Relaxed);
        let known = upto(now);
        (known <= self.capacity).then_some(known as usize)
    }

    /// Reserves as many positions as `plan` makes of a start and of how many there are.
    #[inline(always)]
    pub(super) fn reserve(
        &self,
        want: usize,
        plan: impl Fn(u64, usize) -> usize,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<Option<Held>, Stalled> {
        match self.side.mode {
            Mode::Mt => self.reserve_as::<MT>(want, plan, give_up),
            Mode::Rts => self.reserve_as::<RTS>(want, plan, give_up),
            Mode::Hts => self.reserve_as::<HTS>(want, plan, give_up),
        }
    }

    /// The same where the side is in a mode.
    #[inline(always)]
    pub(super) fn reserve_as<const MODE: u8>(
        &self,
        want: usize,
        plan: impl Fn(u64, usize) -> usize,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<Option<Held>, Stalled> {
        match MODE {
            MT => Ok(self.mt_reserve(want, plan)),
            RTS => Ok(self.rts_reserve(want, plan)),
            _ => self.hts_reserve(want, plan, give_up),
        }
    }

    /// Gives the positions to the other side.
    #[inline(always)]
    pub(super) fn finish(
        &self,
        held: Held,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<(), Stalled> {
        match self.side.mode {
            Mode::Mt => self.finish_as::<MT>(held, give_up),
            Mode::Rts => self.finish_as::<RTS>(held, give_up),
            Mode::Hts => self.finish_as::<HTS>(held, give_up),
        }
    }

    #[inline(always)]
    pub(super) fn finish_as<const MODE: u8>(
        &self,
        held: Held,
        give_up: &mut impl FnMut() -> bool,
    ) -> Result<(), Stalled> {
        match MODE {
            MT => return self.mt_finish(held, give_up),
            RTS => self.rts_finish(held),
            _ => self.hts_finish(held, held.n),
        }
        Ok(())
    }
}

/// Rounds of waiting before the core is given to others.
#[cfg(not(loom))]
const SPINS: u32 = 256;

/// Waits for another party, a round at a time.
#[derive(Default)]
pub(super) struct Wait {
    rounds: u32,
}

impl Wait {
    #[cold]
    pub(super) fn again(&mut self, give_up: &mut impl FnMut() -> bool) -> Result<(), Stalled> {
        self.rounds = self.rounds.saturating_add(1);
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(not(loom))]
        if self.rounds < SPINS {
            core::hint::spin_loop();
            return Ok(());
        } else {
            std::thread::yield_now();
        }
        if give_up() { Err(Stalled) } else { Ok(()) }
    }
}
