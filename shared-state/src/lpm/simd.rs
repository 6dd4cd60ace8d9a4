//! Bursts by gathers: the same steps as [`Lpm::lookup`], for 16 or 8 addresses at once.
//!
//! I1 A gather loads aligned 32-bit words, as the atomic loads of the scalar path do: each lane
//!    is whole. On x86-64 every load has Acquire order, and the second gather's addresses depend
//!    on the first one's values.
//! I2 Every index is inside its table whatever the shared bytes are: 23 bits of an address in
//!    tbl24; in tbl8 the group is held below the number of groups (a table without any is never
//!    gathered from).
//!
//! Both second gathers stand behind one branch, which a burst without longer prefixes does not take. It is
//! foreseen wrongly now and then, and then loads of the next addresses, which were under way meanwhile, are
//! thrown away; but a gather that has to wait for the first one's misses only to load nothing keeps its
//! two dozen operations in the processor's window all that time, and fewer misses are under way at
//! once. With 3 % of longer prefixes the branch is a fifth to a third faster, one for each gather
//! a tenth.

use core::arch::x86_64::*;

use super::{EXTENDED, GROUP_ENTRIES, Lpm};
use crate::sync::Ordering;

const GROUP_WORDS_LOG2: u32 = (GROUP_ENTRIES / 2).ilog2();

/// # Safety
/// - The CPU has AVX-512 F, BW, DQ and VL.
/// - Both slices have one length.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn avx512(lpm: &Lpm, addresses: &[u32], next_hops: &mut [u16]) {
    let default = _mm512_set1_epi32(lpm.default.load(Ordering::Acquire) as i32);
    let n = addresses.len();
    let mut at = 0;
    while at < n {
        let left = n - at;
        let first = mask16(left);
        let second = mask16(left.saturating_sub(16));
        // SAFETY: masked lanes are not loaded, all others are inside the slice.
        let a = unsafe { _mm512_maskz_loadu_epi32(first, addresses.as_ptr().add(at).cast()) };
        let b = if second != 0 {
            // SAFETY: as above; `at + 16 < n`.
            unsafe { _mm512_maskz_loadu_epi32(second, addresses.as_ptr().add(at + 16).cast()) }
        } else {
            _mm512_setzero_si512()
        };
        let tbl24 = lpm.tbl24.as_ptr().cast();
        // SAFETY: I1, I2.
        let word_a = unsafe { gather16(first, _mm512_srli_epi32::<9>(a), tbl24) };
        // SAFETY: I1, I2.
        let word_b = unsafe { gather16(second, _mm512_srli_epi32::<9>(b), tbl24) };
        let entry_a = half16(word_a, _mm512_srli_epi32::<8>(a));
        let entry_b = half16(word_b, _mm512_srli_epi32::<8>(b));
        let (mut entry_a, mut entry_b) = (entry_a, entry_b);
        let long = _mm512_or_si512(entry_a, entry_b);
        if _mm512_test_epi32_mask(long, _mm512_set1_epi32(EXTENDED as i32)) != 0 {
            // SAFETY: as the caller promised.
            entry_a = unsafe { longer16(lpm, a, entry_a) };
            // SAFETY: as above.
            entry_b = unsafe { longer16(lpm, b, entry_b) };
        }
        let (entry_a, entry_b) = (hops16(entry_a, default), hops16(entry_b, default));
        // SAFETY: masked lanes are not stored, all others are inside the slice.
        unsafe {
            _mm512_mask_cvtepi32_storeu_epi16(next_hops.as_mut_ptr().add(at).cast(), first, entry_a)
        };
        if second != 0 {
            // SAFETY: as above; `at + 16 < n`.
            unsafe {
                _mm512_mask_cvtepi32_storeu_epi16(
                    next_hops.as_mut_ptr().add(at + 16).cast(),
                    second,
                    entry_b,
                )
            };
        }
        at += 32;
    }
}

/// The first `left` of 16 lanes.
#[inline(always)]
fn mask16(left: usize) -> __mmask16 {
    if left >= 16 { !0 } else { (1 << left) - 1 }
}

/// # Safety
/// I2 for the lanes of `mask`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn gather16(mask: __mmask16, index: __m512i, table: *const i32) -> __m512i {
    // SAFETY: the caller's.
    unsafe { _mm512_mask_i32gather_epi32::<4>(_mm512_setzero_si512(), mask, index, table) }
}

/// The half of each word that entry number `at` is.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn half16(word: __m512i, at: __m512i) -> __m512i {
    let odd = _mm512_and_si512(at, _mm512_set1_epi32(1));
    let word = _mm512_srlv_epi32(word, _mm512_slli_epi32::<4>(odd));
    _mm512_and_si512(word, _mm512_set1_epi32(0xffff))
}

/// Follows entries into tbl8.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ and VL.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn longer16(lpm: &Lpm, address: __m512i, entry: __m512i) -> __m512i {
    let mut entry = entry;
    let long = _mm512_test_epi32_mask(entry, _mm512_set1_epi32(EXTENDED as i32));
    if !lpm.tbl8.is_empty() {
        let last = _mm512_set1_epi32(lpm.groups() as i32 - 1);
        let group = _mm512_and_si512(entry, _mm512_set1_epi32(EXTENDED as i32 - 1));
        let group = _mm512_min_epu32(group, last);
        let first = _mm512_slli_epi32::<GROUP_WORDS_LOG2>(group);
        let inside = _mm512_and_si512(address, _mm512_set1_epi32(0xff));
        let index = _mm512_add_epi32(first, _mm512_srli_epi32::<1>(inside));
        // SAFETY: I1, I2: `group` is at most the last one.
        let word = unsafe { gather16(long, index, lpm.tbl8.as_ptr().cast()) };
        entry = _mm512_mask_mov_epi32(entry, long, half16(word, inside));
    }
    entry
}

/// The next hops of entries: the default where there is none, and the one off that entries are more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn hops16(entry: __m512i, default: __m512i) -> __m512i {
    let none = _mm512_testn_epi32_mask(entry, entry);
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
