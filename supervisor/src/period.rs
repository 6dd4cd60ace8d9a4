//! Durations as operators write them: `30s`, `2h4m`, `10ms`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration read from and written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// The longest: ten years. Clocks and deadlines that count on from now have room for it.
pub const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

/// Why a text is no duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeriodError {
    /// Nothing was written.
    #[error("a duration is empty; write it as \"30s\", \"5m\" or \"2h4m\"")]
    Empty,
    /// A number without a unit, or a unit without a number.
    #[error("duration \"{text}\": after \"{at}\" a number and one of ms, s, m, h, d are expected")]
    Malformed {
        /// The whole text.
        text: String,
        /// What could still be read.
        at: String,
    },
    /// More than [`LONGEST`].
    #[error("duration \"{text}\" is too long: the longest is 3650d")]
    TooLong {
        /// The whole text.
        text: String,
    },
}

impl Period {
    /// Reads `2h4m`, `30s`, `250ms`, `1d12h`.
    pub fn parse(text: &str) -> Result<Period, PeriodError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(PeriodError::Empty);
        }
        let mut rest = trimmed;
        let mut millis: u64 = 0;
        while !rest.is_empty() {
            let malformed = || PeriodError::Malformed {
                text: text.to_owned(),
                at: trimmed[..trimmed.len() - rest.len()].to_owned(),
            };
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let letters = rest[digits..]
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(rest.len() - digits);
            let number: u64 = rest[..digits].parse().map_err(|_| malformed())?;
            let unit = match &rest[digits..digits + letters] {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(malformed()),
            };
            millis = number
                .checked_mul(unit)
                .and_then(|ms| millis.checked_add(ms))
                .filter(|ms| u128::from(*ms) <= LONGEST.as_millis())
                .ok_or_else(|| PeriodError::TooLong {
                    text: text.to_owned(),
                })?;
            rest = &rest[digits + letters..];
        }
        Ok(Period(Duration::from_millis(millis)))
    }
}

impl std::str::FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Period, PeriodError> {
        Period::parse(text)
    }
}

impl std::fmt::Display for Period {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut left = self.0.as_millis();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, size) in [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
            ("ms", 1),
        ] {
            if left >= size {
                write!(f, "{}{unit}", left / size)?;
                left %= size;
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Period, D::Error> {
        let text = String::deserialize(from)?;
        Period::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_manual_are_read() {
        for (text, ms) in [
            ("30s", 30_000),
            ("2h4m", 7_440_000),
            ("10ms", 10),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(
                Period::parse(text).map(|p| p.0),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_named() {
        assert_eq!(Period::parse(""), Err(PeriodError::Empty));
        for text in ["30", "s", "5 m", "3x", "4m5", "-1s", "1.5s"] {
            assert!(
                matches!(Period::parse(text), Err(PeriodError::Malformed { .. })),
                "{text}"
            );
        }
        for text in ["99999999999999d", "10000000000000000s", "3650d1ms"] {
            let parsed = Period::parse(text);
            assert!(matches!(parsed, Err(PeriodError::TooLong { .. })), "{text}");
        }
        assert_eq!(Period::parse("3650d"), Ok(Period(LONGEST)));
    }

    #[test]
    fn text_and_duration_are_inverse() {
        for text in ["2h4m", "30s", "10ms", "1d2h3m4s5ms", "0s"] {
            assert_eq!(
                Period::parse(text).map(|p| p.to_string()),
                Ok(text.to_owned())
            );
        }
    }
}
