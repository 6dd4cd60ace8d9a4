//! Bursts by gathers: the same steps as [`Lpm6::lookup`], in 64-bit lanes.
//!
//! I1 A gather loads aligned words of 32 or 64 bits. Those of 64 hold two of the table's words:
//!    either both are never changed while the node is named, or (counts, own) only one of them
//!    changes, and each half is whole. On x86-64 every load has Acquire order, and a node's words
//!    are reached by an address that the load of its entry gave.
//! I2 Every index is inside its table whatever the shared bytes are: 16 bits in tbl16; a node's
//!    line is held at the last one, and behind that are spare lines for head and 256 entries.

use core::arch::x86_64::*;

use super::{COUNTS, LINE_WORDS, Lpm6, NODE, OWN, RUNS, burst};
use crate::sync::Ordering;

const LANES: usize = 8;
const GROUPS: usize = 4;
const WORDS_LOG2: u32 = LINE_WORDS.ilog2();

/// # Safety
/// - The CPU has AVX-512 F, BW, DQ, VL and VPOPCNTDQ.
/// - Both slices have one length.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")]
pub(super) unsafe fn avx512(table: &Lpm6, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
    let (bursts, rest) = addresses.as_chunks::<{ LANES * GROUPS }>();
    let (outs, rest_out) = next_hops.as_chunks_mut::<{ LANES * GROUPS }>();
    for (addresses, out) in bursts.iter().zip(outs) {
        // SAFETY: as the caller promised.
        unsafe { burst512(table, addresses, out) };
    }
    if !rest.is_empty() {
        let mut padded = [[0; 16]; LANES * GROUPS];
        padded[..rest.len()].copy_from_slice(rest);
        let mut out = [0; LANES * GROUPS];
        // SAFETY: as above.
        unsafe { burst512(table, &padded, &mut out) };
        rest_out.copy_from_slice(&out[..rest.len()]);
    }
}

/// Eight addresses on their way down.
#[derive(Clone, Copy)]
struct Lanes {
    /// The 64 bits of the address that the next steps need.
    bits: __m512i,
    entry: __m512i,
    best: __m512i,
    /// Lanes whose entry names a node.
    open: __mmask8,
}

/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL and VPOPCNTDQ.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")]
unsafe fn burst512(table: &Lpm6, addresses: &[[u8; 16]; 32], out: &mut [u16; 32]) {
    let node_bit = _mm512_set1_epi64(i64::from(NODE));
    let default = i64::from(table.default.load(Ordering::Acquire));
    let zero = _mm512_setzero_si512();
    let fresh = Lanes {
        bits: zero,
        entry: zero,
        best: _mm512_set1_epi64(default),
        open: 0,
    };
    let mut lanes = [fresh; GROUPS];
    // Loops, not closures: what is not inlined into this function has no such registers.
    for (g, lanes) in lanes.iter_mut().enumerate() {
        let bits = half_of_addresses(addresses, g, 0);
        let top = _mm512_srli_epi64::<48>(bits);
        // SAFETY: I1, I2.
        let found = unsafe { _mm512_i64gather_epi32::<4>(top, table.tbl16.as_ptr().cast()) };
        lanes.bits = bits;
        lanes.entry = _mm512_cvtepu32_epi64(found);
        lanes.open = _mm512_test_epi64_mask(lanes.entry, node_bit);
    }
    for lanes in &mut lanes {
        // SAFETY: as the caller promised.
        unsafe { wide_step(table, lanes) };
    }
    for byte in 3..16 {
        if lanes.iter().all(|lanes| lanes.open == 0) {
            break;
        }
        let shift = _mm_cvtsi32_si128(56 - 8 * (byte % 8));
        for (g, lanes) in lanes.iter_mut().enumerate() {
            if byte == 8 {
                lanes.bits = half_of_addresses(addresses, g, 1);
            }
            if lanes.open != 0 {
                // SAFETY: as the caller promised.
                unsafe { step(table, lanes, shift) };
            }
        }
    }
    for (g, lanes) in lanes.iter().enumerate() {
        let above = _mm512_testn_epi64_mask(lanes.entry, lanes.entry) | lanes.open;
        let entry = _mm512_mask_mov_epi64(lanes.entry, above, lanes.best);
        let hops = _mm512_cvtepi64_epi16(_mm512_sub_epi64(entry, _mm512_set1_epi64(1)));
        // SAFETY: eight u16 of an array of 32, `g` is below 4.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().add(g * LANES).cast(), hops) };
    }
}

/// One step down from the nodes of the first level: wide, no bitmap to ask.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL and VPOPCNTDQ.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")]
unsafe fn wide_step(table: &Lpm6, lanes: &mut Lanes) {
    let (pool, m) = (table.pool.as_ptr().cast(), lanes.open);
    let none = _mm256_setzero_si256();
    let slot = _mm512_srli_epi64::<40>(lanes.bits);
    let slot = _mm512_and_si512(slot, _mm512_set1_epi64(0xff));
    let node = _mm512_slli_epi64::<WORDS_LOG2>(lines_of(table, lanes.entry));
    let at = _mm512_add_epi64(node, _mm512_set1_epi64(OWN as i64));
    // SAFETY: I1, I2.
    let own = unsafe { _mm512_mask_i64gather_epi32::<4>(none, m, at, pool) };
    let at = _mm512_add_epi64(node, _mm512_add_epi64(slot, _mm512_set1_epi64(RUNS as i64)));
    // SAFETY: I1, I2.
    let found = unsafe { _mm512_mask_i64gather_epi32::<4>(none, m, at, pool) };
    arrive(lanes, _mm512_cvtepu32_epi64(own), found);
}

/// One step down; `shift` brings the next byte of the address to the right.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ, VL and VPOPCNTDQ.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")]
unsafe fn step(table: &Lpm6, lanes: &mut Lanes, shift: __m128i) {
    let (pool, m) = (table.pool.as_ptr(), lanes.open);
    let zero = _mm512_setzero_si512();
    let slot = _mm512_srl_epi64(lanes.bits, shift);
    let slot = _mm512_and_si512(slot, _mm512_set1_epi64(0xff));
    let line = lines_of(table, lanes.entry);
    let part = _mm512_srli_epi64::<6>(slot);
    let pair = _mm512_slli_epi64::<{ WORDS_LOG2 - 1 }>(line);
    let at = _mm512_add_epi64(pair, part);
    // SAFETY: I1, I2.
    let bitmap = unsafe { _mm512_mask_i64gather_epi64::<8>(zero, m, at, pool.cast()) };
    let at = _mm512_add_epi64(pair, _mm512_set1_epi64(COUNTS as i64 / 2));
    // SAFETY: I1, I2.
    let head = unsafe { _mm512_mask_i64gather_epi64::<8>(zero, m, at, pool.cast()) };
    let before = _mm512_srlv_epi64(head, _mm512_slli_epi64::<3>(part));
    let before = _mm512_and_si512(before, _mm512_set1_epi64(0xff));
    // The bits up to the slot's: those above are shifted out.
    let above = _mm512_andnot_si512(slot, _mm512_set1_epi64(63));
    let rank = _mm512_popcnt_epi64(_mm512_sllv_epi64(bitmap, above));
    let rank = _mm512_add_epi64(rank, before);
    let runs = _mm512_slli_epi64::<WORDS_LOG2>(line);
    let runs = _mm512_add_epi64(runs, _mm512_set1_epi64(RUNS as i64 - 1));
    let at = _mm512_add_epi64(runs, rank);
    let none = _mm256_setzero_si256();
    // SAFETY: I1, I2: a rank is at most 64 + 255.
    let found = unsafe { _mm512_mask_i64gather_epi32::<4>(none, m, at, pool.cast()) };
    arrive(lanes, _mm512_srli_epi64::<32>(head), found);
}

/// The lines of the nodes that entries name; inside the pool whatever the entries are.
#[inline]
#[target_feature(enable = "avx512f")]
fn lines_of(table: &Lpm6, entry: __m512i) -> __m512i {
    let last = _mm512_set1_epi64(i64::from(table.last_line));
    let node_bit = _mm512_set1_epi64(i64::from(NODE));
    _mm512_min_epu64(_mm512_andnot_si512(node_bit, entry), last)
}

/// Takes over what a step found: the nodes' own entries (0 in lanes that are not open), and the
/// next ones.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn arrive(lanes: &mut Lanes, own: __m512i, found: __m256i) {
    let node_bit = _mm512_set1_epi64(i64::from(NODE));
    let has_own = _mm512_test_epi64_mask(own, own);
    lanes.best = _mm512_mask_mov_epi64(lanes.best, has_own, own);
    let found = _mm512_cvtepu32_epi64(found);
    lanes.entry = _mm512_mask_mov_epi64(lanes.entry, lanes.open, found);
    lanes.open = _mm512_test_epi64_mask(lanes.entry, node_bit);
}

/// The first (0) or second (1) 64 bits of eight addresses, as numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn half_of_addresses(addresses: &[[u8; 16]; 32], group: usize, half: i64) -> __m512i {
    let from: *const u8 = addresses[group * LANES].as_ptr();
    // SAFETY: four of the eight addresses of a group, which is below 4.
    let a = unsafe { _mm512_loadu_si512(from.cast()) };
    // SAFETY: the other four.
    let b = unsafe { _mm512_loadu_si512(from.add(64).cast()) };
    let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    let pick = _mm512_add_epi64(even, _mm512_set1_epi64(half));
    let words = _mm512_permutex2var_epi64(a, pick, b);
    let swap = _mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
    _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(swap))
}

/// # Safety
/// - The CPU has AVX2.
/// - Both slices have one length.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn avx2(table: &Lpm6, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
    let (bursts, rest) = addresses.as_chunks::<16>();
    let (outs, rest_out) = next_hops.as_chunks_mut::<16>();
    for (addresses, out) in bursts.iter().zip(outs) {
        // SAFETY: as the caller promised.
        unsafe { burst256(table, addresses, out) };
    }
    burst::scalar(table, rest, rest_out);
}

/// # Safety
/// The CPU has AVX2.
#[target_feature(enable = "avx2")]
unsafe fn burst256(table: &Lpm6, addresses: &[[u8; 16]; 16], out: &mut [u16; 16]) {
    let zero = _mm256_setzero_si256();
    let node_bit = _mm256_set1_epi64x(i64::from(NODE));
    let default = i64::from(table.default.load(Ordering::Acquire));
    let mut best = [_mm256_set1_epi64x(default); GROUPS];
    let mut entry = [zero; GROUPS];
    for g in 0..GROUPS {
        let top = |i: usize| {
            let [a, b, ..] = addresses[g * 4 + i];
            i64::from(u16::from_be_bytes([a, b]))
        };
        let top = _mm256_setr_epi64x(top(0), top(1), top(2), top(3));
        // SAFETY: I1, I2.
        let found = unsafe { _mm256_i64gather_epi32::<4>(table.tbl16.as_ptr().cast(), top) };
        entry[g] = _mm256_cvtepu32_epi64(found);
    }
    let pool: *const u8 = table.pool.as_ptr().cast();
    let last = _mm256_set1_epi64x(i64::from(table.last_line));
    #[expect(
        clippy::needless_range_loop,
        reason = "the byte of each address, not of one"
    )]
    for byte in 2..16 {
        let mut any = 0;
        for g in 0..GROUPS {
            let m = _mm256_cmpeq_epi64(_mm256_and_si256(entry[g], node_bit), node_bit);
            if _mm256_movemask_epi8(m) == 0 {
                continue;
            }
            any = 1;
            let slot = |i: usize| i64::from(addresses[g * 4 + i][byte]);
            let slot = _mm256_setr_epi64x(slot(0), slot(1), slot(2), slot(3));
            let line = _mm256_min_epu32(_mm256_andnot_si256(node_bit, entry[g]), last);
            let part = _mm256_srli_epi64::<6>(slot);
            let pair = _mm256_slli_epi64::<{ WORDS_LOG2 as i32 - 1 }>(line);
            let at = _mm256_add_epi64(pair, part);
            // SAFETY: I1, I2.
            let bitmap = unsafe { _mm256_mask_i64gather_epi64::<8>(zero, pool.cast(), at, m) };
            let at = _mm256_add_epi64(pair, _mm256_set1_epi64x(COUNTS as i64 / 2));
            // SAFETY: I1, I2.
            let head = unsafe { _mm256_mask_i64gather_epi64::<8>(zero, pool.cast(), at, m) };
            let own = _mm256_srli_epi64::<32>(head);
            let keep = _mm256_cmpeq_epi64(own, zero);
            best[g] = _mm256_blendv_epi8(own, best[g], keep);
            let before = _mm256_srlv_epi64(head, _mm256_slli_epi64::<3>(part));
            let before = _mm256_and_si256(before, _mm256_set1_epi64x(0xff));
            let above = _mm256_andnot_si256(slot, _mm256_set1_epi64x(63));
            let rank = popcount256(_mm256_sllv_epi64(bitmap, above));
            let rank = _mm256_add_epi64(rank, before);
            let runs = _mm256_slli_epi64::<{ WORDS_LOG2 as i32 }>(line);
            let runs = _mm256_add_epi64(runs, _mm256_set1_epi64x(RUNS as i64 - 1));
            let at = _mm256_add_epi64(runs, rank);
            let narrow = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(
                m,
                _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6),
            ));
            let none = _mm_setzero_si128();
            // SAFETY: I1, I2: a rank is at most 64 + 255.
            let found = unsafe { _mm256_mask_i64gather_epi32::<4>(none, pool.cast(), at, narrow) };
            entry[g] = _mm256_blendv_epi8(entry[g], _mm256_cvtepu32_epi64(found), m);
        }
        if any == 0 {
            break;
        }
    }
    for (g, out) in out.chunks_exact_mut(4).enumerate() {
        let (mut entries, mut bests) = ([0u64; 4], [0u64; 4]);
        // SAFETY: 32 bytes each.
        unsafe { _mm256_storeu_si256(entries.as_mut_ptr().cast(), entry[g]) };
        // SAFETY: likewise.
        unsafe { _mm256_storeu_si256(bests.as_mut_ptr().cast(), best[g]) };
        for (out, (entry, best)) in out.iter_mut().zip(entries.into_iter().zip(bests)) {
            *out = super::best_of(entry as u32, best as u32).wrapping_sub(1) as u16;
        }
    }
}

/// Bits set in each 64-bit lane: by nibbles (Mula), which AVX2 has no instruction for.
#[inline]
#[target_feature(enable = "avx2")]
fn popcount256(v: __m256i) -> __m256i {
    let counts = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    let counts = _mm256_broadcastsi128_si256(counts);
    let low = _mm256_set1_epi8(0x0f);
    let a = _mm256_shuffle_epi8(counts, _mm256_and_si256(v, low));
    let b = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16::<4>(v), low));
    _mm256_sad_epu8(_mm256_add_epi8(a, b), _mm256_setzero_si256())
}
