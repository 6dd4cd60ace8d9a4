//! Values of the config that are written as text and mean something.

use serde::{Deserialize, Deserializer};

/// Lcores a tenant may have.
pub const MAX_LCORES: usize = baton_shared_state::LCORES_PER_TENANT;

/// A file-prefix that can name files and sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(pub String);

impl Prefix {
    /// Whether `text` may name an instance.
    pub fn is_valid(text: &str) -> bool {
        (1..=31).contains(&text.len())
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Prefix, D::Error> {
        let text = String::deserialize(from)?;
        if Prefix::is_valid(&text) {
            return Ok(Prefix(text));
        }
        Err(serde::de::Error::custom(format!(
            "file-prefix \"{text}\": 1 to 31 letters, digits, '_' or '-', and not '-' first"
        )))
    }
}

/// CPUs as DPDK lists them: `1-2`, `2,4`, `1,1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lcores(pub Vec<u16>);

impl<'de> Deserialize<'de> for Lcores {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Lcores, D::Error> {
        let text = String::deserialize(from)?;
        parse_lcores(&text)
            .map(Lcores)
            .map_err(serde::de::Error::custom)
    }
}

fn parse_lcores(text: &str) -> Result<Vec<u16>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let wrong = || {
            format!("lcores \"{text}\": \"{part}\" is neither a CPU (\"2\") nor a range (\"1-2\")")
        };
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (first, last),
            None => (part, part),
        };
        let first: u16 = first.trim().parse().map_err(|_| wrong())?;
        let last: u16 = last.trim().parse().map_err(|_| wrong())?;
        if last < first {
            return Err(wrong());
        }
        cpus.extend(first..=last);
        if cpus.len() > MAX_LCORES {
            return Err(format!("lcores \"{text}\": more than {MAX_LCORES}"));
        }
    }
    Ok(cpus)
}

/// MB per NUMA socket: `"1024"` or `"1024,0"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketMem(pub Vec<u64>);

impl<'de> Deserialize<'de> for SocketMem {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SocketMem, D::Error> {
        let text = String::deserialize(from)?;
        text.split(',')
            .map(|part| part.trim().parse::<u64>())
            .collect::<Result<Vec<_>, _>>()
            .map(SocketMem)
            .map_err(|_| {
                serde::de::Error::custom(format!(
                    "socket-mem \"{text}\": MB per NUMA socket, as \"1024\" or \"1024,0\""
                ))
            })
    }
}

/// A signed share such as `"+0.1%"`, in thousandths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub i64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Percent, D::Error> {
        let text = String::deserialize(from)?;
        text.strip_suffix('%')
            .and_then(|number| number.trim().parse::<f64>().ok())
            .filter(|number| number.is_finite() && number.abs() <= 1000.0)
            .map(|number| Percent((number * 1000.0).round() as i64))
            .ok_or_else(|| {
                serde::de::Error::custom(format!(
                    "\"{text}\" is no share; write it as \"+0.1%\" or \"-5%\""
                ))
            })
    }
}
