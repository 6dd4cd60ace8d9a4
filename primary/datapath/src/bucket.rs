//! What: the 256 buckets by which flows are spread over shards.
//!
//! Layout: inside → outside the bucket is a hash of the inside end; a NAT port (or echo
//! identifier) is chosen so that its low byte *is* that bucket, so outside → inside it is read off
//! the packet without a lookup.
//!
//! Invariants: I1 the hash never changes: a session made by one binary must be found on the same
//! shard by the next.

use std::net::Ipv4Addr;

/// Number of buckets.
pub const BUCKETS: usize = 256;

/// The bucket of a flow by its inside end: protocol, address, and port or echo identifier.
#[inline]
#[must_use]
pub fn of_flow(protocol: u8, inside: Ipv4Addr, port: u16) -> u8 {
    mix(u64::from(u32::from(inside)) << 32 | u64::from(port) << 16 | u64::from(protocol))
}

/// The bucket that a NAT port stands in.
#[inline]
#[must_use]
pub fn of_nat_port(port: u16) -> u8 {
    port as u8
}

/// The bucket of what has no ports: the two addresses, in either order.
#[inline]
#[must_use]
pub fn of_addresses(a: Ipv4Addr, b: Ipv4Addr) -> u8 {
    mix(u64::from(u32::from(a) ^ u32::from(b)))
}

/// The finishing steps of splitmix64 (Steele et al., 2014): every input bit reaches every output
/// bit.
#[inline]
fn mix(x: u64) -> u8 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x >> 56) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn released_values_never_change() {
        let a = Ipv4Addr::new(10, 0, 0, 7);
        let b = Ipv4Addr::new(10, 0, 255, 254);
        assert_eq!(
            [
                of_flow(6, a, 40_000),
                of_flow(17, a, 40_000),
                of_flow(1, b, 1)
            ],
            PINNED
        );
    }

    #[test]
    fn a_nat_port_stands_in_the_bucket_of_its_low_byte() {
        assert_eq!(of_nat_port(0x9c41), 0x41);
    }

    #[test]
    fn both_directions_share_a_bucket() {
        let (a, b) = (Ipv4Addr::new(1, 2, 3, 4), Ipv4Addr::new(5, 6, 7, 8));
        assert_eq!(of_addresses(a, b), of_addresses(b, a));
    }

    #[test]
    fn neighbouring_ports_spread_evenly() {
        let mut counts = [0u32; BUCKETS];
        for port in 0..=u16::MAX {
            counts[usize::from(of_flow(17, Ipv4Addr::new(10, 0, 0, 2), port))] += 1;
        }
        let (min, max) = (counts.iter().min(), counts.iter().max());
        assert!(min > Some(&180) && max < Some(&340), "{min:?} {max:?}");
    }

    const PINNED: [u8; 3] = [0, 245, 30];
}
