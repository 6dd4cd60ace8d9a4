//! Shares as operators write them.

use serde::{Deserialize, Deserializer};

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
