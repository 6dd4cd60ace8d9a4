//! The run that demo, soak and bench share: traffic on, something happens to the gateway, judgement.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::instance::{Instance, PREFIX};
use crate::lab::{Lab, LabError};
use crate::machine::sibling;
use crate::program::Program;
use crate::tcp::{EchoServer, Iperf, TcpCounters, Web};
use crate::traffic::control::{Load, Traffic};
use crate::verdict::{Snapshot, Verdict};
use crate::wait::pause;

/// The released gateway.
pub const OLDER: &str = "baton-gateway-1";
/// The next one: another layout of sessions and counters.
pub const NEWER: &str = "baton-gateway";

/// Whether TCP programs run beside the sequenced UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// `iperf3`, `nginx` and `curl`.
    TcpPrograms,
    /// Nothing.
    Nothing,
}

/// A run under way.
#[derive(Debug)]
pub struct Trial<'run, 'lab> {
    /// The lab.
    pub lab: &'lab Lab,
    /// The gateway.
    pub instance: &'run mut Instance<'lab>,
    /// Connections are opened to it.
    pub echo: EchoServer,
    traffic: Traffic,
    started: Instant,
    receipts: Vec<Value>,
}

/// An upgrade in soak, waiting for its end.
#[derive(Debug)]
pub struct Soaking {
    program: Program,
    words: Vec<String>,
}

/// Runs `script` under `load` and judges: the stream ends when `script` returns.
pub fn run<'lab>(
    lab: &'lab Lab,
    instance: &mut Instance<'lab>,
    load: &Load,
    beside: Beside,
    script: impl FnOnce(&mut Trial<'_, 'lab>) -> Result<(), LabError>,
) -> Result<(Verdict, Vec<Value>), LabError> {
    let traffic = Traffic::open(lab, &sibling("baton-traffic"), load)?;
    let echo = EchoServer::start(lab)?;
    let programs = match beside {
        Beside::TcpPrograms => Some((Web::start(lab)?, Iperf::start(lab)?)),
        Beside::Nothing => None,
    };
    let mut trial = Trial {
        lab,
        instance,
        echo,
        traffic,
        started: Instant::now(),
        receipts: Vec::new(),
    };
    let before = Snapshot::take(lab, trial.instance, TcpCounters::of(lab)?)?;
    trial.traffic.start()?;
    trial.started = Instant::now();
    let done = script(&mut trial);
    let Trial {
        instance,
        traffic,
        receipts,
        ..
    } = trial;
    done?;
    let tcp = TcpCounters::of(lab)?;
    let ended = programs.map(|(web, iperf)| {
        iperf.finish(Duration::from_secs(30))?;
        web.finish()
    });
    let report = traffic.stop()?;
    ended.transpose()?;
    let after = Snapshot::take(lab, instance, tcp)?;
    let verdict = Verdict::judge(&before, &after, &report).with_receipts(&receipts);
    if std::env::var_os("BATON_LAB_VERBOSE").is_some() {
        eprintln!("{}", serde_json::to_string(&report).unwrap_or_default());
    }
    Ok((verdict, receipts))
}

impl Trial<'_, '_> {
    /// Waits until this long after the start of the stream.
    pub fn at(&self, since_start: Duration) -> Result<(), LabError> {
        Ok(pause(since_start.saturating_sub(self.started.elapsed()))?)
    }

    /// Time since the start of the stream.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Begins an upgrade to `binary`; returns when it soaks, all shards moved.
    pub fn upgrade(&mut self, binary: &str, soak: Duration) -> Result<Soaking, LabError> {
        let path = sibling(binary);
        let soak = format!("{}ms", soak.as_millis());
        let words = [
            "upgrade",
            PREFIX,
            &path.display().to_string(),
            "--soak",
            &soak,
            "--yes",
        ]
        .map(str::to_owned);
        let mut command = self.instance.verb(&words.each_ref().map(String::as_str));
        let number = self.receipts.len() + 1;
        let program = Program::spawn_with(
            &format!("upgrade-{number}"),
            self.lab.dir(),
            &mut command,
            Stdio::from,
        )?;
        let mut soaking = Soaking {
            program,
            words: words.to_vec(),
        };
        let _ = self.traffic.mark(&format!("{binary} {number}"));
        loop {
            if self.instance.numbers()?.phase.as_deref() == Some("soak") {
                return Ok(soaking);
            }
            if let Some(status) = soaking.program.ended() {
                if [Some(0), Some(ENDED_WITH_LOSS)].contains(&status.code()) {
                    return Ok(soaking); // a soak shorter than our look
                }
                return Err(self.ended_badly(&soaking, status.code().unwrap_or(-1), 0));
            }
            pause(Duration::from_millis(20))?;
        }
    }

    /// Waits until the soak is over and the upgrade committed.
    pub fn commit(&mut self, soaking: Soaking) -> Result<(), LabError> {
        self.finish(soaking, 0)
    }

    /// Goes back to the older binary while the upgrade soaks.
    pub fn roll_back(&mut self, soaking: Soaking) -> Result<(), LabError> {
        let words = ["rollback", PREFIX];
        let said = self.instance.say(&words)?;
        if ![0, ENDED_WITH_LOSS].contains(&said.code) {
            return Err(self.instance.unexpected(&words, 0, &said));
        }
        self.finish(soaking, 6)
    }

    /// Goes back to the older binary after the commit: an upgrade to it, whose layout the newer one writes first.
    pub fn go_back(&mut self) -> Result<(), LabError> {
        let words = ["rollback", PREFIX, "--yes"];
        let said = self.instance.say(&words)?;
        if ![0, ENDED_WITH_LOSS].contains(&said.code) {
            return Err(self.instance.unexpected(&words, 0, &said));
        }
        self.receipts.push(self.instance.receipt(None)?);
        Ok(())
    }

    /// A receipt that shows loss is no error here: the verdict at the end of the run counts it, and says where.
    fn finish(&mut self, mut soaking: Soaking, code: i32) -> Result<(), LabError> {
        let status = soaking.program.wait(Duration::from_secs(90))?;
        if !status
            .code()
            .is_some_and(|found| found == code || found == ENDED_WITH_LOSS)
        {
            return Err(self.ended_badly(&soaking, status.code().unwrap_or(-1), code));
        }
        self.receipts.push(self.instance.receipt(None)?);
        Ok(())
    }

    fn ended_badly(&self, soaking: &Soaking, found: i32, expected: i32) -> LabError {
        let (said, dump) = (soaking.program.output(), self.instance.dump());
        LabError::Verb {
            verb: soaking.words.join(" "),
            found,
            expected,
            said,
            dump,
        }
    }
}

/// What a verb ends with that did its work, with a receipt that shows loss.
const ENDED_WITH_LOSS: i32 = 9;

/// The path of a gateway binary of this build.
pub fn gateway(name: &str) -> PathBuf {
    sibling(name)
}
