//! `baton plan`: what an upgrade would do; changes nothing.

use std::time::Duration;

use baton_schema::Policy;
use clap::Args;

use super::client::{ask, open_binary, unexpected};
use super::failure::Failure;
use super::human::{bytes, columns, count, paint, rate, short, time};
use super::{Global, instance};
use crate::exit::Exit;
use crate::plan::{Plan, ZonePlan};
use crate::request::{Answer, Verb};

/// Copying a large binary and asking it twice may take this long.
const USUAL: Duration = Duration::from_secs(60);

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    /// [PREFIX] and the next binary.
    #[arg(num_args = 1..=2, required = true, value_name = "PREFIX BINARY")]
    what: Vec<String>,
}

pub(super) fn run(global: &Global, args: &PlanArgs) -> Result<Exit, Failure> {
    let (prefix, name) = prefix_and_binary(&args.what);
    let paths = instance(prefix)?;
    let file = open_binary(name)?;
    let verb = Verb::Plan {
        name: name.to_owned(),
    };
    let ended = ask(&paths, &verb, Some(&file), global.patience(USUAL), |_| {})?;
    let Answer::Plan(plan) = &ended.answer else {
        return Err(unexpected(ended));
    };
    global.show(plan, || table(plan, global.colored()));
    advise(global, plan, name);
    Ok(ended.exit)
}

/// Of one or two words the last is the binary.
pub(super) fn prefix_and_binary(what: &[String]) -> (Option<&str>, &str) {
    match what {
        [prefix, binary] => (Some(prefix), binary),
        [binary] => (None, binary),
        _ => (None, ""),
    }
}

/// The verdict's last line.
pub(super) fn advise(global: &Global, plan: &Plan, name: &str) {
    if plan.go {
        global.advise(&format!("next: baton upgrade {} {name}", plan.prefix));
    } else {
        for refusal in &plan.refusals {
            global.advise(&format!("baton: {refusal}"));
        }
        global.advise(&format!(
            "nothing has been changed.  Way out: {}",
            plan.way_out.as_deref().unwrap_or("see above")
        ));
    }
}

/// The plan as a table.
pub(super) fn table(plan: &Plan, colored: bool) -> String {
    let mut text = format!(
        "{} {} -> {}       binary {} (signed: not checked)     nothing has been changed\n",
        plan.to.name,
        plan.from.version,
        plan.to.version,
        short(&plan.to.binary_sha256)
    );
    let mut rows = vec![
        ["zone", "policy", "from -> to", "records", "bytes", "note"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(plan.zones.iter().map(row));
    let config = match &plan.config_error {
        None => vec!["config".to_owned(), "ok".to_owned()],
        Some(error) => vec![
            "config".to_owned(),
            "REFUSE".to_owned(),
            error.replace('\n', " "),
        ],
    };
    text.push_str(&columns(&rows));
    text.push_str(&columns(&[config]));
    text.push_str(&format!(
        "cost      memory +{} while both live;  migration about {} on the control core\n",
        bytes(plan.cost.memory_bytes),
        time(plan.cost.migration_ns)
    ));
    text.push_str(&swap(plan));
    let losses = if plan.losses_back.is_empty() {
        "possible until commit with every new session".to_owned()
    } else {
        format!(
            "possible until commit with every new session; it loses {}",
            plan.losses_back.join(", ")
        )
    };
    text.push_str(&format!("rollback  {losses}\n"));
    let verdict = paint(colored, plan.go, if plan.go { "GO" } else { "NO GO" });
    text.push_str(&format!("verdict   {verdict}\n"));
    text
}

fn row(zone: &ZonePlan) -> Vec<String> {
    let to = zone.to_version;
    let versions = match zone.from_version {
        Some(from) if from == to => format!("v{to}"),
        Some(from) => format!("v{from} -> v{to}"),
        None => format!("-> v{to}"),
    };
    let policy = if zone.policy == Policy::Refuse {
        "REFUSE".to_owned()
    } else {
        zone.policy.to_string()
    };
    let size = match (zone.bytes_before, zone.bytes_new) {
        (Some(before), Some(new)) if zone.policy != Policy::Rebuild => {
            format!("{} -> {}", bytes(before), bytes(new))
        }
        (Some(before), _) => bytes(before),
        _ => String::new(),
    };
    let records = zone.records.map(count).unwrap_or_default();
    vec![
        zone.name.clone(),
        policy,
        versions,
        records,
        size,
        zone.note.clone().unwrap_or_default(),
    ]
}

fn swap(plan: &Plan) -> String {
    let stop = time(plan.swap.stop_ns);
    match (plan.swap.holds_ns, plan.swap.rate_pps) {
        (Some(holds), Some(pps)) => format!(
            "swap      gap about {stop} a shard; ring holds {} at today's {} -> loss-free ({} x spare)\n",
            time(holds),
            rate(pps),
            count(holds / plan.swap.stop_ns.max(1))
        ),
        (None, Some(_)) => format!("swap      gap about {stop} a shard; no traffic just now\n"),
        _ => format!("swap      gap about {stop} a shard; the rate was not measured\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Candidate, Cost, SCHEMA, Swap};

    fn sample(go: bool) -> Plan {
        let program = |version: &str| Candidate {
            name: "gateway".into(),
            version: version.into(),
            binary_sha256: "6f1c09".into(),
        };
        Plan {
            schema: SCHEMA.into(),
            prefix: "edge1".into(),
            from: program("1.4.2"),
            to: program("1.5.0"),
            zones: vec![ZonePlan {
                name: "nat.session".into(),
                policy: if go { Policy::Migrate } else { Policy::Refuse },
                from_version: Some(1),
                to_version: 2,
                records: Some(962_000),
                bytes_before: Some(59 << 20),
                bytes_new: Some(73 << 20),
                note: None,
            }],
            exports: vec![],
            config_error: None,
            cost: Cost {
                memory_bytes: 121 << 20,
                migration_ns: 200_000_000,
            },
            swap: Swap {
                stop_ns: 13_000,
                rate_pps: Some(710_000),
                ring: Some(4096),
                holds_ns: Some(5_768_000),
            },
            losses_back: vec!["qos_class".into()],
            go,
            refusals: vec![],
            way_out: None,
        }
    }

    #[test]
    fn the_table_reads_as_in_the_manual() {
        let text = table(&sample(true), false);
        assert!(
            text.contains("nat.session  migrate  v1 -> v2    962,000  59 MiB -> 73 MiB"),
            "{text}"
        );
        assert!(
            text.contains("ring holds 5 ms at today's 710.0 kpps -> loss-free (443 x spare)"),
            "{text}"
        );
        assert!(text.contains("verdict   GO\n"), "{text}");
        let refused = table(&sample(false), false);
        assert!(
            refused.contains("REFUSE") && refused.contains("NO GO"),
            "{refused}"
        );
    }

    #[test]
    fn the_prefix_may_be_left_out() {
        let words = |all: &[&str]| {
            all.iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            prefix_and_binary(&words(&["edge1", "./b"])),
            (Some("edge1"), "./b")
        );
        assert_eq!(prefix_and_binary(&words(&["./b"])), (None, "./b"));
    }
}
