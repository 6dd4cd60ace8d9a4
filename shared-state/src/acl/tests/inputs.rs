//! Headers and rules to try: near each other, so that they meet.

use proptest::prelude::*;

use super::super::sample::SplitMix;
use super::super::*;

/// A header of either family; addresses left-aligned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    pub(super) src: u128,
    pub(super) dst: u128,
    pub(super) sport: u16,
    pub(super) dport: u16,
    pub(super) proto: u8,
}

impl Probe {
    pub(super) fn key4(&self) -> Key4 {
        let (src, dst) = ((self.src >> 96) as u32, (self.dst >> 96) as u32);
        let (sport, dport, proto) = (self.sport, self.dport, self.proto);
        Key4 {
            src,
            dst,
            sport,
            dport,
            proto,
            _pad: [0xee; 3],
        }
    }

    pub(super) fn key6(&self) -> Key6 {
        let (src, dst) = (self.src.to_be_bytes(), self.dst.to_be_bytes());
        let (sport, dport, proto) = (self.sport, self.dport, self.proto);
        Key6 {
            src,
            dst,
            sport,
            dport,
            proto,
            _pad: [0xee; 3],
        }
    }

    /// The oracle: what each category should get.
    pub(super) fn linear(&self, rules: &[(RuleId, Rule)], categories: usize) -> Vec<u32> {
        let best = |category: usize| {
            let matching = rules.iter().filter(|(_, rule)| {
                rule.categories >> category & 1 != 0
                    && rule.matches(self.src, self.dst, self.sport, self.dport, self.proto)
            });
            let best = matching.min_by_key(|(id, rule)| (core::cmp::Reverse(rule.priority), *id));
            best.map_or(0, |(_, rule)| rule.action)
        };
        (0..categories).map(best).collect()
    }

    /// On or beside an edge of a rule.
    pub(super) fn near(random: &mut SplitMix, rule: &Rule, family: Family) -> Probe {
        let step = 1u128 << (128 - u32::from(family.bits()));
        let mut address = |prefix: &Prefix| match random.below(5) {
            0 => prefix.first(),
            1 => prefix.last() & !(step - 1),
            2 => prefix.first().wrapping_sub(step),
            3 => (prefix.last() & !(step - 1)).wrapping_add(step),
            _ => {
                prefix.first() | u128::from(random.draw()) << 64 & (prefix.last() ^ prefix.first())
            }
        };
        let (src, dst) = (address(&rule.src), address(&rule.dst));
        let mut port = |range: (u16, u16)| match random.below(4) {
            0 => range.0,
            1 => range.1,
            2 => range.0.wrapping_sub(1),
            _ => range.1.wrapping_add(1),
        };
        let (sport, dport) = (port(rule.sport), port(rule.dport));
        let proto = if random.below(4) == 0 {
            random.draw() as u8
        } else {
            rule.proto
        };
        Probe {
            src,
            dst,
            sport,
            dport,
            proto,
        }
    }
}

pub(super) fn rule(family: Family) -> impl Strategy<Value = Rule> {
    // Few distinct bits, where levels of the trie begin and end: prefixes nest and touch.
    let prefix = move |(bits, low, len, any): (u128, u128, u8, bool)| {
        let len = if any { 0 } else { len.min(family.bits()) };
        let last = 128 - u32::from(family.bits());
        Prefix::aligned(bits << 108 | low << (last + 2) | low << last, len)
    };
    let prefix = (0..4u128, 0..4u128, 0u8..=128, any::<bool>()).prop_map(prefix);
    let range = prop_oneof![
        Just((0, u16::MAX)),
        (0u16..40, 0u16..30).prop_map(|(low, n)| (low, low + n)),
        (0u16..40).prop_map(|port| (port, port)),
        (0u16..40).prop_map(|port| (port, u16::MAX)),
    ];
    let proto = prop_oneof![
        Just((6, 0xff)),
        Just((17, 0xff)),
        Just((0, 0)),
        any::<(u8, u8)>()
    ];
    let rest = (0i32..6, 1u32..1000, 1u16..16);
    let parts = (prefix.clone(), prefix, range.clone(), range, proto, rest);
    parts.prop_map(
        |(src, dst, sport, dport, (proto, proto_mask), (priority, action, categories))| Rule {
            src,
            dst,
            sport,
            dport,
            proto,
            proto_mask,
            categories,
            priority,
            action,
        },
    )
}
