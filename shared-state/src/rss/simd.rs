//! The Toeplitz hash by the processor's own arithmetic over GF(2).
//!
//! Layout of [`Matrices`]: matrix `m` maps a data byte at position `p` to hash byte `m - p`,
//! because the key bits that join them depend on the sum alone. Eight matrices fill a register;
//! beside each lie the data bytes `m, m-1, m-2, m-3`, for hash bytes 0 to 3, so that the exclusive
//! or of all 64-bit lanes holds the hash, and in their upper halves there is room for a second one.

use super::{KEY_BYTES, MOST_BYTES};

/// Hash bytes that one data byte reaches.
const REACH: usize = 4;
const LANES: usize = 8;
const REGISTERS: usize = KEY_BYTES / LANES;

/// The key, bits reversed, as the 64 bits that one 32-bit word of data meets.
#[derive(Debug, Clone)]
pub(super) struct Reversed([u64; MOST_BYTES / 4]);

impl Reversed {
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Reversed {
        let mut words = [0; MOST_BYTES / 4];
        for (i, word) in words.iter_mut().enumerate() {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&key[4 * i..4 * i + 8]);
            *word = u64::from_be_bytes(bytes).reverse_bits();
        }
        Reversed(words)
    }
}

/// The key as bit matrices, by the sum of positions.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(super) struct Matrices([[u64; LANES]; REGISTERS]);

impl Matrices {
    /// Byte `r` of a matrix is the row of output bit `7 - r`: the key bits from `8 m + r` on.
    pub(super) fn new(key: &[u8; KEY_BYTES]) -> Matrices {
        let mut matrices = [[0; LANES]; REGISTERS];
        for m in 0..KEY_BYTES - 1 {
            let bits = u16::from_be_bytes([key[m], key[m + 1]]);
            let mut rows = [0; 8];
            for (r, row) in rows.iter_mut().enumerate() {
                *row = (bits << r >> 8) as u8;
            }
            matrices[m / LANES][m % LANES] = u64::from_le_bytes(rows);
        }
        Matrices(matrices)
    }
}

/// Where in a register that holds a tuple at byte 0 (and a second at [`SECOND`]) the bytes for
/// each matrix are; [`BLANK`] is a byte that is zero.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
const fn places(second: bool) -> [[u8; 64]; REGISTERS] {
    let mut places = [[BLANK; 64]; REGISTERS];
    let mut m = 0;
    while m < KEY_BYTES {
        let mut o = 0;
        while o < REACH && o <= m {
            let at = m % LANES * 8 + (REACH - 1 - o);
            places[m / LANES][at] = (m - o) as u8;
            if second && m - o < SECOND {
                places[m / LANES][at + REACH] = (SECOND + m - o) as u8;
            }
            o += 1;
        }
        m += 1;
    }
    places
}

const BLANK: u8 = 63;
/// Where the second tuple of a pair begins in the register.
const SECOND: usize = 32;
/// Most bytes of a tuple that is hashed in pairs: behind it there must be zeros to find.
const MOST_PAIRED: usize = SECOND - REACH;

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{clmul, gfni, gfni_burst, has_clmul, has_gfni};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use core::arch::x86_64::*;

    use super::*;

    #[repr(align(64))]
    struct Places([[u8; 64]; REGISTERS]);

    static SINGLE: Places = Places(places(false));
    static PAIR: Places = Places(places(true));

    pub(in super::super) fn has_clmul() -> bool {
        is_x86_feature_detected!("pclmulqdq")
    }

    pub(in super::super) fn has_gfni() -> bool {
        is_x86_feature_detected!("gfni")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vbmi")
    }

    /// # Safety
    /// [`has_clmul`].
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    pub(in super::super) unsafe fn clmul<const N: usize>(key: &Reversed, data: &[u8; N]) -> u32 {
        let mut sum = _mm_setzero_si128();
        for (chunk, key) in data.chunks(4).zip(&key.0) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            let word = _mm_cvtsi32_si128(i32::from_be_bytes(word));
            let key = _mm_cvtsi64_si128(*key as i64);
            sum = _mm_xor_si128(sum, _mm_clmulepi64_si128::<0>(word, key));
        }
        // Bits 31 to 62 of the product of reversed factors are the hash, reversed.
        let product = _mm_cvtsi128_si64(sum) as u64;
        ((product >> 31) as u32).reverse_bits()
    }

    /// # Safety
    /// [`has_gfni`].
    #[inline]
    #[target_feature(enable = "gfni,avx512f,avx512bw,avx512vbmi")]
    pub(in super::super) unsafe fn gfni<const N: usize>(key: &Matrices, data: &[u8; N]) -> u32 {
        lanes::<N>(key, &SINGLE, load(data)) as u32
    }

    /// # Safety
    /// [`has_gfni`].
    #[target_feature(enable = "gfni,avx512f,avx512bw,avx512vbmi")]
    pub(in super::super) unsafe fn gfni_burst<const N: usize>(
        key: &Matrices,
        tuples: &[&[u8; N]],
        hashes: &mut [u32],
    ) {
        let n = tuples.len().min(hashes.len());
        let (pairs, last) = tuples[..n].as_chunks::<2>();
        let (hash_pairs, last_hash) = hashes[..n].as_chunks_mut::<2>();
        for ([a, b], [hash_a, hash_b]) in pairs.iter().zip(hash_pairs) {
            if N <= MOST_PAIRED {
                let b = _mm512_castsi512_si256(load(b));
                let both = lanes::<N>(key, &PAIR, _mm512_inserti64x4::<1>(load(a), b));
                (*hash_a, *hash_b) = (both as u32, (both >> 32) as u32);
            } else {
                *hash_a = lanes::<N>(key, &SINGLE, load(a)) as u32;
                *hash_b = lanes::<N>(key, &SINGLE, load(b)) as u32;
            }
        }
        for (tuple, hash) in last.iter().zip(last_hash) {
            *hash = lanes::<N>(key, &SINGLE, load(tuple)) as u32;
        }
    }

    /// A register with the tuple in its first bytes and zeros behind.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load<const N: usize>(data: &[u8; N]) -> __m512i {
        let mask = (1 << N) - 1;
        // SAFETY: the mask lets the load touch the `N` bytes of `data` alone.
        unsafe { _mm512_maskz_loadu_epi8(mask, data.as_ptr().cast()) }
    }

    /// The exclusive or of all lanes: the hash, and above it the second of a pair.
    #[inline]
    #[target_feature(enable = "gfni,avx512f,avx512bw,avx512vbmi")]
    fn lanes<const N: usize>(key: &Matrices, places: &Places, data: __m512i) -> u64 {
        let mut sum = _mm512_setzero_si512();
        let registers = (N + REACH - 1).div_ceil(LANES);
        for (key, places) in key.0.iter().zip(&places.0).take(registers) {
            // SAFETY: both are 64 bytes, at a multiple of 64 (`repr(align)`).
            let (key, places) = unsafe {
                (
                    _mm512_load_si512(key.as_ptr().cast()),
                    _mm512_load_si512(places.as_ptr().cast()),
                )
            };
            let bytes = _mm512_permutexvar_epi8(places, data);
            let product = _mm512_gf2p8affine_epi64_epi8::<0>(bytes, key);
            sum = _mm512_xor_si512(sum, product);
        }
        let upper = _mm512_extracti64x4_epi64::<1>(sum);
        let sum = _mm256_xor_si256(_mm512_castsi512_si256(sum), upper);
        let upper = _mm256_extracti128_si256::<1>(sum);
        let sum = _mm_xor_si128(_mm256_castsi256_si128(sum), upper);
        let sum = _mm_xor_si128(sum, _mm_unpackhi_epi64(sum, sum));
        _mm_cvtsi128_si64(sum) as u64
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) use other::{clmul, gfni, gfni_burst, has_clmul, has_gfni};

/// No other processor has a path of its own yet.
#[cfg(not(target_arch = "x86_64"))]
mod other {
    use super::*;

    pub(in super::super) fn has_clmul() -> bool {
        false
    }

    pub(in super::super) fn has_gfni() -> bool {
        false
    }

    /// # Safety
    /// None; never called.
    pub(in super::super) unsafe fn clmul<const N: usize>(_: &Reversed, _: &[u8; N]) -> u32 {
        unreachable!("a path that is never available")
    }

    /// # Safety
    /// None; never called.
    pub(in super::super) unsafe fn gfni<const N: usize>(_: &Matrices, _: &[u8; N]) -> u32 {
        unreachable!("a path that is never available")
    }

    /// # Safety
    /// None; never called.
    pub(in super::super) unsafe fn gfni_burst<const N: usize>(
        _: &Matrices,
        _: &[&[u8; N]],
        _: &mut [u32],
    ) {
        unreachable!("a path that is never available")
    }
}
