//! Bursts: the choice of the path, and the scalar one, which takes all addresses one node down
//! before it takes the next step.

use super::layout::{LEVELS, LINE_WORDS, WIDE_LEVELS, slot};
use super::{Lpm6, NODE, PARTS, Path, best_of};
use crate::simd::prefetch;
use crate::sync::Ordering;

const AT_ONCE: usize = 32;

#[inline]
pub(super) fn lookup(table: &Lpm6, addresses: &[[u8; 16]], next_hops: &mut [u16]) {
    let n = addresses.len().min(next_hops.len());
    let (addresses, next_hops) = (&addresses[..n], &mut next_hops[..n]);
    match table.path {
        Path::Scalar => scalar(table, addresses, next_hops),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `has` saw AVX2, BMI2 and POPCNT before the path was chosen; equal lengths above.
        Path::Avx2 => unsafe { super::simd256::avx2(table, addresses, next_hops) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: likewise for AVX-512 F, BW, DQ and VL.
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
            open |= ahead(table, address, 0, *entry);
        }
        for level in 0..LEVELS {
            if !open {
                break;
            }
            open = false;
            for ((entry, best), address) in entries.iter_mut().zip(&mut best).zip(addresses) {
                if *entry & NODE != 0 {
                    let (own, next) = table.step(*entry, level, slot(address, level));
                    *best = if own == 0 { *best } else { own };
                    *entry = next;
                    open |= ahead(table, address, level + 1, next);
                }
            }
        }
        for ((hop, entry), best) in next_hops.iter_mut().zip(entries).zip(best) {
            *hop = best_of(entry, best).wrapping_sub(1) as u16;
        }
    }
}

/// Asks for what the next step reads, if the entry names a node.
#[inline(always)]
fn ahead(table: &Lpm6, address: &[u8; 16], level: usize, entry: u32) -> bool {
    let named = entry & NODE != 0;
    if named && level < LEVELS {
        let node = table.node(entry);
        prefetch(&raw const table.pool[node]);
        let second = if level < WIDE_LEVELS {
            PARTS + usize::from(slot(address, level))
        } else {
            LINE_WORDS
        };
        prefetch(&raw const table.pool[node + second]);
    }
    named
}
