//! Keys looked up in bulk by who alone changes the rows, with AVX-512: [`IndexShard::find_keys`].
//!
//! A burst waits for memory twice, for its lines of the index and for its keys. It takes as long as both waits
//! together unless the next burst's lines are asked for during the second. The processor sees to that by itself if
//! all from the first comparison of keys to the last line of the next burst fits its window of some 500
//! operations: so hashes are computed by columns, a key is compared by three instructions, and a row without
//! candidate is not passed over, but compared with itself.
//!
//! Nobody else stores to keys or lines meanwhile; whatever they hold, a key is loaded only where one is.

use core::arch::x86_64::*;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::simd::prefetch;
use crate::table::NO_ID;
use crate::table::hash_column::{COLUMN, hash_column};
use crate::table::index::{IndexShard, LINE_BYTES};
use crate::table::keys::Keys;
use crate::table::line::{Line, tag};
use crate::table::words::WORD;

/// Keys that are looked up together.
const PART: usize = 32;

/// Whether a key's words can be loaded from where it is.
pub(super) const fn fits<K>() -> bool {
    size_of::<K>() > 0 && size_of::<K>().is_multiple_of(WORD)
}

/// Looks up as many keys as both slices have, of a type that [`fits`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
pub(super) fn find<K: FromBytes + IntoBytes + Immutable + Copy>(
    shard: &IndexShard,
    keys: &Keys<K>,
    wanted: &[K],
    out: &mut [u32],
) -> usize {
    let (parts, rest) = wanted.as_chunks::<PART>();
    let (outs, rest_out) = out.as_chunks_mut::<PART>();
    let mut found = 0;
    for (wanted, out) in parts.iter().zip(outs) {
        found += match likely(shard, keys, wanted, out) {
            Some(found) => found,
            None => shard.find_each(keys, wanted, out),
        };
    }
    if !rest.is_empty() {
        found += shard.find_each(keys, rest, rest_out);
    }
    found
}

/// The likely ids of keys, and how many there are, if each is its key's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn likely<K: FromBytes + IntoBytes + Immutable + Copy>(
    shard: &IndexShard,
    keys: &Keys<K>,
    wanted: &[K; PART],
    ids: &mut [u32; PART],
) -> Option<usize> {
    let last_word = size_of::<K>() / WORD - 1;
    let columns = wanted.as_chunks::<COLUMN>().0;
    let ask = |i: usize| ask(shard, hash_column(shard.seed(), &columns[i]));
    let [a, b, c, d] = [ask(0), ask(1), ask(2), ask(3)];
    let hashes = words([a.0, b.0, c.0, d.0]);
    let homes = words([a.1, b.1, c.1, d.1]);
    let mut with = [core::ptr::null(); PART];
    for i in 0..PART {
        let home = shard.line_at(homes[i]);
        ids[i] = match home.candidates_avx512(tag(hashes[i])) {
            0 => shard.further(home, hashes[i]),
            some => home.first_of(some),
        };
        let key = keys.at(ids[i]);
        with[i] = key.unwrap_or((&raw const wanted[i]).cast());
        prefetch(with[i]);
        if !LINE_BYTES.is_multiple_of(size_of::<K>()) {
            prefetch(with[i].wrapping_add(last_word));
        }
    }
    let mut differ = Difference::none();
    for (wanted, with) in wanted.iter().zip(&with) {
        // SAFETY: both are keys of so many words: one that is wanted, and one of the array or the same again.
        unsafe { differ.or((&raw const *wanted).cast(), *with, last_word + 1) };
    }
    let found = count(ids, keys.count());
    found.filter(|_| differ.is_none())
}

impl IndexShard {
    /// Where the home lines of eight hashes lie, for [`IndexShard::line_at`].
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn homes(&self, hashes: __m512i) -> __m512i {
        let lines = _mm512_set1_epi64(i64::from(self.lines().len() as u32));
        let number =
            _mm512_srli_epi64::<32>(_mm512_mul_epu32(_mm512_srli_epi64::<32>(hashes), lines));
        _mm512_slli_epi64::<{ LINE_BYTES.ilog2() }>(number)
    }

    /// A line that [`IndexShard::homes`] named.
    #[inline]
    fn line_at(&self, offset: u64) -> &'static Line {
        debug_assert!(offset as usize / LINE_BYTES < self.lines().len());
        // SAFETY: the offset of a line: `homes` gives numbers below that of the lines.
        unsafe { &*self.lines().as_ptr().byte_add(offset as usize) }
    }
}

/// Asks for the home lines of these hashes; where they lie is beside them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn ask(shard: &IndexShard, hashes: __m512i) -> (__m512i, __m512i) {
    let homes = shard.homes(hashes);
    // SAFETY: both are as many bits, and any are words.
    let each: [u64; COLUMN] = unsafe { core::mem::transmute(homes) };
    for home in each {
        prefetch(shard.line_at(home));
    }
    (hashes, homes)
}

/// The words that columns are.
#[inline]
fn words(columns: [__m512i; PART / COLUMN]) -> [u64; PART] {
    // SAFETY: both are as many bits, and any are words.
    unsafe { core::mem::transmute(columns) }
}

/// How many of them are ids of `keys` keys, if the others are none.
#[inline]
#[target_feature(enable = "avx512f,popcnt")]
fn count(ids: &[u32; PART], keys: u32) -> Option<usize> {
    let (none, keys) = (
        _mm512_set1_epi32(NO_ID.cast_signed()),
        _mm512_set1_epi32(keys.cast_signed()),
    );
    let (mut found, mut all) = (0, !0);
    for half in ids.as_chunks::<16>().0 {
        // SAFETY: sixteen ids.
        let half = unsafe { _mm512_loadu_si512(half.as_ptr().cast()) };
        let some = _mm512_cmplt_epu32_mask(half, keys);
        found += some.count_ones() as usize;
        all &= some | _mm512_cmpeq_epi32_mask(half, none);
    }
    (all == !0).then_some(found)
}

/// What keys differ in, all of them laid on top of each other.
struct Difference {
    four: __m256i,
    two: __m128i,
}

impl Difference {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
    fn none() -> Difference {
        Difference {
            four: _mm256_setzero_si256(),
            two: _mm_setzero_si128(),
        }
    }

    /// Adds what `words` words differ in.
    ///
    /// # Safety
    /// Both have so many words.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
    unsafe fn or(&mut self, a: *const u64, b: *const u64, words: usize) {
        /// Bits of the first, or where the others differ.
        const OR_DIFFER: i32 = 0xf6;
        let mut at = 0;
        while at + 4 <= words {
            // SAFETY: four words from `at` on.
            let (a, b) = unsafe {
                (
                    _mm256_loadu_si256(a.add(at).cast()),
                    _mm256_loadu_si256(b.add(at).cast()),
                )
            };
            self.four = _mm256_ternarylogic_epi64::<OR_DIFFER>(self.four, b, a);
            at += 4;
        }
        while at < words {
            let two = at + 2 <= words;
            let load = |from: *const u64| {
                // SAFETY: two words from `at` on, or the last one.
                unsafe {
                    match two {
                        true => _mm_loadu_si128(from.add(at).cast()),
                        false => _mm_loadl_epi64(from.add(at).cast()),
                    }
                }
            };
            self.two = _mm_ternarylogic_epi64::<OR_DIFFER>(self.two, load(b), load(a));
            at += 2;
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
    fn is_none(&self) -> bool {
        let two = _mm_test_epi64_mask(self.two, self.two);
        let four = _mm256_test_epi64_mask(self.four, self.four);
        two | four == 0
    }
}
