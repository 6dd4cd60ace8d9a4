//! The command's end of the control socket.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use baton_schema::control::{Client, Opening, ToClient};
use baton_shared_state::channel::{Channel, ChannelError};
use baton_shared_state::paths::Paths;

use super::Global;
use super::failure::Failure;
use crate::driver::tenants;
use crate::exit::Exit;
use crate::request::{Answer, Progress, Verb};

/// How a verb ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// The code the supervisor gave.
    pub(super) exit: Exit,
    /// Its result.
    pub(super) answer: Answer,
}

/// Sends a verb to the instance's supervisor, passes its progress on and gives back its end.
/// `patience` is the longest silence that is borne.
pub(super) fn ask(
    paths: &Paths,
    verb: &Verb,
    binary: Option<&File>,
    patience: Duration,
    mut progress: impl FnMut(Progress),
) -> Result<Ended, Failure> {
    let channel = Channel::connect(&paths.socket()).map_err(|error| unreachable(paths, &error))?;
    let text = serde_json::to_string(verb).map_err(|error| Failure::new(Exit::Failed, error))?;
    let fds: Vec<_> = binary.iter().map(|file| file.as_fd()).collect();
    channel
        .send(&Opening::Client(Client::Verb(text)), &fds)
        .map_err(|error| broken(paths, &error))?;
    loop {
        let received = channel.recv::<ToClient>(Instant::now() + patience);
        match received.map_err(|error| broken(paths, &error))? {
            Some((ToClient::Line(text), _)) => {
                if let Ok(line) = serde_json::from_str(&text) {
                    progress(line);
                }
            }
            Some((ToClient::End { code, result }, _)) => {
                let answer = serde_json::from_str(&result).map_err(|error| {
                    Failure::new(
                        Exit::Failed,
                        format!("the supervisor's answer does not parse: {error}"),
                    )
                })?;
                return Ok(Ended {
                    exit: Exit::from_code(code),
                    answer,
                });
            }
            Some((ToClient::Refused { why }, _)) => return Err(Failure::new(Exit::Refused, why)),
            Some((ToClient::Fds { .. }, _)) => {}
            None => {
                let text = format!(
                    "the supervisor of {} ended before it answered; forwarding is not affected",
                    paths.prefix
                );
                return Err(Failure::new(Exit::Failed, text)
                    .way_out(format!("baton status {}", paths.prefix)));
            }
        }
    }
}

/// A result that is not the expected one says itself what happened.
pub(super) fn unexpected(ended: Ended) -> Failure {
    match ended.answer {
        Answer::Said { text, way_out } => {
            let failure = Failure::new(ended.exit, text);
            if let Some(way_out) = way_out {
                failure.way_out(way_out)
            } else {
                failure
            }
        }
        other => Failure::new(
            Exit::Failed,
            format!("the supervisor gave another answer than expected: {other:?}"),
        ),
    }
}

/// Opens the candidate's file, so that the supervisor needs no rights on the path.
pub(super) fn open_binary(name: &str) -> Result<File, Failure> {
    let refuse =
        |text: String| Failure::new(Exit::Usage, text).way_out("name the file of the next binary");
    let meta = std::fs::metadata(name).map_err(|error| refuse(format!("{name}: {error}")))?;
    if !meta.is_file() {
        return Err(refuse(format!("{name} is not a file")));
    }
    File::open(Path::new(name)).map_err(|error| refuse(format!("{name}: {error}")))
}

/// Where the absolute path of a binary is wanted for messages and receipts.
pub(super) fn argv() -> Vec<String> {
    std::env::args().collect()
}

/// Nobody listens, or not to this user.
fn unreachable(paths: &Paths, error: &ChannelError) -> Failure {
    match error {
        ChannelError::Connect { source, .. }
            if source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            let text = format!(
                "{}: permission denied: {} is another user's",
                paths.socket().display(),
                paths.prefix
            );
            Failure::new(Exit::Refused, text).way_out("use that user's account, or root (sudo)")
        }
        _ => not_running(paths),
    }
}

fn not_running(paths: &Paths) -> Failure {
    let prefix = &paths.prefix;
    let alive = tenants::alive(&paths.tenants());
    if let Some(tenant) = alive.first() {
        let text = format!(
            "{prefix} is headless: pid {} forwards, no supervisor runs",
            tenant.pid
        );
        return Failure::new(Exit::NotRunning, text).way_out(format!(
            "baton run {prefix} takes it up, baton stop {prefix} ends it"
        ));
    }
    let running = baton_shared_state::paths::instances();
    let text = match running.len() {
        0 => format!("{prefix} is not running; no instance is"),
        _ => format!("{prefix} is not running; these are: {}", running.join(", ")),
    };
    Failure::new(Exit::NotRunning, text).way_out(format!("baton run {prefix}"))
}

fn broken(paths: &Paths, error: &ChannelError) -> Failure {
    let text = format!(
        "{}: {error}; forwarding is not affected",
        paths.socket().display()
    );
    Failure::new(Exit::Failed, text).way_out(format!("baton status {}", paths.prefix))
}

/// Writes progress as it comes: lines for people on stderr, JSON lines on stdout.
pub(super) fn show_progress(global: &Global, line: &Progress) {
    if global.format == super::Format::Jsonl {
        super::print(&serde_json::to_string(line).unwrap_or_default());
    } else if !global.quiet && global.format == super::Format::Table {
        let took = line.duration_ns.map(super::human::time).unwrap_or_default();
        super::talk(format_args!(
            " {}  {:<9} {:>7}  {}",
            super::human::clock(&line.at),
            line.step,
            took,
            line.text
        ));
    }
}
