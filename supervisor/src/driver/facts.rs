//! What a plan is made from: the live zones and load, the receipts, the two configs.

use super::jobs::Prepared;
use super::{Driver, host};
use crate::config::Config;
use crate::plan::{self, Facts, Plan, QueueLoad};

/// Receipts that tell how long a stop takes here.
const RECENT: usize = 5;

impl Driver {
    pub(super) fn plan(&self, prepared: &Prepared, load: &[QueueLoad]) -> Plan {
        let owner = self.tenants.older.as_ref();
        let manifest = owner.and_then(|tenant| tenant.manifest.as_ref());
        let from = plan::Candidate {
            name: manifest
                .map(|manifest| manifest.name.clone())
                .unwrap_or_default(),
            version: manifest
                .map(|manifest| manifest.version.clone())
                .unwrap_or_default(),
            binary_sha256: owner
                .map(|tenant| tenant.sha256.clone())
                .unwrap_or_default(),
        };
        plan::make(&Facts {
            prefix: &self.paths.prefix,
            from,
            to_sha256: &prepared.binary.sha256,
            manifest: &prepared.manifest,
            running: manifest,
            config_error: prepared.config_error.clone(),
            instance_change: prepared
                .config
                .as_ref()
                .and_then(|next| instance_change(&self.config, next)),
            live: &self.live_zones(),
            load,
            measured_stop_ns: self.measured_stop(),
            free_bytes: self.free_bytes(),
        })
    }

    /// The usual gap in the newest receipts: their median, since single ones are mostly the
    /// machine's noise.
    fn measured_stop(&self) -> Option<u64> {
        let numbers = self.history.numbers();
        let recent = numbers
            .into_iter()
            .rev()
            .take(RECENT)
            .filter_map(|number| self.history.read(number).ok());
        let gaps = recent
            .flat_map(|entry| entry.receipt.shards)
            .filter_map(|shard| shard.gap_ns);
        median(gaps.collect())
    }

    /// On small pages the kernel's memory is the limit, on huge ones what was set aside.
    fn free_bytes(&self) -> Option<u64> {
        if self.arena.huge_pages() {
            return Some(self.directory.free_bytes().0);
        }
        host::available_bytes()
    }
}

fn median(mut all: Vec<u64>) -> Option<u64> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// What no upgrade can change, because both tenants have to agree on it.
fn instance_change(now: &Config, next: &Config) -> Option<String> {
    let changed = |what: &str, from: String, to: String| {
        Some(format!(
            "instance.{what} changed from {from} to {to}, which an upgrade cannot do"
        ))
    };
    if now.shards() != next.shards() {
        return changed(
            "shards",
            now.shards().to_string(),
            next.shards().to_string(),
        );
    }
    if now.lcores() != next.lcores() {
        return changed(
            "lcores",
            now.lcores().to_string(),
            next.lcores().to_string(),
        );
    }
    if now.instance.mbufs != next.instance.mbufs {
        let text = |config: &Config| config.instance.mbufs.to_string();
        return changed("mbufs", text(now), text(next));
    }
    if now.instance.memory != next.instance.memory {
        return changed(
            "memory",
            format!("{:?}", now.instance.memory),
            format!("{:?}", next.instance.memory),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(instance: &str) -> Config {
        let text = format!("[instance]\nfile-prefix = \"edge1\"\nbinary = \"/b\"\n{instance}\n");
        Config::parse(&text, Path::new("edge1.toml")).expect("valid")
    }

    #[test]
    fn one_long_gap_does_not_make_the_usual_one() {
        assert_eq!(median(vec![12_000, 9_000_000, 14_000]), Some(14_000));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn only_what_both_tenants_share_may_not_change() {
        let now = config("lcores = \"1-2\"");
        assert_eq!(
            instance_change(&now, &config("lcores = \"3,4\"\nidle = \"spin\"")),
            None
        );
        assert!(
            instance_change(&now, &config("lcores = \"1\""))
                .is_some_and(|why| why.contains("shards changed from 2 to 1"))
        );
        assert!(
            instance_change(&now, &config("lcores = \"1\"\nshards = 2"))
                .is_some_and(|why| why.contains("lcores"))
        );
        assert!(instance_change(&now, &config("lcores = \"1-2\"\nmbufs = 2048")).is_some());
        assert!(
            instance_change(&now, &config("lcores = \"1-2\"\nmemory = \"hugetlbfs\"")).is_some()
        );
    }
}
