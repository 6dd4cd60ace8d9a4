//! Lookups without instructions of a certain CPU: the twin that the others are held against.

use super::{Block, Ids, Pending, Tables};
use crate::acl::rule::{Key4, Key6};
use crate::sync::Ordering;

/// The classes of header `i` of a chunk.
#[inline]
pub(super) fn ids4(tables: &Tables, key: &Key4, i: usize, ids: &mut Ids) {
    let src = tables.tries[0].class4(key.src);
    let dst = tables.tries[1].class4(key.dst);
    put(
        tables,
        [src, dst],
        (key.sport, key.dport, key.proto),
        i,
        ids,
    );
}

/// The classes of header `i` of a chunk.
#[inline]
pub(super) fn ids6(tables: &Tables, key: &Key6, i: usize, ids: &mut Ids) {
    let src = tables.tries[0].class(u128::from_be_bytes(key.src));
    let dst = tables.tries[1].class(u128::from_be_bytes(key.dst));
    put(
        tables,
        [src, dst],
        (key.sport, key.dport, key.proto),
        i,
        ids,
    );
}

#[inline]
fn put(tables: &Tables, addresses: [u32; 2], rest: (u16, u16, u8), i: usize, ids: &mut Ids) {
    let classes = [
        addresses[0],
        addresses[1],
        tables.ports[0].get(rest.0.into()),
        tables.ports[1].get(rest.1.into()),
        tables.protos.get(rest.2.into()),
    ];
    for (field, class) in ids.fields.iter_mut().zip(classes) {
        field[i] = class.min(tables.last_class);
    }
}

/// The action of the first rule of category 0 in a block; who has none stays pending.
pub(super) fn first(block: &Block, ids: &Ids, pending: &mut Pending, actions: &mut [u32]) {
    let mut kept = 0;
    for k in 0..pending.n {
        let i = pending.header(k);
        let rows = rows(block, ids, i);
        let bits = |word: usize| {
            let mask = block.categories[word].load(Ordering::Relaxed);
            and(block, &rows, word) & mask
        };
        let found = (0..8)
            .map(|word| (word, bits(word)))
            .find(|(_, bits)| *bits != 0);
        let slot = found.map(|(word, bits)| word * 64 + bits.trailing_zeros() as usize);
        actions[i] = slot.map_or(0, |slot| block.actions[slot].load(Ordering::Relaxed));
        if slot.is_none() {
            pending.at[kept] = i as u8;
            kept += 1;
        }
    }
    pending.n = kept;
    pending.all = false;
}

/// The rules of a block that header `i` matches, of any category.
pub(super) fn matching(block: &Block, ids: &Ids, i: usize) -> [u64; 8] {
    let rows = rows(block, ids, i);
    core::array::from_fn(|word| and(block, &rows, word))
}

/// Where the rows of the five fields begin.
#[inline]
fn rows(block: &Block, ids: &Ids, i: usize) -> [usize; 5] {
    let last = block.rows.len() / 8 - 1;
    core::array::from_fn(|field| {
        let row = block.index[ids.fields[field][i] as usize].load(Ordering::Relaxed);
        usize::from(row).min(last) * 8
    })
}

#[inline]
fn and(block: &Block, rows: &[usize; 5], word: usize) -> u64 {
    let words = rows
        .iter()
        .map(|row| block.rows[row + word].load(Ordering::Relaxed));
    words.fold(u64::MAX, |a, b| a & b)
}
