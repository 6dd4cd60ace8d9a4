//! External data: packets whose bytes lie elsewhere in the arena, in a zone of an application or a guest.
//!
//! What is lent is named by a mbuf, the loan: its place is (external of the shard that lends), its `timestamp`
//! the arena offset, its `mark` the length. Packets are attached to it as to any base, so that all that
//! holds of references ([`super::refs`]) holds of these. The lender has one of them; when it has the only
//! one, all packets are gone and the memory is its own again: it polls one word ([`External::is_returned`]).
//!
//! Order: offset, length and count, then the place (Release), which makes it a loan; taken back the other way round.
//!
//! Failure: a lender that dies before the place has allocated a mbuf; after it, its successor finds the loan
//! ([`External::adopt`]) and polls it. A packet's holder that dies gives its reference back as
//! [`crate::audit::settle`] does with all.
//!
//! Bytes out there are copied by words, never referred to. Whoever maps the arena says once where it is
//! ([`Pool::lend_from`]); a process that does not gets no byte of them.

use super::chain::Chain;
use super::line::{DIRECT, EXTERNAL, SHARED};
use super::{Packet, refs};
use crate::mempool::{Cache, Pool};
use crate::place::{Holder, Place};

/// Most bytes of one loan: extents are 16 bits.
pub const MAX_EXTERNAL: usize = u16::MAX as usize;

/// Memory outside of the pool that its owner lends to packets. Dropping the handle ends nothing.
#[derive(Debug)]
pub struct External {
    pool: Pool,
    m: u32,
}

impl External {
    /// Lends `len` bytes at an arena offset, as the shard of the cache. The memory stays as it is until
    /// [`External::is_returned`]: what is written there before, packets show.
    ///
    /// `None` when there is no mbuf, more than [`MAX_EXTERNAL`] bytes, or no such memory in this process
    /// ([`Pool::lend_from`]).
    pub fn lend(offset: u64, len: usize, cache: &mut Cache) -> Option<External> {
        let (pool, shard) = (cache.pool(), cache.shard());
        if len > MAX_EXTERNAL {
            return None;
        }
        pool.outside(offset, len as u64)?;
        let m = Packet::into_raw(cache.alloc()?);
        let line = pool.line(m);
        line.set_timestamp(offset);
        line.set_mark(len as u32);
        refs::first(pool, m);
        line.reshape(1, DIRECT | SHARED | EXTERNAL);
        line.move_to(Place::new(Holder::external(shard), 0));
        Some(External { pool, m })
    }

    /// What a shard lends: for the next owner of a shard that died, and its last one's own handles are void.
    pub fn adopt(cache: &Cache) -> Vec<External> {
        let pool = cache.pool();
        let lender = Holder::external(cache.shard());
        let lent = (0..pool.count()).filter(|m| pool.place(*m).holder == lender);
        lent.map(|m| External { pool, m }).collect()
    }

    /// A packet of one segment that shows `len` bytes from `off` of the loan.
    ///
    /// `None` when the loan has not so many, there is no mbuf, or too many packets show it.
    pub fn packet(&mut self, off: u16, len: u16, cache: &mut Cache) -> Option<Chain> {
        let end = usize::from(off) + usize::from(len);
        if end > self.len() || !self.is_lent_by(cache) {
            return None;
        }
        super::clone::attach_fresh(self.m, (off, len), cache)
    }

    /// Whether its mbuf still stands for a loan of this shard: a second handle may have ended it.
    fn is_lent_by(&self, cache: &Cache) -> bool {
        let (pool, lender) = (self.pool, Holder::external(cache.shard()));
        pool.is(cache.pool())
            && pool.place(self.m).holder == lender
            && pool.line(self.m).kind() & EXTERNAL != 0
    }

    /// The arena offset of its first byte.
    pub fn offset(&self) -> u64 {
        self.pool.line(self.m).timestamp()
    }

    /// Bytes lent.
    #[expect(clippy::len_without_is_empty, reason = "a size, not a container")]
    pub fn len(&self) -> usize {
        self.pool.line(self.m).mark() as usize
    }

    /// The mbuf that stands for it.
    pub fn index(&self) -> u32 {
        self.m
    }

    /// Segments of packets that show some of it.
    pub fn references(&self) -> u32 {
        refs::count(self.pool, self.m).saturating_sub(1)
    }

    /// Whether no packet shows any of it: the memory is its owner's alone.
    pub fn is_returned(&self) -> bool {
        self.references() == 0
    }

    /// Ends the loan and frees its mbuf, by the shard that lends.
    ///
    /// # Errors
    /// The loan, when packets still show it, or when it is not this shard's (any more).
    pub fn take_back(self, cache: &mut Cache) -> Result<(), External> {
        if !self.is_lent_by(cache) || !self.is_returned() {
            return Err(self);
        }
        cache.free_segment(self.m);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
