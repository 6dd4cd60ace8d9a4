//! What one field's bytes stand for.
//!
//! The number of each kind is stored in shared memory and in fingerprints: numbers are never reused.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The meaning of a field's bytes. A field longer than one element is an array of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Kind {
    /// Unsigned, 8 bits.
    U8 = 1,
    /// Unsigned, 16 bits, little-endian.
    U16 = 2,
    /// Unsigned, 32 bits, little-endian.
    U32 = 3,
    /// Unsigned, 64 bits, little-endian.
    U64 = 4,
    /// Signed, 8 bits.
    I8 = 5,
    /// Signed, 16 bits, little-endian.
    I16 = 6,
    /// Signed, 32 bits, little-endian.
    I32 = 7,
    /// Signed, 64 bits, little-endian.
    I64 = 8,
    /// Unsigned, 16 bits, network order.
    U16Be = 9,
    /// Unsigned, 32 bits, network order.
    U32Be = 10,
    /// Unsigned, 64 bits, network order.
    U64Be = 11,
    /// Bytes without further meaning, shown in hexadecimal.
    Bytes = 12,
    /// Padding: never shown.
    Pad = 13,
    /// IPv4 address, four bytes as on the wire.
    Ipv4 = 14,
    /// IPv4 address as a little-endian `u32`, as `u32::from(Ipv4Addr)` gives it.
    Ipv4Host = 15,
    /// IPv6 address, 16 bytes.
    Ipv6 = 16,
    /// Ethernet address, 6 bytes.
    Mac = 17,
    /// TCP or UDP port or ICMP id, two bytes as on the wire.
    Port = 18,
    /// The same as a little-endian `u16`.
    PortHost = 19,
    /// IP protocol number, one byte.
    Protocol = 20,
    /// Seconds of `CLOCK_BOOTTIME` (`u32`); dump shows the age.
    TimeSec = 21,
    /// Nanoseconds of `CLOCK_BOOTTIME` (`u64`); dump shows the age.
    TimeNs = 22,
    /// Bits, shown in hexadecimal (`u32`).
    Flags = 23,
    /// Text in UTF-8, padded with zeros.
    Text = 24,
}

impl Kind {
    /// Every kind with the name it has in `#[field(kind = "...")]` and in golden files.
    pub const ALL: &'static [(Kind, &'static str)] = &[
        (Kind::U8, "u8"),
        (Kind::U16, "u16"),
        (Kind::U32, "u32"),
        (Kind::U64, "u64"),
        (Kind::I8, "i8"),
        (Kind::I16, "i16"),
        (Kind::I32, "i32"),
        (Kind::I64, "i64"),
        (Kind::U16Be, "u16_be"),
        (Kind::U32Be, "u32_be"),
        (Kind::U64Be, "u64_be"),
        (Kind::Bytes, "bytes"),
        (Kind::Pad, "pad"),
        (Kind::Ipv4, "ipv4"),
        (Kind::Ipv4Host, "ipv4_host"),
        (Kind::Ipv6, "ipv6"),
        (Kind::Mac, "mac"),
        (Kind::Port, "port"),
        (Kind::PortHost, "port_host"),
        (Kind::Protocol, "protocol"),
        (Kind::TimeSec, "time_sec"),
        (Kind::TimeNs, "time_ns"),
        (Kind::Flags, "flags"),
        (Kind::Text, "text"),
    ];

    /// Bytes of one element.
    pub const fn width(self) -> u32 {
        match self {
            Kind::U8 | Kind::I8 | Kind::Bytes | Kind::Pad | Kind::Protocol | Kind::Text => 1,
            Kind::U16 | Kind::I16 | Kind::U16Be | Kind::Port | Kind::PortHost => 2,
            Kind::U32
            | Kind::I32
            | Kind::U32Be
            | Kind::Ipv4
            | Kind::Ipv4Host
            | Kind::TimeSec
            | Kind::Flags => 4,
            Kind::Mac => 6,
            Kind::U64 | Kind::I64 | Kind::U64Be | Kind::TimeNs => 8,
            Kind::Ipv6 => 16,
        }
    }

    /// Whether a field of `size` bytes holds a whole number of elements, at least one.
    pub const fn fits(self, size: usize) -> bool {
        size > 0 && size.is_multiple_of(self.width() as usize)
    }

    /// Whether all bytes of the field are one value, however many there are.
    pub const fn is_run(self) -> bool {
        matches!(self, Kind::Bytes | Kind::Pad | Kind::Text)
    }

    /// The name in attributes and golden files.
    pub fn name(self) -> &'static str {
        Kind::ALL
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("unknown", |(_, name)| name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_name_and_a_number_of_its_own() {
        for (at, (kind, name)) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, at + 1, "{name}: numbers are never reused");
            assert_eq!(kind.name(), *name);
            assert!(kind.fits(kind.width() as usize * 3) && !kind.fits(0));
        }
    }
}
