//! The classes of a port field: one for each piece between two ends of ranges; for their order and failure see
//! [`super::classes`].

use std::collections::BTreeMap;
use std::ops::Bound;

use super::AclError;
use super::cells::Cells;
use super::classes::{Classes, Used};
use super::layout::PORTS;

/// The pieces between the ends of the ranges of one port field.
#[derive(Debug)]
pub(super) struct Ports {
    cells: Cells,
    /// First port of each piece.
    pub(super) map: BTreeMap<u32, Used>,
    unused: Vec<u32>,
}

impl Ports {
    /// A field in which every port is of class `root`.
    pub(super) fn create(cells: Cells, root: u32) -> Ports {
        (0..PORTS).for_each(|port| cells.set(port, root));
        let map = BTreeMap::from([(
            0,
            Used {
                class: root,
                rules: 1,
            },
        )]);
        Ports {
            cells,
            map,
            unused: Vec::new(),
        }
    }

    /// Finds the pieces from the cells; no rule needs their ends yet, except where all begins.
    pub(super) fn adopt(cells: Cells, classes: u32) -> Result<Ports, AclError> {
        let mut map = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut before = None;
        for port in 0..PORTS {
            let class = cells.get(port);
            if before.replace(class) == Some(class) {
                continue;
            }
            if class >= classes || !seen.insert(class) {
                let (what, number) = ("class of a port", class);
                return Err(AclError::Damaged { what, number });
            }
            map.insert(
                port as u32,
                Used {
                    class,
                    rules: u32::from(port == 0),
                },
            );
        }
        Ok(Ports {
            cells,
            map,
            unused: Vec::new(),
        })
    }

    /// Classes that [`Ports::add`] may take.
    pub(super) fn need(&self, range: (u16, u16)) -> usize {
        ends(range)
            .filter(|port| !self.map.contains_key(port))
            .count()
    }

    /// One more rule needs `range`.
    pub(super) fn add(&mut self, range: (u16, u16), classes: &mut Classes) -> Result<(), AclError> {
        for port in ends(range) {
            match self.map.get_mut(&port) {
                Some(used) => used.rules += 1,
                None => self.split(port, classes)?,
            }
        }
        Ok(())
    }

    /// Counts a rule that the dead writer had published.
    pub(super) fn count(&mut self, range: (u16, u16)) -> Result<(), AclError> {
        for port in ends(range) {
            let (what, number) = ("end of a port range that begins no piece", port);
            self.map
                .get_mut(&port)
                .ok_or(AclError::Damaged { what, number })?
                .rules += 1;
        }
        Ok(())
    }

    /// One rule less needs `range`.
    pub(super) fn drop(&mut self, range: (u16, u16)) {
        for port in ends(range) {
            let used = self
                .map
                .get_mut(&port)
                .expect("the ends of a rule's ports begin pieces");
            used.rules -= 1;
            if used.rules == 0 {
                self.unused.push(port);
            }
        }
    }

    /// Every class whose ports lie in `range`, which begins and ends with a piece.
    pub(super) fn inside(&self, range: (u16, u16)) -> impl Iterator<Item = u32> {
        let pieces = self.map.range(u32::from(range.0)..=u32::from(range.1));
        pieces.map(|(_, used)| used.class)
    }

    /// Makes one piece of two where no rule needs the end between them.
    pub(super) fn quiesced(&mut self, classes: &mut Classes) {
        for port in core::mem::take(&mut self.unused) {
            let Some(Used { class, rules: 0 }) = self.map.get(&port).copied() else {
                continue;
            };
            let (start, end) = self.around(port);
            let below = self.map[&start].class;
            self.map.remove(&port);
            if end - port <= port - start {
                (port..end).for_each(|p| self.cells.set(p as usize, below));
                classes.pool.retire(class);
            } else {
                (start..port)
                    .rev()
                    .for_each(|p| self.cells.set(p as usize, class));
                let used = self.map.get_mut(&start).expect("found by `around`");
                used.class = class;
                classes.pool.retire(below);
            }
        }
    }

    /// Lists the ends that no rule needs.
    pub(super) fn repair(&mut self) {
        let unused = self.map.iter().filter(|(_, used)| used.rules == 0);
        self.unused = unused.map(|(port, _)| *port).collect();
    }

    /// Begins a piece at `port`. The smaller part gets the new class, painted from its outer end.
    fn split(&mut self, port: u32, classes: &mut Classes) -> Result<(), AclError> {
        let (start, end) = self.around(port);
        let old = self.map[&start];
        let class = classes.take_like(old.class)?;
        let mut upper = Used { class, rules: 1 };
        if end - port <= port - start {
            (port..end)
                .rev()
                .for_each(|p| self.cells.set(p as usize, class));
        } else {
            (start..port).for_each(|p| self.cells.set(p as usize, class));
            upper.class = old.class;
            self.map.insert(start, Used { class, ..old });
        }
        self.map.insert(port, upper);
        Ok(())
    }

    /// The piece below `port`, and where the piece with `port` ends.
    fn around(&self, port: u32) -> (u32, u32) {
        let below = self.map.range(..port).next_back();
        let above = self
            .map
            .range((Bound::Excluded(port), Bound::Unbounded))
            .next();
        let start = *below.expect("a piece begins at port 0").0;
        (start, above.map_or(PORTS as u32, |(end, _)| *end))
    }
}

/// Where pieces must begin for a range: at its first port, and after its last.
fn ends(range: (u16, u16)) -> impl Iterator<Item = u32> {
    let (first, after) = (u32::from(range.0), u32::from(range.1) + 1);
    [first, after]
        .into_iter()
        .filter(|port| (1..PORTS as u32).contains(port))
}
