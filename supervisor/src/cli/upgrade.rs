//! `baton upgrade` and `baton rollback`: both end with a receipt.

use std::time::Duration;

use clap::Args;

use super::client::{Ended, argv, ask, open_binary, show_progress, unexpected};
use super::failure::Failure;
use super::history::{prefix_and_number, words};
use super::human::{count, paint, time};
use super::plan::{advise, prefix_and_binary, table};
use super::{Global, instance};
use crate::exit::Exit;
use crate::period::Period;
use crate::receipt::Receipt;
use crate::request::{Answer, Verb};
use crate::state::Verdict;

/// The longest silence of a supervisor beside the soak.
const USUAL: Duration = Duration::from_secs(300);

/// Arguments of `upgrade`.
#[derive(Debug, Args)]
pub(super) struct Upgrade {
    /// [PREFIX] and the next binary.
    #[arg(num_args = 1..=2, required = true, value_name = "PREFIX BINARY")]
    what: Vec<String>,
    /// Time in which going back costs one swap, if not upgrade.soak.
    #[arg(long, value_name = "TIME")]
    soak: Option<Period>,
    /// Never ask.
    #[arg(long)]
    yes: bool,
}

/// Arguments of `rollback`.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    /// [PREFIX] and the receipt after which the wanted version forwarded.
    #[arg(num_args = 0..=2, value_name = "PREFIX|REVISION")]
    what: Vec<String>,
    /// Never ask.
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(global: &Global, args: &Upgrade) -> Result<Exit, Failure> {
    let (prefix, name) = prefix_and_binary(&args.what);
    let paths = instance(prefix)?;
    let file = open_binary(name)?;
    let soak_ms = args
        .soak
        .map(|soak| u64::try_from(soak.0.as_millis()).unwrap_or(u64::MAX));
    let verb = Verb::Upgrade {
        name: name.to_owned(),
        soak_ms,
        argv: argv(),
    };
    let patience = global.patience(USUAL + args.soak.map_or(Duration::ZERO, |soak| soak.0));
    let ended = ask(&paths, &verb, Some(&file), patience, |line| {
        show_progress(global, &line)
    })?;
    if let Answer::Plan(plan) = &ended.answer {
        global.show(plan, || table(plan, global.colored()));
        advise(global, plan, name);
        return Ok(ended.exit);
    }
    finish(global, &paths.prefix, ended)
}

pub(super) fn rollback(global: &Global, args: &Rollback) -> Result<Exit, Failure> {
    let (prefix, revision) = prefix_and_number(&args.what)?;
    let paths = instance(prefix.as_deref())?;
    let verb = Verb::Rollback {
        revision,
        argv: argv(),
    };
    let ended = ask(&paths, &verb, None, global.patience(USUAL), |line| {
        show_progress(global, &line)
    })?;
    let asked_for = matches!(&ended.answer, Answer::Receipt(receipt) if receipt.verdict == Verdict::RolledBack)
        && ended.exit == Exit::RolledBack;
    let exit = finish(global, &paths.prefix, ended)?;
    // A rollback that rolled back did what it was asked.
    Ok(if asked_for { Exit::Done } else { exit })
}

fn finish(global: &Global, prefix: &str, ended: Ended) -> Result<Exit, Failure> {
    let Answer::Receipt(receipt) = &ended.answer else {
        return Err(unexpected(ended));
    };
    global.show(receipt, || summary(receipt, prefix, global.colored()));
    let next = match (receipt.verdict, ended.exit) {
        (Verdict::Interrupted, _) => {
            format!("the instance was stopped: nothing forwards.  Way out: baton run {prefix}")
        }
        (Verdict::RolledBack, Exit::Failed) => {
            format!("nothing forwards at this moment.  Way out: baton status {prefix}")
        }
        (Verdict::Committed, _) | (Verdict::TookOver, Exit::Done | Exit::Loss) => {
            format!("next: baton status {prefix}   (back: baton rollback {prefix})")
        }
        _ => format!(
            "the previous version forwards.  Way out: baton history {prefix} {} tells why",
            receipt.number
        ),
    };
    global.advise(&next);
    Ok(ended.exit)
}

/// The receipt in a line.
fn summary(receipt: &Receipt, prefix: &str, colored: bool) -> String {
    let good = matches!(receipt.verdict, Verdict::Committed | Verdict::TookOver);
    let word = paint(colored, good, &words(receipt.verdict).to_uppercase());
    let known =
        |lost: Option<u64>| lost.map_or("? ".to_owned(), |lost| format!("{} ", count(lost)));
    let gap = receipt
        .gap_max_ns()
        .map_or("gap -".to_owned(), |gap| format!("gap max {}", time(gap)));
    let reason = receipt
        .reason
        .as_ref()
        .map(|reason| format!("\n  {reason}"))
        .unwrap_or_default();
    format!(
        "receipt #{}   {word}   lost {}packets, {}sessions   {gap}   baton history {prefix} {}{reason}",
        receipt.number,
        known(receipt.loss.packets),
        known(receipt.loss.sessions),
        receipt.number
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::sample;
    use crate::receipt::Loss;

    #[test]
    fn the_summary_claims_only_what_was_measured() {
        let mut receipt = sample(13);
        assert!(
            summary(&receipt, "edge1", false)
                .starts_with("receipt #13   COMMITTED   lost ? packets, ? sessions   gap -")
        );
        receipt.loss = Loss {
            packets: Some(0),
            sessions: Some(1),
            ..Loss::default()
        };
        receipt.reason = Some("in soak: the newer tenant died".into());
        let text = summary(&receipt, "edge1", false);
        assert!(text.contains("lost 0 packets, 1 sessions"), "{text}");
        assert!(
            text.ends_with("\n  in soak: the newer tenant died"),
            "{text}"
        );
    }
}
