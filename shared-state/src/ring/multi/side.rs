//! One side of a ring of many, producers' or consumers': its words, its parties' notes, and what
//! is the same in every mode.

use super::words::{MOST, Note, State, Word, after, ahead};
use super::{Mode, Stalled};
use crate::sync::{AtomicU64, Ordering};

/// Words of a party's line: its note as producer and as consumer, then how far it has last seen
/// the consumers (as producer) and the producers (as consumer).
const LINE_WORDS: usize = 8;
const SEEN_AT: usize = 2;
/// The words of a party.
pub(in crate::ring) type Line = [AtomicU64; LINE_WORDS];

/// The words in front of the lines, which all parties share.
pub(in crate::ring) type Shared = [AtomicU64; 80];
/// The word with the end of the last hole.
pub(super) const HOLES: usize = 2;
/// What it says before the first repair.
pub(super) const NO_HOLES: u64 = 0;
/// Where the words of a side begin. Heads and tails are two cache lines apart: processors fetch lines in pairs.
pub(super) const PRODUCERS: usize = 16;
pub(super) const CONSUMERS: usize = 48;
const TAIL: usize = 16;

/// The words of a side.
#[derive(Clone, Copy)]
pub(super) struct Side {
    pub(super) mode: Mode,
    /// Up to where elements are reserved, and by whom last.
    pub(super) head: &'static AtomicU64,
    /// Up to where they are done, which is what the other side looks at. HTS: the same word.
    pub(super) tail: &'static AtomicU64,
    /// The lines of all parties.
    pub(super) lines: &'static [Line],
    /// Which word of a line is this side's note.
    at: usize,
}

impl Side {
    /// The side whose words begin at `from`.
    #[inline(always)]
    pub(super) fn new(
        words: &'static Shared,
        lines: &'static [Line],
        mode: Mode,
        from: usize,
    ) -> Side {
        let (head, apart) = (&words[from], &words[from + TAIL]);
        Side {
            mode,
            head,
            tail: if mode == Mode::Hts { head } else { apart },
            lines,
            at: usize::from(from == CONSUMERS),
        }
    }

    #[inline]
    pub(super) fn note(&self, party: usize) -> &'static AtomicU64 {
        &self.lines[party][self.at]
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

    /// Finishes what [`Hand::reserve_alone`] reserved: in both modes the tail, with nobody's mark.
    #[inline(always)]
    pub(super) fn advance_alone(&self, held: Held) {
        let end = Word::new(after(held.start, held.n), 0);
        self.tail.store(end.0, Ordering::Release);
    }

    /// Parties there may be.
    pub(super) fn parties(&self) -> usize {
        self.lines.len()
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
    #[inline(always)]
    pub(super) fn new(side: Side, other: Side, me: usize, [capacity, lead]: [usize; 2]) -> Hand {
        let line = &side.lines[me % side.lines.len()];
        Hand {
            side,
            other: other.tail,
            note: &line[side.at],
            seen: &line[SEEN_AT + side.at],
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

    /// Reserves `want` positions at the first attempt, if they are there and `good` and nobody is in front: the
    /// common case of MT and HTS, in few instructions and stores. A locked instruction waits for all before it.
    /// What is reserved so is finished by [`Side::advance_alone`]. Never in mode RTS, where each counts.
    #[inline(always)]
    pub(super) fn reserve_alone(&self, want: usize, good: impl Fn(u64) -> bool) -> Option<Held> {
        let (side, mode) = (&self.side, self.side.mode);
        if mode == Mode::Rts {
            return None;
        }
        let seen = side.load_head();
        let (start, free) = (seen.position(), seen.alone());
        let enough = self.available(start, want)? >= want;
        // In HTS this asks whether anybody holds the word.
        let is_next = side.load_tail() == free;
        if !enough || want.wrapping_sub(1) >= MOST || !is_next || !good(start) {
            return None;
        }
        let next = if mode == Mode::Hts {
            let note = Note::new(start, want, 0, State::Try);
            self.note.store(note.0, Ordering::Relaxed);
            Word::held(start, Some(self.me))
        } else {
            free.moved(want, self.me)
        };
        let (order, turn) = (Ordering::AcqRel, 0);
        let swapped = side
            .head
            .compare_exchange(seen.0, next.0, order, Ordering::Relaxed);
        swapped.is_ok().then_some(Held {
            start,
            n: want,
            turn,
        })
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
            Mode::Mt => Ok(self.mt_reserve(want, plan)),
            Mode::Rts => Ok(self.rts_reserve(want, plan)),
            Mode::Hts => self.hts_reserve(want, plan, give_up),
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
            Mode::Mt => return self.mt_finish(held, give_up),
            Mode::Rts => self.rts_finish(held),
            Mode::Hts => self.hts_finish(held, held.n),
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
