//! A line of the hash index: one cache line, seven entries, and who passed it.
//!
//! Layout: `passed 8 x u8 | 7 x ( tag 32 (high half) | id + 1 (low half), 0 = empty )`.
//!
//! Order and failure: see [`super::index`], whose lines these are.

use super::NO_ID;
use crate::sync::{AtomicU64, Ordering, fence};

/// Words of a line: the counters, then the entries.
pub(super) const WORDS: usize = 8;
/// Entries of a line.
pub(super) const ENTRIES: usize = WORDS - 1;
/// Counters in a line's first word.
const KINDS: usize = 8;
/// A counter that has lost count.
const STUCK: u8 = u8::MAX;
/// The bits that an entry may have in a line's mask: not that of the counters.
const ENTRY_BITS: u32 = 0xfe;

/// One line.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Line([AtomicU64; WORDS]);

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    /// The lines that whole words are.
    ///
    /// # Panics
    /// When they do not begin on a cache line.
    pub(super) fn all(words: &'static [AtomicU64]) -> &'static [Line] {
        let lines = words.as_ptr().cast::<Line>();
        assert!(
            lines.is_aligned(),
            "the lines of an index lie on cache lines"
        );
        // SAFETY: as many lines as there are words for, aligned, each a `repr(C)` array of the same atomics.
        unsafe { core::slice::from_raw_parts(lines, words.len() / WORDS) }
    }

    /// The id under `hash` in this line for which `same` holds.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, same: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        let mut candidates = self.candidates(tag(hash));
        while candidates != 0 {
            let entry = &self.0[candidates.trailing_zeros() as usize % WORDS];
            // It may be gone since: 0 is no entry.
            let id = (entry.load(Ordering::Relaxed) as u32).wrapping_sub(1);
            if id != NO_ID && same(id) {
                return Some(id);
            }
            candidates &= candidates - 1;
        }
        None
    }

    /// The id of the first entry with the tag of `hash`, or [`NO_ID`], without a branch that depends on the data;
    /// and whether there was such an entry, which may be gone by the time it is read.
    #[inline(always)]
    pub(super) fn first(&self, hash: u64) -> (u32, bool) {
        let candidates = self.candidates(tag(hash));
        let entry = &self.0[candidates.trailing_zeros() as usize % WORDS];
        // It may be gone since: 0 is no entry, and one less is no id.
        let id = (entry.load(Ordering::Relaxed) as u32).wrapping_sub(1);
        let any = candidates != 0;
        (if any { id } else { NO_ID }, any)
    }

    /// A bit for each entry that has this tag, without a branch that depends on the data.
    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    fn candidates(&self, tag: u32) -> u32 {
        self.candidates_scalar(tag)
    }

    /// A bit for each entry that has this tag, without a branch that depends on the data.
    ///
    /// Each 16-byte load shows two words as they were at some moment: an aligned one is atomic on any processor
    /// with AVX (Intel SDM volume 3, "Guaranteed Atomic Operations"), and word by word on any other.
    /// What a tag points to is checked, so that an old one costs a comparison.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn candidates(&self, tag: u32) -> u32 {
        use core::arch::x86_64::{
            __m128i, _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_load_si128,
            _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi32, _mm_setzero_si128,
            _mm_shuffle_ps,
        };
        const HIGH_HALVES: i32 = 0b11_01_11_01;
        let words = self.0.as_ptr().cast::<__m128i>();
        // SAFETY: SSE2 is part of x86-64; the line is 64 bytes, aligned to 64.
        let mask = unsafe {
            let two = |i| _mm_castsi128_ps(_mm_load_si128(words.add(i)));
            let low = _mm_castps_si128(_mm_shuffle_ps::<HIGH_HALVES>(two(0), two(1)));
            let high = _mm_castps_si128(_mm_shuffle_ps::<HIGH_HALVES>(two(2), two(3)));
            let wanted = _mm_set1_epi32(tag.cast_signed());
            let same = _mm_packs_epi32(_mm_cmpeq_epi32(low, wanted), _mm_cmpeq_epi32(high, wanted));
            _mm_movemask_epi8(_mm_packs_epi16(same, _mm_setzero_si128()))
        };
        // What the entries name is read after them, as behind Acquire loads.
        fence(Ordering::Acquire);
        mask.cast_unsigned() & ENTRY_BITS
    }

    /// As `candidates`, in Rust alone.
    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn candidates_scalar(&self, tag: u32) -> u32 {
        let mut mask = 0;
        for (i, entry) in self.0.iter().enumerate() {
            let same = (entry.load(Ordering::Acquire) >> 32) as u32 == tag;
            mask |= u32::from(same) << i;
        }
        mask & ENTRY_BITS
    }

    /// Whether an entry of this kind lies further on in its path.
    #[inline(always)]
    pub(super) fn is_passed(&self, hash: u64) -> bool {
        (self.0[0].load(Ordering::Acquire) >> (8 * kind(hash))) & 0xff != 0
    }

    /// Counts an entry in (or out of) those that passed.
    pub(super) fn pass(&self, hash: u64, by: i8) {
        let mut kinds = self.0[0].load(Ordering::Relaxed).to_le_bytes();
        let n = &mut kinds[kind(hash)];
        if *n != STUCK {
            *n = n.saturating_add_signed(by);
        }
        self.0[0].store(u64::from_le_bytes(kinds), Ordering::Release);
    }

    /// The first empty entry, found without a branch for each: which one it is cannot be foretold.
    #[inline]
    pub(super) fn empty(&self) -> Option<&AtomicU64> {
        let free = self.candidates(0);
        let entry = &self.0[free.trailing_zeros() as usize % WORDS];
        (free != 0).then_some(entry)
    }

    /// The entry that holds `wanted`.
    #[inline]
    pub(super) fn position(&self, wanted: u64) -> Option<&AtomicU64> {
        let mut candidates = self.candidates((wanted >> 32) as u32);
        while candidates != 0 {
            let entry = &self.0[candidates.trailing_zeros() as usize % WORDS];
            if entry.load(Ordering::Relaxed) == wanted {
                return Some(entry);
            }
            candidates &= candidates - 1;
        }
        None
    }

    /// Empties it.
    pub(super) fn clear(&self) {
        for word in &self.0 {
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Release);
            }
        }
    }
}

/// The low half of the hash, made odd, so that an empty entry has no tag.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u32 {
    hash as u32 | 1
}

/// The entry of an id under a hash.
#[inline]
pub(super) fn entry_of(hash: u64, id: u32) -> u64 {
    u64::from(tag(hash)) << 32 | u64::from(id + 1)
}

/// Which of a line's counters a hash belongs to.
#[inline(always)]
fn kind(hash: u64) -> usize {
    (hash >> 1) as usize % KINDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_ways_to_compare_tags_agree(
            words in prop::array::uniform8(prop_oneof![Just(0), (0u64..4).prop_map(|n| n << 32 | 7), any::<u64>()]),
            tag in prop_oneof![Just(1u32), Just(3), any::<u32>()],
        ) {
            let line = Line(words.map(AtomicU64::new));
            prop_assert_eq!(line.candidates(tag), line.candidates_scalar(tag));
        }
    }
}
