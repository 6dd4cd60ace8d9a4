//! The ids that many hashes most likely lead to, when their home lines were asked for before. Which way is chosen
//! at run time, as in [`super::burst`].

use super::index::IndexShard;
use super::line::{Line, tag};
#[cfg(target_arch = "x86_64")]
use crate::simd::Path;

impl IndexShard {
    /// As [`IndexShard::candidate`], for as many hashes as the shorter slice has; `touch` is told each id.
    #[inline]
    pub fn candidates(&self, hashes: &[u64], touch: impl Fn(u32), out: &mut [u32]) {
        #[cfg(target_arch = "x86_64")]
        if self.path() == Path::Avx512 {
            // SAFETY: the path was seen to be available when it was chosen.
            return unsafe { avx512(self, hashes, touch, out) };
        }
        each(self, hashes, touch, out, |line, hash| {
            line.candidates(tag(hash))
        });
    }
}

/// # Safety
/// The CPU has AVX-512 F, BW, DQ and VL, BMI1 and POPCNT.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,popcnt")]
fn avx512(shard: &IndexShard, hashes: &[u64], touch: impl Fn(u32), out: &mut [u32]) {
    each(shard, hashes, touch, out, |line, hash| {
        line.candidates_avx512(tag(hash))
    });
}

#[inline(always)]
fn each(
    shard: &IndexShard,
    hashes: &[u64],
    touch: impl Fn(u32),
    out: &mut [u32],
    candidates: impl Fn(&Line, u64) -> u32,
) {
    for (hash, id) in hashes.iter().zip(out) {
        let home = shard.home_line(*hash);
        *id = match candidates(home, *hash) {
            0 => shard.further(home, *hash),
            some => home.first_of(some),
        };
        touch(*id);
    }
}
