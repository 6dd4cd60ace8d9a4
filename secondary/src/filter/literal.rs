//! The right side of a comparison.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A number, address, duration or name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Literal {
    Number(i128),
    Ipv4(Ipv4Addr),
    /// In nanoseconds.
    Duration(i128),
    /// Anything else is compared with what `show` prints.
    Text(String),
}

impl Literal {
    pub(super) fn of(word: &str) -> Literal {
        if let Some(number) = number(word) {
            return Literal::Number(number);
        }
        if let Ok(address) = word.parse::<Ipv4Addr>() {
            return Literal::Ipv4(address);
        }
        if let Some(duration) = duration(word) {
            return Literal::Duration(duration);
        }
        if let Ok(address) = word.parse::<Ipv6Addr>() {
            return Literal::Text(address.to_string());
        }
        Literal::Text(word.to_owned())
    }

    /// For errors.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Literal::Number(_) => "a number",
            Literal::Ipv4(_) => "an IPv4 address",
            Literal::Duration(_) => "a duration",
            Literal::Text(_) => "a name",
        }
    }
}

/// `443`, `1_000_000`, `-1`, `0x1f`.
fn number(word: &str) -> Option<i128> {
    let digits = word.replace('_', "");
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        return i128::from_str_radix(hexadecimal, 16).ok();
    }
    digits.parse().ok()
}

/// `10s`, `1.5s`, `250ms`, `2h`.
fn duration(word: &str) -> Option<i128> {
    const UNITS: &[(&str, f64)] = &[
        ("ns", 1.0),
        ("us", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
        ("d", 86_400e9),
    ];
    let (unit, nanos) = UNITS.iter().find(|(unit, _)| {
        word.strip_suffix(unit)
            .is_some_and(|number| number.ends_with(|c: char| c.is_ascii_digit()))
    })?;
    let number: f64 = word[..word.len() - unit.len()].parse().ok()?;
    (number >= 0.0).then_some((number * nanos) as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_they_look_like() {
        for (word, literal) in [
            ("443", Literal::Number(443)),
            ("1_000", Literal::Number(1000)),
            ("0x10", Literal::Number(16)),
            ("-3", Literal::Number(-3)),
            ("10.0.7.20", Literal::Ipv4(Ipv4Addr::new(10, 0, 7, 20))),
            ("10s", Literal::Duration(10_000_000_000)),
            ("1.5ms", Literal::Duration(1_500_000)),
            ("2h", Literal::Duration(7_200_000_000_000)),
            ("established", Literal::Text("established".to_owned())),
            (
                "02:00:00:00:00:01",
                Literal::Text("02:00:00:00:00:01".to_owned()),
            ),
            ("0:0::1", Literal::Text("::1".to_owned())),
            ("s", Literal::Text("s".to_owned())),
        ] {
            assert_eq!(Literal::of(word), literal, "{word}");
        }
    }
}
