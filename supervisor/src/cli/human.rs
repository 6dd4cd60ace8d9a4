//! Numbers, times and tables as people read them.

use std::fmt::Write as _;

/// Columns of text, each as wide as its widest cell; numbers stand right.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..count)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {cell:<width$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `13 us`, `211 ms`, `30.2 s`, `12 d 4 h`.
pub(super) fn time(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} us", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..120_000_000_000 => {
            format!("{}.{} s", seconds, ns % 1_000_000_000 / 100_000_000)
        }
        _ if seconds < 7_200 => format!("{} min", seconds / 60),
        _ if seconds < 86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `59 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Packets a second: `0.71 Mpps`, `100.0 kpps`.
pub(super) fn rate(per_second: u64) -> String {
    match per_second {
        0..1_000 => format!("{per_second} pps"),
        1_000..1_000_000 => format!("{}.{} kpps", per_second / 1_000, per_second % 1_000 / 100),
        _ => format!(
            "{}.{:02} Mpps",
            per_second / 1_000_000,
            per_second % 1_000_000 / 10_000
        ),
    }
}

/// `6f1c09d2`: enough of a hash to tell binaries apart.
pub(super) fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// The clock time of an RFC 3339 instant, in this machine's zone: `12:04:06.102`.
pub(super) fn clock(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => at
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%H:%M:%S%.3f")
            .to_string(),
        Err(_) => at.to_owned(),
    }
}

/// Day and time of an RFC 3339 instant: `2026-11-22 12:04:06`.
pub(super) fn moment(at: &str) -> String {
    match at.parse::<jiff::Timestamp>() {
        Ok(at) => at
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => at.to_owned(),
    }
}

/// Nanoseconds between two RFC 3339 instants.
pub(super) fn between(from: &str, to: &str) -> Option<u64> {
    let (from, to): (jiff::Timestamp, jiff::Timestamp) = (from.parse().ok()?, to.parse().ok()?);
    u64::try_from(to.as_nanosecond() - from.as_nanosecond()).ok()
}

/// A word in a colour, if colours are wanted.
pub(super) fn paint(colored: bool, good: bool, word: &str) -> String {
    if !colored {
        return word.to_owned();
    }
    format!("\x1b[{}m{word}\x1b[0m", if good { 32 } else { 31 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_the_manual() {
        assert_eq!(
            [count(0), count(962_000), count(2_000_000)],
            ["0", "962,000", "2,000,000"]
        );
        assert_eq!(
            [time(13_000), time(211_000_000), time(30_200_000_000)],
            ["13 us", "211 ms", "30.2 s"]
        );
        assert_eq!(
            time(12 * 86_400_000_000_000 + 4 * 3_600_000_000_000),
            "12 d 4 h"
        );
        assert_eq!(
            [bytes(59 << 20), bytes(4096), bytes(9)],
            ["59 MiB", "4 KiB", "9 B"]
        );
        assert_eq!(
            [rate(710_000), rate(1_410_000), rate(30)],
            ["710.0 kpps", "1.41 Mpps", "30 pps"]
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_without_trailing_space() {
        let rows = [
            vec!["a".into(), "b".into()],
            vec!["long".into(), String::new()],
        ];
        assert_eq!(columns(&rows), "  a     b\n  long\n");
    }

    #[test]
    fn times_between_receipts_are_measured() {
        let from = "2026-11-22T12:04:06.102000000Z";
        assert_eq!(
            between(from, "2026-11-22T12:04:46.741000000Z"),
            Some(40_639_000_000)
        );
        assert_eq!(between(from, "nonsense"), None);
        assert_eq!(clock("nonsense"), "nonsense");
    }

    #[test]
    fn colours_only_when_wanted() {
        assert_eq!(paint(false, true, "GO"), "GO");
        assert!(paint(true, false, "NO GO").contains("\x1b[31m"));
    }
}
