//! Lookups in bulk: the lines of a burst are asked for together, then its keys, so that each waits for memory
//! while the others' come. Chosen at run time: with AVX-512 a line's tags are compared by one instruction.
//!
//! How many are under way at once is a matter of instructions, too: the processor's window must reach from
//! the last keys of a burst to the first lines of the next.

use super::NO_ID;
use super::index::IndexShard;
use super::line::{Line, tag};
#[cfg(target_arch = "x86_64")]
use crate::simd::Path;

/// Rows that are looked up together.
const PART: usize = 32;

impl IndexShard {
    /// Looks up a burst of `out.len()` rows, whose hashes `hash_of(i)` says: `touch` is told each candidate early
    /// (row 0 where there is none), to prefetch what `same(i, id)` will compare. `out[i]` is the id
    /// found, or [`NO_ID`]. Returns how many were found.
    #[inline]
    pub fn find_burst(
        &self,
        hash_of: impl FnMut(usize) -> u64,
        touch: impl Fn(u32),
        same: impl FnMut(usize, u32) -> bool,
        out: &mut [u32],
    ) -> usize {
        let steps = Steps {
            hash_of,
            touch,
            same,
        };
        steps.run(self, out)
    }
}

/// What a lookup in bulk is made of.
struct Steps<Hash, Touch, Same> {
    /// The hash of a row.
    hash_of: Hash,
    /// Is told the id that a row likely has, 0 where there is none.
    touch: Touch,
    /// Whether an id is that of a row.
    same: Same,
}

impl<Hash, Touch, Same> Steps<Hash, Touch, Same>
where
    Hash: FnMut(usize) -> u64,
    Touch: Fn(u32),
    Same: FnMut(usize, u32) -> bool,
{
    /// Looks up as many rows as `out` has.
    #[inline(always)]
    fn run(self, shard: &IndexShard, out: &mut [u32]) -> usize {
        #[cfg(target_arch = "x86_64")]
        if shard.path() == Path::Avx512 {
            // SAFETY: the path was seen to be available when it was chosen.
            return unsafe { self.avx512(shard, out) };
        }
        self.parts(shard, out, |line, hash| line.candidates(tag(hash)))
    }

    /// # Safety
    /// The CPU has AVX-512 F, BW, DQ and VL, BMI1 and POPCNT.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
    fn avx512(self, shard: &IndexShard, out: &mut [u32]) -> usize {
        self.parts(shard, out, |line, hash| line.candidates_avx512(tag(hash)))
    }

    #[inline(always)]
    fn parts(
        mut self,
        shard: &IndexShard,
        out: &mut [u32],
        candidates: impl Fn(&Line, u64) -> u32,
    ) -> usize {
        let mut found = 0;
        for (part, out) in out.chunks_mut(PART).enumerate() {
            found += self.part(shard, part * PART, out, &candidates);
        }
        found
    }

    /// A part of the burst, whose first row is `first`. What is known meanwhile is in arrays that nobody else
    /// could see, so that stores to them do not have everything else loaded again.
    #[inline(always)]
    fn part(
        &mut self,
        shard: &IndexShard,
        first: usize,
        out: &mut [u32],
        candidates: &impl Fn(&Line, u64) -> u32,
    ) -> usize {
        let n = out.len().min(PART);
        let (mut hashes, mut ids) = ([0; PART], [NO_ID; PART]);
        for (i, hash) in (first..).zip(&mut hashes[..n]) {
            *hash = (self.hash_of)(i);
            shard.prefetch(*hash);
        }
        for (hash, id) in hashes[..n].iter().zip(&mut ids) {
            let home = shard.home_line(*hash);
            *id = match candidates(home, *hash) {
                0 => shard.further(home, *hash),
                some => home.first_of(some),
            };
            (self.touch)(if *id == NO_ID { 0 } else { *id });
        }
        for (i, (hash, id)) in (first..).zip(hashes[..n].iter().zip(&mut ids)) {
            if *id != NO_ID && !(self.same)(i, *id) {
                *id = self.again(shard, i, *hash);
            }
        }
        out.copy_from_slice(&ids[..n]);
        ids.iter().filter(|id| **id != NO_ID).count()
    }

    /// A row whose likely id was another one's.
    #[cold]
    #[inline(never)]
    fn again(&mut self, shard: &IndexShard, i: usize, hash: u64) -> u32 {
        let found = shard.find(hash, |id| (self.same)(i, id));
        found.unwrap_or(NO_ID)
    }
}
