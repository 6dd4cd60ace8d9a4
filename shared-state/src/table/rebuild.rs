//! The index made anew: what it says follows from the rows.

use super::index::{Full, IndexShard};

/// Rows whose lines are fetched ahead.
const AHEAD: usize = 32;

impl IndexShard {
    /// Makes it anew from all live rows of the shard; returns how many there were.
    pub fn rebuild(&self, rows: impl IntoIterator<Item = (u64, u32)>) -> Result<u64, Full> {
        self.clear();
        let mut rows = rows.into_iter();
        let mut ahead = [(0, 0); AHEAD];
        loop {
            let mut n = 0;
            for (to, row) in ahead.iter_mut().zip(&mut rows) {
                *to = row;
                self.prefetch(row.0);
                n += 1;
            }
            for (hash, id) in &ahead[..n] {
                self.insert(*hash, *id)?;
            }
            if n < AHEAD {
                return Ok(self.len());
            }
        }
    }
}
