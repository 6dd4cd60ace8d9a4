//! One decoded field: what the dump tool prints and compares.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::kind::Kind;

/// A field's value, whatever version wrote it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A plain number.
    Unsigned(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A number that has a name.
    Name(String),
    /// IPv4 address.
    Ipv4(Ipv4Addr),
    /// IPv6 address.
    Ipv6(Ipv6Addr),
    /// Ethernet address.
    #[serde(serialize_with = "as_text")]
    Mac(Mac),
    /// Seconds of `CLOCK_BOOTTIME`; 0 = never.
    TimeSec(u64),
    /// Nanoseconds of `CLOCK_BOOTTIME`; 0 = never.
    TimeNs(u64),
    /// Bits.
    Flags(u32),
    /// Bytes, shown in hexadecimal.
    #[serde(serialize_with = "as_text")]
    Bytes(Hex),
    /// Several elements of one kind.
    List(Vec<Value>),
    /// The field lies outside the bytes that were there.
    Missing,
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mac(pub [u8; 6]);

/// Bytes shown in hexadecimal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hex(pub Vec<u8>);

impl Value {
    /// `bytes` are the whole field; a length that is no multiple of the kind's width gives `Missing`.
    pub fn decode(kind: Kind, names: &[String], bytes: &[u8]) -> Value {
        if kind.is_run() {
            return Value::run(kind, bytes);
        }
        if !kind.fits(bytes.len()) {
            return Value::Missing;
        }
        let mut elements = bytes
            .chunks_exact(kind.width() as usize)
            .map(|bytes| Value::element(kind, names, bytes));
        match (elements.next(), elements.len()) {
            (Some(first), 0) => first,
            (Some(first), _) => Value::List(std::iter::once(first).chain(elements).collect()),
            (None, _) => Value::Missing,
        }
    }

    /// The number behind the value, for comparisons; `None` for what is no number.
    pub fn number(&self) -> Option<i128> {
        match self {
            Value::Unsigned(number) | Value::TimeSec(number) | Value::TimeNs(number) => {
                Some(i128::from(*number))
            }
            Value::Signed(number) => Some(i128::from(*number)),
            Value::Flags(bits) => Some(i128::from(*bits)),
            Value::Ipv4(address) => Some(i128::from(u32::from(*address))),
            _ => None,
        }
    }

    fn run(kind: Kind, bytes: &[u8]) -> Value {
        if kind == Kind::Text {
            let end = bytes
                .iter()
                .position(|byte| *byte == 0)
                .unwrap_or(bytes.len());
            return Value::Name(String::from_utf8_lossy(&bytes[..end]).into_owned());
        }
        Value::Bytes(Hex(bytes.to_vec()))
    }

    fn element(kind: Kind, names: &[String], bytes: &[u8]) -> Value {
        let number = number(kind, bytes);
        if let Some(name) = usize::try_from(number).ok().and_then(|at| names.get(at)) {
            return Value::Name(name.clone());
        }
        match kind {
            Kind::I8 => Value::Signed(i64::from(number as u8 as i8)),
            Kind::I16 => Value::Signed(i64::from(number as u16 as i16)),
            Kind::I32 => Value::Signed(i64::from(number as u32 as i32)),
            Kind::I64 => Value::Signed(number as i64),
            Kind::Ipv4 | Kind::Ipv4Host => Value::Ipv4(Ipv4Addr::from(number as u32)),
            Kind::Ipv6 => bytes
                .try_into()
                .map_or(Value::Missing, |bytes: [u8; 16]| Value::Ipv6(bytes.into())),
            Kind::Mac => bytes
                .try_into()
                .map_or(Value::Missing, |bytes| Value::Mac(Mac(bytes))),
            Kind::Protocol => protocol(number),
            Kind::TimeSec => Value::TimeSec(number),
            Kind::TimeNs => Value::TimeNs(number),
            Kind::Flags => Value::Flags(number as u32),
            _ => Value::Unsigned(number),
        }
    }
}

/// The element's bytes as a number, in the order its kind has; the low 64 bits of what is longer.
fn number(kind: Kind, bytes: &[u8]) -> u64 {
    let shift = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
    match kind {
        Kind::U16Be | Kind::U32Be | Kind::U64Be | Kind::Ipv4 | Kind::Port => {
            bytes.iter().fold(0, shift)
        }
        _ => bytes.iter().rev().fold(0, shift),
    }
}

fn protocol(number: u64) -> Value {
    match number {
        1 => Value::Name("icmp".to_owned()),
        6 => Value::Name("tcp".to_owned()),
        17 => Value::Name("udp".to_owned()),
        _ => Value::Unsigned(number),
    }
}

fn as_text<T: fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Unsigned(number) | Value::TimeSec(number) | Value::TimeNs(number) => {
                write!(f, "{number}")
            }
            Value::Signed(number) => write!(f, "{number}"),
            Value::Name(name) => f.write_str(name),
            Value::Ipv4(address) => write!(f, "{address}"),
            Value::Ipv6(address) => write!(f, "{address}"),
            Value::Mac(mac) => write!(f, "{mac}"),
            Value::Flags(bits) => write!(f, "{bits:#x}"),
            Value::Bytes(hex) => write!(f, "{hex}"),
            Value::List(values) => {
                f.write_str("[")?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { " " })?;
                }
                f.write_str("]")
            }
            Value::Missing => f.write_str("?"),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(kind: Kind, bytes: &[u8]) -> String {
        Value::decode(kind, &[], bytes).to_string()
    }

    #[test]
    fn each_kind_has_its_order_of_bytes() {
        assert_eq!(show(Kind::U16, &[1, 2]), "513");
        assert_eq!(show(Kind::U16Be, &[1, 2]), "258");
        assert_eq!(show(Kind::Port, &[0x01, 0xbb]), "443");
        assert_eq!(show(Kind::PortHost, &[0xbb, 0x01]), "443");
        assert_eq!(show(Kind::Ipv4, &[10, 0, 7, 20]), "10.0.7.20");
        assert_eq!(show(Kind::Ipv4Host, &[20, 7, 0, 10]), "10.0.7.20");
        assert_eq!(show(Kind::U64Be, &[0, 0, 0, 0, 0, 0, 1, 0]), "256");
        assert_eq!(show(Kind::I16, &[0xff, 0xff]), "-1");
        assert_eq!(
            show(Kind::I64, &[0xfe, 255, 255, 255, 255, 255, 255, 255]),
            "-2"
        );
        assert_eq!(show(Kind::Flags, &[5, 0, 0, 0]), "0x5");
    }

    #[test]
    fn addresses_and_texts_are_readable() {
        let mut loopback = [0u8; 16];
        loopback[15] = 1;
        assert_eq!(show(Kind::Ipv6, &loopback), "::1");
        assert_eq!(show(Kind::Mac, &[2, 0, 0, 0, 0, 1]), "02:00:00:00:00:01");
        assert_eq!(show(Kind::Text, b"ens5f0\0\0"), "ens5f0");
        assert_eq!(show(Kind::Bytes, &[0xab, 0]), "ab00");
        assert_eq!(show(Kind::Protocol, &[17]), "udp");
        assert_eq!(show(Kind::Protocol, &[47]), "47");
        assert_eq!(show(Kind::U32, &[1, 0, 0, 0, 2, 0, 0, 0]), "[1 2]");
    }

    #[test]
    fn a_length_that_does_not_fit_is_missing() {
        assert_eq!(Value::decode(Kind::U32, &[], &[1, 2, 3]), Value::Missing);
        assert_eq!(Value::decode(Kind::Mac, &[], &[]), Value::Missing);
    }

    #[test]
    fn json_keeps_numbers_and_writes_the_rest_as_text() {
        let json = |value: &Value| serde_json::to_string(value).unwrap();
        assert_eq!(json(&Value::Unsigned(7)), "7");
        assert_eq!(
            json(&Value::Ipv4(Ipv4Addr::new(10, 0, 0, 1))),
            "\"10.0.0.1\""
        );
        assert_eq!(json(&Value::Mac(Mac([0; 6]))), "\"00:00:00:00:00:00\"");
        assert_eq!(json(&Value::Missing), "null");
    }
}
