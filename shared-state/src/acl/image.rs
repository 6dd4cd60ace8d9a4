//! A block of up to 512 rules in private memory: what a change is worked out on before it is
//! stored where readers can find it.
//!
//! Bit `i` of a row says that rule `i` of the block, in order of priority, accepts the values of
//! a class. Classes with equal rows share one: row 0 is all zeros, and no two rows are equal.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::cells;
use super::layout::*;
use super::rule::Rule;
use crate::region::Region;
use crate::sync::Ordering;

/// 512 bits.
pub(super) type Bits = [u64; 8];

/// One block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    /// Ids of the rules, best first.
    pub(super) rules: Vec<u32>,
    /// The distinct rows; the first is zero.
    pub(super) rows: Vec<Bits>,
    /// Row of each class.
    pub(super) index: Vec<u16>,
}

impl Image {
    /// Of rules and the row of each class.
    pub(super) fn new(rules: Vec<u32>, classes: impl Iterator<Item = Bits>) -> Image {
        let mut rows = Rows::for_up_to(BLOCK_RULES, words_of(rules.len()));
        let index = classes.map(|bits| rows.of(bits)).collect();
        Image {
            rules,
            rows: rows.list,
            index,
        }
    }

    /// Copies block `n` of a region out, with the rows of `classes` classes.
    pub(super) fn load(region: Region, layout: &Layout, n: u32, classes: usize) -> Image {
        let at = layout.block(n);
        let word = |i: usize| region.u32(at + i).load(Ordering::Acquire) as usize;
        let (rules, rows) = (word(0).min(BLOCK_RULES), word(4).min(layout.local_rows()));
        let mut image = Image {
            rules: vec![0; rules],
            rows: vec![[0; 8]; rows.max(1)],
            index: vec![0; classes],
        };
        use zerocopy::IntoBytes;
        region.copy_out(at + RULES_AT, image.rules.as_mut_bytes());
        region.copy_out(at + ROWS_AT, image.rows.as_mut_bytes());
        region.copy_out(at + layout.index(), image.index.as_mut_bytes());
        let last = image.rows.len() as u16 - 1;
        image
            .index
            .iter_mut()
            .for_each(|row| *row = (*row).min(last));
        image
    }

    /// Stores the image as block `n`, which nothing names yet.
    pub(super) fn store(
        &self,
        region: Region,
        layout: &Layout,
        n: u32,
        rule: impl Fn(u32) -> Rule,
    ) {
        let at = layout.block(n);
        let mut categories = [[0u64; 8]; MAX_CATEGORIES];
        let mut actions = [0u32; ACTIONS];
        for (slot, id) in self.rules.iter().enumerate() {
            let rule = rule(*id);
            actions[slot] = rule.action;
            let mut left = rule.categories;
            while left != 0 {
                let category = left.trailing_zeros() as usize;
                if let Some(mask) = categories.get_mut(category) {
                    set(mask, slot);
                }
                left &= left - 1;
            }
        }
        cells::put(
            region,
            at,
            &[self.rules.len() as u32, self.rows.len() as u32],
        );
        cells::put(region, at + CATEGORIES_AT, &categories);
        cells::put(region, at + ACTIONS_AT, &actions);
        cells::put(region, at + RULES_AT, self.rules.as_slice());
        cells::put(region, at + ROWS_AT, self.rows.as_slice());
        cells::put(region, at + layout.index(), self.index.as_slice());
    }

    /// Puts a rule in slot `at`; the classes that it accepts are set in `accepted`.
    pub(super) fn insert(&mut self, at: usize, id: u32, accepted: &[u64]) {
        const NONE: u16 = u16::MAX;
        let words = words_of(self.rules.len() + 1);
        let mut new = vec![NONE; self.rows.len() * 2];
        // At most as many more as there are classes that it accepts, which are few.
        let mut rows = Vec::with_capacity(self.rows.len() + self.rows.len() / 4 + 16);
        rows.push([0; 8]);
        new[0] = 0;
        for (class, row) in self.index.iter_mut().enumerate() {
            let accepts = accepted[class / 64] >> (class % 64) & 1;
            let to = &mut new[*row as usize * 2 + accepts as usize];
            if *to == NONE {
                *to = rows.len() as u16;
                rows.push(spread(&self.rows[*row as usize], at, accepts, words));
            }
            *row = *to;
        }
        self.rows = rows;
        self.rules.insert(at, id);
    }

    /// Takes the rule in slot `at` out.
    pub(super) fn remove(&mut self, at: usize) {
        let words = words_of(self.rules.len());
        self.rules.remove(at);
        self.map_rows(|bits| close(bits, at, words));
    }

    /// Splits a block in two, the better rules first.
    pub(super) fn split(mut self) -> (Image, Image) {
        let half = (self.rules.len() / 2) & !63;
        let words = half / 64;
        let mut worse = self.clone();
        worse.rules.drain(..half);
        worse.map_rows(|bits| core::array::from_fn(|i| *bits.get(i + words).unwrap_or(&0)));
        self.rules.truncate(half);
        self.map_rows(|bits| core::array::from_fn(|i| if i < words { bits[i] } else { 0 }));
        (self, worse)
    }

    /// Makes one block of two, the better rules first.
    pub(super) fn merge(&self, worse: &Image) -> Image {
        let at = self.rules.len();
        let mut rows = vec![[0; 8]];
        let mut seen: Mixed<(u16, u16)> = HashMap::default();
        seen.insert((0, 0), 0);
        let pairs = self.index.iter().zip(&worse.index);
        let index = pairs.map(|(a, b)| {
            *seen.entry((*a, *b)).or_insert_with(|| {
                let behind = shift(&worse.rows[*b as usize], at);
                let before = &self.rows[*a as usize];
                rows.push(core::array::from_fn(|i| before[i] | behind[i]));
                rows.len() as u16 - 1
            })
        });
        let index = index.collect();
        let rules = [self.rules.as_slice(), &worse.rules].concat();
        Image { rules, rows, index }
    }

    /// The row of a class.
    pub(super) fn row(&self, class: usize) -> &Bits {
        &self.rows[self.index[class] as usize]
    }

    /// Changes every row, and lets those that became equal be one.
    fn map_rows(&mut self, change: impl Fn(&Bits) -> Bits) {
        let mut rows = Rows::for_up_to(self.rows.len(), words_of(self.rules.len()));
        let mut used = vec![false; self.rows.len()];
        self.index.iter().for_each(|row| used[*row as usize] = true);
        let old = self.rows.iter().zip(used);
        let new: Vec<u16> = old
            .map(|(bits, used)| if used { rows.of(change(bits)) } else { 0 })
            .collect();
        self.index
            .iter_mut()
            .for_each(|row| *row = new[*row as usize]);
        self.rows = rows.list;
    }
}

/// Sets bit `i`.
pub(super) fn set(bits: &mut [u64], i: usize) {
    bits[i / 64] |= 1 << (i % 64);
}

/// The words in which so many rules have bits; all others of a row are zero.
fn words_of(rules: usize) -> usize {
    rules.div_ceil(64).min(BLOCK_RULES / 64)
}

/// Moves the bits from `at` on up by one, and puts `bit` there. Only the first `words` are not zero then.
fn spread(bits: &Bits, at: usize, bit: u64, words: usize) -> Bits {
    let (word, low) = (at / 64, (1u64 << (at % 64)) - 1);
    let mut out = *bits;
    out[word] = bits[word] & low | bit << (at % 64) | (bits[word] & !low) << 1;
    for i in word + 1..words.min(out.len()) {
        out[i] = bits[i] << 1 | bits[i - 1] >> 63;
    }
    out
}

/// Takes bit `at` out and moves the bits after it down by one. Only the first `words` were not zero.
fn close(bits: &Bits, at: usize, words: usize) -> Bits {
    let (word, low) = (at / 64, (1u64 << (at % 64)) - 1);
    let mut out = *bits;
    for i in word..words.min(out.len()) {
        let carry = bits.get(i + 1).map_or(0, |next| next << 63);
        out[i] = bits[i] >> 1 | carry;
    }
    out[word] = bits[word] & low | out[word] & !low;
    out
}

/// Moves all bits up by `by`.
fn shift(bits: &Bits, by: usize) -> Bits {
    let (words, by) = (by / 64, by % 64);
    let word = |i: usize| {
        if i < words {
            0
        } else {
            bits.get(i - words).copied().unwrap_or(0)
        }
    };
    core::array::from_fn(|i| {
        let carry = if by == 0 || i == 0 {
            0
        } else {
            word(i - 1) >> (64 - by)
        };
        word(i) << by | carry
    })
}

type Mixed<K> = HashMap<K, u16, BuildHasherDefault<Mix>>;

/// Rows without doubles, the first all zeros.
struct Rows {
    list: Vec<Bits>,
    /// Where a row's hash leads, and the places after it: its number plus 1, or 0. A power of two, half of it empty.
    places: Vec<u16>,
    /// The words that are not zero in all of them: the others say nothing.
    words: usize,
}

impl Rows {
    /// Only the row of zeros; others come without growing, up to `n`, of which only the first `words` are not zero.
    fn for_up_to(n: usize, words: usize) -> Rows {
        let places = (2 * (n + 1)).next_power_of_two();
        let mut rows = Rows {
            list: Vec::with_capacity(n + 1),
            places: vec![0; places],
            words,
        };
        rows.of([0; 8]);
        rows
    }

    fn of(&mut self, bits: Bits) -> u16 {
        let place = match self.find(&bits) {
            Ok(row) => return row,
            Err(place) => place,
        };
        self.list.push(bits);
        self.places[place] = self.list.len() as u16;
        if self.list.len() * 2 >= self.places.len() {
            self.grow();
        }
        (self.list.len() - 1) as u16
    }

    /// The number of a row, or the place where it would be named.
    fn find(&self, bits: &Bits) -> Result<u16, usize> {
        let last = self.places.len() - 1;
        let mut place = mixed(&bits[..self.words]) as usize & last;
        loop {
            match self.places[place].checked_sub(1) {
                None => return Err(place),
                Some(row) if self.list[usize::from(row)] == *bits => return Ok(row),
                Some(_) => place = (place + 1) & last,
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.places = vec![0; 2 * self.places.len()];
        for row in 0..self.list.len() {
            if let Err(place) = self.find(&self.list[row]) {
                self.places[place] = row as u16 + 1;
            }
        }
    }
}

/// A hash of a row's words, of products that do not wait for each other, high halves folded in: without them all
/// high bits of words would be alike.
fn mixed(bits: &[u64]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let words = bits.iter().enumerate();
    let sum = words.fold(0u64, |sum, (i, word)| {
        let wide = u128::from(word ^ ODD.rotate_left(7 * i as u32)) * u128::from(ODD);
        sum.wrapping_add((wide >> 64) as u64 ^ wide as u64)
    });
    let wide = u128::from(sum) * u128::from(ODD);
    (wide >> 64) as u64 ^ wide as u64
}

/// Multiply and fold: pairs of rows are our own, not an attacker's choice of hash.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, word: u64) {
        let wide = u128::from(self.0 ^ word ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93;
        self.0 = (wide >> 64) as u64 ^ wide as u64;
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bools(bits: &Bits) -> Vec<bool> {
        (0..512)
            .map(|i| bits[i / 64] >> (i % 64) & 1 != 0)
            .collect()
    }

    #[test]
    fn equal_rows_are_one_row_however_many_there_are() {
        let mut rows = Rows::for_up_to(0, 8);
        let row = |i: u64| core::array::from_fn(|word| if word as u64 == i % 8 { i } else { 0 });
        for round in 0..2 {
            for i in 1..=5_000 {
                assert_eq!(u64::from(rows.of(row(i))), i, "round {round}");
            }
        }
        assert_eq!((rows.of([0; 8]), rows.list.len()), (0, 5_001));
    }

    #[test]
    fn moving_bits_is_moving_elements_of_a_list() {
        let bits: Bits =
            core::array::from_fn(|i| 0x9E37_79B9_7F4A_7C15u64.wrapping_pow(i as u32 + 3));
        for at in [0, 1, 63, 64, 65, 300, 448, 510, 511] {
            for bit in [false, true] {
                let mut want = bools(&bits);
                want.insert(at, bit);
                want.truncate(512);
                assert_eq!(bools(&spread(&bits, at, bit.into(), 8)), want);
            }
            let mut want = bools(&bits);
            want.remove(at);
            want.push(false);
            assert_eq!(bools(&close(&bits, at, 8)), want);
            let mut want = vec![false; at];
            want.extend(bools(&bits));
            want.truncate(512);
            assert_eq!(bools(&shift(&bits, at)), want);
        }
    }
}
