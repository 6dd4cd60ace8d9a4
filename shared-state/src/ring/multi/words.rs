//! The 64-bit words of a ring of many: positions, and the notes of its parties.
//!
//! Layout
//! ```text
//! head, tail  position 44 | party 6 | turn 4 | count 10     what is not used is 0
//! HTS word    position 44 | holder + 1, or 0, 20
//! note        start 36    | n 20    | extra 6 | state 2     start: the low bits of a position
//! ```

/// Bits of a position: it wraps after 2^44 elements, some hours of nothing else.
const POSITION_BITS: u32 = 44;
const LOW_BITS: u32 = 64 - POSITION_BITS;
const LOW: u64 = (1 << LOW_BITS) - 1;
const POSITIONS: u64 = (1 << POSITION_BITS) - 1;
const PARTY_SHIFT: u32 = 14;
const TURN_SHIFT: u32 = 10;
const COUNTS: u64 = (1 << TURN_SHIFT) - 1;
/// A party's operations are told apart by this many numbers.
pub(super) const TURNS: u64 = (1 << (PARTY_SHIFT - TURN_SHIFT)) - 1;

/// Most elements that one operation moves.
pub(super) const MOST: usize = (1 << 20) - 1;

/// A head or tail: where it stands, and who moved it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    #[inline]
    pub(super) const fn new(position: u64, party: usize) -> Word {
        Word(position << LOW_BITS | (party as u64) << PARTY_SHIFT)
    }

    /// The same with an operation's turn (RTS' tail) and a count of operations (RTS).
    #[inline]
    pub(super) const fn counted(position: u64, party: usize, turn: u64, count: u64) -> Word {
        let word = Word::new(position, party).0;
        Word(word | (turn & TURNS) << TURN_SHIFT | count & COUNTS)
    }

    /// HTS: held by a party, or by nobody.
    #[inline]
    pub(super) const fn held(position: u64, by: Option<usize>) -> Word {
        let holder = match by {
            Some(party) => party as u64 + 1,
            None => 0,
        };
        Word(position << LOW_BITS | holder)
    }

    /// `n` positions further, by a party.
    #[inline]
    pub(super) const fn moved(self, n: usize, party: usize) -> Word {
        let by = (n as u64) << LOW_BITS | (party as u64) << PARTY_SHIFT;
        Word(self.alone().0.wrapping_add(by))
    }

    /// Where it stands, and nothing else.
    #[inline]
    pub(super) const fn alone(self) -> Word {
        Word(self.0 & !LOW)
    }

    #[inline]
    pub(super) const fn position(self) -> u64 {
        self.0 >> LOW_BITS
    }

    #[inline]
    pub(super) const fn party(self) -> usize {
        (self.0 >> PARTY_SHIFT & 63) as usize
    }

    #[inline]
    pub(super) const fn turn(self) -> u64 {
        self.0 >> TURN_SHIFT & TURNS
    }

    #[inline]
    pub(super) const fn count(self) -> u64 {
        self.0 & COUNTS
    }

    /// The count of one operation more.
    #[inline]
    pub(super) const fn next_count(self) -> u64 {
        self.0.wrapping_add(1) & COUNTS
    }

    /// HTS: whether nobody holds it.
    #[inline]
    pub(super) const fn is_free(self) -> bool {
        self.0 & LOW == 0
    }
}

/// How far `to` is ahead of `from`; a huge number if it is behind.
#[inline]
pub(super) const fn ahead(to: u64, from: u64) -> u64 {
    to.wrapping_sub(from) & POSITIONS
}

/// The position `n` after one.
#[inline]
pub(super) const fn after(position: u64, n: usize) -> u64 {
    position.wrapping_add(n as u64) & POSITIONS
}

/// What a party has under way on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum State {
    /// Nothing.
    Free = 0,
    /// It is about to reserve, or has; the head decides.
    Try = 1,
    /// It has reserved, says who came after it (RTS).
    Won = 2,
    /// It has finished, says who came after it (RTS).
    Done = 3,
}

const START_SHIFT: u32 = 28;
const STARTS: u64 = (1 << 36) - 1;
const N_SHIFT: u32 = 8;
const EXTRA_SHIFT: u32 = 2;

/// A party's note: from where how many elements, and what else its mode needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note(pub(super) u64);

impl Note {
    /// `extra` is the reserver before (MT) or this operation's turn (RTS).
    #[inline]
    pub(super) const fn new(start: u64, n: usize, extra: u64, state: State) -> Note {
        Note(start << START_SHIFT | (n as u64) << N_SHIFT | extra << EXTRA_SHIFT | state as u64)
    }

    /// Nothing under way.
    #[inline]
    pub(super) const fn free(extra: u64) -> Note {
        Note(extra << EXTRA_SHIFT)
    }

    #[inline]
    pub(super) const fn state(self) -> State {
        match self.0 & 3 {
            0 => State::Free,
            1 => State::Try,
            2 => State::Won,
            _ => State::Done,
        }
    }

    #[inline]
    pub(super) const fn with(self, state: State) -> Note {
        Note(self.0 & !3 | state as u64)
    }

    #[inline]
    pub(super) const fn extra(self) -> u64 {
        self.0 >> EXTRA_SHIFT & 63
    }

    #[inline]
    pub(super) const fn n(self) -> usize {
        (self.0 >> N_SHIFT) as usize & MOST
    }

    /// Whether it ends at a position.
    #[inline]
    pub(super) const fn ends_at(self, position: u64) -> bool {
        self.until_end(position) == 0
    }

    /// How far its end is ahead of a position.
    #[inline]
    pub(super) const fn until_end(self, position: u64) -> u64 {
        (self.0 >> START_SHIFT)
            .wrapping_add(self.n() as u64)
            .wrapping_sub(position)
            & STARTS
    }

    /// The whole position at which it starts, known to be less than 2^36 behind `position`.
    #[inline]
    pub(super) const fn start_before(self, position: u64) -> u64 {
        let back = position.wrapping_sub(self.0 >> START_SHIFT) & STARTS;
        position.wrapping_sub(back) & POSITIONS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_give_back_what_they_were_made_of() {
        let word = Word::counted(POSITIONS, 63, 15, 1023);
        assert_eq!((word.position(), word.party()), (POSITIONS, 63));
        assert_eq!(
            (word.turn(), word.count(), word.next_count()),
            (15, 1023, 0)
        );
        assert!(Word::held(7, None).is_free() && !Word::held(7, Some(0)).is_free());
        let note = Note::new(STARTS - 1, MOST, 63, State::Won);
        assert_eq!(
            (note.n(), note.extra(), note.state()),
            (MOST, 63, State::Won)
        );
        assert_eq!(note.with(State::Done).n(), MOST);
    }

    #[test]
    fn positions_compare_across_their_wrap() {
        assert_eq!(ahead(after(POSITIONS, 3), POSITIONS), 3);
        let note = Note::new(after(POSITIONS, 0), 4, 0, State::Try);
        assert!(note.ends_at(3));
        assert_eq!(note.until_end(1), 2);
        assert_eq!(note.start_before(3), POSITIONS);
    }
}
