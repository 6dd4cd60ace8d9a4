//! Sets of ids, one for each slot, in chunks of a cache line: an id is in one set at most, and is
//! put in, found and taken out in constant time.
//!
//! A set is a list of chunks of which only the first, the newest, may have room. An id that goes
//! out of the middle is replaced by the newest of its set.

use crate::simd::prefetch;

/// Ids in a chunk.
pub(super) const IDS_PER_CHUNK: usize = 14;
const WORDS: u32 = 16;
const NEXT: usize = 0;
const SLOT: usize = 1;
const FIRST: u32 = 2;
/// No chunk, and in `places`: in no set. Chunk 0 is never used.
const NONE: u32 = 0;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Chunk([u32; WORDS as usize]);

const _: () = assert!(size_of::<Chunk>() == 64);

/// A set: its newest chunk, and where in it the next id goes.
#[derive(Debug, Clone, Copy)]
struct Set {
    newest: u32,
    end: u32,
}

const EMPTY: Set = Set {
    newest: NONE,
    end: WORDS,
};

/// `SLOTS` sets of ids.
#[derive(Debug)]
pub(super) struct Chunks<const SLOTS: usize> {
    sets: [Set; SLOTS],
    used: Vec<u64>,
    chunks: Vec<Chunk>,
    places: Vec<u32>,
    free: u32,
    len: u32,
}

impl<const SLOTS: usize> Chunks<SLOTS> {
    pub(super) fn new(ids: u32) -> Chunks<SLOTS> {
        let chunks = 1 + ids as usize / IDS_PER_CHUNK + SLOTS;
        assert!(
            chunks < (u32::MAX / WORDS) as usize,
            "{ids} ids in one wheel"
        );
        let mut new = Chunks {
            sets: [EMPTY; SLOTS],
            used: vec![0; SLOTS.div_ceil(64)],
            chunks: vec![Chunk([0; WORDS as usize]); chunks],
            places: vec![NONE; ids as usize],
            free: NONE,
            len: 0,
        };
        new.clear();
        new
    }

    pub(super) fn clear(&mut self) {
        self.sets = [EMPTY; SLOTS];
        self.used.fill(0);
        self.places.fill(NONE);
        self.len = 0;
        let last = self.chunks.len() - 1;
        for (next, chunk) in (1..).zip(&mut self.chunks) {
            chunk.0[NEXT] = next;
        }
        self.chunks[last].0[NEXT] = NONE;
        self.free = 1;
    }

    pub(super) fn ids(&self) -> u32 {
        self.places.len() as u32
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self) + size_of_val(&self.chunks[..]) + size_of_val(&self.places[..])
    }

    /// The set that an id is in.
    #[inline]
    pub(super) fn slot_of(&self, id: u32) -> Option<usize> {
        let place = self.places[id as usize];
        let chunk = &self.chunks[(place / WORDS) as usize];
        (place != NONE).then_some(chunk.0[SLOT] as usize)
    }

    #[inline]
    pub(super) fn is_slot_empty(&self, slot: usize) -> bool {
        self.sets[slot].newest == NONE
    }

    /// A bit for each slot with an id in it.
    #[inline]
    pub(super) fn used(&self) -> &[u64] {
        &self.used
    }

    /// Puts an id that is in no set into one.
    #[inline]
    pub(super) fn push(&mut self, slot: usize, id: u32) {
        let mut set = self.sets[slot];
        if set.end == WORDS {
            set = self.grow(slot);
        }
        self.chunks[set.newest as usize].0[set.end as usize] = id;
        self.places[id as usize] = set.newest * WORDS + set.end;
        set.end += 1;
        self.sets[slot] = set;
        self.len += 1;
    }

    /// Takes an id out of its set; returns whether it was in one.
    #[inline]
    pub(super) fn remove(&mut self, id: u32) -> bool {
        let place = self.places[id as usize];
        if place == NONE {
            return false;
        }
        let chunk = (place / WORDS) as usize;
        let slot = self.chunks[chunk].0[SLOT] as usize;
        let set = &mut self.sets[slot];
        set.end -= 1;
        let last = self.chunks[set.newest as usize].0[set.end as usize];
        self.chunks[chunk].0[(place % WORDS) as usize] = last;
        self.places[last as usize] = place;
        self.places[id as usize] = NONE;
        self.len -= 1;
        if set.end == FIRST {
            self.shrink(slot);
        }
        true
    }

    /// Takes the newest ids of a set out, no more than are in its newest chunk. Says before which
    /// ids are next, and asks for what it will need of them itself.
    #[inline]
    pub(super) fn pop_burst(
        &mut self,
        slot: usize,
        ids: &mut [u32],
        mut soon: impl FnMut(u32),
    ) -> usize {
        let set = self.sets[slot];
        if set.newest == NONE {
            return 0;
        }
        let n = ids.len().min((set.end - FIRST) as usize);
        let chunk = self.chunks[set.newest as usize].0;
        let after = self.chunks[chunk[NEXT] as usize].0;
        prefetch(&raw const self.chunks[after[NEXT] as usize]);
        if chunk[NEXT] != NONE {
            for id in &after[FIRST as usize..] {
                prefetch(&raw const self.places[*id as usize]);
                soon(*id);
            }
        }
        let end = set.end as usize;
        ids[..n].copy_from_slice(&chunk[end - n..end]);
        for id in &ids[..n] {
            self.places[*id as usize] = NONE;
        }
        self.len -= n as u32;
        self.sets[slot].end -= n as u32;
        if self.sets[slot].end == FIRST {
            self.shrink(slot);
        }
        n
    }

    #[inline]
    pub(super) fn prefetch(&self, id: u32) {
        prefetch(self.places.as_ptr().wrapping_add(id as usize));
    }

    /// A chunk with room for a set that has none.
    fn grow(&mut self, slot: usize) -> Set {
        let newest = self.free;
        assert!(newest != NONE, "a chunk for every 14 ids and every slot");
        let chunk = &mut self.chunks[newest as usize].0;
        self.free = chunk[NEXT];
        chunk[NEXT] = self.sets[slot].newest;
        chunk[SLOT] = slot as u32;
        prefetch(&raw const self.chunks[self.free as usize]);
        self.used[slot / 64] |= 1 << (slot % 64);
        let end = FIRST;
        Set { newest, end }
    }

    /// Gives the newest chunk of a set, which is empty, back.
    fn shrink(&mut self, slot: usize) {
        let chunk = self.sets[slot].newest;
        let next = self.chunks[chunk as usize].0[NEXT];
        self.chunks[chunk as usize].0[NEXT] = self.free;
        self.free = chunk;
        self.sets[slot] = Set {
            newest: next,
            end: WORDS,
        };
        if next == NONE {
            self.used[slot / 64] &= !(1 << (slot % 64));
        }
    }
}
