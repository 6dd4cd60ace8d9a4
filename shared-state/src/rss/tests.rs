//! Every path against Microsoft's published vectors, DPDK's result, and the definition.

use proptest::prelude::*;

use super::*;

/// Every path of this processor.
fn paths(key: &[u8; KEY_BYTES]) -> Vec<Toeplitz> {
    let each = Path::ALL.into_iter();
    each.filter_map(|path| Toeplitz::with_path(key, path))
        .collect()
}

fn check<const N: usize>(hash: &Toeplitz, tuple: &[u8; N], expected: u32) {
    let found = hash.hash(tuple);
    assert_eq!(found, expected, "{:?} of {tuple:02x?}", hash.path());
    let mut burst = [0; 3];
    hash.hash_burst(&[tuple; 3], &mut burst);
    assert_eq!(burst, [expected; 3], "{:?} in a burst", hash.path());
}

/// Microsoft, "Verifying the RSS Hash Calculation": destination, source, hash of the addresses,
/// hash with ports.
#[test]
fn the_published_ipv4_vectors_are_met() {
    let vectors = [
        (
            "161.142.100.80",
            1766,
            "66.9.149.187",
            2794,
            0x323e_8fc2,
            0x51cc_c178,
        ),
        (
            "65.69.140.83",
            4739,
            "199.92.111.2",
            14230,
            0xd718_262a,
            0xc626_b0ea,
        ),
        (
            "12.22.207.184",
            38024,
            "24.19.198.95",
            12898,
            0xd2d0_a5de,
            0x5c2b_394a,
        ),
        (
            "209.142.163.6",
            2217,
            "38.27.205.30",
            48228,
            0x8298_9176,
            0xafc7_327f,
        ),
        (
            "202.188.127.2",
            1303,
            "153.39.163.191",
            44251,
            0x5d18_09c5,
            0x10e8_28a2,
        ),
    ];
    for hash in paths(&MICROSOFT_KEY) {
        for (to, to_port, from, from_port, addresses, ports) in vectors {
            let tuple = ipv4_tuple(
                (from.parse().unwrap(), from_port),
                (to.parse().unwrap(), to_port),
            );
            check(&hash, tuple.first_chunk::<8>().unwrap(), addresses);
            check(&hash, &tuple, ports);
        }
    }
}

#[test]
fn the_published_ipv6_vectors_are_met() {
    let vectors = [
        (
            "3ffe:2501:200:3::1",
            1766,
            "3ffe:2501:200:1fff::7",
            2794,
            0x2cc1_8cd5,
            0x4020_7d3d,
        ),
        (
            "ff02::1",
            4739,
            "3ffe:501:8::260:97ff:fe40:efab",
            14230,
            0x0f0c_461c,
            0xdde5_1bbf,
        ),
        (
            "fe80::200:f8ff:fe21:67cf",
            38024,
            "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
            44251,
            0x4b61_e985,
            0x02d1_feef,
        ),
    ];
    for hash in paths(&MICROSOFT_KEY) {
        for (to, to_port, from, from_port, addresses, ports) in vectors {
            let tuple = ipv6_tuple(
                (from.parse().unwrap(), from_port),
                (to.parse().unwrap(), to_port),
            );
            check(&hash, tuple.first_chunk::<32>().unwrap(), addresses);
            check(&hash, &tuple, ports);
        }
    }
}

/// splitmix64, the generator of all random data here and in the peers' programs.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn random_bytes<const N: usize>(state: &mut u64) -> [u8; N] {
    let mut bytes = [0; N];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random(state).to_be_bytes()[..chunk.len()]);
    }
    bytes
}

/// `rte_softrss` and `rte_thash_gfni` of DPDK 22.11 print e98d6d90 for its first tuple.
#[test]
fn a_tuple_of_dpdk_gets_the_hash_that_dpdk_gives_it() {
    let mut state = 4;
    let mut tuple = [0; IPV4_BYTES];
    for word in tuple.chunks_mut(4) {
        word.copy_from_slice(&(random(&mut state) as u32).to_be_bytes());
    }
    for hash in paths(&MICROSOFT_KEY) {
        check(&hash, &tuple, 0xe98d_6d90);
    }
}

/// Compares every path with the scalar one over `n` random tuples, each single and in bursts of
/// uneven length; a new key now and then.
fn compare<const N: usize>(n: usize, mut state: u64) {
    const BURST: usize = 33;
    for _ in 0..n.div_ceil(BURST * 64) {
        let key = random_bytes(&mut state);
        let paths = paths(&key);
        for len in 0..64 {
            let tuples: [[u8; N]; BURST] = core::array::from_fn(|_| random_bytes(&mut state));
            let all: [&[u8; N]; BURST] = core::array::from_fn(|i| &tuples[i]);
            let len = if len < BURST { len } else { BURST };
            let expected: Vec<u32> = tuples.iter().map(|tuple| scalar(&key, tuple)).collect();
            for path in &paths {
                let mut burst = [7; BURST];
                path.hash_burst(&all[..len], &mut burst);
                assert_eq!(burst[..len], expected[..len], "{:?}", path.path());
                assert!(burst[len..].iter().all(|hash| *hash == 7));
                for (tuple, expected) in tuples.iter().zip(&expected) {
                    assert_eq!(path.hash(tuple), *expected, "{:?}", path.path());
                }
            }
        }
    }
}

#[test]
fn all_paths_agree_on_random_tuples() {
    compare::<IPV4_BYTES>(50_000, 1);
    compare::<IPV6_BYTES>(50_000, 2);
}

#[test]
#[ignore = "long: 10 million tuples, bit by bit"]
fn all_paths_agree_on_ten_million_random_tuples() {
    compare::<IPV4_BYTES>(6_000_000, 3);
    compare::<IPV6_BYTES>(4_000_000, 4);
}

#[test]
fn all_paths_agree_at_every_length() {
    fn at<const N: usize>() {
        compare::<N>(1, N as u64);
    }
    at::<0>();
    at::<1>();
    at::<3>();
    at::<5>();
    at::<8>();
    at::<13>();
    at::<16>();
    at::<27>();
    at::<28>();
    at::<29>();
    at::<32>();
    at::<35>();
}

proptest! {
    #[test]
    fn both_directions_of_a_connection_meet_under_the_symmetric_key(
        from: (u32, u16), to: (u32, u16), from6: (u128, u16), to6: (u128, u16)
    ) {
        let (a, b) = ((from.0.into(), from.1), (to.0.into(), to.1));
        let (a6, b6) = ((from6.0.into(), from6.1), (to6.0.into(), to6.1));
        for hash in paths(&SYMMETRIC_KEY) {
            prop_assert_eq!(hash.hash(&ipv4_tuple(a, b)), hash.hash(&ipv4_tuple(b, a)));
            prop_assert_eq!(hash.hash(&ipv6_tuple(a6, b6)), hash.hash(&ipv6_tuple(b6, a6)));
        }
    }
}
