//! Lookups of keys in bulk by who alone changes index and keys: no other thread of it may change them meanwhile, as lines
//! and keys are loaded many words at a time.

#[cfg(target_arch = "x86_64")]
mod avx512;

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::index::IndexShard;
use super::keys::Keys;
#[cfg(target_arch = "x86_64")]
use crate::simd::Path;

impl IndexShard {
    /// Looks up keys in bulk for who alone changes index and keys (see [`Keys::holds`]), as many as the shorter slice
    /// has: `out[i]` is the id of `wanted[i]`, or [`super::NO_ID`]. Returns how many were found.
    #[inline]
    pub fn find_keys<K: FromBytes + IntoBytes + Immutable + Copy>(
        &self,
        keys: &Keys<K>,
        wanted: &[K],
        out: &mut [u32],
    ) -> usize {
        let n = wanted.len().min(out.len());
        let (wanted, out) = (&wanted[..n], &mut out[..n]);
        #[cfg(target_arch = "x86_64")]
        if avx512::fits::<K>() && self.path() == Path::Avx512 {
            // SAFETY: the path was seen to be available when it was chosen.
            return unsafe { avx512::find(self, keys, wanted, out) };
        }
        self.find_each(keys, wanted, out)
    }

    /// The same for as many keys as `out` has room for, by the steps of [`IndexShard::find_burst`].
    fn find_each<K: FromBytes + IntoBytes + Immutable + Copy>(
        &self,
        keys: &Keys<K>,
        wanted: &[K],
        out: &mut [u32],
    ) -> usize {
        self.find_burst(
            |i| self.hash(wanted[i].as_bytes()),
            |id| keys.prefetch(id),
            |i, id| keys.holds(id, &wanted[i]),
            out,
        )
    }
}
