//! `baton history`: the receipts, read from disk, also when nothing runs.

use clap::Args;

use super::failure::Failure;
use super::human::{between, columns, count, moment, time};
use super::{Format, Global, instance, print};
use crate::exit::Exit;
use crate::history::{Entry, History, HistoryError};
use crate::receipt::{Receipt, ShardRecord};
use crate::state::Verdict;

/// Arguments of `history`.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// [PREFIX] [NUMBER]
    #[arg(num_args = 0..=2, value_name = "PREFIX|NUMBER")]
    what: Vec<String>,
}

pub(super) fn run(global: &Global, args: &HistoryArgs) -> Result<Exit, Failure> {
    let (prefix, number) = prefix_and_number(&args.what)?;
    let paths = instance(prefix.as_deref())?;
    let history = History::new(paths.history());
    if let Some(number) = number {
        return one(global, &paths.prefix, &history, number);
    }
    let numbers = history.numbers();
    let (mut entries, mut unread) = (Vec::new(), None);
    for number in numbers.iter().rev() {
        match history.read(*number) {
            Ok(entry) => entries.push(entry),
            Err(error) => unread = unread.or(Some(error)),
        }
    }
    if numbers.is_empty() && !paths.state.exists() {
        return Err(Failure::new(
            Exit::NotRunning,
            format!("there is no instance {}", paths.prefix),
        )
        .way_out("baton status"));
    }
    match global.format {
        Format::Table => print(&table(&entries)),
        Format::Jsonl => entries
            .iter()
            .for_each(|entry| print(&serde_json::to_string(&entry.receipt).unwrap_or_default())),
        Format::Json => {
            let receipts: Vec<&Receipt> = entries.iter().map(|entry| &entry.receipt).collect();
            let value = serde_json::json!({ "schema": "baton.history/1", "prefix": paths.prefix, "receipts": receipts });
            print(&serde_json::to_string_pretty(&value).unwrap_or_default());
        }
    }
    for entry in entries.iter().filter(|entry| !entry.chained) {
        talk_of_a_changed_receipt(entry.receipt.number);
    }
    if let Some(error) = unread {
        return Err(failure(&error, &paths.prefix)); // those that can be read are shown
    }
    if let Some(newest) = entries.first() {
        global.advise(&format!(
            "next: baton history {} {}",
            paths.prefix, newest.receipt.number
        ));
    }
    Ok(Exit::Done)
}

/// Positionals in which either may be left out; a number alone is a number.
pub(super) fn prefix_and_number(what: &[String]) -> Result<(Option<String>, Option<u64>), Failure> {
    match what {
        [] => Ok((None, None)),
        [one] => match one.parse() {
            Ok(number) => Ok((None, Some(number))),
            Err(_) => Ok((Some(one.clone()), None)),
        },
        [prefix, number, ..] => match number.parse() {
            Ok(number) => Ok((Some(prefix.clone()), Some(number))),
            Err(_) => Err(
                Failure::new(Exit::Usage, format!("\"{number}\" is no receipt number"))
                    .way_out(format!("baton history {prefix}")),
            ),
        },
    }
}

fn one(global: &Global, prefix: &str, history: &History, number: u64) -> Result<Exit, Failure> {
    let entry = history
        .read(number)
        .map_err(|error| failure(&error, prefix))?;
    if !entry.chained {
        talk_of_a_changed_receipt(number);
    }
    global.show(&entry.receipt, || detail(&entry.receipt));
    Ok(Exit::Done)
}

fn talk_of_a_changed_receipt(number: u64) {
    super::talk(format_args!(
        "baton: receipt #{number} does not name the hash of the one before it: one of the two was changed"
    ));
}

fn failure(error: &HistoryError, prefix: &str) -> Failure {
    let (exit, way_out) = match error {
        HistoryError::Missing { .. } => (Exit::Usage, format!("baton history {prefix}")),
        HistoryError::Parse { path, .. } => {
            let path = path.display();
            (Exit::Corrupt, format!("mv {path} {path}.damaged"))
        }
        HistoryError::Io { path, .. } => (Exit::Failed, format!("ls -l {}", path.display())),
    };
    Failure::new(exit, error).way_out(way_out)
}

fn table(entries: &[Entry]) -> String {
    let head = [
        "#", "when", "what", "by", "took", "gap max", "lost", "verdict",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for entry in entries {
        let receipt = &entry.receipt;
        rows.push(vec![
            receipt.number.to_string(),
            moment(&receipt.started),
            what(receipt),
            receipt.asked_by.as_ref().map_or("-".into(), |by| {
                by.user.clone().unwrap_or_else(|| by.uid.to_string())
            }),
            between(&receipt.started, &receipt.ended).map_or("-".into(), time),
            receipt.gap_max_ns().map_or("-".into(), time),
            receipt.loss.packets.map_or("?".into(), count),
            verdict(receipt),
        ]);
    }
    columns(&rows)
}

fn what(receipt: &Receipt) -> String {
    let version = |program: &Option<crate::receipt::Program>| {
        program
            .as_ref()
            .and_then(|program| program.version.clone())
            .unwrap_or_else(|| "?".into())
    };
    match receipt.kind.as_str() {
        "takeover" => format!("takeover by {}", version(&receipt.to)),
        _ => format!("{} -> {}", version(&receipt.from), version(&receipt.to)),
    }
}

fn verdict(receipt: &Receipt) -> String {
    let word = words(receipt.verdict);
    match &receipt.reason {
        Some(reason) => format!("{word}: {}", reason.lines().next().unwrap_or_default()),
        None => word.to_owned(),
    }
}

/// A verdict in the operator's words.
pub(super) fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Committed => "committed",
        Verdict::RolledBack => "rolled back",
        Verdict::Refused => "refused",
        Verdict::Failed => "failed",
        Verdict::TookOver => "took over",
        Verdict::Interrupted => "interrupted",
    }
}

fn detail(receipt: &Receipt) -> String {
    let mut rows = vec![vec![
        format!("receipt #{}", receipt.number),
        what(receipt),
        verdict(receipt),
    ]];
    for phase in &receipt.phases {
        let detail: Vec<String> = phase
            .detail
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        rows.push(vec![
            phase.name.clone(),
            format!("{} {}", time(phase.duration_ns), phase.result),
            detail.join(", "),
        ]);
    }
    for zone in &receipt.zones {
        let from = zone
            .from_version
            .map_or("-".to_owned(), |version| format!("v{version}"));
        let records = zone.records_after.map_or(String::new(), |records| {
            format!("{} records", count(records))
        });
        rows.push(vec![
            zone.name.clone(),
            format!("{} {from} -> v{}", zone.policy, zone.to_version),
            records,
        ]);
    }
    rows.extend(receipt.shards.iter().map(hands));
    let lost = receipt
        .loss
        .packets
        .map_or("not measured".to_owned(), count);
    rows.push(vec![
        "lost".into(),
        format!("{lost} packets"),
        receipt.loss.derived_from.join(", "),
    ]);
    if let Some(mbufs) = &receipt.mbufs {
        rows.push(vec![
            "mbufs".into(),
            format!("{} of {}", count(mbufs.accounted), count(mbufs.total)),
            format!("{} unaccounted", mbufs.unaccounted),
        ]);
    }
    columns(&rows)
}

/// One change of hands.
fn hands(shard: &ShardRecord) -> Vec<String> {
    let gap = shard.gap_ns.map_or("gap not measured".to_owned(), |gap| {
        format!("gap {}", time(gap))
    });
    let ring = shard
        .queues
        .iter()
        .find_map(|queue| Some((queue.ring_used_at_takeover?, queue.ring_entries?)));
    let ring = ring.map_or(String::new(), |(used, entries)| {
        format!("ring {used} of {entries}")
    });
    vec![
        format!("shard {} {}", shard.shard, shard.direction),
        gap,
        ring,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::sample;

    #[test]
    fn prefix_and_number_may_each_be_left_out() {
        let read = |words: &[&str]| {
            prefix_and_number(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()).ok()
        };
        assert_eq!(read(&[]), Some((None, None)));
        assert_eq!(read(&["13"]), Some((None, Some(13))));
        assert_eq!(read(&["edge1"]), Some((Some("edge1".into()), None)));
        assert_eq!(
            read(&["edge1", "13"]),
            Some((Some("edge1".into()), Some(13)))
        );
        assert_eq!(read(&["edge1", "x"]), None);
    }

    #[test]
    fn the_list_shows_what_was_not_measured_as_such() {
        let mut rolled = sample(2);
        rolled.verdict = Verdict::RolledBack;
        rolled.reason = Some("operator".into());
        let text = table(&[
            Entry {
                receipt: rolled,
                chained: true,
            },
            Entry {
                receipt: sample(1),
                chained: true,
            },
        ]);
        assert!(text.contains("rolled back: operator"), "{text}");
        assert!(
            text.lines()
                .nth(2)
                .is_some_and(|line| line.contains(" ?  ") && line.contains("40.6 s")),
            "{text}"
        );
    }
}
