//! The ones' complement sum of bytes, as 16-bit words in the order of the network.
//!
//! Every path adds wide, in the byte order of the processor, and folds at the end: 2^16 = 1 modulo 65,535,
//! so any split of the bytes into words that begin at even places gives the same sum. A sum is 0 only if
//! all bytes are. The bytes are exchanged in the middle of folding, where 32 bits are left: that
//! instruction has more places to run than a rotation, of which folding has enough.

use crate::simd::Path;

/// From this many bytes on the vector paths are faster than the scalar one.
pub const SIMD_FROM: usize = 96;

/// The folded sum by one path, if this processor has it.
pub(super) fn by(path: Path, bytes: &[u8]) -> Option<u16> {
    if !path.is_available() {
        return None;
    }
    match path {
        // SAFETY: the processor was just asked.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => Some(unsafe { x86::avx2(bytes) }),
        // SAFETY: the processor was just asked.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => Some(unsafe { x86::avx512(bytes) }),
        _ => Some(scalar(bytes)),
    }
}

/// The folded sum of many bytes by the widest path.
#[inline(never)]
pub(super) fn long(bytes: &[u8]) -> u16 {
    #[cfg(target_arch = "x86_64")]
    {
        // What was detected is kept by the standard library: one load and a test.
        if x86::has_avx512() {
            // SAFETY: the processor was just asked.
            return unsafe { x86::avx512(bytes) };
        }
        if x86::has_avx2() {
            // SAFETY: the processor was just asked.
            return unsafe { x86::avx2(bytes) };
        }
    }
    scalar(bytes)
}

/// The folded sum, 64 bits at a time.
#[inline]
pub(super) fn scalar(bytes: &[u8]) -> u16 {
    let (sum, more) = words(bytes);
    fold(sum, more)
}

/// A sum of the bytes and what else is to be added to it: the carries, and the last few bytes.
///
/// Blocks are of 64 bytes, and without a rest it ends there: that many have the smallest frame, and headers
/// on a cache line.
#[inline(always)]
fn words(bytes: &[u8]) -> (u64, u64) {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let (mut sum, mut carries) = (0u64, 0);
    for block in blocks {
        let mut carry = false;
        for word in block.as_chunks::<8>().0 {
            (sum, carry) = carrying_add(sum, u64::from_ne_bytes(*word), carry);
        }
        carries += u64::from(carry);
    }
    if rest.is_empty() {
        return (sum, carries);
    }
    let (words, tail) = rest.as_chunks::<8>();
    for word in words {
        let carry;
        (sum, carry) = sum.overflowing_add(u64::from_ne_bytes(*word));
        carries += u64::from(carry);
    }
    (sum, carries + short(tail))
}

/// The sum of fewer than eight bytes, not folded.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    let (fours, rest) = bytes.as_chunks::<4>();
    let (twos, last) = rest.as_chunks::<2>();
    let mut sum = 0;
    if let [four] = fours {
        sum += u64::from(u32::from_ne_bytes(*four));
    }
    if let [two] = twos {
        sum += u64::from(u16::from_ne_bytes(*two));
    }
    if let [byte] = last {
        sum += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    sum
}

/// The pattern that compiles to one `adc`.
#[inline(always)]
fn carrying_add(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

/// The sum of both in 16 bits, modulo 65,535, in the order of the network; `more` is less than 2^63.
#[inline(always)]
fn fold(sum: u64, more: u64) -> u16 {
    let half = u32::from_be(half(sum, more));
    (half.wrapping_add(half.rotate_left(16)) >> 16) as u16
}

/// The sum of both in 32 bits, modulo 65,535. A number added to itself with its halves exchanged has the
/// sum of the halves, carry included, in its upper half.
#[inline(always)]
fn half(sum: u64, more: u64) -> u32 {
    let (sum, carry) = sum.overflowing_add(more);
    let sum = sum + u64::from(carry); // a sum that overflowed is less than `more`
    (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::{fold, half, words};

    #[inline]
    pub(super) fn has_avx2() -> bool {
        is_x86_feature_detected!("avx2")
    }

    #[inline]
    pub(super) fn has_avx512() -> bool {
        is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
    }

    /// # Safety
    /// [`has_avx2`].
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn avx2(bytes: &[u8]) -> u16 {
        let halves = _mm256_set1_epi64x(0xffff_ffff);
        let mut sums = [_mm256_setzero_si256(); 2];
        let (chunks, tail) = bytes.as_chunks::<32>();
        for chunk in chunks {
            // SAFETY: the chunk is 32 bytes; the load asks no alignment.
            let loaded = unsafe { _mm256_loadu_si256(chunk.as_ptr().cast()) };
            sums[0] = _mm256_add_epi64(sums[0], _mm256_and_si256(loaded, halves));
            sums[1] = _mm256_add_epi64(sums[1], _mm256_srli_epi64::<32>(loaded));
        }
        let sum = _mm256_add_epi64(sums[0], sums[1]);
        let sum = _mm_add_epi64(
            _mm256_castsi256_si128(sum),
            _mm256_extracti128_si256::<1>(sum),
        );
        let sum = _mm_add_epi64(sum, _mm_unpackhi_epi64(sum, sum));
        // Each lane added 32-bit words: it would need 2^32 chunks to overflow.
        let sum = _mm_cvtsi128_si64(sum) as u64;
        let (tail, more) = words(tail);
        fold(sum, half(tail, more).into())
    }

    /// # Safety
    /// [`has_avx512`].
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn avx512(bytes: &[u8]) -> u16 {
        let halves = _mm512_set1_epi64(0xffff_ffff);
        let mut sums = [_mm512_setzero_si512(); 4];
        let (pairs, rest) = bytes.as_chunks::<128>();
        for pair in pairs {
            // SAFETY: the pair is 128 bytes; the loads ask no alignment.
            let (a, b) = unsafe {
                (
                    _mm512_loadu_si512(pair.as_ptr().cast()),
                    _mm512_loadu_si512(pair.as_ptr().add(64).cast()),
                )
            };
            sums[0] = _mm512_add_epi64(sums[0], _mm512_and_si512(a, halves));
            sums[1] = _mm512_add_epi64(sums[1], _mm512_srli_epi64::<32>(a));
            sums[2] = _mm512_add_epi64(sums[2], _mm512_and_si512(b, halves));
            sums[3] = _mm512_add_epi64(sums[3], _mm512_srli_epi64::<32>(b));
        }
        for part in rest.chunks(64) {
            let mask = u64::MAX >> (64 - part.len());
            // SAFETY: the mask lets the load touch the bytes of `part` alone, 1 to 64.
            let words = unsafe { _mm512_maskz_loadu_epi8(mask, part.as_ptr().cast()) };
            sums[0] = _mm512_add_epi64(sums[0], _mm512_and_si512(words, halves));
            sums[1] = _mm512_add_epi64(sums[1], _mm512_srli_epi64::<32>(words));
        }
        let [a, b, c, d] = sums;
        let sum = _mm512_add_epi64(_mm512_add_epi64(a, b), _mm512_add_epi64(c, d));
        // Each lane added 32-bit words: it would need 2^32 chunks to overflow.
        fold(_mm512_reduce_add_epi64(sum) as u64, 0)
    }
}
