//! Bursts by AVX-512: the same steps as [`Lpm6::lookup`].
//!
//! The first three loads of sixteen addresses are gathers; then each address has its range node,
//! whose first lines a register holds: the ranges that begin at or before the slot are counted.
//! Addresses that are done by then count in a line of zeros, so that nothing is branched on but
//! large nodes and the few addresses that go on below /48.
//!
//! I1 A gather loads aligned 32-bit words, as the atomic loads of the scalar path do: each lane is
//!    whole. A line loaded at once holds words that are never changed while the node is named
//!    (and `own`, which is loaded by itself). On x86-64 every load has Acquire order, and a node
//!    is reached by an address that the load of its entry gave.
//! I2 Every index is inside its table whatever the shared bytes are: 16 bits in tbl16; a node's
//!    line is held at the last one, behind which are more spare lines than a node may have.
//!    A pool has less than 2^31 words ([`super::MAX_LINES`]).

use core::arch::x86_64::*;

use super::layout::{LINE_WORDS, WIDE_LEVELS};
use super::{COUNT, Lpm6, NODE, OWN, PARTS, node};
use crate::simd::prefetch;
use crate::sync::{AtomicU32, Ordering};

const BURST: usize = 32;
const LANES: usize = 16;
const GROUPS: usize = BURST / LANES;
/// Halves of a line: beginnings of ranges, but for the first two words of a node.
const HALVES: usize = 2 * LINE_WORDS;
const HEAD: usize = 2 * PARTS;
const FIRST: usize = HALVES - HEAD;
/// Lines whose beginnings are counted; a node with more is searched by halves.
const COUNTED: usize = 4;

/// # Safety
/// - The CPU has AVX-512 F, BW, DQ and VL, BMI2 and POPCNT.
/// - Both slices have one length.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
pub(super) unsafe fn avx512(table: &Lpm6, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
    let (bursts, rest) = addresses.as_chunks::<BURST>();
    let (outs, rest_out) = next_hops.as_chunks_mut::<BURST>();
    for (addresses, out) in bursts.iter().zip(outs) {
        // SAFETY: as the caller promised.
        unsafe { burst(table, addresses, out) };
    }
    if !rest.is_empty() {
        let mut padded = [[0; 16]; BURST];
        padded[..rest.len()].copy_from_slice(rest);
        let mut out = [0; BURST];
        // SAFETY: as above.
        unsafe { burst(table, &padded, &mut out) };
        rest_out.copy_from_slice(&out[..rest.len()]);
    }
}

/// Sixteen addresses on their way down.
#[derive(Clone, Copy)]
struct Lanes {
    /// The first 32 bits of each address.
    bits: __m512i,
    entry: __m512i,
    best: __m512i,
    /// Lanes whose entry names a node.
    open: __mmask16,
}

/// What a step through range nodes needs and finds, for each address.
#[repr(C, align(64))]
struct Ranges {
    nodes: [u32; BURST],
    slots: [u16; BURST],
    own: [u32; BURST],
    found: [u32; BURST],
}

/// # Safety
/// The CPU has AVX-512 F, BW, DQ and VL, BMI2 and POPCNT.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
unsafe fn burst(table: &Lpm6, addresses: &[[u8; 16]; BURST], out: &mut [u16; BURST]) {
    let default = _mm512_set1_epi32(table.default.load(Ordering::Acquire) as i32);
    let zero = _mm512_setzero_si512();
    let fresh = Lanes {
        bits: zero,
        entry: zero,
        best: default,
        open: 0,
    };
    let mut lanes = [fresh; GROUPS];
    let mut ranges = Ranges {
        nodes: [0; BURST],
        slots: [0; BURST],
        own: [0; BURST],
        found: [0; BURST],
    };
    // Loops, not closures: what is not inlined into this function has no such registers.
    for (g, lanes) in lanes.iter_mut().enumerate() {
        let (bits, next) = heads(addresses, g);
        let top = _mm512_srli_epi32::<16>(bits);
        lanes.bits = bits;
        // SAFETY: I1, I2.
        lanes.entry = unsafe { _mm512_i32gather_epi32::<4>(top, table.tbl16.as_ptr().cast()) };
        lanes.open = open(lanes.entry);
        let slots = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(next));
        // SAFETY: sixteen u16 of an array of 32, `g` is below 2.
        unsafe { _mm256_store_si256(ranges.slots.as_mut_ptr().add(g * LANES).cast(), slots) };
    }
    for shift in [8, 0] {
        for lanes in &mut lanes {
            // SAFETY: as the caller promised.
            unsafe { wide_step(table, lanes, _mm_cvtsi32_si128(shift)) };
        }
    }
    for (g, lanes) in lanes.iter().enumerate() {
        let spare = _mm512_set1_epi32((table.last_line as i32 + 1) * LINE_WORDS as i32);
        let nodes = _mm512_mask_mov_epi32(spare, lanes.open, nodes_of(table, lanes.entry));
        // SAFETY: sixteen u32 of an array of 32, `g` is below 2.
        unsafe { _mm512_store_si512(ranges.nodes.as_mut_ptr().add(g * LANES).cast(), nodes) };
    }
    // SAFETY: as the caller promised.
    unsafe { range_step(table, &mut ranges) };
    for (g, lanes) in lanes.iter_mut().enumerate() {
        let (own, found) = (&raw const ranges.own, &raw const ranges.found);
        // SAFETY: sixteen u32 of an array of 32, `g` is below 2.
        let own = unsafe { _mm512_load_si512(own.cast::<u32>().add(g * LANES).cast()) };
        // SAFETY: as above.
        let found = unsafe { _mm512_load_si512(found.cast::<u32>().add(g * LANES).cast()) };
        arrive(lanes, own, found);
        let none = _mm512_testn_epi32_mask(lanes.entry, lanes.entry);
        let entry = _mm512_mask_mov_epi32(lanes.entry, none, lanes.best);
        let hops = _mm512_cvtepi32_epi16(_mm512_sub_epi32(entry, _mm512_set1_epi32(1)));
        // SAFETY: sixteen u16 of an array of 32, `g` is below 2.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(g * LANES).cast(), hops) };
        if lanes.open != 0 {
            let (mut left, mut best) = ([0; LANES], [0; LANES]);
            // SAFETY: sixteen u32.
            unsafe { _mm512_storeu_si512(left.as_mut_ptr().cast(), lanes.entry) };
            // SAFETY: as above.
            unsafe { _mm512_storeu_si512(best.as_mut_ptr().cast(), lanes.best) };
            let part = g * LANES..(g + 1) * LANES;
            deeper(
                table,
                &left,
                &best,
                &addresses[part.clone()],
                &mut out[part],
            );
        }
    }
}

/// Lanes whose entry names a node.
#[inline]
#[target_feature(enable = "avx512f")]
fn open(entry: __m512i) -> __mmask16 {
    _mm512_test_epi32_mask(entry, _mm512_set1_epi32(NODE as i32))
}

/// The first words of the nodes that entries name; inside the pool whatever the entries are.
#[inline]
#[target_feature(enable = "avx512f")]
fn nodes_of(table: &Lpm6, entry: __m512i) -> __m512i {
    let line = _mm512_andnot_si512(_mm512_set1_epi32(NODE as i32), entry);
    let line = _mm512_min_epu32(line, _mm512_set1_epi32(table.last_line as i32));
    _mm512_slli_epi32::<{ LINE_WORDS.ilog2() }>(line)
}

/// One step down from wide nodes; `shift` brings the next byte of the address to the right.
///
/// # Safety
/// The CPU has AVX-512 F, BW, DQ and VL.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn wide_step(table: &Lpm6, lanes: &mut Lanes, shift: __m128i) {
    let (pool, m) = (table.pool.as_ptr().cast(), lanes.open);
    let none = _mm512_setzero_si512();
    let slot = _mm512_srl_epi32(lanes.bits, shift);
    let slot = _mm512_and_si512(slot, _mm512_set1_epi32(0xff));
    let node = nodes_of(table, lanes.entry);
    let at = _mm512_add_epi32(
        node,
        _mm512_add_epi32(slot, _mm512_set1_epi32(PARTS as i32)),
    );
    // SAFETY: I1, I2.
    let found = unsafe { _mm512_mask_i32gather_epi32::<4>(none, m, at, pool) };
    let at = _mm512_add_epi32(node, _mm512_set1_epi32(OWN as i32));
    // SAFETY: I1, I2.
    let own = unsafe { _mm512_mask_i32gather_epi32::<4>(none, m, at, pool) };
    arrive(lanes, own, found);
}

/// Takes over what a step found in the lanes that are open: the nodes' own entries, and the next.
#[inline]
#[target_feature(enable = "avx512f")]
fn arrive(lanes: &mut Lanes, own: __m512i, found: __m512i) {
    let has_own = _mm512_mask_test_epi32_mask(lanes.open, own, own);
    lanes.best = _mm512_mask_mov_epi32(lanes.best, has_own, own);
    lanes.entry = _mm512_mask_mov_epi32(lanes.entry, lanes.open, found);
    lanes.open = open(lanes.entry);
}

/// One step through the range nodes of all addresses.
///
/// # Safety
/// - The CPU has AVX-512 F, BW, DQ and VL, BMI2 and POPCNT.
/// - `ranges.nodes` are first words of nodes, or of the first spare line.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")]
unsafe fn range_step(table: &Lpm6, ranges: &mut Ranges) {
    for node in ranges.nodes {
        prefetch(&raw const table.pool[node as usize]);
    }
    for i in 0..BURST {
        let (node, slot) = (ranges.nodes[i] as usize, ranges.slots[i]);
        let lines = &table.pool[node..node + COUNTED * LINE_WORDS];
        ranges.own[i] = lines[OWN].load(Ordering::Acquire);
        let n = lines[COUNT].load(Ordering::Relaxed).min(1 << 16) as usize;
        let at = if n <= FIRST + 1 {
            node + node::entries_at(n) + begun(lines, HEAD, HEAD + n.saturating_sub(1), slot)
        } else if n <= COUNTED * HALVES - HEAD + 1 {
            let mut sum = 0;
            for (k, line) in lines.chunks_exact(LINE_WORDS).enumerate() {
                let (from, end) = (if k == 0 { HEAD } else { 0 }, HEAD + n - 1);
                sum += begun(line, from, end.saturating_sub(k * HALVES), slot);
            }
            node + node::entries_at(n) + sum
        } else {
            table.range_at(node, n, slot)
        };
        // Mostly in the line at hand; where not, all others are under way when it is loaded.
        prefetch(&raw const table.pool[at]);
        ranges.found[i] = at as u32;
    }
    for found in &mut ranges.found {
        *found = table.pool[*found as usize].load(Ordering::Acquire);
    }
}

/// Ranges that begin at or before `slot`, of those whose beginnings are the halves `from..end` of
/// a line.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,bmi2,popcnt")]
fn begun(line: &[AtomicU32], from: usize, end: usize, slot: u16) -> usize {
    let line: &[AtomicU32; LINE_WORDS] = line.first_chunk().expect("a line");
    // SAFETY: 64 bytes (I1).
    let halves = unsafe { _mm512_loadu_si512(line.as_ptr().cast()) };
    let begun = _mm512_cmple_epu16_mask(halves, _mm512_set1_epi16(slot as i16));
    let valid = _bzhi_u32(!0 << from, end.min(HALVES) as u32);
    (begun & valid).count_ones() as usize
}

/// The rest of the way of the addresses that are not at its end: those of routes longer than /48.
#[cold]
fn deeper(
    table: &Lpm6,
    left: &[u32; LANES],
    best: &[u32; LANES],
    addresses: &[[u8; 16]],
    out: &mut [u16],
) {
    for (i, entry) in left.iter().enumerate() {
        if entry & NODE != 0 {
            let found = table.walk(&addresses[i], WIDE_LEVELS + 1, *entry, best[i]);
            out[i] = found.wrapping_sub(1) as u16;
        }
    }
}

/// The first and the second 32 bits of sixteen addresses, as numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn heads(addresses: &[[u8; 16]; BURST], group: usize) -> (__m512i, __m512i) {
    let from: *const u8 = addresses[group * LANES].as_ptr();
    let pick = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    // SAFETY: four of the sixteen addresses of a group, which is below 2.
    let a = unsafe { _mm512_loadu_si512(from.cast()) };
    // SAFETY: the next four.
    let b = unsafe { _mm512_loadu_si512(from.add(64).cast()) };
    // SAFETY: the next four.
    let c = unsafe { _mm512_loadu_si512(from.add(128).cast()) };
    // SAFETY: the last four.
    let d = unsafe { _mm512_loadu_si512(from.add(192).cast()) };
    let front = _mm512_permutex2var_epi32(a, pick, b);
    let back = _mm512_permutex2var_epi32(c, pick, d);
    let swap = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    let swap = _mm512_broadcast_i32x4(swap);
    (
        _mm512_shuffle_epi8(_mm512_shuffle_i64x2::<0x44>(front, back), swap),
        _mm512_shuffle_epi8(_mm512_shuffle_i64x2::<0xee>(front, back), swap),
    )
}
