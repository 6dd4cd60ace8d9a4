//! Lookups with AVX2: eight IPv4 headers to their classes at a time, a row in two registers.
//! Classes of IPv6 addresses are found as the scalar way does.

use core::arch::x86_64::*;

use super::{Block, CHUNK, Ids, Pending, Tables, scalar};
use crate::acl::cells::Cells;
use crate::acl::layout::FIRST_CELLS;
use crate::acl::rule::{Key4, Key6};
use crate::acl::trie::Trie;
use crate::sync::Ordering;

const LANES: usize = 8;

/// The classes of the first headers of a chunk, a multiple of 8: how many there were.
#[target_feature(enable = "avx2,bmi1")]
pub(super) fn ids4(tables: &Tables, keys: &[Key4], ids: &mut Ids) -> usize {
    let whole = keys.len().min(CHUNK) / LANES * LANES;
    let low = _mm256_set1_epi32(0xffff);
    let words = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
    for at in (0..whole).step_by(LANES) {
        let base: *const i32 = keys[at..].as_ptr().cast();
        // SAFETY: words 0 to 3 of headers `at..at + 8` are in the slice.
        let word = |n: i32| unsafe {
            _mm256_i32gather_epi32::<4>(base, _mm256_add_epi32(words, _mm256_set1_epi32(n)))
        };
        let [src, dst] = classes4(&tables.tries, [word(0), word(1)]);
        let ports = word(2);
        let sport = narrow(&tables.ports[0], _mm256_and_si256(ports, low));
        let dport = narrow(&tables.ports[1], _mm256_srli_epi32::<16>(ports));
        let proto = _mm256_and_si256(word(3), _mm256_set1_epi32(0xff));
        let proto = narrow(&tables.protos, proto);
        let last = _mm256_set1_epi32(tables.last_class as i32);
        for (field, class) in ids.fields.iter_mut().zip([src, dst, sport, dport, proto]) {
            let to = &mut field[at..at + LANES];
            let class = _mm256_min_epu32(class, last);
            // SAFETY: eight words of this thread.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), class) };
        }
    }
    whole
}

/// As [`ids4`], for IPv6.
#[target_feature(enable = "avx2,bmi1")]
pub(super) fn ids6(tables: &Tables, keys: &[Key6], ids: &mut Ids) -> usize {
    for (i, key) in keys.iter().enumerate() {
        scalar::ids6(tables, key, i, ids);
    }
    keys.len()
}

/// The action of the first rule of category 0 in a block; who has none stays pending.
#[target_feature(enable = "avx2,bmi1")]
pub(super) fn first(block: &Block, ids: &Ids, pending: &mut Pending, actions: &mut [u32]) {
    let mut kept = 0;
    for k in 0..pending.n {
        let i = pending.header(k) % CHUNK;
        let rows = rows(block, ids, i);
        let mut slot = None;
        for half in 0..2 {
            // SAFETY: a block has sixteen masks of 64 bytes.
            let mask = unsafe { block.categories.as_ptr().cast::<__m256i>().add(half) };
            // SAFETY: as above.
            let mask = unsafe { _mm256_loadu_si256(mask) };
            let bits = _mm256_and_si256(and(&rows, half), mask);
            if _mm256_testz_si256(bits, bits) == 0 {
                let mut words = [0u64; 4];
                // SAFETY: the array is 32 bytes of this thread.
                unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), bits) };
                let zero = _mm256_cmpeq_epi64(bits, _mm256_setzero_si256());
                let zero = _mm256_movemask_pd(_mm256_castsi256_pd(zero));
                let word = (!zero).trailing_zeros() as usize & 3;
                slot = Some(half * 256 + word * 64 + words[word].trailing_zeros() as usize);
                break;
            }
        }
        actions[i] = slot.map_or(0, |slot| block.actions[slot].load(Ordering::Relaxed));
        pending.at[kept] = i as u8;
        kept += usize::from(slot.is_none());
    }
    pending.n = kept;
    pending.all = false;
}

/// The rules of a block that header `i` matches, of any category.
#[target_feature(enable = "avx2,bmi1")]
pub(super) fn matching(block: &Block, ids: &Ids, i: usize) -> [u64; 8] {
    let mut bits = [0u64; 8];
    let rows = rows(block, ids, i);
    for half in 0..2 {
        // SAFETY: half of an array of 64 bytes of this thread.
        let to = unsafe { bits.as_mut_ptr().cast::<__m256i>().add(half) };
        // SAFETY: as above.
        unsafe { _mm256_storeu_si256(to, and(&rows, half)) };
    }
    bits
}

/// Where the rows of the five fields begin.
#[inline]
#[target_feature(enable = "avx2,bmi1")]
fn rows(block: &Block, ids: &Ids, i: usize) -> [*const __m256i; 5] {
    let last = block.rows.len() / 8 - 1;
    core::array::from_fn(|field| {
        let row = block.index[ids.fields[field][i] as usize].load(Ordering::Relaxed);
        block.rows[usize::from(row).min(last) * 8..].as_ptr().cast()
    })
}

/// The AND of half of each row.
#[inline]
#[target_feature(enable = "avx2,bmi1")]
fn and(rows: &[*const __m256i; 5], half: usize) -> __m256i {
    // SAFETY: `rows` gave the beginnings of rows of 64 bytes. They change only when no reader can
    // be in the block any more (I1); what a race would give is some bits, not more.
    let load = |row: *const __m256i| unsafe { _mm256_loadu_si256(row.add(half)) };
    let two = _mm256_and_si256(load(rows[0]), load(rows[1]));
    let four = _mm256_and_si256(load(rows[2]), load(rows[3]));
    _mm256_and_si256(_mm256_and_si256(two, four), load(rows[4]))
}

/// Classes of eight addresses of both fields, level by level side by side.
#[inline]
#[target_feature(enable = "avx2,bmi1")]
fn classes4(tries: &[Trie; 2], keys: [__m256i; 2]) -> [__m256i; 2] {
    let mark = _mm256_set1_epi32(1 << 15);
    let mut cells = [0, 1].map(|f| narrow(&tries[f].cells, _mm256_srli_epi32::<16>(keys[f])));
    for (bits, shift) in [(8, 8), (4, 4), (4, 0)] {
        let any = _mm256_or_si256(cells[0], cells[1]);
        if _mm256_testz_si256(any, mark) == 1 {
            break;
        }
        for f in 0..2 {
            // The mark as the sign: what a gather takes for a mask.
            let inner = _mm256_slli_epi32::<16>(cells[f]);
            let key = _mm256_srl_epi32(keys[f], _mm_cvtsi32_si128(shift));
            let at = node_cells(&tries[f], _mm256_andnot_si256(mark, cells[f]), key, bits);
            // SAFETY: `node_cells` gives cells of the trie; a gather of 32 bits at the last cell
            // of 16 reads two bytes of what follows the trie in the region.
            let next = unsafe {
                let base = tries[f].cells.as_ptr().cast();
                _mm256_mask_i32gather_epi32::<2>(cells[f], base, at, inner)
            };
            cells[f] = _mm256_and_si256(next, _mm256_set1_epi32(0xffff));
        }
    }
    cells
}

/// The cells of `nodes` of a level that takes `bits` bits, by the low bits of `keys`.
#[inline]
#[target_feature(enable = "avx2,bmi1")]
fn node_cells(trie: &Trie, nodes: __m256i, keys: __m256i, bits: i32) -> __m256i {
    let (first, last) = if bits == 8 {
        (FIRST_CELLS as u32, trie.big - 1)
    } else {
        (FIRST_CELLS as u32 + trie.big * 256, trie.small - 1)
    };
    let node = _mm256_min_epu32(nodes, _mm256_set1_epi32(last as i32));
    let node = _mm256_sll_epi32(node, _mm_cvtsi32_si128(bits));
    let cell = _mm256_and_si256(keys, _mm256_set1_epi32((1 << bits) - 1));
    _mm256_add_epi32(
        _mm256_add_epi32(node, cell),
        _mm256_set1_epi32(first as i32),
    )
}

/// Eight cells of 16 bits; `at` lies in the table.
#[inline]
#[target_feature(enable = "avx2,bmi1")]
fn narrow(cells: &Cells, at: __m256i) -> __m256i {
    // SAFETY: every caller cut `at` to the table's length; a gather of 32 bits at the last cell
    // reads two bytes of what follows the table in the region.
    let words = unsafe { _mm256_i32gather_epi32::<2>(cells.as_ptr().cast(), at) };
    _mm256_and_si256(words, _mm256_set1_epi32(0xffff))
}
