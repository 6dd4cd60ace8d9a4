//! Lookups: headers to classes, classes to rows, rows to the first rule, for a chunk at a time.
//!
//! Three ways with equal results: AVX-512, AVX2 and scalar. All of them read what a writer may have
//! damaged or may be changing: every number that comes out of the region is cut down to what the
//! region has before it is used as an index (I3 of the module above).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use super::cells::{Cells, halves};
use super::layout::*;
use super::rule::{Key4, Key6};
use super::trie::Trie;
use crate::region::Region;
use crate::simd::Path;
use crate::sync::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Headers that are looked up together, in one version of the rules.
pub const CHUNK: usize = 256;
/// Calls with up to so many headers are small.
const SMALL: usize = 32;

/// Where the tables of a classifier are in this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables {
    pub(super) region: Region,
    pub(super) layout: Layout,
    tries: [Trie; 2],
    ports: [Cells; 2],
    protos: Cells,
    /// The largest class.
    last_class: u32,
}

impl Tables {
    pub(super) fn new(region: Region, layout: Layout) -> Tables {
        Tables {
            region,
            layout,
            tries: [0, 1].map(|field| Trie::new(region, &layout, field)),
            ports: layout.ports.map(|at| Cells::narrow(region, at, PORTS)),
            protos: Cells::narrow(region, layout.proto, PROTOS),
            last_class: layout.sizes.classes - 1,
        }
    }

    /// The published version, as the blocks it lists.
    #[inline(always)]
    fn version(&self) -> &'static [AtomicU32] {
        let root = self.region.u32(ROOT_AT).load(Ordering::Acquire);
        let Some(version) = root.checked_sub(1) else {
            return &[];
        };
        let at = self
            .layout
            .version(version.min(self.layout.sizes.versions - 1));
        let count = self.region.u32(at).load(Ordering::Relaxed).min(MAX_BLOCKS);
        self.region.u32s(at + 64, count as usize)
    }

    #[inline(always)]
    fn block(&self, n: &AtomicU32) -> Block {
        let n = n.load(Ordering::Relaxed).min(self.layout.sizes.blocks - 1);
        let (at, layout) = (self.layout.block(n), &self.layout);
        Block {
            categories: self.region.u64s(at + CATEGORIES_AT, MAX_CATEGORIES * 8),
            actions: self.region.u32s(at + ACTIONS_AT, ACTIONS),
            rows: self.region.u64s(at + ROWS_AT, layout.local_rows() * 8),
            index: halves(
                self.region,
                at + layout.index(),
                layout.sizes.classes as usize,
            ),
        }
    }
}

/// A block of a version.
#[derive(Clone, Copy)]
struct Block {
    categories: &'static [AtomicU64],
    actions: &'static [AtomicU32],
    rows: &'static [AtomicU64],
    index: &'static [AtomicU16],
}

/// The classes of the headers of a chunk, by field: each smaller than the number of classes.
/// Room for a multiple of 16 headers, as many in each field.
pub(super) struct Ids<'a> {
    fields: [&'a mut [u32]; 5],
}

/// Where [`Ids`], slots and [`Pending`] of up to `N` headers, a power of two, lie; `M` is 16 more. A small
/// call need not clear the room that a chunk takes.
#[repr(C, align(64))]
struct Room<const N: usize, const M: usize> {
    fields: [[u32; N]; 5],
    slots: [u32; N],
    at: [u8; M],
}

impl<const N: usize, const M: usize> Room<N, M> {
    #[inline]
    fn new() -> Room<N, M> {
        const { assert!(N <= CHUNK && N >= 16 && N.is_power_of_two() && M == N + 16) };
        Room {
            fields: [[0; N]; 5],
            slots: [0; N],
            at: [0; M],
        }
    }

    #[inline]
    fn scratch(&mut self) -> Scratch<'_> {
        Scratch {
            ids: Ids {
                fields: self.fields.each_mut().map(|field| &mut field[..]),
            },
            slots: &mut self.slots,
            at: &mut self.at,
        }
    }
}

/// What the headers of a chunk are worked on in.
struct Scratch<'a> {
    ids: Ids<'a>,
    /// Bits found, for each pending header: 0 to [`BLOCK_RULES`], that is none.
    slots: &'a mut [u32],
    at: &'a mut [u8],
}

/// Headers of a chunk that no rule has matched yet.
struct Pending<'a> {
    /// The first `n` name headers of the chunk, unless it is `all`; 16 more are room for a register to spill.
    at: &'a mut [u8],
    n: usize,
    /// Every header of the chunk, in order.
    all: bool,
}

impl Pending<'_> {
    /// The header that stands at `k`.
    #[inline]
    fn header(&self, k: usize) -> usize {
        match self.all {
            true => k,
            false => self.at[k].into(),
        }
    }
}

/// A header of either family.
pub(super) trait Header: Sized {
    /// The classes of the headers of a chunk.
    fn ids(tables: &Tables, path: Path, keys: &[Self], ids: &mut Ids);
}

impl Header for Key4 {
    #[inline]
    fn ids(tables: &Tables, path: Path, keys: &[Key4], ids: &mut Ids) {
        ids4(tables, path, keys, ids);
    }
}

impl Header for Key6 {
    #[inline]
    fn ids(tables: &Tables, path: Path, keys: &[Key6], ids: &mut Ids) {
        ids6(tables, path, keys, ids);
    }
}

/// The actions of category 0 for any number of headers.
#[inline]
pub(super) fn classify<K: Header>(tables: &Tables, path: Path, keys: &[K], actions: &mut [u32]) {
    in_room(keys.len(), |scratch| {
        for (keys, actions) in keys.chunks(CHUNK).zip(actions.chunks_mut(CHUNK)) {
            let version = tables.version();
            K::ids(tables, path, keys, &mut scratch.ids);
            first(tables, path, version, scratch, actions);
        }
    });
}

/// The actions of the categories `0..categories` for any number of headers.
pub(super) fn categories<K: Header>(
    tables: &Tables,
    path: Path,
    keys: &[K],
    categories: usize,
    actions: &mut [u32],
) {
    in_room(keys.len(), |scratch| {
        let parts = actions.chunks_mut(CHUNK * categories);
        for (keys, actions) in keys.chunks(CHUNK).zip(parts) {
            let version = tables.version();
            K::ids(tables, path, keys, &mut scratch.ids);
            each_category(tables, path, version, &scratch.ids, categories, actions);
        }
    });
}

/// Gives `work` room for as many headers at a time as a chunk has, or as there are if they are few.
#[inline]
fn in_room(headers: usize, work: impl FnOnce(&mut Scratch)) {
    if headers <= SMALL {
        work(&mut Room::<SMALL, { SMALL + 16 }>::new().scratch());
    } else {
        work(&mut Room::<CHUNK, { CHUNK + 16 }>::new().scratch());
    }
}

#[inline]
fn ids4(tables: &Tables, path: Path, keys: &[Key4], ids: &mut Ids) {
    let done = match path {
        // SAFETY: a view has only a path that the processor has.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => unsafe { avx512::ids4(tables, keys, ids) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { avx2::ids4(tables, keys, ids) },
        _ => 0,
    };
    for (i, key) in keys.iter().enumerate().skip(done) {
        scalar::ids4(tables, key, i, ids);
    }
}

#[inline]
fn ids6(tables: &Tables, path: Path, keys: &[Key6], ids: &mut Ids) {
    let done = match path {
        // SAFETY: a view has only a path that the processor has.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 => unsafe { avx512::ids6(tables, keys, ids) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { avx2::ids6(tables, keys, ids) },
        _ => 0,
    };
    for (i, key) in keys.iter().enumerate().skip(done) {
        scalar::ids6(tables, key, i, ids);
    }
}

/// The first rule of category 0 in any block.
#[inline]
fn first(
    tables: &Tables,
    path: Path,
    version: &[AtomicU32],
    scratch: &mut Scratch,
    actions: &mut [u32],
) {
    if version.is_empty() {
        actions.fill(0);
    }
    let Scratch { ids, slots, at } = scratch;
    let mut pending = Pending {
        at,
        n: actions.len(),
        all: true,
    };
    for block in version {
        let block = tables.block(block);
        match path {
            // SAFETY: a view has only a path that the processor has.
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => unsafe { avx512::first(&block, ids, &mut pending, slots, actions) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => unsafe { avx2::first(&block, ids, &mut pending, actions) },
            _ => scalar::first(&block, ids, &mut pending, actions),
        }
        if pending.n == 0 {
            return;
        }
    }
}

/// The first rule of each category in any block.
fn each_category(
    tables: &Tables,
    path: Path,
    version: &[AtomicU32],
    ids: &Ids,
    categories: usize,
    actions: &mut [u32],
) {
    actions.fill(0);
    for (i, actions) in actions.chunks_mut(categories).enumerate() {
        let mut missing = (1u32 << categories) - 1;
        for block in version {
            let block = tables.block(block);
            let matching = match path {
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Path::Avx512 => unsafe { avx512::matching(&block, ids, i) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Path::Avx2 => unsafe { avx2::matching(&block, ids, i) },
                _ => scalar::matching(&block, ids, i),
            };
            if matching != [0; 8] {
                missing = first_of_each(&block, &matching, missing, actions);
            }
            if missing == 0 {
                break;
            }
        }
    }
}

/// The first bit of each category that is still missing; gives those that go on missing.
fn first_of_each(block: &Block, matching: &[u64; 8], missing: u32, actions: &mut [u32]) -> u32 {
    let mut still = missing;
    for (category, action) in actions.iter_mut().enumerate() {
        if missing >> category & 1 == 0 {
            continue;
        }
        let masks = &block.categories[category * 8..category * 8 + 8];
        let words = masks.iter().zip(matching);
        let words = words.map(|(mask, word)| mask.load(Ordering::Relaxed) & word);
        if let Some((i, word)) = words.enumerate().find(|(_, word)| *word != 0) {
            let slot = i * 64 + word.trailing_zeros() as usize;
            *action = block.actions[slot].load(Ordering::Relaxed);
            still &= !(1 << category);
        }
    }
    still
}
