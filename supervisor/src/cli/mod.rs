//! The operator's command: one verb, one meaning. Data goes to stdout, progress and advice to
//! stderr; the last line of a success names the next command, that of a refusal the way out.

mod check;
mod client;
mod dump;
mod failure;
mod history;
mod human;
mod plan;
mod run;
mod status;
mod stop;
mod upgrade;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::exit::Exit;
use crate::period::Period;
use failure::Failure;

/// Replaces a running packet gateway by its next version: no packet lost, no session lost, and back again.
#[derive(Debug, Parser)]
#[command(
    name = "baton",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// What every verb takes.
#[derive(Clone, Debug, Args)]
struct Global {
    /// How results are written to stdout.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Whether to colour; NO_COLOR is heeded.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
    /// No progress, no advice.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// More of it; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How long to wait for an answer, for example 30s.
    #[arg(long, global = true, value_name = "TIME")]
    timeout: Option<Period>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the supervisor in the foreground; ending it leaves forwarding going.
    Run(run::Run),
    /// Ends forwarding: the only verb that does.
    Stop(stop::Stop),
    /// Shows who owns what and how it is.
    Status(status::StatusArgs),
    /// Reads the config with this, or with the next, binary's own parser.
    Check(check::Check),
    /// Shows what an upgrade would do, cost and risk; changes nothing.
    Plan(plan::PlanArgs),
    /// Replaces the running binary.
    Upgrade(upgrade::Upgrade),
    /// Goes back: in the soak by one swap, later by an upgrade to the kept binary.
    Rollback(upgrade::Rollback),
    /// Lists the receipts, or shows one.
    History(history::HistoryArgs),
    /// Shows any zone, of a live or dead instance: list | show ZONE | check | diff A B.
    #[command(disable_help_flag = true)]
    Dump(dump::Dump),
}

impl Global {
    /// Whether to write colours to stderr and stdout.
    fn colored(&self) -> bool {
        match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::io::stdout().is_terminal()
            }
        }
    }

    /// The time to wait for an answer.
    fn patience(&self, usual: Duration) -> Duration {
        self.timeout.map_or(usual, |period| period.0)
    }

    /// A sentence of advice on stderr.
    fn advise(&self, text: &str) {
        if !self.quiet {
            talk(format_args!("{text}"));
        }
    }

    /// A result on stdout, as JSON if that is asked for, else as `table` draws it.
    fn show(&self, value: &impl serde::Serialize, table: impl FnOnce() -> String) {
        let text = match self.format {
            Format::Table => table(),
            Format::Json => serde_json::to_string_pretty(value).unwrap_or_default(),
            Format::Jsonl => serde_json::to_string(value).unwrap_or_default(),
        };
        print(&text);
    }
}

/// Writes to stdout; a reader that went away is no failure.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
    let _ = out.flush();
}

/// Writes to stderr; that nobody reads it (`2>&1 | head -1`) changes no exit code.
fn talk(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The instance a verb is about: the one named, or the only one there is.
fn instance(named: Option<&str>) -> Result<baton_shared_state::paths::Paths, Failure> {
    use baton_shared_state::paths;
    if let Some(name) = named {
        if !crate::config::Prefix::is_valid(name) {
            return Err(Failure::new(
                Exit::Usage,
                format!("\"{name}\" is no file-prefix: 1 to 31 letters, digits, '_' or '-'"),
            ));
        }
        return Ok(paths::Paths::of(name));
    }
    let all = paths::instances();
    match all.as_slice() {
        [only] => Ok(paths::Paths::of(only)),
        [] => {
            Err(Failure::new(Exit::NotRunning, "no instance is running")
                .way_out("baton run PREFIX"))
        }
        many => Err(Failure::new(
            Exit::Usage,
            format!("{} instances are running: {}", many.len(), many.join(", ")),
        )
        .way_out("name one of them")),
    }
}

/// The command `baton`.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                Exit::Usage.code()
            } else {
                0
            });
        }
    };
    let global = cli.global;
    let result = match cli.verb {
        Verb::Run(verb) => run::run(&global, &verb),
        Verb::Stop(verb) => stop::run(&global, &verb),
        Verb::Status(verb) => status::run(&global, &verb),
        Verb::Check(verb) => check::run(&global, &verb),
        Verb::Plan(verb) => plan::run(&global, &verb),
        Verb::Upgrade(verb) => upgrade::run(&global, &verb),
        Verb::Rollback(verb) => upgrade::rollback(&global, &verb),
        Verb::History(verb) => history::run(&global, &verb),
        Verb::Dump(verb) => dump::run(&verb),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.tell(&global);
            failure.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_behind_the_verb() {
        let cli = Cli::try_parse_from([
            "baton",
            "status",
            "edge1",
            "--format",
            "json",
            "-q",
            "--timeout",
            "3s",
        ]);
        let global = cli.expect("valid").global;
        assert_eq!((global.format, global.quiet), (Format::Json, true));
        assert_eq!(
            global.patience(Duration::from_secs(9)),
            Duration::from_secs(3)
        );
    }

    #[test]
    fn a_wrong_duration_is_a_usage_error() {
        let error =
            Cli::try_parse_from(["baton", "status", "--timeout", "3"]).expect_err("no unit");
        assert!(
            error.to_string().contains("one of ms, s, m, h, d"),
            "{error}"
        );
    }

    #[test]
    fn dump_passes_everything_on() {
        let cli = Cli::try_parse_from([
            "baton",
            "dump",
            "edge1",
            "show",
            "nat.session",
            "--where",
            "dst_port==443",
        ]);
        let Verb::Dump(dump) = cli.expect("valid").verb else {
            panic!("another verb")
        };
        assert_eq!(
            dump.args,
            ["edge1", "show", "nat.session", "--where", "dst_port==443"]
        );
    }
}
