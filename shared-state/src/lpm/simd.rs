//! Bursts by vectors: the same steps as [`Lpm::lookup`], for 16 or 8 addresses at once.
//!
//! I1 A gather loads aligned 32-bit words, as the atomic loads of the scalar path do: each lane
//!    is whole. On x86-64 every load has Acquire order, and the gather's addresses depend
//!    on the values of the first loads.
//! I2 Every index is inside its table whatever the shared bytes are: 23 bits of an address in
//!    tbl24; in tbl8 the group is held below the number of groups (a table without any is never
//!    gathered from).
//!
//! With AVX-512 the words of tbl24 are loaded one by one. Two gathers of 16 keep fewer misses under way: over 500,000
//! routes they take a fifth longer, and a twentieth less where most of the table is in the cache.
//!
//! A burst waits for memory, and how much of it is under way at once follows from how few operations stand
//! between the misses, and from how seldom the processor goes a wrong way: then loads of the next addresses are
//! thrown away. So whether a burst has longer prefixes at all is no branch: 3 % of them make it a coin toss.
//! Up to [`FEW`] of each half are put side by side, and both halves followed by one gather of eight, whether there
//! are any or not. The branch asks for more than that, which traffic has or does not have. What gathers of 16 with
//! all lanes off cost instead are two dozen operations each.

use core::arch::x86_64::*;

use super::{EXTENDED, GROUP_ENTRIES, Lpm};
use crate::sync::Ordering;

const GROUP_WORDS_LOG2: u32 = (GROUP_ENTRIES / 2).ilog2();

/// Longer prefixes of 16 addresses that are followed without a branch.
const FEW: u32 = 4;

/// The words of tbl24 that have the entries of these addresses.
#[inline(always)]
fn first_words(lpm: &Lpm, addresses: &[u32; 32]) -> [u32; 32] {
    let mut words = [0; 32];
    for (word, address) in words.iter_mut().zip(addresses) {
        *word = lpm.tbl24[(address >> 9) as usize].load(Ordering::Acquire);
    }
    words
}

/// # Safety
/// - The CPU has AVX-512 F, BW, DQ and VL, and POPCNT.
/// - Both slices have one length.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
pub(super) unsafe fn avx512(lpm: &Lpm, addresses: &[u32], next_hops: &mut [u16]) {
    let (parts, rest) = addresses.as_chunks::<32>();
    let (outs, rest_out) = next_hops.as_chunks_mut::<32>();
    for (part, out) in parts.iter().zip(outs) {
        burst(lpm, part, out);
    }
    super::burst::scalar(lpm, rest, rest_out);
}

/// 32 addresses.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
fn burst(lpm: &Lpm, addresses: &[u32; 32], next_hops: &mut [u16; 32]) {
    let words = first_words(lpm, addresses);
    let [a, b] = halves(addresses);
    let [word_a, word_b] = halves(&words);
    let entry_a = half16(word_a, _mm512_srli_epi32::<8>(a));
    let entry_b = half16(word_b, _mm512_srli_epi32::<8>(b));
    // SAFETY: the CPU has what this function asks for.
    let entries = unsafe { followed([a, b], [entry_a, entry_b], lpm) };
    let default = _mm512_set1_epi32(lpm.default.load(Ordering::Acquire) as i32);
    let hops = entries.map(|entry| hops16(entry, default));
    let (first, second) = next_hops.split_at_mut(16);
    // SAFETY: 16 next hops each.
    unsafe {
        _mm256_storeu_si256(first.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(hops[0]));
        _mm256_storeu_si256(second.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(hops[1]));
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn halves(numbers: &[u32; 32]) -> [__m512i; 2] {
    let (first, second) = numbers.split_at(16);
    // SAFETY: 16 numbers each.
    unsafe {
        [
            _mm512_loadu_si512(first.as_ptr().cast()),
            _mm512_loadu_si512(second.as_ptr().cast()),
        ]
    }
}

/// The entries of both halves after tbl8.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ and VL, and POPCNT.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
unsafe fn followed(addresses: [__m512i; 2], entries: [__m512i; 2], lpm: &Lpm) -> [__m512i; 2] {
    if lpm.tbl8.is_empty() {
        return entries;
    }
    let flag = _mm512_set1_epi32(EXTENDED as i32);
    let long = entries.map(|entry| _mm512_test_epi32_mask(entry, flag));
    if long[0].count_ones().max(long[1].count_ones()) <= FEW {
        let address = together(long, addresses);
        // SAFETY: as the caller promised; tbl8 is not empty.
        let found = unsafe { longer4and4(lpm, address, together(long, entries)) };
        return apart(long, found, entries);
    }
    // SAFETY: as the caller promised; tbl8 is not empty.
    let a = unsafe { longer16(lpm, addresses[0], entries[0]) };
    // SAFETY: as above.
    let b = unsafe { longer16(lpm, addresses[1], entries[1]) };
    [a, b]
}

/// The first four lanes of each mask, side by side, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn together(masks: [__mmask16; 2], from: [__m512i; 2]) -> __m256i {
    let a = _mm512_castsi512_si256(_mm512_maskz_compress_epi32(masks[0], from[0]));
    let b = _mm512_castsi512_si128(_mm512_maskz_compress_epi32(masks[1], from[1]));
    _mm256_inserti128_si256::<1>(a, b)
}

/// Back to the lanes they were taken from.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn apart(masks: [__mmask16; 2], found: __m256i, to: [__m512i; 2]) -> [__m512i; 2] {
    let (a, b) = (
        _mm512_castsi256_si512(found),
        _mm256_extracti128_si256::<1>(found),
    );
    [
        _mm512_mask_expand_epi32(to[0], masks[0], a),
        _mm512_mask_expand_epi32(to[1], masks[1], _mm512_castsi128_si512(b)),
    ]
}

/// # Safety
/// I2 for the lanes of `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn gather16(mask: __mmask16, index: __m512i, table: *const i32) -> __m512i {
    // SAFETY: the caller's.
    unsafe { _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), mask, index, table) }
}

/// The half of each word that entry number `at` is, in the lower half of a lane; whatever in the upper one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn half16(word: __m512i, at: __m512i) -> __m512i {
    let odd = _mm512_and_si512(at, _mm512_set1_epi32(1));
    _mm512_srlv_epi32(word, _mm512_slli_epi32::<4>(odd))
}

/// Follows entries into tbl8.
///
/// # Safety
/// - The CPU has AVX-512 F, BW, DQ and VL.
/// - There is a group in tbl8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn longer16(lpm: &Lpm, address: __m512i, entry: __m512i) -> __m512i {
    let long = _mm512_test_epi32_mask(entry, _mm512_set1_epi32(EXTENDED as i32));
    let last = _mm512_set1_epi32(lpm.groups() as i32 - 1);
    let group = _mm512_and_si512(entry, _mm512_set1_epi32(EXTENDED as i32 - 1));
    let group = _mm512_min_epu32(group, last);
    let first = _mm512_slli_epi32::<GROUP_WORDS_LOG2>(group);
    let inside = _mm512_and_si512(address, _mm512_set1_epi32(0xff));
    let index = _mm512_add_epi32(first, _mm512_srli_epi32::<1>(inside));
    // SAFETY: I1, I2: `group` is at most the last one.
    let word = unsafe { gather16(long, index, lpm.tbl8.as_ptr().cast()) };
    _mm512_mask_mov_epi32(entry, long, half16(word, inside))
}

/// As [`longer16`], for up to [`FEW`] entries of each half: those that are followed. Zeros where there are fewer.
///
/// # Safety
/// - The CPU has AVX-512 F, BW, DQ and VL.
/// - There is a group in tbl8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn longer4and4(lpm: &Lpm, address: __m256i, entry: __m256i) -> __m256i {
    let long = _mm256_test_epi32_mask(entry, _mm256_set1_epi32(EXTENDED as i32));
    let last = _mm256_set1_epi32(lpm.groups() as i32 - 1);
    let group = _mm256_and_si256(entry, _mm256_set1_epi32(EXTENDED as i32 - 1));
    let group = _mm256_min_epu32(group, last);
    let first = _mm256_slli_epi32::<{ GROUP_WORDS_LOG2 as i32 }>(group);
    let inside = _mm256_and_si256(address, _mm256_set1_epi32(0xff));
    let index = _mm256_add_epi32(first, _mm256_srli_epi32::<1>(inside));
    let (zero, table) = (_mm256_setzero_si256(), lpm.tbl8.as_ptr().cast());
    // SAFETY: I1, I2: `group` is at most the last one; lanes without `long` are not loaded.
    let word = unsafe { _mm256_mmask_i32gather_epi32::<4>(zero, long, index, table) };
    half8(word, inside)
}

/// The next hops of entries, in the lower half of a lane: the default where there is none, and the one off that
/// entries are more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn hops16(entry: __m512i, default: __m512i) -> __m512i {
    let none = _mm512_testn_epi32_mask(entry, _mm512_set1_epi32(0xffff));
    let entry = _mm512_mask_mov_epi32(entry, none, default);
    _mm512_sub_epi32(entry, _mm512_set1_epi32(1))
}

/// # Safety
/// - The CPU has AVX2.
/// - Both slices have one length.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(lpm: &Lpm, addresses: &[u32], next_hops: &mut [u16]) {
    let default = _mm256_set1_epi32(lpm.default.load(Ordering::Acquire) as i32);
    let (parts, rest) = addresses.as_chunks::<16>();
    let (outs, rest_out) = next_hops.as_chunks_mut::<16>();
    for (part, out) in parts.iter().zip(outs) {
        // SAFETY: the first half of an array of 16.
        let a = unsafe { _mm256_loadu_si256(part.as_ptr().cast()) };
        // SAFETY: the second half.
        let b = unsafe { _mm256_loadu_si256(part.as_ptr().add(8).cast()) };
        let tbl24 = lpm.tbl24.as_ptr().cast();
        // SAFETY: I1, I2.
        let word_a = unsafe { _mm256_i32gather_epi32::<4>(tbl24, _mm256_srli_epi32::<9>(a)) };
        // SAFETY: I1, I2.
        let word_b = unsafe { _mm256_i32gather_epi32::<4>(tbl24, _mm256_srli_epi32::<9>(b)) };
        let entry_a = half8(word_a, _mm256_srli_epi32::<8>(a));
        let entry_b = half8(word_b, _mm256_srli_epi32::<8>(b));
        let (mut entry_a, mut entry_b) = (entry_a, entry_b);
        let either = _mm256_or_si256(entry_a, entry_b);
        if _mm256_testz_si256(either, _mm256_set1_epi32(EXTENDED as i32)) == 0 {
            // SAFETY: as the caller promised.
            entry_a = unsafe { longer8(lpm, a, entry_a) };
            // SAFETY: as above.
            entry_b = unsafe { longer8(lpm, b, entry_b) };
        }
        let (hop_a, hop_b) = (hops8(entry_a, default), hops8(entry_b, default));
        let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(hop_a, hop_b));
        // SAFETY: 32 bytes of an array of 16 u16.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), packed) };
    }
    for (address, out) in rest.iter().zip(rest_out) {
        *out = lpm.lookup(*address).unwrap_or(super::NO_ROUTE);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn half8(word: __m256i, at: __m256i) -> __m256i {
    let odd = _mm256_and_si256(at, _mm256_set1_epi32(1));
    let word = _mm256_srlv_epi32(word, _mm256_slli_epi32::<4>(odd));
    _mm256_and_si256(word, _mm256_set1_epi32(0xffff))
}

/// As [`longer16`].
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn longer8(lpm: &Lpm, address: __m256i, entry: __m256i) -> __m256i {
    let mut entry = entry;
    let long = _mm256_cmpgt_epi32(entry, _mm256_set1_epi32(EXTENDED as i32 - 1));
    if !lpm.tbl8.is_empty() {
        let last = _mm256_set1_epi32(lpm.groups() as i32 - 1);
        let group = _mm256_and_si256(entry, _mm256_set1_epi32(EXTENDED as i32 - 1));
        let group = _mm256_min_epu32(group, last);
        let first = _mm256_slli_epi32::<{ GROUP_WORDS_LOG2 as i32 }>(group);
        let inside = _mm256_and_si256(address, _mm256_set1_epi32(0xff));
        let index = _mm256_add_epi32(first, _mm256_srli_epi32::<1>(inside));
        let zero = _mm256_setzero_si256();
        let table = lpm.tbl8.as_ptr().cast();
        // SAFETY: I1, I2: `group` is at most the last one; lanes without `long` are not loaded.
        let word = unsafe { _mm256_mask_i32gather_epi32::<4>(zero, table, index, long) };
        entry = _mm256_blendv_epi8(entry, half8(word, inside), long);
    }
    entry
}

/// As [`hops16`], 16 bits of each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn hops8(entry: __m256i, default: __m256i) -> __m256i {
    let none = _mm256_cmpeq_epi32(entry, _mm256_setzero_si256());
    let entry = _mm256_blendv_epi8(entry, default, none);
    let hop = _mm256_sub_epi32(entry, _mm256_set1_epi32(1));
    _mm256_and_si256(hop, _mm256_set1_epi32(0xffff))
}
