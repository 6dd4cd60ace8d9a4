//! Toeplitz hash of a packet's addresses and ports, as network cards compute it for receive-side
//! scaling: so that software can say on which queue a packet arrives, or spread by the same rule.
//!
//! Source: Microsoft, "RSS Hashing Functions" and "Verifying the RSS Hash Calculation" (the NDIS
//! documentation), whose vectors are tests here. Bit `h` of the hash is the parity of all data
//! bits `q` whose key bit `q + h` is set; bits count from the most significant of the first byte.
//!
//! Paths, chosen once by [`Toeplitz::new`] and equal in result:
//!
//! - [`Path::Gfni`] one 8x8 bit matrix for each sum of a data byte's and a hash byte's position:
//!   all bytes of an IPv4 tuple in two `vgf2p8affineqb` (as DPDK's `rte_thash_gfni.h`), and two
//!   tuples at once in a burst;
//! - [`Path::Clmul`] the hash is the middle of a carry-less product of data and key, both with
//!   their bits reversed: one `pclmulqdq` for four bytes;
//! - [`Path::Scalar`] bit by bit, the definition.
//!
//! Nothing here is in shared memory: a [`Toeplitz`] is made from the key of the config.

mod simd;

use core::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a key.
pub const KEY_BYTES: usize = 40;
/// Most bytes that a key of [`KEY_BYTES`] can hash: the last bit of data needs 32 bits of key.
pub const MOST_BYTES: usize = KEY_BYTES - 4;
/// Bytes of an IPv4 4-tuple.
pub const IPV4_BYTES: usize = 12;
/// Bytes of an IPv6 4-tuple.
pub const IPV6_BYTES: usize = 36;

/// The key of Microsoft's verification vectors, the default of many drivers.
pub const MICROSOFT_KEY: [u8; KEY_BYTES] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// A key of period 16 bits: both directions of a connection get the same hash (Woo and Park,
/// "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling", KAIST 2012). Of two
/// tuples whose 16-bit words have the same parity sum it tells nothing apart.
pub const SYMMETRIC_KEY: [u8; KEY_BYTES] = {
    let mut key = [0x6d; KEY_BYTES];
    let mut i = 1;
    while i < KEY_BYTES {
        key[i] = 0x5a;
        i += 2;
    }
    key
};

/// How a hash is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Bit by bit.
    Scalar,
    /// Carry-less multiplication (`pclmulqdq`).
    Clmul,
    /// Affine maps over bytes (GFNI with AVX-512 BW, VL and VBMI).
    Gfni,
}

impl Path {
    /// Every path.
    pub const ALL: [Path; 3] = [Path::Scalar, Path::Clmul, Path::Gfni];

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Path::Scalar => true,
            Path::Clmul => simd::has_clmul(),
            Path::Gfni => simd::has_gfni(),
        }
    }
}

/// A key made ready for hashing, and the way to do it.
#[derive(Debug, Clone)]
pub struct Toeplitz {
    path: Path,
    key: [u8; KEY_BYTES],
    reversed: simd::Reversed,
    matrices: simd::Matrices,
}

impl Toeplitz {
    /// Makes a key ready, for the fastest path of this processor.
    pub fn new(key: &[u8; KEY_BYTES]) -> Toeplitz {
        let by_speed = [Path::Gfni, Path::Clmul];
        let path = by_speed.into_iter().find(|path| path.is_available());
        Self::ready(key, path.unwrap_or(Path::Scalar))
    }

    /// Makes a key ready for one path; `None` when this processor does not have it.
    pub fn with_path(key: &[u8; KEY_BYTES], path: Path) -> Option<Toeplitz> {
        path.is_available().then(|| Self::ready(key, path))
    }

    fn ready(key: &[u8; KEY_BYTES], path: Path) -> Toeplitz {
        Toeplitz {
            path,
            key: *key,
            reversed: simd::Reversed::new(key),
            matrices: simd::Matrices::new(key),
        }
    }

    /// The path in use.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The hash of `N` bytes in network order: source, destination, source port, destination
    /// port. More than [`MOST_BYTES`] do not compile.
    #[inline]
    pub fn hash<const N: usize>(&self, tuple: &[u8; N]) -> u32 {
        const { assert!(N <= MOST_BYTES) };
        match self.path {
            // SAFETY: a path is only ever stored after `is_available`.
            Path::Gfni => unsafe { simd::gfni(&self.matrices, tuple) },
            // SAFETY: as above.
            Path::Clmul => unsafe { simd::clmul(&self.reversed, tuple) },
            Path::Scalar => scalar(&self.key, tuple),
        }
    }

    /// The hashes of many tuples, for as many as there are places for.
    #[inline]
    pub fn hash_burst<const N: usize>(&self, tuples: &[&[u8; N]], hashes: &mut [u32]) {
        const { assert!(N <= MOST_BYTES) };
        match self.path {
            // SAFETY: a path is only ever stored after `is_available`.
            Path::Gfni => unsafe { simd::gfni_burst(&self.matrices, tuples, hashes) },
            _ => {
                for (tuple, hash) in tuples.iter().zip(hashes) {
                    *hash = self.hash(tuple);
                }
            }
        }
    }
}

/// What is hashed of an IPv4 packet with ports.
#[inline]
pub fn ipv4_tuple(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> [u8; IPV4_BYTES] {
    let mut tuple = [0; IPV4_BYTES];
    tuple[..4].copy_from_slice(&from.0.octets());
    tuple[4..8].copy_from_slice(&to.0.octets());
    tuple[8..10].copy_from_slice(&from.1.to_be_bytes());
    tuple[10..].copy_from_slice(&to.1.to_be_bytes());
    tuple
}

/// What is hashed of an IPv6 packet with ports.
#[inline]
pub fn ipv6_tuple(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16)) -> [u8; IPV6_BYTES] {
    let mut tuple = [0; IPV6_BYTES];
    tuple[..16].copy_from_slice(&from.0.octets());
    tuple[16..32].copy_from_slice(&to.0.octets());
    tuple[32..34].copy_from_slice(&from.1.to_be_bytes());
    tuple[34..].copy_from_slice(&to.1.to_be_bytes());
    tuple
}

/// The definition: for each bit of data that is set, the 32 bits of key that begin there.
fn scalar(key: &[u8; KEY_BYTES], data: &[u8]) -> u32 {
    let mut hash = 0;
    for (at, byte) in data.iter().enumerate() {
        let mut window = 0u64;
        for k in &key[at..at + 5.min(KEY_BYTES - at)] {
            window = window << 8 | u64::from(*k);
        }
        for bit in 0..8 {
            if byte << bit & 0x80 != 0 {
                hash ^= (window >> (8 - bit)) as u32;
            }
        }
    }
    hash
}

#[cfg(test)]
mod tests;
