//! What: durations as operators write them: `"5m"`, `"2h4m"`, `"90s"`, `"1d"`.

use serde::Deserialize;

/// A whole number of seconds, at least one, written with units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Seconds(pub u32);

impl TryFrom<String> for Seconds {
    type Error = String;

    fn try_from(text: String) -> Result<Seconds, String> {
        parse(&text)
            .filter(|&seconds| seconds > 0)
            .map(Seconds)
            .ok_or_else(|| {
                format!("expected a duration as \"90s\", \"5m\" or \"2h4m\", found {text:?}")
            })
    }
}

/// Numbers with falling units, each unit once.
fn parse(text: &str) -> Option<u32> {
    let mut rest = text.trim();
    let mut units = [("d", 86_400u32), ("h", 3_600), ("m", 60), ("s", 1)].iter();
    let mut total = 0u32;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let (unit, seconds) = units.find(|(unit, _)| rest.starts_with(unit))?;
        rest = rest.get(unit.len()..)?.trim_start();
        total = total.checked_add(number.checked_mul(*seconds)?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, seconds) in [
            ("5m", 300),
            ("2h4m", 7_440),
            ("60s", 60),
            ("1d 2h", 93_600),
            ("1h1m1s", 3_661),
        ] {
            assert_eq!(Seconds::try_from(text.to_owned()), Ok(Seconds(seconds)));
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_was_found() {
        for text in [
            "",
            "5",
            "m",
            "5x",
            "-5m",
            "4m2h",
            "5m5m",
            "0s",
            "99999999d",
            "1.5h",
            "5 m",
            "250ms",
        ] {
            let refused = Seconds::try_from(text.to_owned()).unwrap_err();
            assert!(refused.contains(&format!("{text:?}")), "{refused}");
        }
    }
}
