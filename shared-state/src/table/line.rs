//! A line of the hash index: one cache line, ten entries, and who passed it.
//!
//! Layout: `tag 10 x u16, 0 = empty | passed 4 x u8 | id 10 x u32`.
//!
//! Order and failure: an entry is there when its tag is: it goes in as id, then tag (Release), and out by
//! its tag alone. So who sees a tag may load the id of an entry that came later into the same
//! place, and compares its key in vain. For the rest see [`super::index`], whose lines these are.

use crate::sync::{AtomicU32, Ordering, fence};

/// Words of a line.
pub(super) const WORDS: usize = 16;
/// Entries of a line.
pub(super) const ENTRIES: usize = 10;
/// Tags in a word.
const TAGS: usize = 2;
/// The word that the counters are.
const PASSED_AT: usize = 5;
/// The word that is the first id.
const IDS_AT: usize = 6;
/// Counters of a line.
const KINDS: usize = 4;
/// A counter that has lost count.
const STUCK: u8 = u8::MAX;
/// The bits that an entry may have in a line's mask.
const ENTRY_BITS: u32 = (1 << ENTRIES) - 1;

/// One line.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Line([AtomicU32; WORDS]);

const _: () = assert!(size_of::<Line>() == 64);

impl Line {
    /// The lines that whole words are.
    ///
    /// # Panics
    /// When they do not begin on a cache line.
    pub(super) fn all(words: &'static [AtomicU32]) -> &'static [Line] {
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
            let id = self.first_of(candidates);
            if same(id) {
                return Some(id);
            }
            candidates &= candidates - 1;
        }
        None
    }

    /// The id of the first of these entries, of which there is one.
    #[inline(always)]
    pub(super) fn first_of(&self, candidates: u32) -> u32 {
        self.id(candidates.trailing_zeros() as usize)
    }

    /// The id of entry number `at`; of one that is none, any.
    #[inline(always)]
    fn id(&self, at: usize) -> u32 {
        self.0[(IDS_AT + at) % WORDS].load(Ordering::Relaxed)
    }

    /// A bit for each entry that has this tag, without a branch that depends on the data.
    #[cfg(not(target_arch = "x86_64"))]
    #[inline(always)]
    pub(super) fn candidates(&self, tag: u16) -> u32 {
        self.candidates_scalar(tag)
    }

    /// A bit for each entry that has this tag, without a branch that depends on the data.
    ///
    /// Each 16-byte load shows four words as they were at some moment: an aligned one is atomic on any processor
    /// with AVX (Intel SDM volume 3, "Guaranteed Atomic Operations"), and word by word on any other.
    /// What a tag points to is checked, so that an old one costs a comparison.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(super) fn candidates(&self, tag: u16) -> u32 {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi16, _mm_load_si128, _mm_movemask_epi8, _mm_packs_epi16,
            _mm_set1_epi16,
        };
        let words = self.0.as_ptr().cast::<__m128i>();
        // SAFETY: SSE2 is part of x86-64; the line is 64 bytes, aligned to 64.
        let mask = unsafe {
            let wanted = _mm_set1_epi16(tag.cast_signed());
            let same = |i| _mm_cmpeq_epi16(_mm_load_si128(words.add(i)), wanted);
            _mm_movemask_epi8(_mm_packs_epi16(same(0), same(1)))
        };
        // What the entries name is read after them, as behind Acquire loads.
        fence(Ordering::Acquire);
        mask.cast_unsigned() & ENTRY_BITS
    }

    /// As `candidates`, by one comparison. What was said of its loads goes for each word of this one.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    pub(super) fn candidates_avx512(&self, tag: u16) -> u32 {
        use core::arch::x86_64::{_mm256_cmpeq_epi16_mask, _mm256_load_si256, _mm256_set1_epi16};
        // SAFETY: the line is 64 bytes, aligned to 64.
        let half = unsafe { _mm256_load_si256(self.0.as_ptr().cast()) };
        let mask = _mm256_cmpeq_epi16_mask(half, _mm256_set1_epi16(tag.cast_signed()));
        fence(Ordering::Acquire);
        u32::from(mask) & ENTRY_BITS
    }

    /// As `candidates`, in Rust alone.
    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn candidates_scalar(&self, tag: u16) -> u32 {
        let mut mask = 0;
        for i in 0..ENTRIES {
            let tags = self.0[i / TAGS].load(Ordering::Acquire);
            let same = (tags >> (i % TAGS * 16)) as u16 == tag;
            mask |= u32::from(same) << i;
        }
        mask
    }

    /// Whether an entry of this kind lies further on in its path.
    #[inline(always)]
    pub(super) fn is_passed(&self, hash: u64) -> bool {
        let passed = self.0[PASSED_AT].load(Ordering::Acquire);
        (passed >> (8 * kind(hash))) & 0xff != 0
    }

    /// Counts an entry in (or out of) those that passed.
    pub(super) fn pass(&self, hash: u64, by: i8) {
        let mut kinds = self.0[PASSED_AT].load(Ordering::Relaxed).to_le_bytes();
        let n = &mut kinds[kind(hash)];
        if *n != STUCK {
            *n = n.saturating_add_signed(by);
        }
        self.0[PASSED_AT].store(u32::from_le_bytes(kinds), Ordering::Release);
    }

    /// The first place that is empty, found without a branch for each: which one it is cannot be foretold.
    #[inline]
    pub(super) fn empty(&self) -> Option<usize> {
        let free = self.candidates(0);
        (free != 0).then_some(free.trailing_zeros() as usize)
    }

    /// The place of the entry of an id under a hash.
    #[inline]
    pub(super) fn position(&self, hash: u64, id: u32) -> Option<usize> {
        let mut candidates = self.candidates(tag(hash));
        while candidates != 0 {
            let at = candidates.trailing_zeros() as usize;
            if self.id(at) == id {
                return Some(at);
            }
            candidates &= candidates - 1;
        }
        None
    }

    /// Puts an entry in an empty place.
    #[inline]
    pub(super) fn put(&self, at: usize, hash: u64, id: u32) {
        self.0[(IDS_AT + at) % WORDS].store(id, Ordering::Relaxed);
        self.set_tag(at, tag(hash));
    }

    /// Takes an entry out.
    #[inline]
    pub(super) fn take(&self, at: usize) {
        self.set_tag(at, 0);
    }

    /// Nobody else stores to the other tag in its word meanwhile.
    #[inline]
    fn set_tag(&self, at: usize, tag: u16) {
        let tags = &self.0[at / TAGS % WORDS];
        let shift = at % TAGS * 16;
        let others = tags.load(Ordering::Relaxed) & !(0xffff << shift);
        tags.store(others | u32::from(tag) << shift, Ordering::Release);
    }

    /// Empties it.
    pub(super) fn clear(&self) {
        for word in &self.0[..IDS_AT] {
            if word.load(Ordering::Relaxed) != 0 {
                word.store(0, Ordering::Release);
            }
        }
    }
}

/// The low bits of the hash, made odd, so that an empty place has no tag.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u16 {
    hash as u16 | 1
}

/// Which of a line's counters a hash belongs to.
#[inline(always)]
fn kind(hash: u64) -> usize {
    (hash >> 16) as usize % KINDS
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "x86_64")]
    use crate::simd::Path;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_ways_to_compare_tags_agree(
            words in prop::array::uniform16(prop_oneof![
                Just(0),
                (0u32..4, 0u32..4).prop_map(|(low, high)| low | high << 16),
                any::<u32>(),
            ]),
            tag in prop_oneof![Just(1u16), Just(3), any::<u16>()],
        ) {
            let line = Line(words.map(AtomicU32::new));
            let scalar = line.candidates_scalar(tag);
            prop_assert_eq!(line.candidates(tag), scalar);
            #[cfg(target_arch = "x86_64")]
            if Path::Avx512.is_available() {
                // SAFETY: just seen to be there.
                prop_assert_eq!(unsafe { line.candidates_avx512(tag) }, scalar);
            }
        }
    }

    #[test]
    fn places_hold_what_was_put_there_and_counters_are_beside_them() {
        let line = Line(Default::default());
        let hash = |at: usize| (at as u64) << 16 | (2 * at as u64);
        for at in 0..ENTRIES {
            assert_eq!(line.empty(), Some(at));
            line.put(at, hash(at), u32::MAX - 1 - at as u32);
            line.pass(hash(at), 1);
        }
        assert_eq!(line.empty(), None);
        line.take(8);
        assert_eq!(line.empty(), Some(8));
        for at in (0..ENTRIES).filter(|at| *at != 8) {
            let id = u32::MAX - 1 - at as u32;
            assert_eq!(line.position(hash(at), id), Some(at));
            assert_eq!(line.first_of(line.candidates(tag(hash(at)))), id);
            assert_eq!(line.position(hash(at), 5), None);
        }
        assert_eq!(line.candidates(tag(hash(8))), 0);
        assert!((0..KINDS).all(|kind| line.is_passed(hash(kind))));
        line.pass(hash(3), -1);
        line.pass(hash(7), -1);
        assert!(!line.is_passed(hash(3)) && line.is_passed(hash(2)));
        line.clear();
        assert!(line.empty() == Some(0) && !line.is_passed(0));
    }
}
