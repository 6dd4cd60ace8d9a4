//! Hashes of many keys at once, with AVX-512: the same as [`super::hash::hash_bytes`] says of each.

use core::arch::x86_64::*;

use zerocopy::{Immutable, IntoBytes};

use super::hash::{P0, P1, P2};

/// Keys that are hashed together.
pub(super) const COLUMN: usize = 8;

/// The hashes of eight keys that are whole words: the steps of [`hash_bytes`], for all at once.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn hash_column<K: IntoBytes + Immutable>(seed: u64, keys: &[K; COLUMN]) -> __m512i {
    debug_assert!(size_of::<K>().is_multiple_of(8), "keys of whole words");
    let (len, all) = (size_of::<K>(), |word: u64| {
        _mm512_set1_epi64(word.cast_signed())
    });
    let words = keys.as_bytes().as_chunks::<8>().0;
    let word = |at| word_column(words, len / 8, at);
    let mut state = all(seed ^ P0);
    let mut at = 0;
    while at + 2 <= len / 8 {
        let (first, second) = (word(at), word(at + 1));
        state = mix_column(
            _mm512_xor_si512(first, all(P1)),
            _mm512_xor_si512(second, state),
        );
        at += 2;
    }
    if at < len / 8 {
        state = mix_column(
            _mm512_xor_si512(word(at), all(P1)),
            _mm512_xor_si512(state, all(P2)),
        );
    }
    mix_column(_mm512_xor_si512(state, all(P2)), all(len as u64 ^ P1))
}

/// Word `at` of each of eight keys of `stride` words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn word_column(words: &[[u8; 8]], stride: usize, at: usize) -> __m512i {
    if stride == 2 {
        let place = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
        let place = _mm512_add_epi64(place, _mm512_set1_epi64(at as i64));
        let words: &[[u8; 8]; 16] = words.try_into().expect("eight keys");
        // SAFETY: eight words each.
        let (first, second) = unsafe {
            (
                _mm512_loadu_si512(words.as_ptr().cast()),
                _mm512_loadu_si512(words[8..].as_ptr().cast()),
            )
        };
        return _mm512_permutex2var_epi64(first, place, second);
    }
    let word = |key: usize| i64::from_le_bytes(words[key * stride + at]);
    _mm512_setr_epi64(
        word(0),
        word(1),
        word(2),
        word(3),
        word(4),
        word(5),
        word(6),
        word(7),
    )
}

/// [`mix`] of eight pairs of words, from products of their halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn mix_column(a: __m512i, b: __m512i) -> __m512i {
    let low_half = _mm512_set1_epi64(0xffff_ffff);
    let (a_high, b_high) = (_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b));
    let low = _mm512_mul_epu32(a, b);
    // No sum of these leaves 64 bits: a product of halves leaves room for two more halves.
    let middle = _mm512_add_epi64(_mm512_mul_epu32(a_high, b), _mm512_srli_epi64::<32>(low));
    let other = _mm512_add_epi64(
        _mm512_mul_epu32(a, b_high),
        _mm512_and_si512(middle, low_half),
    );
    let high = _mm512_add_epi64(
        _mm512_mul_epu32(a_high, b_high),
        _mm512_srli_epi64::<32>(middle),
    );
    let high = _mm512_add_epi64(high, _mm512_srli_epi64::<32>(other));
    const ODD: u16 = 0xaaaa;
    let low = _mm512_mask_blend_epi32(ODD, low, _mm512_slli_epi64::<32>(other));
    _mm512_xor_si512(high, low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Path;
    use crate::table::hash_bytes;

    #[test]
    fn a_column_has_the_hash_of_each_key() {
        if !Path::Avx512.is_available() {
            return;
        }
        let mut seed = 1;
        let mut word = || {
            seed = crate::table::mix(seed, P1) ^ seed.rotate_left(17);
            seed
        };
        for _ in 0..1000 {
            // Words of ones and zeros too: they are what carries go wrong with.
            let mut word = || [word(), 0, u64::MAX, 1 << 32][word() as usize % 4];
            let words: [u64; 9 * COLUMN] = core::array::from_fn(|_| word());
            let seed = word();
            // SAFETY: just seen to be there.
            unsafe {
                check::<1>(seed, &words);
                check::<2>(seed, &words);
                check::<3>(seed, &words);
                check::<4>(seed, &words);
                check::<5>(seed, &words);
                check::<9>(seed, &words);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn check<const WORDS: usize>(seed: u64, words: &[u64]) {
        let keys: [[u64; WORDS]; COLUMN] =
            core::array::from_fn(|key| core::array::from_fn(|at| words[key * WORDS + at]));
        let mut hashes = [0; COLUMN];
        // SAFETY: eight words.
        unsafe { _mm512_storeu_si512(hashes.as_mut_ptr().cast(), hash_column(seed, &keys)) };
        assert_eq!(hashes, keys.map(|key| hash_bytes(seed, key.as_bytes())));
    }
}
