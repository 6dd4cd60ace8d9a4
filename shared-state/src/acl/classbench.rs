//! Filter files in the format of ClassBench (Taylor and Turner, INFOCOM 2005), one filter a line:
//! `@src/len dst/len lo : hi lo : hi proto/mask flags/mask`, the first that matches wins.
//!
//! The TCP flags are read and checked, and given back beside the rule; a classifier does not look
//! at them. IPv6 addresses are taken as well, as db_generator writes them with its option.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::rule::{Family, Prefix, Rule};

/// A filter of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter {
    /// Its five fields; action and priority by its place: see [`import`].
    pub rule: Rule,
    /// TCP flags and the bits of them that count; not part of a classification.
    pub flags: (u16, u16),
}

/// A line that is not a filter.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("line {line}, field {field}: {what}")]
pub struct ImportError {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, by tabs and blanks as the format has them: source, destination, source
    /// ports, destination ports, protocol, flags.
    pub field: usize,
    /// What was wanted there.
    pub what: Wanted,
}

/// What a field of a filter should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// `@` and a prefix.
    At,
    /// An address of the family.
    Address(Family),
    /// A prefix length.
    Length(u8),
    /// Two ports, in order, with a colon.
    Ports,
    /// A protocol and its mask.
    Proto,
    /// TCP flags and their mask.
    Flags,
    /// Nothing more on the line.
    End,
    /// No more filters than a priority can tell apart.
    Fewer,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wanted::At => write!(f, "a filter begins with '@'"),
            Wanted::Address(Family::V4) => write!(f, "an IPv4 prefix wanted, as 10.0.0.0/8"),
            Wanted::Address(Family::V6) => write!(f, "an IPv6 prefix wanted, as 2001:db8::/32"),
            Wanted::Length(most) => write!(f, "a prefix length of 0 to {most} wanted"),
            Wanted::Ports => write!(f, "ports wanted, as 1024 : 65535, the lower first"),
            Wanted::Proto => write!(f, "a protocol and mask wanted, as 0x06/0xFF"),
            Wanted::Flags => write!(f, "flags and mask wanted, as 0x1000/0x1000"),
            Wanted::End => write!(f, "the line should end before this"),
            Wanted::Fewer => write!(f, "more filters than can be told apart"),
        }
    }
}

/// Reads a file. The filter on top has the highest priority; filter `i`, counted from 0, gets
/// action `i + 1`. Empty lines and lines that begin with `#` are skipped.
pub fn import(text: &str, family: Family) -> Result<Vec<Filter>, ImportError> {
    let mut filters = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut filter = filter(line, family).map_err(|(field, what)| {
            let line = i + 1;
            ImportError { line, field, what }
        })?;
        let place = i32::try_from(filters.len())
            .ok()
            .filter(|place| *place < i32::MAX);
        let place = place.ok_or(ImportError {
            line: i + 1,
            field: 0,
            what: Wanted::Fewer,
        })?;
        filter.rule.priority = i32::MAX - place;
        filter.rule.action = place as u32 + 1;
        filters.push(filter);
    }
    Ok(filters)
}

type Mistake = (usize, Wanted);

fn filter(line: &str, family: Family) -> Result<Filter, Mistake> {
    let line = line.strip_prefix('@').ok_or((1, Wanted::At))?;
    let mut words = line.split_ascii_whitespace();
    let src = prefix(words.next(), family).map_err(|what| (1, what))?;
    let dst = prefix(words.next(), family).map_err(|what| (2, what))?;
    let sport = ports(&mut words).ok_or((3, Wanted::Ports))?;
    let dport = ports(&mut words).ok_or((4, Wanted::Ports))?;
    let (proto, mask) = pair(words.next()).ok_or((5, Wanted::Proto))?;
    let byte = |n: u16| u8::try_from(n).map_err(|_| (5, Wanted::Proto));
    let (proto, proto_mask) = (byte(proto)?, byte(mask)?);
    // Files of the first version end here.
    let flags = match words.next() {
        Some(word) => pair(Some(word)).ok_or((6, Wanted::Flags))?,
        None => (0, 0),
    };
    if words.next().is_some() {
        return Err((7, Wanted::End));
    }
    let rule = Rule {
        src,
        dst,
        sport,
        dport,
        proto,
        proto_mask,
        ..Rule::ANY
    };
    Ok(Filter { rule, flags })
}

fn prefix(word: Option<&str>, family: Family) -> Result<Prefix, Wanted> {
    let (address, len) = word
        .and_then(|word| word.split_once('/'))
        .ok_or(Wanted::Address(family))?;
    let most = family.bits();
    let len = len
        .parse()
        .ok()
        .filter(|len| *len <= most)
        .ok_or(Wanted::Length(most))?;
    let prefix = match family {
        Family::V4 => address
            .parse()
            .map(|a: Ipv4Addr| Prefix::v4(a.to_bits(), len)),
        Family::V6 => address
            .parse()
            .map(|a: Ipv6Addr| Prefix::v6(a.to_bits(), len)),
    };
    prefix.map_err(|_| Wanted::Address(family))
}

/// `lo : hi`, with or without blanks around the colon.
fn ports<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<(u16, u16)> {
    let first = words.next()?;
    let (low, high) = match first.split_once(':') {
        Some((low, "")) => (low, words.next()?),
        Some((low, high)) => (low, high),
        None => match words.next()? {
            ":" => (first, words.next()?),
            word => (first, word.strip_prefix(':')?),
        },
    };
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some((low, high))
}

/// `value/mask`, in hexadecimal with `0x` or in decimal.
fn pair(word: Option<&str>) -> Option<(u16, u16)> {
    let number = |word: &str| match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16).ok(),
        None => word.parse().ok(),
    };
    let (value, mask) = word?.split_once('/')?;
    Some((number(value)?, number(mask)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "@10.1.0.0/16\t192.168.3.4/32\t0 : 65535\t80 : 443\t0x06/0xFF\t0x1000/0x1000\t";

    #[test]
    fn a_filter_of_classbench_is_read_field_by_field() {
        let filters = import(
            &format!("# two\n\n{LINE}\n@0.0.0.0/0 0.0.0.0/0 5 : 5 0:9 0x00/0x00\n"),
            Family::V4,
        );
        let filters = filters.unwrap();
        let rule = Rule {
            src: Prefix::v4(0x0a01_0000, 16),
            dst: Prefix::v4(0xc0a8_0304, 32),
            dport: (80, 443),
            proto: 6,
            proto_mask: 0xff,
            priority: i32::MAX,
            ..Rule::ANY
        };
        assert_eq!(
            filters[0],
            Filter {
                rule,
                flags: (0x1000, 0x1000)
            }
        );
        let second = filters[1].rule;
        assert_eq!(
            (second.sport, second.dport, second.action),
            ((5, 5), (0, 9), 2)
        );
        assert!(second.priority < rule.priority);
    }

    #[test]
    fn a_mistake_is_told_with_its_line_and_field() {
        let cases = [
            ("@", "", 1, "a filter begins with '@'"),
            (
                "10.1.0.0",
                "10.1.0",
                1,
                "an IPv4 prefix wanted, as 10.0.0.0/8",
            ),
            ("/32", "/33", 2, "a prefix length of 0 to 32 wanted"),
            (
                "0 : 65535",
                "0 : 65536",
                3,
                "ports wanted, as 1024 : 65535, the lower first",
            ),
            (
                "80 : 443",
                "443 : 80",
                4,
                "ports wanted, as 1024 : 65535, the lower first",
            ),
            (
                "0x06/0xFF",
                "0x106/0xFF",
                5,
                "a protocol and mask wanted, as 0x06/0xFF",
            ),
            (
                "0x1000/",
                "1000-",
                6,
                "flags and mask wanted, as 0x1000/0x1000",
            ),
            (
                "0x1000\t",
                "0x1000 more",
                7,
                "the line should end before this",
            ),
        ];
        for (from, to, field, what) in cases {
            let text = format!("{LINE}\n{}", LINE.replace(from, to));
            let error = import(&text, Family::V4).unwrap_err();
            assert_eq!(error.to_string(), format!("line 2, field {field}: {what}"));
        }
    }

    #[test]
    fn ipv6_filters_are_read_too() {
        let line = "@2001:db8::/32 ::1/128 0 : 65535 53 : 53 0x11/0xFF 0x0000/0x0000";
        let rule = import(line, Family::V6).unwrap()[0].rule;
        assert_eq!(rule.src, Prefix::v6(0x2001_0db8 << 96, 32));
        assert_eq!(rule.dst, Prefix::v6(1, 128));
        assert!(import(line, Family::V4).is_err());
    }
}
