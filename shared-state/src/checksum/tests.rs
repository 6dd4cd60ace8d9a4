//! Sums against the definition, word by word.

use proptest::prelude::*;

use super::*;

/// The definition, word by word with an end-around carry after each addition.
fn slow(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[test]
fn the_example_of_rfc_1071_gives_its_sum() {
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::default().bytes(&bytes).fold(), 0xddf2);
}

#[test]
fn the_example_of_rfc_1624_gives_zero_and_not_ffff() {
    assert_eq!(Delta::default().word(0x5555, 0x3285).apply(0xdd2f), 0x0000);
}

#[test]
fn udp_without_checksum_stays_without() {
    assert_eq!(Delta::default().word(1, 2).apply_udp(0), 0);
}

#[test]
fn udp_never_gets_the_value_that_means_none() {
    assert_eq!(
        Delta::default().word(0x5555, 0x3285).apply_udp(0xdd2f),
        0xffff
    );
}

proptest! {
    #[test]
    fn fast_sum_equals_the_definition(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(of(&bytes), slow(&bytes));
    }

    #[test]
    fn incremental_equals_whole(
        mut bytes in prop::collection::vec(any::<u8>(), 8..64),
        at in any::<prop::sample::Index>(),
        words in prop::collection::vec(prop_oneof![Just(0u16), Just(0xffff), any::<u16>()], 1..4),
    ) {
        bytes.truncate(bytes.len() & !1);
        bytes[0] |= 1; // I1 speaks of data that is not all zero
        let old = of(&bytes);
        let mut delta = Delta::default();
        for new in words {
            let i = (1 + at.index(bytes.len() / 2 - 1)) * 2;
            delta = delta.word(u16::from_be_bytes([bytes[i], bytes[i + 1]]), new);
            bytes[i..i + 2].copy_from_slice(&new.to_be_bytes());
        }
        prop_assert_eq!(delta.apply(old), of(&bytes));
    }

    #[test]
    fn address_change_equals_two_word_changes(old in any::<u32>(), new in any::<u32>(), sum in any::<u16>()) {
        let (a, b) = (Ipv4Addr::from(old), Ipv4Addr::from(new));
        let by_words = Delta::default()
            .word((old >> 16) as u16, (new >> 16) as u16)
            .word(old as u16, new as u16);
        prop_assert_eq!(Delta::default().address(a, b).apply(sum), by_words.apply(sum));
    }
}

/// What any path gives for `bytes`, each of them.
fn each_path(bytes: &[u8]) -> impl Iterator<Item = (Path, u16)> {
    let all = Path::ALL.into_iter();
    all.filter_map(|path| {
        let sum = Sum::default().bytes_by(path, bytes)?;
        Some((path, sum.checksum()))
    })
}

#[test]
fn every_path_equals_the_definition_at_every_length_and_alignment() {
    let mut state = 1u64;
    let data: Vec<u8> = (0..2048)
        .map(|_| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    for from in [0, 1, 2, 7, 63] {
        for len in (0..700).chain(1400..1600) {
            let bytes = &data[from..from + len];
            let expected = slow(bytes);
            assert_eq!(of(bytes), expected, "{len} bytes from {from}");
            for (path, found) in each_path(bytes) {
                assert_eq!(found, expected, "{path:?}, {len} bytes from {from}");
            }
        }
    }
}

#[test]
fn carries_are_not_lost_where_every_bit_is_set() {
    for len in [1, 2, 20, 63, 64, 65, 127, 128, 1500, 9000, 65_535, 1 << 20] {
        for byte in [0x00, 0x01, 0x80, 0xfe, 0xff] {
            let bytes = vec![byte; len];
            let expected = slow(&bytes);
            assert_eq!(of(&bytes), expected, "{len} x {byte:#x}");
            for (path, found) in each_path(&bytes) {
                assert_eq!(found, expected, "{path:?}, {len} x {byte:#x}");
            }
        }
    }
}

/// Compares every path with the definition on `n` random frames.
fn compare(n: usize, mut state: u64) {
    let mut data = [0u8; 4096];
    for i in 0..n {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let word = (state ^ state >> 29).to_le_bytes();
        let at = i * 8 % data.len();
        data[at..at + 8].copy_from_slice(&word);
        let from = (state >> 33) as usize % 512;
        let len = (state >> 50) as usize % 288;
        let bytes = &data[from..from + len];
        let expected = slow(bytes);
        for (path, found) in each_path(bytes) {
            assert_eq!(found, expected, "{path:?}, {len} bytes");
        }
    }
}

#[test]
fn all_paths_agree_on_random_frames() {
    compare(100_000, 2);
}

#[test]
#[ignore = "long: 10 million frames, word by word"]
fn all_paths_agree_on_ten_million_random_frames() {
    compare(10_000_000, 3);
}

proptest! {
    #[test]
    fn parts_of_even_length_add_up_to_the_whole(
        bytes in prop::collection::vec(any::<u8>(), 0..600), at: prop::sample::Index
    ) {
        let at = at.index(bytes.len() / 2 + 1) * 2;
        let parts = Sum::default().bytes(&bytes[..at]).bytes(&bytes[at..]);
        prop_assert_eq!(parts.checksum(), slow(&bytes));
    }
}
