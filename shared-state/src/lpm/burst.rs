//! Bursts: the choice of the path, and the scalar one.

use super::{Lpm, NO_ROUTE, Path};

const AHEAD: usize = 64;

#[inline]
pub(super) fn lookup(lpm: &Lpm, addresses: &[u32], next_hops: &mut [u16]) {
    let n = addresses.len().min(next_hops.len());
    let (addresses, next_hops) = (&addresses[..n], &mut next_hops[..n]);
    match lpm.path {
        Path::Scalar => scalar(lpm, addresses, next_hops),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Path::is_available` saw AVX2 before the path was chosen; equal lengths above.
        Path::Avx2 => unsafe { super::simd::avx2(lpm, addresses, next_hops) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: likewise for AVX-512 F, BW, DQ and VL, and POPCNT.
        Path::Avx512 => unsafe { super::simd::avx512(lpm, addresses, next_hops) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => scalar(lpm, addresses, next_hops),
    }
}

pub(super) fn scalar(lpm: &Lpm, addresses: &[u32], next_hops: &mut [u16]) {
    let parts = addresses.chunks(AHEAD).zip(next_hops.chunks_mut(AHEAD));
    for (addresses, next_hops) in parts {
        for address in addresses {
            lpm.prefetch(*address);
        }
        for (address, next_hop) in addresses.iter().zip(next_hops) {
            *next_hop = lpm.lookup(*address).unwrap_or(NO_ROUTE);
        }
    }
}
