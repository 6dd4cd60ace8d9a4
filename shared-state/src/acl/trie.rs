//! Addresses to classes: the longest prefix that any rule names, by a trie of fixed strides.
//!
//! A cell is a class, or a mark and the number of a node of the next level. Levels take 16, 8, 4,
//! 4 bits of an IPv4 address, and 16, four times 8, then 4 bits each of an IPv6 one.
//!
//! Order: a node is filled, then the cell that names it is stored (Release). Painting a prefix
//! replaces the class of the shorter prefix, cell by cell; both classes mean the same to every
//! version a reader can hold, so it does not matter which cells it meets.

use super::AclError;
use super::cells::Cells;
use super::layout::{FIRST_CELLS, Layout, cell_bytes, levels, trie_cells};
use super::pool::Pool;
use super::rule::Prefix;
use crate::region::Region;
use crate::sync::Ordering;

/// The readers' view of one address field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trie {
    pub(super) cells: Cells,
    pub(super) levels: &'static [u8],
    pub(super) big: u32,
    pub(super) small: u32,
}

impl Trie {
    pub(super) fn new(region: Region, layout: &Layout, field: usize) -> Trie {
        let (at, n) = (layout.tries[field], trie_cells(&layout.sizes));
        let narrow = cell_bytes(layout.family) == 2;
        let cells = if narrow {
            Cells::narrow(region, at, n)
        } else {
            Cells::wide(region, at, n)
        };
        Trie {
            cells,
            levels: levels(layout.family),
            big: layout.sizes.big_nodes,
            small: layout.sizes.small_nodes,
        }
    }

    /// The class of an address, left-aligned in 128 bits. Whatever the cells hold, it ends; the
    /// caller checks the number.
    #[inline]
    pub(super) fn class(&self, addr: u128) -> u32 {
        let mark = self.cells.node_mark();
        let mut cell = self.cells.get((addr >> 112) as usize);
        let mut left = addr << 16;
        for bits in self.levels {
            if cell & mark == 0 {
                break;
            }
            let at = (left >> (128 - bits)) as usize;
            cell = self.cells.get(self.node(cell & !mark, *bits) + at);
            left <<= bits;
        }
        cell
    }

    /// As [`Trie::class`], for an IPv4 address: three levels of nodes, no wide shifts.
    #[inline]
    pub(super) fn class4(&self, addr: u32) -> u32 {
        let Cells::Narrow(cells) = self.cells else {
            return 0; // An IPv6 classifier: its caller was told so before.
        };
        const MARK: u32 = 1 << 15;
        let cell = |at: usize| u32::from(cells[at].load(Ordering::Acquire));
        let mut class = cell((addr >> 16) as usize);
        if class & MARK != 0 {
            class = cell(self.node(class - MARK, 8) + (addr >> 8 & 0xff) as usize);
        }
        if class & MARK != 0 {
            class = cell(self.node(class - MARK, 4) + (addr >> 4 & 0xf) as usize);
        }
        if class & MARK != 0 {
            class = cell(self.node(class - MARK, 4) + (addr & 0xf) as usize);
        }
        class
    }

    /// The first cell of node `n` of a level that takes `bits` bits.
    #[inline]
    pub(super) fn node(&self, n: u32, bits: u8) -> usize {
        let big = self.big as usize;
        if bits == 8 {
            FIRST_CELLS + n.min(self.big - 1) as usize * 256
        } else {
            FIRST_CELLS + big * 256 + n.min(self.small - 1) as usize * 16
        }
    }
}

/// The writer of one address field.
#[derive(Debug)]
pub(super) struct TrieWriter {
    pub(super) trie: Trie,
    big: Pool,
    small: Pool,
}

impl TrieWriter {
    /// A field in which every address is of class `root`.
    pub(super) fn create(trie: Trie, root: u32) -> TrieWriter {
        if root != 0 {
            (0..FIRST_CELLS).for_each(|i| trie.cells.set(i, root));
        }
        Self::with(trie, &Reached::default(), false)
    }

    /// Goes on after another writer: nodes that no cell names rest.
    pub(super) fn adopt(trie: Trie, reached: &Reached) -> TrieWriter {
        Self::with(trie, reached, true)
    }

    /// Asks for the nodes that painting `prefix` may take.
    pub(super) fn need(&self, prefix: &Prefix) -> Result<(), AclError> {
        let (mut big, mut small) = (0, 0);
        let missing = self.path(prefix).1;
        for bits in &self.trie.levels[missing..self.depth(prefix)] {
            if *bits == 8 { big += 1 } else { small += 1 }
        }
        self.big.need(big)?;
        self.small.need(small)
    }

    /// Gives class `to` to the addresses in `prefix` that have class `from`. Nodes are taken as
    /// [`TrieWriter::need`] counted them.
    pub(super) fn paint(&mut self, prefix: &Prefix, from: u32, to: u32) -> Result<(), AclError> {
        let mark = self.trie.cells.node_mark();
        let (mut node, mut bits, mut before) = (0, 16, 0);
        for level in 0.. {
            let at = node + ((prefix.addr << before) >> (128 - bits)) as usize;
            let end = before + bits;
            if prefix.len <= end {
                self.paint_cells(at, 1 << (end - prefix.len), level, from, to);
                return Ok(());
            }
            let mut cell = self.trie.cells.get(at);
            let next = self.trie.levels[level];
            if cell & mark == 0 {
                if cell != from {
                    return Ok(()); // Painted before the last writer died.
                }
                cell = self.new_node(next, cell)? | mark;
                self.trie.cells.set(at, cell);
            }
            (node, bits, before) = (self.trie.node(cell & !mark, next), next, end);
        }
        Ok(())
    }

    /// Takes out the nodes on the way to `prefix` whose cells all are one class.
    pub(super) fn fold(&mut self, prefix: &Prefix) {
        let mark = self.trie.cells.node_mark();
        let (path, below) = self.path(prefix);
        for level in (0..below).rev() {
            let bits = self.trie.levels[level];
            let cell = self.trie.cells.get(path[level]);
            let node = self.trie.node(cell & !mark, bits);
            let first = self.trie.cells.get(node);
            let same = (node..node + (1 << bits)).all(|i| self.trie.cells.get(i) == first);
            if first & mark != 0 || !same {
                return;
            }
            self.trie.cells.set(path[level], first);
            self.pool(bits).retire(cell & !mark);
        }
    }

    /// Nodes that rest become free.
    pub(super) fn quiesced(&mut self) {
        self.big.quiesced();
        self.small.quiesced();
    }

    /// Bytes of the nodes in use and of the first level.
    pub(super) fn used_bytes(&self) -> usize {
        let cells = FIRST_CELLS + self.big.used() as usize * 256 + self.small.used() as usize * 16;
        cells
            * if matches!(self.trie.cells, Cells::Narrow(_)) {
                2
            } else {
                4
            }
    }

    fn with(trie: Trie, reached: &Reached, rest: bool) -> TrieWriter {
        let big = |n: u32| reached.big.contains(&n);
        let small = |n: u32| reached.small.contains(&n);
        TrieWriter {
            trie,
            big: Pool::new("trie nodes of 256 cells", trie.big, big, rest),
            small: Pool::new("trie nodes of 16 cells", trie.small, small, rest),
        }
    }

    fn paint_cells(&mut self, at: usize, n: usize, level: usize, from: u32, to: u32) {
        let mark = self.trie.cells.node_mark();
        for i in at..at + n {
            let cell = self.trie.cells.get(i);
            if cell & mark != 0 {
                let bits = self.trie.levels[level];
                let node = self.trie.node(cell & !mark, bits);
                self.paint_cells(node, 1 << bits, level + 1, from, to);
            } else if cell == from {
                self.trie.cells.set(i, to);
            }
        }
    }

    /// Cells that name nodes on the way to `prefix`, and how many of them there are.
    fn path(&self, prefix: &Prefix) -> ([usize; 24], usize) {
        let mark = self.trie.cells.node_mark();
        let mut path = [0; 24];
        let mut at = (prefix.addr >> 112) as usize;
        let mut left = prefix.addr << 16;
        for (level, bits) in self.trie.levels[..self.depth(prefix)].iter().enumerate() {
            let cell = self.trie.cells.get(at);
            if cell & mark == 0 {
                return (path, level);
            }
            path[level] = at;
            at = self.trie.node(cell & !mark, *bits) + (left >> (128 - bits)) as usize;
            left <<= bits;
        }
        (path, self.depth(prefix))
    }

    /// Levels of nodes that `prefix` reaches into.
    fn depth(&self, prefix: &Prefix) -> usize {
        let mut end = 16;
        let reaches = |bits: &&u8| {
            let reaches = prefix.len > end;
            end += **bits;
            reaches
        };
        self.trie.levels.iter().take_while(reaches).count()
    }

    fn new_node(&mut self, bits: u8, fill: u32) -> Result<u32, AclError> {
        let n = self.pool(bits).take()?;
        let node = self.trie.node(n, bits);
        (node..node + (1 << bits)).for_each(|i| self.trie.cells.set(i, fill));
        Ok(n)
    }

    fn pool(&mut self, bits: u8) -> &mut Pool {
        if bits == 8 {
            &mut self.big
        } else {
            &mut self.small
        }
    }
}

/// What a walk through all cells finds.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Classes.
    pub(super) classes: std::collections::BTreeSet<u32>,
    last: Option<u32>,
    big: std::collections::HashSet<u32>,
    small: std::collections::HashSet<u32>,
}

impl Reached {
    /// Walks through a field. A cell that names what cannot be is an error.
    pub(super) fn walk(&mut self, trie: &Trie, classes: u32) -> Result<(), AclError> {
        (0..FIRST_CELLS).try_for_each(|at| self.cell(trie, trie.cells.get(at), 0, classes))
    }

    fn cell(&mut self, trie: &Trie, cell: u32, level: usize, most: u32) -> Result<(), AclError> {
        let (mark, what) = (trie.cells.node_mark(), "trie cell");
        let number = cell & !mark;
        if cell & mark == 0 {
            if cell >= most {
                return Err(AclError::Damaged { what, number });
            }
            // Neighbours are mostly of one class.
            if self.last.replace(cell) != Some(cell) {
                self.classes.insert(cell);
            }
            return Ok(());
        }
        let bits = *trie
            .levels
            .get(level)
            .ok_or(AclError::Damaged { what, number })?;
        let big = bits == 8;
        let new = if big {
            self.big.insert(number)
        } else {
            self.small.insert(number)
        };
        if !new || number >= if big { trie.big } else { trie.small } {
            return Err(AclError::Damaged { what, number });
        }
        let node = trie.node(number, bits);
        (node..node + (1 << bits))
            .try_for_each(|at| self.cell(trie, trie.cells.get(at), level + 1, most))
    }
}
