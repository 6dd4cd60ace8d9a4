//! Numbers of a fixed range: free, in use, or resting until no reader can still hold them.
//!
//! Private to the writer: after its death the next one finds what is in use from the published
//! state, and lets all else rest once.

use super::AclError;

/// Free and resting numbers.
#[derive(Debug)]
pub(super) struct Pool {
    what: &'static str,
    have: u32,
    free: Vec<u32>,
    resting: Vec<u32>,
}

impl Pool {
    /// All of `have` numbers but those that `used` says are in use; what is not in use is free
    /// at once, or rests.
    pub(super) fn new(
        what: &'static str,
        have: u32,
        used: impl Fn(u32) -> bool,
        rest: bool,
    ) -> Pool {
        let mut free: Vec<u32> = (0..have).rev().filter(|n| !used(*n)).collect();
        let resting = if rest {
            core::mem::take(&mut free)
        } else {
            Vec::new()
        };
        Pool {
            what,
            have,
            free,
            resting,
        }
    }

    /// Takes the lowest number that was never used, or the last one freed.
    pub(super) fn take(&mut self) -> Result<u32, AclError> {
        self.free.pop().ok_or_else(|| self.full())
    }

    /// Says whether `n` can be taken.
    pub(super) fn need(&self, n: usize) -> Result<(), AclError> {
        if self.free.len() >= n {
            Ok(())
        } else {
            Err(self.full())
        }
    }

    /// A number that readers may still hold.
    pub(super) fn retire(&mut self, n: u32) {
        self.resting.push(n);
    }

    /// What rests becomes free; gives what it was.
    pub(super) fn quiesced(&mut self) -> Vec<u32> {
        let resting = core::mem::take(&mut self.resting);
        self.free.extend(resting.iter().rev());
        resting
    }

    /// Neither free nor resting.
    pub(super) fn used(&self) -> u32 {
        self.have - (self.free.len() + self.resting.len()) as u32
    }

    /// Waiting for the readers.
    pub(super) fn resting(&self) -> u32 {
        self.resting.len() as u32
    }

    /// Numbers that are not free: in use or resting.
    pub(super) fn not_free(&self) -> impl Iterator<Item = u32> {
        let mut free = vec![false; self.have as usize];
        self.free.iter().for_each(|n| free[*n as usize] = true);
        (0..self.have).filter(move |n| !free[*n as usize])
    }

    fn full(&self) -> AclError {
        AclError::Full {
            what: self.what,
            have: self.have,
            used: self.used(),
            resting: self.resting(),
        }
    }
}
