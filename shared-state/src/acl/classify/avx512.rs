//! Lookups with AVX-512: sixteen headers to their classes at a time, and a row in a register.

use core::arch::x86_64::*;

use super::{Block, CHUNK, Ids, Pending, Tables};
use crate::acl::cells::Cells;
use crate::acl::layout::{BLOCK_RULES, FIRST_CELLS};
use crate::acl::rule::{Key4, Key6};
use crate::acl::trie::Trie;

const LANES: usize = 16;

/// Words of a row.
const WORDS: usize = BLOCK_RULES / 64;

/// The bits of a header, and behind them one that is always set, the result of no match.
#[repr(align(64))]
struct Words([u64; 16]);

/// The classes of the first headers of a chunk, a multiple of 16: how many there were.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
pub(super) fn ids4(tables: &Tables, keys: &[Key4], ids: &mut Ids) -> usize {
    let whole = keys.len().min(CHUNK) / LANES * LANES;
    let low = _mm512_set1_epi32(0xffff);
    // Fields 0 and 1 of eight headers out of two registers of four headers each.
    let addresses = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    let others = _mm512_add_epi32(addresses, _mm512_set1_epi32(2));
    for at in (0..whole).step_by(LANES) {
        // SAFETY: headers `at..at + 16` are in the slice, 16 bytes each.
        let load = |i: usize| unsafe { _mm512_loadu_si512(keys.as_ptr().add(at + i * 4).cast()) };
        let (a, b, c, d) = (load(0), load(1), load(2), load(3));
        let front = _mm512_permutex2var_epi32(a, addresses, b);
        let back = _mm512_permutex2var_epi32(c, addresses, d);
        let src = _mm512_shuffle_i64x2::<0x44>(front, back);
        let dst = _mm512_shuffle_i64x2::<0xee>(front, back);
        let front = _mm512_permutex2var_epi32(a, others, b);
        let back = _mm512_permutex2var_epi32(c, others, d);
        let ports = _mm512_shuffle_i64x2::<0x44>(front, back);
        let proto = _mm512_shuffle_i64x2::<0xee>(front, back);
        let [src, dst] = classes4(&tables.tries, [src, dst]);
        let sport = narrow(&tables.ports[0], _mm512_and_si512(ports, low));
        let dport = narrow(&tables.ports[1], _mm512_srli_epi32::<16>(ports));
        let proto = narrow(
            &tables.protos,
            _mm512_and_si512(proto, _mm512_set1_epi32(0xff)),
        );
        put(tables, [src, dst, sport, dport, proto], at, ids);
    }
    whole
}

/// As [`ids4`], for IPv6.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
pub(super) fn ids6(tables: &Tables, keys: &[Key6], ids: &mut Ids) -> usize {
    let whole = keys.len().min(CHUNK) / LANES * LANES;
    let (low, byte) = (_mm512_set1_epi32(0xffff), _mm512_set1_epi32(0xff));
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // A header is ten words long.
    let words = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(10));
    for at in (0..whole).step_by(LANES) {
        let base: *const i32 = keys[at..].as_ptr().cast();
        // SAFETY: words 0 to 9 of headers `at..at + 16` are in the slice.
        let word = |n: i32| unsafe {
            let at = _mm512_add_epi32(words, _mm512_set1_epi32(n));
            _mm512_i32gather_epi32::<4>(at, base)
        };
        let src = classes6(&tables.tries[0], word);
        let dst = classes6(&tables.tries[1], |n| word(4 + n));
        let ports = word(8);
        let sport = narrow(&tables.ports[0], _mm512_and_si512(ports, low));
        let dport = narrow(&tables.ports[1], _mm512_srli_epi32::<16>(ports));
        let proto = narrow(&tables.protos, _mm512_and_si512(word(9), byte));
        put(tables, [src, dst, sport, dport, proto], at, ids);
    }
    whole
}

/// The action of the first rule of category 0 in a block; who has none stays pending.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
pub(super) fn first(
    block: &Block,
    ids: &Ids,
    pending: &mut Pending,
    slots: &mut [u32],
    actions: &mut [u32],
) {
    // SAFETY: a block has sixteen masks of 64 bytes.
    let mask = unsafe { _mm512_loadu_si512(block.categories.as_ptr().cast()) };
    let n = pending.n.min(actions.len()).min(ids.fields[0].len());
    let n = n.min(slots.len()).min(pending.at.len() - LANES);
    let mut words = Words([0; 16]);
    words.0[WORDS] = 1;
    for group in (0..n).step_by(LANES) {
        let rows = rows(block, &classes(ids, pending, group));
        let lanes = slots[group..n.min(group + LANES)].iter_mut();
        for (lane, slot) in lanes.enumerate() {
            *slot = slot_of(_mm512_and_si512(and(block, &rows, lane), mask), &mut words);
        }
    }
    // Apart from the loop above, so that the narrow stores of slots are through when a register
    // of them is loaded.
    let mut kept = 0;
    for group in (0..n).step_by(LANES) {
        let lanes = ((1u32 << (n - group).min(LANES)) - 1) as u16;
        // SAFETY: sixteen words of this thread; groups end where the array does, a multiple of 16.
        let slots = unsafe { _mm512_loadu_si512(slots.as_ptr().add(group).cast()) };
        let at = at(pending, group);
        // SAFETY: slots are 0 to 512, those of earlier headers too, and a block has more actions.
        let found = unsafe { _mm512_i32gather_epi32::<4>(slots, block.actions.as_ptr().cast()) };
        // SAFETY: the lanes of `lanes` are headers of the chunk that `actions` is for, by their
        // order where all are pending, else by their numbers.
        unsafe {
            if pending.all {
                _mm512_mask_storeu_epi32(actions.as_mut_ptr().add(group).cast(), lanes, found);
            } else {
                _mm512_mask_i32scatter_epi32::<4>(actions.as_mut_ptr().cast(), lanes, at, found);
            }
        }
        let none = _mm512_set1_epi32(BLOCK_RULES as i32);
        let left = _mm512_mask_cmpeq_epi32_mask(lanes, slots, none);
        let at = _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(left, at));
        // SAFETY: as in `at`; `kept <= group`, so what is overwritten was read.
        unsafe { _mm_storeu_si128(pending.at.as_mut_ptr().add(kept).cast(), at) };
        kept += left.count_ones() as usize;
    }
    pending.n = kept;
    pending.all = false;
}

/// The rules of a block that header `i` matches, of any category.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
pub(super) fn matching(block: &Block, ids: &Ids, i: usize) -> [u64; 8] {
    let mut bits = [0; 8];
    let classes = ids
        .fields
        .each_ref()
        .map(|field| _mm512_set1_epi32(field[i] as i32));
    let rows = rows(block, &classes);
    // SAFETY: the array is 64 bytes of this thread.
    unsafe { _mm512_storeu_si512(bits.as_mut_ptr().cast(), and(block, &rows, 0)) };
    bits
}

/// The first bit; 512 where there is none. Which word it is in says a mask; the word itself is
/// loaded from where the register is stored: cheaper than to bring it to the front of one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn slot_of(bits: __m512i, words: &mut Words) -> u32 {
    // SAFETY: the first eight words of sixteen, which are aligned to 64 bytes.
    unsafe { _mm512_store_si512(words.0.as_mut_ptr().cast(), bits) };
    let not_zero = _mm512_test_epi64_mask(bits, bits);
    let word = (u32::from(not_zero) | 1 << WORDS).trailing_zeros();
    word * 64 + words.0[word as usize % 16].trailing_zeros()
}

/// Sixteen numbers of pending headers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn at(pending: &Pending, group: usize) -> __m512i {
    if pending.all {
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        return _mm512_add_epi32(lanes, _mm512_set1_epi32(group as i32));
    }
    // SAFETY: the array has room for sixteen numbers from any group on.
    let at = unsafe { _mm_loadu_si128(pending.at.as_ptr().add(group).cast()) };
    // There are as many headers as numbers, but for those sixteen: a power of two.
    let last = (pending.at.len() - LANES - 1) as i32;
    _mm512_and_si512(_mm512_cvtepu8_epi32(at), _mm512_set1_epi32(last))
}

/// The classes of sixteen pending headers, by field.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn classes(ids: &Ids, pending: &Pending, group: usize) -> [__m512i; 5] {
    let at = at(pending, group);
    ids.fields.each_ref().map(|field| {
        let field = field.as_ptr();
        // SAFETY: groups end where the array does, and `at` is held below its length, a power of two.
        unsafe {
            if pending.all {
                _mm512_load_si512(field.add(group).cast())
            } else {
                _mm512_i32gather_epi32::<4>(at, field.cast())
            }
        }
    })
}

/// Where, in bytes, the rows of the five fields begin for each of sixteen headers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn rows(block: &Block, classes: &[__m512i; 5]) -> [[u32; LANES]; 5] {
    let last = _mm512_set1_epi32((block.rows.len() / 8 - 1) as i32);
    let low = _mm512_set1_epi32(0xffff);
    let mut rows = [[0; LANES]; 5];
    for (row, class) in rows.iter_mut().zip(classes) {
        // SAFETY: `Ids` holds classes smaller than their number, which is the index's length; a
        // gather of 32 bits at the last cell of 16 reads two bytes of what follows: a block is
        // longer than its index.
        let of = unsafe { _mm512_i32gather_epi32::<2>(*class, block.index.as_ptr().cast()) };
        let of = _mm512_min_epu32(_mm512_and_si512(of, low), last);
        // SAFETY: sixteen words of this thread.
        unsafe { _mm512_storeu_si512(row.as_mut_ptr().cast(), _mm512_slli_epi32::<6>(of)) };
    }
    rows
}

/// The AND of the rows of the five fields.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn and(block: &Block, rows: &[[u32; LANES]; 5], lane: usize) -> __m512i {
    let row = |field: usize| {
        let at = rows[field][lane] as usize;
        // SAFETY: `rows` gave the beginnings of rows of 64 bytes of the block. They change only
        // when no reader can be in it any more (I1); what a race would give is some bits.
        unsafe { _mm512_loadu_si512(block.rows.as_ptr().cast::<u8>().add(at).cast()) }
    };
    let three = _mm512_ternarylogic_epi64::<0x80>(row(0), row(1), row(2));
    _mm512_ternarylogic_epi64::<0x80>(three, row(3), row(4))
}

/// Classes of sixteen addresses of both fields, level by level side by side.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn classes4(tries: &[Trie; 2], keys: [__m512i; 2]) -> [__m512i; 2] {
    let mark = _mm512_set1_epi32(1 << 15);
    let mut cells = [0, 1].map(|f| narrow(&tries[f].cells, _mm512_srli_epi32::<16>(keys[f])));
    for (bits, shift) in [(8, 8), (4, 4), (4, 0)] {
        let inner = [0, 1].map(|f| _mm512_test_epi32_mask(cells[f], mark));
        if inner == [0, 0] {
            break;
        }
        for f in 0..2 {
            let key = _mm512_srl_epi32(keys[f], _mm_cvtsi32_si128(shift));
            let at = node_cells(&tries[f], _mm512_andnot_si512(mark, cells[f]), key, bits);
            // SAFETY: `node_cells` gives cells of the trie; a gather of 32 bits at the last cell
            // of 16 reads two bytes of what follows the trie in the region.
            let next = unsafe {
                let base = tries[f].cells.as_ptr().cast();
                _mm512_mask_i32gather_epi32::<2>(cells[f], inner[f], at, base)
            };
            cells[f] = _mm512_and_si512(next, _mm512_set1_epi32(0xffff));
        }
    }
    cells
}

/// Classes of sixteen addresses whose words, as on the wire, `word` gives.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn classes6(trie: &Trie, word: impl Fn(i32) -> __m512i) -> __m512i {
    let mark = _mm512_set1_epi32(i32::MIN);
    let mut key = swap(word(0));
    let (mut before, mut n) = (16, 0);
    let first = _mm512_srli_epi32::<16>(key);
    // SAFETY: a trie begins with 65536 cells of 32 bits.
    let mut cells = unsafe { _mm512_i32gather_epi32::<4>(first, trie.cells.as_ptr().cast()) };
    for bits in trie.levels {
        let inner = _mm512_test_epi32_mask(cells, mark);
        if inner == 0 {
            break;
        }
        if before / 32 != n {
            n = before / 32;
            key = swap(word(n));
        }
        let bits = i32::from(*bits);
        let shifted = _mm512_srl_epi32(key, _mm_cvtsi32_si128(32 - bits - before % 32));
        let at = node_cells(trie, _mm512_andnot_si512(mark, cells), shifted, bits);
        // SAFETY: `node_cells` gives cells of the trie.
        cells = unsafe {
            _mm512_mask_i32gather_epi32::<4>(cells, inner, at, trie.cells.as_ptr().cast())
        };
        before += bits;
    }
    cells
}

/// The cells of `nodes` of a level that takes `bits` bits, by the low bits of `keys`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn node_cells(trie: &Trie, nodes: __m512i, keys: __m512i, bits: i32) -> __m512i {
    let (first, last) = if bits == 8 {
        (FIRST_CELLS as u32, trie.big - 1)
    } else {
        (FIRST_CELLS as u32 + trie.big * 256, trie.small - 1)
    };
    let node = _mm512_min_epu32(nodes, _mm512_set1_epi32(last as i32));
    let node = _mm512_sll_epi32(node, _mm_cvtsi32_si128(bits));
    let cell = _mm512_and_si512(keys, _mm512_set1_epi32((1 << bits) - 1));
    _mm512_add_epi32(
        _mm512_add_epi32(node, cell),
        _mm512_set1_epi32(first as i32),
    )
}

/// Sixteen cells of 16 bits; `at` lies in the table.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn narrow(cells: &Cells, at: __m512i) -> __m512i {
    // SAFETY: every caller cut `at` to the table's length; a gather of 32 bits at the last cell
    // reads two bytes of what follows the table in the region.
    let words = unsafe { _mm512_i32gather_epi32::<2>(at, cells.as_ptr().cast()) };
    _mm512_and_si512(words, _mm512_set1_epi32(0xffff))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn put(tables: &Tables, classes: [__m512i; 5], at: usize, ids: &mut Ids) {
    let last = _mm512_set1_epi32(tables.last_class as i32);
    for (field, class) in ids.fields.iter_mut().zip(classes) {
        let class = _mm512_min_epu32(class, last);
        let to = &mut field[at..at + LANES];
        // SAFETY: sixteen words of this thread.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), class) };
    }
}

/// Words as on the wire to numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn swap(words: __m512i) -> __m512i {
    let order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    _mm512_shuffle_epi8(words, _mm512_broadcast_i32x4(order))
}
