//! References to a buffer's data: how many there are, and one more or less in spite of deaths.
//!
//! Layout: `count 12 | shard 6 | sequence 14` in `link` of a [`SHARED`] mbuf, the base: the references, and the last
//! change of their number that was made under a note. A shard's note is in the line of its cache:
//! `sequence 56 | what 8`, the base, and the mbuf that is attached or leaves.
//!
//! Invariants
//! - I1 References to a base are its holder's, while its place is not (shared), and one for each mbuf that is
//!   [`ATTACHED`](super::line::ATTACHED) and names it. `count` is never below their number, and above it only for a change that is
//!   under way and named by a note. While it is more than 1 nobody writes the chunk.
//! - I2 Only who has a reference makes another; so at 1 it is the caller's, and at 0 the base is the hand's
//!   that took the last one.
//! - I3 Before a change is written over, the note of its shard is made to say that it was done. So of a
//!   note it is decidable, forever, whether its change was made: the word names it, or the note says so.
//!
//! Order
//! - attach: note; `count` + 1; the mbuf names the base; note over.
//! - leave: note; the mbuf names no base (the holder: place = shared); `count` - 1; if 0, the base's place = the
//!   cache of the shard, in whose hand it is then; note over.
//!
//! Failure: [`finish`], under the dead one's shard: a reference that was counted and not taken is given back,
//! one that was given up is no longer counted. In its turn by a note, so that it may die as well.
//! Without a shard ([`Chain`](super::Chain) dropped) there is no note: a death leaves a count that is 1 too high,
//! which an audit shows.

use super::line::SHARED;
use crate::mempool::Pool;
use crate::place::{Holder, HolderKind, Place};
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Most references to one buffer, its holder's included.
pub const MAX_REFERENCES: u32 = COUNT;

const COUNT: u32 = (1 << 12) - 1;
const SHARD_BIT: u32 = 12;
const SEQUENCE_BIT: u32 = 18;
/// A sequence in a word is `1..=SEQUENCES`: 0 is a change without a note.
const SEQUENCES: u64 = (1 << 14) - 1;

const IDLE: u64 = 0;
const ATTACH: u64 = 1;
const LEAVE: u64 = 2;
/// Beside one of both: its change is made, and written over in the word.
const DONE: u64 = 4;
const WHAT: u64 = 0xff;

/// What a shard is about to do to a reference.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Note {
    word: AtomicU64,
    base: AtomicU32,
    who: AtomicU32,
}

const _: () = assert!(size_of::<Note>() == 16);

impl Note {
    /// Says what the shard is about to do.
    fn begin(&self, pool: Pool, shard: u16, what: u64, base: u32, who: u32) {
        let mut sequence = (self.word.load(Ordering::Relaxed) >> 8).wrapping_add(1);
        // The word may still name our change of 16,383 changes ago.
        if tag_of(pool.line(base).references().load(Ordering::Acquire)) == tag(shard, sequence) {
            sequence = sequence.wrapping_add(1);
        }
        self.base.store(base, Ordering::Release);
        self.who.store(who, Ordering::Release);
        self.word.store(sequence << 8 | what, Ordering::Release);
    }

    fn end(&self) {
        let word = self.word.load(Ordering::Relaxed);
        self.word.store(word & !WHAT, Ordering::Release);
    }
}

const fn tag(shard: u16, sequence: u64) -> u32 {
    (shard as u32) << SHARD_BIT | ((sequence % SEQUENCES + 1) as u32) << SEQUENCE_BIT
}

const fn tag_of(word: u32) -> u32 {
    word & !COUNT
}

/// References to a base.
pub(crate) fn count(pool: Pool, base: u32) -> u32 {
    pool.line(base).references().load(Ordering::Acquire) & COUNT
}

/// The word of a mbuf that is about to be shared, by its holder.
pub(super) fn first(pool: Pool, m: u32) {
    pool.line(m).references().store(1, Ordering::Release);
}

/// Attaches a mbuf that the shard has in hand to a base that it has a reference to. False when there are too
/// many.
pub(super) fn attach(pool: Pool, shard: u16, base: u32, who: u32) -> bool {
    let note = pool.note(shard);
    note.begin(pool, shard, ATTACH, base, who);
    let attached = change(pool, base, tag_of_note(shard, note), 1).is_some();
    if attached {
        pool.line(who).set_base(Some(base));
    }
    note.end();
    attached
}

/// Gives up the holder's reference to a mbuf that is [`SHARED`]. True: there is no other, it is the caller's to
/// free; false: it is no longer the caller's.
pub(crate) fn leave(pool: Pool, shard: Option<u16>, m: u32) -> bool {
    count(pool, m) <= 1 || give_up(pool, shard, m, m)
}

/// Ends what an [`ATTACHED`](super::line::ATTACHED) mbuf refers to; gives the base if that was the last
/// reference: it is the caller's to free.
pub(crate) fn detach(pool: Pool, shard: Option<u16>, who: u32) -> Option<u32> {
    let base = pool.line(who).base().filter(|base| *base < pool.count())?;
    let refers = pool.line(base).is_shared() && base != who;
    (refers && give_up(pool, shard, base, who)).then_some(base)
}

fn give_up(pool: Pool, shard: Option<u16>, base: u32, who: u32) -> bool {
    let note = shard.map(|shard| (pool.note(shard), shard));
    if let Some((note, shard)) = note {
        note.begin(pool, shard, LEAVE, base, who);
    }
    if base == who {
        pool.line(base).move_to(Place::new(Holder::SHARED, 0));
    } else {
        pool.line(who).set_base(None);
    }
    let tag = note.map_or(0, |(note, shard)| tag_of_note(shard, note));
    let last = change(pool, base, tag, -1) == Some(0);
    if last {
        pool.line(base).move_to(in_hand(shard));
    }
    if let Some((note, _)) = note {
        note.end();
    }
    last
}

/// Where a mbuf is that comes out of a packet and goes back to the pool.
pub(crate) fn in_hand(shard: Option<u16>) -> Place {
    Place::new(shard.map_or(Holder::POOL, Holder::cache), 0)
}

fn tag_of_note(shard: u16, note: &Note) -> u32 {
    tag(shard, note.word.load(Ordering::Relaxed) >> 8)
}

/// Changes a number of references; gives the new one, `None` when it is no possible one.
fn change(pool: Pool, base: u32, tag: u32, by: i32) -> Option<u32> {
    let references = pool.line(base).references();
    let mut word = references.load(Ordering::Acquire);
    loop {
        let count = (word & COUNT).checked_add_signed(by)?;
        if count > MAX_REFERENCES {
            return None;
        }
        note_done(pool, base, word);
        let new = count | tag;
        match references.compare_exchange(word, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(count),
            Err(now) => word = now,
        }
    }
}

/// Makes the note of the last change say that it was made (I3).
fn note_done(pool: Pool, base: u32, word: u32) {
    let shard = (word >> SHARD_BIT & 0x3f) as u16;
    if word >> SEQUENCE_BIT == 0 {
        return;
    }
    let note = pool.note(shard);
    let seen = note.word.load(Ordering::Acquire);
    let pending = seen & WHAT == ATTACH || seen & WHAT == LEAVE;
    // A base that was stored after `seen` is of another change: then the compare-and-swap fails.
    let same = tag(shard, seen >> 8) == tag_of(word) && note.base.load(Ordering::Acquire) == base;
    if pending && same {
        let done = seen | DONE;
        // It fails where that change is over, or somebody else has said so.
        let _ = note
            .word
            .compare_exchange(seen, done, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Before the word of a mbuf that its holder alone refers to is written over, as it is shared no more: a dead one may have
/// made the last change of it (I3).
pub(crate) fn forget(pool: Pool, m: u32) {
    let line = pool.line(m);
    if line.is_shared() {
        note_done(pool, m, line.references().load(Ordering::Acquire));
    }
}

/// Finishes what a dead shard was doing to a reference; the caller owns the shard now. Gives a base that
/// nobody refers to any more: it is in the caller's hand, and its place says so.
pub(crate) fn finish(pool: Pool, shard: u16) -> Option<u32> {
    let note = pool.note(shard);
    // A reference that was counted and not taken is given up in the second round.
    for _ in 0..2 {
        let what = note.word.load(Ordering::Acquire) & WHAT & !DONE;
        let (base, who) = (
            note.base.load(Ordering::Relaxed),
            note.who.load(Ordering::Relaxed),
        );
        let known = base < pool.count() && who < pool.count();
        if what == IDLE || !known || pool.line(base).kind() & SHARED == 0 {
            break;
        }
        let (mine, taken) = (tag_of_note(shard, note), taken(pool, base, who));
        // In this order: who writes over the word says so before.
        let named = tag_of(pool.line(base).references().load(Ordering::Acquire)) == mine;
        let made = named || note.word.load(Ordering::Acquire) & DONE != 0;
        match (what, made) {
            (ATTACH, true) if !taken => {
                note.begin(pool, shard, LEAVE, base, who);
                continue;
            }
            (LEAVE, false) if !taken => {
                change(pool, base, mine, -1);
            }
            _ => {}
        }
        let over = what == LEAVE && !taken && count(pool, base) == 0;
        let last = over && tag_of(pool.line(base).references().load(Ordering::Acquire)) == mine;
        if last {
            pool.line(base).move_to(in_hand(Some(shard)));
        }
        note.end();
        return last.then_some(base);
    }
    if note.word.load(Ordering::Relaxed) & WHAT != IDLE {
        note.end();
    }
    None
}

/// Whether `who` still has its reference to the base.
fn taken(pool: Pool, base: u32, who: u32) -> bool {
    if base == who {
        let kind = pool.place(base).holder.kind();
        return kind != HolderKind::Shared;
    }
    pool.line(who).base() == Some(base)
}
