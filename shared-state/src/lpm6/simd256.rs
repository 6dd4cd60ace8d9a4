//! Bursts by AVX2: gathers of eight addresses through tbl16 and the wide nodes, then each address
//! by itself, as in [`super::simd`], whose I1 and I2 hold here too.

use core::arch::x86_64::*;

use super::layout::{LINE_WORDS, WIDE_LEVELS};
use super::{COUNT, Lpm6, NODE, OWN, PARTS, burst, node};
use crate::simd::prefetch;
use crate::sync::{AtomicU32, Ordering};

const LANES: usize = 8;
const BURST: usize = 32;
const HALVES: usize = 2 * LINE_WORDS;
const HEAD: usize = 2 * PARTS;

/// # Safety
/// - The CPU has AVX2, BMI2 and POPCNT.
/// - Both slices have one length.
#[target_feature(enable = "avx2,bmi2,popcnt")]
pub(super) unsafe fn avx2(table: &Lpm6, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
    let (bursts, rest) = addresses.as_chunks::<BURST>();
    let (outs, rest_out) = next_hops.as_chunks_mut::<BURST>();
    for (addresses, out) in bursts.iter().zip(outs) {
        let (mut entries, mut best) = ([0; BURST], [0; BURST]);
        for at in (0..BURST).step_by(LANES) {
            // SAFETY: as the caller promised; eight of an array of 32 each.
            let (entry, above) = unsafe { top(table, &addresses[at..at + LANES]) };
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(entries[at..].as_mut_ptr().cast(), entry) };
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(best[at..].as_mut_ptr().cast(), above) };
        }
        for entry in entries {
            if entry & NODE != 0 {
                let node = table.node(entry);
                prefetch(&raw const table.pool[node]);
                prefetch(&raw const table.pool[node + LINE_WORDS]);
            }
        }
        for (i, out) in out.iter_mut().enumerate() {
            let (mut entry, mut best) = (entries[i], best[i]);
            if entry & NODE != 0 {
                let slot = u16::from_be_bytes([addresses[i][4], addresses[i][5]]);
                let (own, next) = range_step(table, table.node(entry), slot);
                (best, entry) = (if own == 0 { best } else { own }, next);
            }
            let found = table.walk(&addresses[i], WIDE_LEVELS + 1, entry, best);
            *out = found.wrapping_sub(1) as u16;
        }
    }
    burst::scalar(table, rest, rest_out);
}

/// Eight addresses through tbl16 and the wide nodes: their entries, and the best of those above.
///
/// # Safety
/// - The CPU has AVX2.
/// - There are eight addresses.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn top(table: &Lpm6, addresses: &[[u8; 16]]) -> (__m256i, __m256i) {
    let bits = |i: usize| {
        let [a, b, c, d, ..] = addresses[i];
        u32::from_be_bytes([a, b, c, d]) as i32
    };
    let bits = _mm256_setr_epi32(
        bits(0),
        bits(1),
        bits(2),
        bits(3),
        bits(4),
        bits(5),
        bits(6),
        bits(7),
    );
    let (zero, node_bit) = (_mm256_setzero_si256(), _mm256_set1_epi32(NODE as i32));
    let mut best = _mm256_set1_epi32(table.default.load(Ordering::Acquire) as i32);
    let top = _mm256_srli_epi32::<16>(bits);
    // SAFETY: I1, I2.
    let mut entry = unsafe { _mm256_i32gather_epi32::<4>(table.tbl16.as_ptr().cast(), top) };
    let pool = table.pool.as_ptr().cast();
    for shift in [8, 0] {
        // A gather goes by a lane's first bit, which is that of a node.
        let m = entry;
        let line = _mm256_andnot_si256(node_bit, entry);
        let line = _mm256_min_epu32(line, _mm256_set1_epi32(table.last_line as i32));
        let node = _mm256_slli_epi32::<{ LINE_WORDS.ilog2() as i32 }>(line);
        let slot = _mm256_srl_epi32(bits, _mm_cvtsi32_si128(shift));
        let slot = _mm256_and_si256(slot, _mm256_set1_epi32(0xff));
        let at = _mm256_add_epi32(
            node,
            _mm256_add_epi32(slot, _mm256_set1_epi32(PARTS as i32)),
        );
        // SAFETY: I1, I2.
        let found = unsafe { _mm256_mask_i32gather_epi32::<4>(entry, pool, at, m) };
        let at = _mm256_add_epi32(node, _mm256_set1_epi32(OWN as i32));
        // SAFETY: I1, I2.
        let own = unsafe { _mm256_mask_i32gather_epi32::<4>(zero, pool, at, m) };
        best = _mm256_blendv_epi8(own, best, _mm256_cmpeq_epi32(own, zero));
        entry = found;
    }
    (entry, best)
}

/// One step through a range node: its own entry, and that of a slot.
#[inline]
#[target_feature(enable = "avx2,bmi2,popcnt")]
fn range_step(table: &Lpm6, node: usize, slot: u16) -> (u32, u32) {
    let line: &[AtomicU32; LINE_WORDS] = table.pool[node..].first_chunk().expect("a line");
    let own = line[OWN].load(Ordering::Acquire);
    let n = line[COUNT].load(Ordering::Relaxed).min(1 << 16) as usize;
    let at = if n <= HALVES - HEAD + 1 {
        // SAFETY: the first half of a line (I1).
        let front = unsafe { _mm256_loadu_si256(line.as_ptr().cast()) };
        // SAFETY: the other half.
        let back = unsafe { _mm256_loadu_si256(line.as_ptr().add(LINE_WORDS / 2).cast()) };
        let halves = u64::from(begun(front, slot)) | u64::from(begun(back, slot)) << 32;
        // Two bits for each half; the first four halves are no beginnings.
        let valid = _bzhi_u64(!0 << (2 * HEAD), 2 * (HEAD + n.saturating_sub(1)) as u32);
        node + node::entries_at(n) + (halves & valid).count_ones() as usize / 2
    } else {
        table.range_at(node, n, slot)
    };
    (own, table.pool[at].load(Ordering::Acquire))
}

/// Two bits for each half that is at most `slot`.
#[inline]
#[target_feature(enable = "avx2")]
fn begun(halves: __m256i, slot: u16) -> u32 {
    let slot = _mm256_set1_epi16(slot as i16);
    _mm256_movemask_epi8(_mm256_cmpeq_epi16(_mm256_max_epu16(halves, slot), slot)) as u32
}
