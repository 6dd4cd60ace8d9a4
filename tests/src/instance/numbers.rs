//! Live numbers of an instance, as its status tells them.

use std::collections::BTreeMap;

use serde_json::Value;

/// Live numbers, out of `baton status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Sessions, all shards together.
    pub sessions: u64,
    /// Named drop counters.
    pub drops: BTreeMap<String, u64>,
    /// Device counters, `<port>/<queue>/<name>`.
    pub devices: BTreeMap<String, u64>,
    /// Mbufs that are nowhere, or in two places.
    pub leaked: u64,
    /// The process that forwards.
    pub owner: Option<u64>,
    /// Whether it answered; without an answer the counts above are zero.
    pub answered: bool,
    /// The phase of the running upgrade.
    pub phase: Option<String>,
}

impl Numbers {
    /// Out of the JSON of `baton status`.
    pub fn of(status: &Value) -> Numbers {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let stats = &status["stats"];
        let mut numbers = Numbers {
            answered: stats.is_object(),
            owner: status["owner"]["pid"].as_u64(),
            phase: status["upgrade"]["phase"].as_str().map(Into::into),
            ..Numbers::default()
        };
        numbers.sessions = list(&stats["shards"])
            .iter()
            .filter_map(|shard| shard["sessions"].as_u64())
            .sum();
        numbers.drops.extend(pairs(&stats["drops"]));
        for queue in list(&stats["ports"]) {
            let place = format!(
                "{}/{}",
                queue["name"].as_str().unwrap_or("?"),
                queue["queue"].as_u64().unwrap_or(0)
            );
            numbers.devices.extend(
                pairs(&queue["device"]).map(|(name, count)| (format!("{place}/{name}"), count)),
            );
        }
        let mbufs = &stats["mbufs"];
        numbers.leaked =
            mbufs["unaccounted"].as_u64().unwrap_or(0) + mbufs["doubled"].as_u64().unwrap_or(0);
        numbers
    }
}

/// Named counts: `[["name", 1], ...]`, `[{"reason": "name", "count": 1}, ...]` or `{"name": 1, ...}`.
fn pairs(value: &Value) -> impl Iterator<Item = (String, u64)> {
    let from_pair = |pair: &Value| {
        let name = pair
            .get(0)
            .or_else(|| pair.get("reason"))
            .or_else(|| pair.get("name"))?;
        let count = pair.get(1).or_else(|| pair.get("count"))?;
        Some((name.as_str()?.to_owned(), count.as_u64()?))
    };
    let found: Vec<_> = match value {
        Value::Array(list) => list.iter().filter_map(from_pair).collect(),
        Value::Object(map) => map
            .iter()
            .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
            .collect(),
        _ => Vec::new(),
    };
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_out_of_a_status() {
        let status = serde_json::json!({
            "owner": {"pid": 7},
            "stats": {
                "shards": [{"sessions": 3}, {"sessions": 4}],
                "drops": [["ttl_exceeded", 2]],
                "ports": [{"name": "inside", "queue": 1, "device": [["rx_ring_full", 5]]}],
                "mbufs": {"unaccounted": 1, "doubled": 2},
            },
            "upgrade": {"phase": "soak"}
        });
        let numbers = Numbers::of(&status);
        assert_eq!(
            (numbers.sessions, numbers.leaked, numbers.owner),
            (7, 3, Some(7))
        );
        assert_eq!(numbers.drops["ttl_exceeded"], 2);
        assert_eq!(numbers.devices["inside/1/rx_ring_full"], 5);
        assert_eq!(numbers.phase.as_deref(), Some("soak"));
        assert!(numbers.answered);
    }

    #[test]
    fn counts_are_read_in_every_form() {
        for form in [
            r#"{"a": 1}"#,
            r#"[["a", 1]]"#,
            r#"[{"reason": "a", "count": 1}]"#,
        ] {
            let value: Value = serde_json::from_str(form).expect("JSON");
            assert_eq!(
                pairs(&value).collect::<Vec<_>>(),
                [("a".to_owned(), 1)],
                "{form}"
            );
        }
    }
}
