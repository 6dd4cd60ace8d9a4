//! Rules and the headers they are held against.

use baton_schema::Record;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::AclError;

/// IPv4 or IPv6: a classifier holds rules of one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Family {
    /// Addresses of 32 bits.
    V4 = 4,
    /// Addresses of 128 bits.
    V6 = 6,
}

impl Family {
    /// Bits of an address.
    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

/// An address prefix. The address is left-aligned in 128 bits, whatever its family; bits past
/// the length are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Prefix {
    pub(super) addr: u128,
    pub(super) len: u8,
}

impl Prefix {
    /// Every address.
    pub const ANY: Prefix = Prefix { addr: 0, len: 0 };

    /// A prefix of an IPv4 address in host byte order; bits past `len` are ignored.
    pub const fn v4(addr: u32, len: u8) -> Prefix {
        Prefix::aligned((addr as u128) << 96, len)
    }

    /// A prefix of an IPv6 address in host byte order; bits past `len` are ignored.
    pub const fn v6(addr: u128, len: u8) -> Prefix {
        Prefix::aligned(addr, len)
    }

    pub(super) const fn aligned(addr: u128, len: u8) -> Prefix {
        let len_or_full = if len > 128 { 128 } else { len };
        let addr = addr & mask(len_or_full);
        Prefix { addr, len }
    }

    /// Bits of the prefix.
    pub const fn len(&self) -> u8 {
        self.len
    }

    /// Whether the prefix covers every address.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first address, left-aligned in 128 bits.
    pub const fn first(&self) -> u128 {
        self.addr
    }

    /// The last address, left-aligned in 128 bits (all bits past the prefix set).
    pub const fn last(&self) -> u128 {
        self.addr | !mask(self.len)
    }

    /// Whether an address, left-aligned in 128 bits, lies in the prefix.
    pub const fn covers(&self, addr: u128) -> bool {
        addr & mask(self.len) == self.addr
    }
}

const fn mask(len: u8) -> u128 {
    if len == 0 {
        return 0;
    }
    u128::MAX << (128 - len as u32)
}

/// A 5-tuple rule. All five fields must match; of the rules that match, the one with the highest
/// priority wins in each of its categories, and of equals the one with the lowest id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Source addresses.
    pub src: Prefix,
    /// Destination addresses.
    pub dst: Prefix,
    /// First and last source port.
    pub sport: (u16, u16),
    /// First and last destination port.
    pub dport: (u16, u16),
    /// Protocol: matches where `packet & proto_mask == proto & proto_mask`.
    pub proto: u8,
    /// Bits of the protocol that count; 0 for any protocol, 0xff for one.
    pub proto_mask: u8,
    /// Bit c: the rule takes part in category c, as `category_mask` of rte_acl.
    pub categories: u16,
    /// Higher wins.
    pub priority: i32,
    /// What a lookup returns, as `userdata` of rte_acl; not 0, which means no match.
    pub action: u32,
}

impl Rule {
    /// Matches everything in category 0, with priority 0 and action 1; for `..Rule::ANY`.
    pub const ANY: Rule = Rule {
        src: Prefix::ANY,
        dst: Prefix::ANY,
        sport: (0, u16::MAX),
        dport: (0, u16::MAX),
        proto: 0,
        proto_mask: 0,
        categories: 1,
        priority: 0,
        action: 1,
    };

    /// Whether the rule matches a header whose addresses are left-aligned in 128 bits.
    pub fn matches(&self, src: u128, dst: u128, sport: u16, dport: u16, proto: u8) -> bool {
        self.src.covers(src)
            && self.dst.covers(dst)
            && (self.sport.0..=self.sport.1).contains(&sport)
            && (self.dport.0..=self.dport.1).contains(&dport)
            && (proto ^ self.proto) & self.proto_mask == 0
    }

    /// Refuses what cannot be compiled.
    pub(super) fn check(&self, family: Family) -> Result<(), AclError> {
        for len in [self.src.len, self.dst.len] {
            if len > family.bits() {
                let bits = family.bits();
                return Err(AclError::Prefix { len, bits });
            }
        }
        for (low, high) in [self.sport, self.dport] {
            if low > high {
                return Err(AclError::Ports { low, high });
            }
        }
        if self.categories == 0 {
            return Err(AclError::Categories);
        }
        if self.action == 0 {
            return Err(AclError::Action);
        }
        Ok(())
    }
}

/// What names a rule as long as it stands: its row in the stored table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(pub u32);

/// A header with IPv4 addresses, all numbers in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Key4 {
    /// Source address.
    pub src: u32,
    /// Destination address.
    pub dst: u32,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Protocol number.
    pub proto: u8,
    /// Zero, or anything: never looked at.
    pub _pad: [u8; 3],
}

const _: () = assert!(size_of::<Key4>() == 16 && align_of::<Key4>() == 4);

/// A header with IPv6 addresses: addresses as on the wire, other numbers in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Key6 {
    /// Source address, network byte order.
    pub src: [u8; 16],
    /// Destination address, network byte order.
    pub dst: [u8; 16],
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Next header.
    pub proto: u8,
    /// Zero, or anything: never looked at.
    pub _pad: [u8; 3],
}

const _: () = assert!(size_of::<Key6>() == 40 && align_of::<Key6>() == 2);

/// A rule as it is stored: what another process needs to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Record, FromBytes, IntoBytes, Immutable)]
#[record(name = "acl.rule", version = 1)]
#[repr(C)]
pub struct RuleRecord {
    /// First source address; IPv4 in the first four bytes. Network byte order.
    pub src: [u8; 16],
    /// First destination address; IPv4 in the first four bytes. Network byte order.
    pub dst: [u8; 16],
    /// Result of a lookup.
    pub action: u32,
    /// Higher wins.
    pub priority: i32,
    /// First source port.
    pub sport_low: u16,
    /// Last source port.
    pub sport_high: u16,
    /// First destination port.
    pub dport_low: u16,
    /// Last destination port.
    pub dport_high: u16,
    /// Bit c: takes part in category c. 0: the row is free.
    pub categories: u16,
    /// Bits of the source prefix.
    pub src_len: u8,
    /// Bits of the destination prefix.
    pub dst_len: u8,
    /// Protocol.
    pub proto: u8,
    /// Bits of the protocol that count.
    pub proto_mask: u8,
    /// Zero.
    pub _pad: [u8; 2],
}

const _: () = assert!(size_of::<RuleRecord>() == 56);

impl From<&Rule> for RuleRecord {
    fn from(rule: &Rule) -> RuleRecord {
        RuleRecord {
            src: rule.src.addr.to_be_bytes(),
            dst: rule.dst.addr.to_be_bytes(),
            action: rule.action,
            priority: rule.priority,
            sport_low: rule.sport.0,
            sport_high: rule.sport.1,
            dport_low: rule.dport.0,
            dport_high: rule.dport.1,
            categories: rule.categories,
            src_len: rule.src.len,
            dst_len: rule.dst.len,
            proto: rule.proto,
            proto_mask: rule.proto_mask,
            _pad: [0; 2],
        }
    }
}

impl From<&RuleRecord> for Rule {
    fn from(record: &RuleRecord) -> Rule {
        Rule {
            src: Prefix::aligned(u128::from_be_bytes(record.src), record.src_len),
            dst: Prefix::aligned(u128::from_be_bytes(record.dst), record.dst_len),
            sport: (record.sport_low, record.sport_high),
            dport: (record.dport_low, record.dport_high),
            proto: record.proto,
            proto_mask: record.proto_mask,
            categories: record.categories,
            priority: record.priority,
            action: record.action,
        }
    }
}
