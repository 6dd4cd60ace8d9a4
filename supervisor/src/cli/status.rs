//! `baton status`: who owns what and how it is.

use std::time::Duration;

use baton_schema::control::{PortStats, Stats};
use baton_shared_state::CONTROL_SHARD;
use clap::Args;

use super::client::{ask, unexpected};
use super::failure::Failure;
use super::history::words;
use super::human::{bytes, columns, count, moment, rate, time};
use super::{Global, instance};
use crate::exit::Exit;
use crate::request::{Answer, Shard, Status, Verb};

/// A supervisor answers at once, a busy tenant within its own deadline.
const USUAL: Duration = Duration::from_secs(10);

/// Arguments of `status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The instance's file-prefix.
    prefix: Option<String>,
    /// Again every second.
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(global: &Global, args: &StatusArgs) -> Result<Exit, Failure> {
    let paths = instance(args.prefix.as_deref())?;
    loop {
        let ended = ask(&paths, &Verb::Status, None, global.patience(USUAL), |_| {})?;
        let Answer::Status(status) = &ended.answer else {
            return Err(unexpected(ended));
        };
        global.show(status, || text(status));
        if !args.watch {
            return Ok(ended.exit);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn text(status: &Status) -> String {
    let mut text = format!("{}   {}", status.prefix, status.state);
    if let Some(owner) = &status.owner {
        let since = time(owner.for_ns);
        text.push_str(&format!(
            "   {} {} (generation {}) for {since}",
            owner.name, owner.version, owner.generation
        ));
    }
    text.push_str(&format!(
        "      supervisor {} pid {}\n",
        status.supervisor, status.supervisor_pid
    ));
    let head = [
        "shard",
        "lcore",
        "owner",
        "epoch",
        "sessions",
        "in / out",
        "busy",
        "heartbeat",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(status.shards.iter().map(|shard| row(status, shard)));
    text.push_str(&columns(&rows));
    text.push_str(&columns(&facts(status)));
    text
}

/// Everything that is not a shard, a line each.
fn facts(status: &Status) -> Vec<Vec<String>> {
    let mut facts = Vec::new();
    if let Some(stats) = &status.stats {
        facts.extend(ports(stats));
        facts.push(drops(status, stats));
        facts.push(mbufs(stats));
        facts.extend(
            stats
                .program
                .iter()
                .map(|(name, value)| vec![name.clone(), count(*value)]),
        );
    }
    if let Some(next) = &status.next {
        facts.push(vec![
            "next".into(),
            format!(
                "{} {} (generation {}) pid {}",
                next.name, next.version, next.generation, next.pid
            ),
        ]);
    }
    if let Some(running) = &status.upgrade {
        let left = running
            .left_ns
            .map_or(String::new(), |left| format!(", {} left", time(left)));
        facts.push(vec![
            "upgrade".into(),
            format!("#{} in {}{left}", running.number, running.phase),
        ]);
    }
    if let Some(last) = &status.last {
        let lost = last
            .lost
            .map_or("? lost".to_owned(), |lost| format!("{} lost", count(lost)));
        facts.push(vec![
            "last".into(),
            format!(
                "upgrade #{} {}, {lost}, {}",
                last.number,
                words(last.verdict),
                moment(&last.ended)
            ),
        ]);
    }
    facts.extend(
        status
            .warnings
            .iter()
            .map(|warning| vec!["warning".into(), warning.clone()]),
    );
    facts
}

fn row(status: &Status, shard: &Shard) -> Vec<String> {
    let name = if usize::from(shard.shard) == CONTROL_SHARD {
        "control".to_owned()
    } else {
        shard.shard.to_string()
    };
    let tenant = [&status.owner, &status.next]
        .into_iter()
        .flatten()
        .find(|tenant| Some(tenant.slot) == shard.tenant);
    let owner = match (tenant, shard.tenant) {
        (Some(tenant), _) => format!("gen {}  pid {}", tenant.generation, tenant.pid),
        (None, Some(slot)) => format!("tenant {slot} (gone)"),
        (None, None) => "nobody".to_owned(),
    };
    let of = |stats: &Option<Stats>| {
        stats.as_ref().and_then(|stats| {
            stats
                .shards
                .iter()
                .find(|row| row.shard == shard.shard)
                .cloned()
        })
    };
    let now = of(&status.stats);
    let pace = of(&status.stats_before)
        .zip(now.clone())
        .zip(status.stats_interval_ns)
        .map(|((before, now), over)| {
            let per_second = |from: u64, to: u64| {
                u128::from(to.saturating_sub(from)) * 1_000_000_000 / u128::from(over.max(1))
            };
            let rx = per_second(before.rx_packets, now.rx_packets);
            let tx = per_second(before.tx_packets, now.tx_packets);
            format!(
                "{} / {}",
                rate(u64::try_from(rx).unwrap_or(u64::MAX)),
                rate(u64::try_from(tx).unwrap_or(u64::MAX))
            )
        });
    vec![
        name,
        shard.lcore.map_or("-".into(), |lcore| lcore.to_string()),
        owner,
        shard.epoch.to_string(),
        now.as_ref().map_or("-".into(), |now| count(now.sessions)),
        pace.unwrap_or_else(|| "-".into()),
        now.as_ref()
            .map_or("-".into(), |now| format!("{} %", now.busy_permille / 10)),
        shard
            .heartbeat_age_ns
            .map_or("-".into(), |age| format!("{} ago", time(age))),
    ]
}

fn ports(stats: &Stats) -> Vec<Vec<String>> {
    let line = |port: &PortStats| {
        let up = if port.up { "up" } else { "down" };
        let ring = if port.rx_ring_entries > 0 {
            format!("rx ring {} of {}", port.rx_ring_used, port.rx_ring_entries)
        } else {
            String::new()
        };
        vec![
            format!("port {}", port.name),
            format!(
                "queue {}  {} {up} {}  {ring}",
                port.queue, port.driver, port.mode
            ),
        ]
    };
    stats.ports.iter().map(line).collect()
}

fn drops(status: &Status, stats: &Stats) -> Vec<String> {
    let before = |name: &str| {
        let stats = status.stats_before.as_ref()?;
        stats
            .drops
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| *value)
    };
    let seen: Vec<String> = stats
        .drops
        .iter()
        .filter(|(_, value)| *value > 0)
        .map(|(name, value)| match before(name) {
            Some(before) if *value > before => format!("{name} {} (growing)", count(*value)),
            _ => format!("{name} {}", count(*value)),
        })
        .collect();
    vec![
        "drops".into(),
        if seen.is_empty() {
            "none".into()
        } else {
            seen.join(", ")
        },
    ]
}

fn mbufs(stats: &Stats) -> Vec<String> {
    let mbufs = &stats.mbufs;
    let size = bytes(mbufs.total * 2048);
    vec![
        "mbufs".into(),
        format!(
            "{} free of {} ({size}), {} unaccounted",
            count(mbufs.free),
            count(mbufs.total),
            mbufs.unaccounted
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Tenant;
    use baton_schema::control::ShardStats;

    #[test]
    fn a_forwarding_instance_shows_owner_rates_and_drops() {
        let shard = |packets| ShardStats {
            shard: 0,
            sessions: 482_113,
            rx_packets: packets,
            tx_packets: packets,
            ..ShardStats::default()
        };
        let stats = |packets, drops| Stats {
            shards: vec![shard(packets)],
            drops: vec![("table_full".into(), drops)],
            ..Stats::default()
        };
        let status = Status {
            prefix: "edge1".into(),
            state: "forwarding".into(),
            owner: Some(Tenant {
                slot: 2,
                pid: 4121,
                generation: 7,
                version: "1.4.2".into(),
                name: "gateway".into(),
                ..Tenant::default()
            }),
            shards: vec![Shard {
                shard: 0,
                tenant: Some(2),
                lcore: Some(0),
                epoch: 13,
                generation: 7,
                heartbeat_age_ns: Some(4_000),
            }],
            stats_before: Some(stats(0, 1)),
            stats: Some(stats(71_000, 3)),
            stats_interval_ns: Some(100_000_000),
            ..Status::default()
        };
        let text = text(&status);
        assert!(
            text.contains("gen 7  pid 4121  13     482,113   710.0 kpps / 710.0 kpps"),
            "{text}"
        );
        assert!(text.contains("table_full 3 (growing)"), "{text}");
    }

    #[test]
    fn a_shard_without_a_living_owner_says_so() {
        let status = Status {
            shards: vec![
                Shard {
                    shard: 63,
                    tenant: Some(5),
                    ..Shard::default()
                },
                Shard::default(),
            ],
            ..Status::default()
        };
        let text = text(&status);
        assert!(
            text.contains("control  -      tenant 5 (gone)") && text.contains("nobody"),
            "{text}"
        );
    }
}
