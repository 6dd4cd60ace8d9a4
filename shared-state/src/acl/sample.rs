//! Rules and headers for measurements and tests: the generator of our programs for DPDK, formula
//! by formula, so that both sides are held against the same.
//!
//! 64 sites of a /16 each. Destination: 10 % any, 10 % /16, 20 % /24, 15 % /28, 45 % /32; source:
//! 35 % any, 15 % /16, 20 % /24, 30 % /32. Source port: 85 % any, 10 % 1024-65535, 5 % exact;
//! destination port: 15 % any, 55 % exact of a list of 40, 15 % 1024-65535, 15 % a range of up to
//! 200. Protocol: 70 % TCP, 22 % UDP, 8 % any. The first rule wins, nothing is deduplicated.

use super::{Key4, Prefix, Rule};

/// splitmix64 (Steele, Lea, Flood 2014): every random number of the measurements.
#[derive(Debug, Clone, Copy)]
pub struct SplitMix(pub u64);

impl SplitMix {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n
    }
}

/// `n` rules; rule `i` has priority `n - i` and action `i + 1`.
pub fn rules(n: u32) -> Vec<Rule> {
    let mut random = SplitMix(2024 + u64::from(n));
    let sites: [u32; 64] = core::array::from_fn(|_| random.draw() as u32 & 0xffff_0000);
    let ports: [u16; 40] = core::array::from_fn(|i| match i {
        0..30 => 20 + i as u16 * 23,
        _ => 1024 + random.below(50_000) as u16,
    });
    let rule = |i: u32| Rule {
        priority: (n - i) as i32,
        action: i + 1,
        ..one(&mut random, &sites, &ports)
    };
    (0..n).map(rule).collect()
}

/// `n` headers: nine of ten inside a random rule, the others anywhere.
pub fn headers(rules: &[Rule], n: usize) -> Vec<Key4> {
    let mut random = SplitMix(55);
    let header = |_| {
        let (a, b, c) = (random.draw(), random.draw(), random.draw());
        let mut key = Key4 {
            src: a as u32,
            dst: (a >> 32) as u32,
            sport: b as u16,
            dport: (b >> 16) as u16,
            proto: if b >> 63 != 0 { TCP } else { UDP },
            _pad: [0; 3],
        };
        if !c.is_multiple_of(10) {
            let rule = &rules[random.below(rules.len() as u64) as usize];
            key.src = within(&rule.src, key.src);
            key.dst = within(&rule.dst, key.dst);
            key.sport = between(rule.sport, key.sport);
            key.dport = between(rule.dport, key.dport);
            if rule.proto_mask != 0 {
                key.proto = rule.proto;
            }
        }
        key
    };
    (0..n).map(header).collect()
}

fn one(random: &mut SplitMix, sites: &[u32; 64], ports: &[u16; 40]) -> Rule {
    let dst_len = match random.below(100) {
        0..10 => 0,
        10..20 => 16,
        20..40 => 24,
        40..55 => 28,
        _ => 32,
    };
    let src_len = match random.below(100) {
        0..35 => 0,
        35..50 => 16,
        50..70 => 24,
        _ => 32,
    };
    // C leaves the order of the two draws of an address open; gcc 12 draws the site first.
    let mut address = || sites[random.below(64) as usize] | (random.draw() as u32 & 0xffff);
    let dst = Prefix::v4(address(), dst_len);
    let src = Prefix::v4(address(), src_len);
    let sport = match random.below(100) {
        95.. => exact(ports[random.below(40) as usize]),
        85..95 => (1024, u16::MAX),
        _ => (0, u16::MAX),
    };
    let dport = match random.below(100) {
        85.. => {
            let low = 1024 + random.below(60_000) as u16;
            (low, low + random.below(200) as u16)
        }
        70..85 => (1024, u16::MAX),
        15..70 => exact(ports[random.below(40) as usize]),
        _ => (0, u16::MAX),
    };
    let (proto, proto_mask) = match random.below(100) {
        0..70 => (TCP, 0xff),
        70..92 => (UDP, 0xff),
        _ => (0, 0),
    };
    Rule {
        src,
        dst,
        sport,
        dport,
        proto,
        proto_mask,
        ..Rule::ANY
    }
}

fn exact(port: u16) -> (u16, u16) {
    (port, port)
}

fn within(prefix: &Prefix, address: u32) -> u32 {
    let (first, last) = ((prefix.first() >> 96) as u32, (prefix.last() >> 96) as u32);
    first | address & (last ^ first)
}

fn between(range: (u16, u16), port: u16) -> u16 {
    let many = u32::from(range.1) - u32::from(range.0) + 1;
    range.0 + (u32::from(port) % many) as u16
}

const TCP: u8 = 6;
const UDP: u8 = 17;
