//! Keyed hash of key bytes: two 64-bit multiplications for 16 bytes.
//!
//! Not against an attacker who sees its results; the seed keeps one who does not from choosing
//! keys that collide. The function is part of the layout of a stored index: changing it means a
//! new version of the index zone.

pub(super) const P0: u64 = 0xa076_1d64_78bd_642f;
pub(super) const P1: u64 = 0xe703_7ed1_a0b4_28db;
pub(super) const P2: u64 = 0x8ebc_6af0_9c88_c6e3;

/// Folds the 128-bit product of two words: every bit of both reaches every bit of the result.
#[inline(always)]
pub fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The hash of `bytes` under `seed`. Inlined, so that the loop over a key of fixed size unrolls.
#[inline(always)]
pub fn hash_bytes(seed: u64, bytes: &[u8]) -> u64 {
    let mut state = seed ^ P0;
    let mut rest = bytes;
    while let Some((block, tail)) = rest.split_first_chunk::<16>() {
        let (low, high) = block.split_at(8);
        state = mix(word(low) ^ P1, word(high) ^ state);
        rest = tail;
    }
    if rest.len() > 8 {
        let (low, high) = rest.split_at(8);
        state = mix(word(low) ^ P1, word(high) ^ state);
    } else if !rest.is_empty() {
        state = mix(word(rest) ^ P1, state ^ P2);
    }
    mix(state ^ P2, bytes.len() as u64 ^ P1)
}

/// Up to eight bytes as a little-endian word.
#[inline(always)]
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn its_values_are_part_of_the_stored_layout() {
        let bytes: Vec<u8> = (0u8..40).collect();
        let values: Vec<u64> = [0, 4, 8, 13, 16, 40]
            .iter()
            .map(|n| hash_bytes(7, &bytes[..*n]))
            .collect();
        assert_eq!(values, FROZEN);
    }

    const FROZEN: [u64; 6] = [
        0xb2b9_0843_4a3c_885e,
        0xe548_3f8d_b125_375a,
        0x7593_c99a_2965_3319,
        0x4c5c_ca77_d5b1_f83b,
        0xc187_61d6_d0e9_b28e,
        0xa7be_ec77_3b0f_fb56,
    ];

    #[test]
    fn length_seed_and_every_bit_matter() {
        let zeros = [0u8; 16];
        let mut seen = HashSet::new();
        for n in 0..=16 {
            assert!(seen.insert(hash_bytes(1, &zeros[..n])), "{n} zeros");
        }
        for bit in 0..128 {
            let mut key = zeros;
            key[bit / 8] |= 1 << (bit % 8);
            assert!(seen.insert(hash_bytes(1, &key)), "bit {bit}");
        }
        assert!(seen.insert(hash_bytes(2, &zeros)));
    }

    #[test]
    fn consecutive_keys_spread_evenly_over_both_halves() {
        let (n, bins) = (64_000u64, 64);
        let mut high = vec![0u64; bins];
        let mut low = vec![0u64; bins];
        for i in 0..n {
            let mut key = [0u8; 13];
            key[..8].copy_from_slice(&i.to_be_bytes());
            let hash = hash_bytes(3, &key);
            high[(hash >> 58) as usize] += 1;
            low[(hash & 63) as usize] += 1;
        }
        for count in high.iter().chain(&low) {
            // 1,000 expected, standard deviation 31: six of them are not met by chance.
            assert!(
                (800..1200).contains(count),
                "{count} of {n} in one of {bins}"
            );
        }
    }
}
