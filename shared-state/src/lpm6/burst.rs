//! Bursts: the choice of the path, and the scalar one, which takes all addresses one node down
//! before it takes the next step.

use super::{Lpm6, NODE, Path, best_of};
use crate::sync::Ordering;
use crate::table::prefetch;

const AT_ONCE: usize = 32;

#[inline]
pub(super) fn lookup(table: &Lpm6, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
    let n = addresses.len().min(next_hops.len());
    let (addresses, next_hops) = (&addresses[..n], &mut next_hops[..n]);
    match table.path {
        Path::Scalar => scalar(table, addresses, next_hops),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `has` saw AVX2 before the path was chosen; equal lengths above.
        Path::Avx2 => unsafe { super::simd::avx2(table, addresses, next_hops) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: likewise for AVX-512 F, BW, DQ, VL and VPOPCNTDQ.
        Path::Avx512 => unsafe { super::simd::avx512(table, addresses, next_hops) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => scalar(table, addresses, next_hops),
    }
}

pub(super) fn scalar(table: &Lpm6, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
    let default = table.default.load(Ordering::Acquire);
    let parts = addresses.chunks(AT_ONCE).zip(next_hops.chunks_mut(AT_ONCE));
    for (addresses, next_hops) in parts {
        let mut entries = [0; AT_ONCE];
        let mut best = [default; AT_ONCE];
        let mut open = false;
        for (entry, address) in entries.iter_mut().zip(addresses) {
            let top = usize::from(u16::from_be_bytes([address[0], address[1]]));
            *entry = table.tbl16[top].load(Ordering::Acquire);
            open |= ahead(table, *entry);
        }
        for byte in 2..16 {
            if !open {
                break;
            }
            open = false;
            for ((entry, best), address) in entries.iter_mut().zip(&mut best).zip(addresses) {
                if *entry & NODE != 0 {
                    let (own, next) = table.step(*entry, address[byte]);
                    *best = if own == 0 { *best } else { own };
                    *entry = next;
                    open |= ahead(table, next);
                }
            }
        }
        for ((hop, entry), best) in next_hops.iter_mut().zip(entries).zip(best) {
            *hop = best_of(entry, best).wrapping_sub(1) as u16;
        }
    }
}

/// Asks for the first line of a node, if the entry names one.
#[inline(always)]
fn ahead(table: &Lpm6, entry: u32) -> bool {
    let named = entry & NODE != 0;
    if named {
        prefetch(&raw const table.pool[table.node(entry)]);
    }
    named
}
