//! The handle by which other programs hold a traffic process.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::lab::{Lab, LabError};
use crate::program::Program;
use crate::traffic::report::{Command, Event, Mark, Report};

/// What to send.
#[derive(Debug, Clone)]
pub struct Load {
    /// Packets/s, both directions together.
    pub rate: u64,
    /// Flows that carry it.
    pub flows: u32,
    /// Further flows, refreshed seldom.
    pub sessions: u32,
}

/// A running traffic process.
#[derive(Debug)]
pub struct Traffic {
    program: Program,
    events: Receiver<Event>,
}

impl Traffic {
    /// Starts one over both ends of the lab; returns when every flow is open.
    pub fn open(lab: &Lab, binary: &Path, load: &Load) -> Result<Traffic, LabError> {
        let mut command = std::process::Command::new(binary);
        command
            .arg("--client-netns")
            .arg(lab.client.path())
            .arg("--server-netns")
            .arg(lab.server.path());
        command.args(["--client-if", Lab::CLIENT_IF, "--server-if", Lab::SERVER_IF]);
        command.args([
            "--rate",
            &load.rate.to_string(),
            "--flows",
            &load.flows.to_string(),
        ]);
        command.args(["--sessions", &load.sessions.to_string()]);
        if lab.sends_unfinished() {
            command.arg("--unfinished");
        }
        command.stdin(Stdio::piped());
        let mut program =
            Program::spawn_with("traffic", lab.dir(), &mut command, |_| Stdio::piped())?;
        let out = program.child().stdout.take().expect("made with a pipe");
        let (tx, events) = channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines
                .flat_map(|line| serde_json::from_str(&line))
                .try_for_each(|event| tx.send(event))
        });
        let mut traffic = Traffic { program, events };
        traffic.expect("every flow open", Duration::from_secs(40), |event| {
            matches!(event, Event::Ready { .. }).then_some(())
        })?;
        Ok(traffic)
    }

    /// Begins the sequenced stream.
    pub fn start(&mut self) -> Result<(), LabError> {
        self.tell(&Command::Start)?;
        self.expect("the start", ANSWER, |event| {
            matches!(event, Event::Started).then_some(())
        })
    }

    /// Notes the time and the counts under a name.
    pub fn mark(&mut self, name: &str) -> Result<Mark, LabError> {
        self.tell(&Command::Mark { name: name.into() })?;
        self.expect("the mark", ANSWER, |event| match event {
            Event::Marked(mark) => Some(mark),
            _ => None,
        })
    }

    /// Ends the stream; returns the judgement after the last packet had time to arrive.
    pub fn stop(mut self) -> Result<Report, LabError> {
        self.tell(&Command::Stop)?;
        self.expect("the report", Duration::from_secs(90), |event| match event {
            Event::Report(report) => Some(*report),
            _ => None,
        })
    }

    fn tell(&mut self, command: &Command) -> Result<(), LabError> {
        let line = serde_json::to_string(command).expect("plain data");
        let input = self
            .program
            .child()
            .stdin
            .as_mut()
            .expect("made with a pipe");
        let told = writeln!(input, "{line}").and_then(|()| input.flush());
        told.map_err(|_| LabError::Traffic {
            what: "taking a command",
            log: self.program.tail(),
        })
    }

    fn expect<T>(
        &mut self,
        what: &'static str,
        within: Duration,
        pick: impl Fn(Event) -> Option<T>,
    ) -> Result<T, LabError> {
        let deadline = Instant::now() + within;
        loop {
            match self
                .events
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(event) => {
                    if let Some(found) = pick(event) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(LabError::Traffic {
                        what,
                        log: self.program.tail(),
                    });
                }
            }
        }
    }
}

/// How long the process may take to answer a command.
const ANSWER: Duration = Duration::from_secs(10);
