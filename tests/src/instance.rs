//! A running `baton` with its gateway in the lab: config, verbs, numbers, and an end without leftovers.

mod config;
mod numbers;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use baton_shared_state::sys;
use serde_json::Value;

use crate::lab::{Lab, LabError};
use crate::machine::sibling;
use crate::netns::Netns;
use crate::program::Program;
use crate::wait::wait_for;

pub use config::config_text;
pub use numbers::Numbers;

/// The name of the lab's instance.
pub const PREFIX: &str = "lab";

/// A supervisor and its primaries.
#[derive(Debug)]
pub struct Instance<'lab> {
    lab: &'lab Lab,
    supervisor: Option<Program>,
    config: PathBuf,
}

/// What a verb printed and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; -1 after a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl<'lab> Instance<'lab> {
    /// Starts `baton run` with `binary` as the first primary; returns when the gateway forwards.
    pub fn start(lab: &'lab Lab, binary: &Path) -> Result<Instance<'lab>, LabError> {
        Instance::start_with(lab, binary, "")
    }

    /// The same with `more` at the end of the config.
    pub fn start_with(
        lab: &'lab Lab,
        binary: &Path,
        more: &str,
    ) -> Result<Instance<'lab>, LabError> {
        Instance::start_config(lab, &(config_text(lab, binary) + more))
    }

    /// Starts `baton run` with a whole config of the caller's, whose file-prefix has to be [`PREFIX`].
    pub fn start_config(lab: &'lab Lab, text: &str) -> Result<Instance<'lab>, LabError> {
        let config = lab.dir().join(format!("{PREFIX}.toml"));
        write(&config, text)?;
        let mut command = in_gateway(&lab.gateway);
        command
            .arg(sibling("baton"))
            .arg("run")
            .arg(PREFIX)
            .arg("--config")
            .arg(&config);
        environment(&mut command, lab);
        let supervisor = Program::spawn("baton-run", lab.dir(), &mut command)?;
        let mut instance = Instance {
            lab,
            supervisor: Some(supervisor),
            config,
        };
        match instance.forwards() {
            Ok(()) => Ok(instance),
            Err(why) => Err(LabError::Start {
                why,
                dump: instance.dump(),
            }),
        }
    }

    /// Waits until the first primary forwards, between the lab's two ends; no longer than the supervisor lives.
    fn forwards(&mut self) -> Result<(), String> {
        let within = Duration::from_secs(30);
        let begun = wait_for("a gateway that forwards", within, || {
            let supervisor = self.supervisor.as_mut();
            if let Some(status) = supervisor.and_then(Program::ended) {
                return Ok(Err(format!("the supervisor ended: {status}")));
            }
            match self.numbers() {
                Ok(numbers) if numbers.owner.is_some() && numbers.answered => Ok(Ok(())),
                Ok(numbers) => Err(format!("{numbers:?}")),
                Err(error) => Err(error.to_string()),
            }
        });
        begun.map_err(|timed_out| timed_out.to_string())??;
        self.lab.connect().map_err(|error| error.to_string())
    }

    /// The config file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The supervisor's process id, while it runs.
    pub fn supervisor(&self) -> Option<u32> {
        self.supervisor.as_ref().map(Program::pid)
    }

    /// `baton` with these words, not yet started.
    pub fn verb(&self, words: &[&str]) -> Command {
        let mut command = Command::new(sibling("baton"));
        command.args(words).stdin(Stdio::null());
        environment(&mut command, self.lab);
        command
    }

    /// Runs a verb to its end, whatever that is.
    pub fn say(&self, words: &[&str]) -> Result<Said, LabError> {
        let mut command = self.verb(words);
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().map_err(|source| LabError::File {
            path: sibling("baton"),
            source,
        })?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said {
            code: status.code().unwrap_or(-1),
            out: text(stdout),
            err: text(stderr),
        })
    }

    /// Runs a verb that has to end with `code`.
    pub fn expect(&self, code: i32, words: &[&str]) -> Result<Said, LabError> {
        let said = self.say(words)?;
        match said.code == code {
            true => Ok(said),
            false => Err(self.unexpected(words, code, &said)),
        }
    }

    /// The error of a verb that did not end as it should, with what helps to see why.
    pub fn unexpected(&self, words: &[&str], expected: i32, said: &Said) -> LabError {
        let text = format!("{}{}", said.out, said.err);
        LabError::Verb {
            verb: words.join(" "),
            found: said.code,
            expected,
            said: text,
            dump: self.dump(),
        }
    }

    /// Runs a verb with `--format json` and parses its output.
    pub fn json(&self, words: &[&str]) -> Result<Value, LabError> {
        let words = [words, &["--format", "json"]].concat();
        let said = self.expect(0, &words)?;
        serde_json::from_str(&said.out).map_err(|_| self.unexpected(&words, 0, &said))
    }

    /// The live numbers, as far as they are known.
    pub fn numbers(&self) -> Result<Numbers, LabError> {
        Ok(Numbers::of(&self.json(&["status", PREFIX])?))
    }

    /// The live numbers, once the process that forwards has answered.
    pub fn counts(&self) -> Result<Numbers, LabError> {
        self.wait_until(
            "an answer of the gateway",
            Duration::from_secs(10),
            |numbers| numbers.answered,
        )
    }

    /// Waits until the numbers are as wanted.
    pub fn wait_until(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Numbers) -> bool,
    ) -> Result<Numbers, LabError> {
        let found = wait_for(what, within, || match self.numbers() {
            Ok(numbers) if wanted(&numbers) => Ok(numbers),
            Ok(numbers) => Err(format!("{numbers:?}")),
            Err(error) => Err(error.to_string()),
        });
        found.map_err(|mut timed_out| {
            timed_out.last.push_str(&self.dump());
            timed_out.into()
        })
    }

    /// Receipt `number`, or the newest one.
    pub fn receipt(&self, number: Option<u64>) -> Result<Value, LabError> {
        let path = self.lab.dir().join("state").join(PREFIX).join("history");
        let file = |source| LabError::File {
            path: path.clone(),
            source,
        };
        let names = std::fs::read_dir(&path)
            .map_err(file)?
            .flatten()
            .map(|entry| entry.path());
        let wanted = number.map(|number| format!("{number:06}.json"));
        let found = names.filter(|name| match &wanted {
            Some(wanted) => name.ends_with(wanted),
            None => name
                .extension()
                .is_some_and(|extension| extension == "json"),
        });
        let newest = found
            .max()
            .ok_or_else(|| file(std::io::ErrorKind::NotFound.into()))?;
        let text = std::fs::read_to_string(&newest).map_err(file)?;
        serde_json::from_str(&text).map_err(|e| file(e.into()))
    }

    /// Ends forwarding by `baton stop`, and waits for the supervisor's end.
    pub fn stop(mut self) -> Result<(), LabError> {
        self.expect(0, &["stop", PREFIX])?;
        if let Some(mut supervisor) = self.supervisor.take() {
            supervisor.wait(Duration::from_secs(10))?;
        }
        Ok(())
    }

    /// Kills supervisor and primaries, without a word to any of them, and waits until they are gone.
    pub fn kill(&mut self) -> Result<(), LabError> {
        let pids = self.lab.gateway.pids();
        let pids = pids.iter().flat_map(|pid| u32::try_from(pid.as_raw()));
        let all: Vec<_> = pids.flat_map(sys::pidfd_open).collect();
        self.lab.gateway.kill_all();
        for process in all {
            // Until its last thread has ended, and its memory with it.
            let soon = Instant::now() + Duration::from_secs(10);
            sys::pidfd_wait(process.as_fd(), soon).map_err(|source| LabError::File {
                path: "pidfd".into(),
                source,
            })?;
        }
        Ok(())
    }

    /// What helps when a wait failed: the supervisor's log, and the dump tool's view of the zones.
    pub fn dump(&self) -> String {
        let log = self
            .supervisor
            .as_ref()
            .map(Program::tail)
            .unwrap_or_default();
        let zones = self
            .say(&["dump", PREFIX, "list"])
            .map(|said| said.out + &said.err)
            .unwrap_or_default();
        format!("\n{log}{zones}")
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        let Some(mut supervisor) = self.supervisor.take() else {
            return;
        };
        supervisor.stop(Duration::from_secs(2));
        self.lab.gateway.kill_all(); // primaries outlive their supervisor, by design
    }
}

/// A command in the gateway's namespace that also sees that namespace's interfaces below `/sys`.
fn in_gateway(gateway: &Netns) -> Command {
    let mut command = gateway.command("unshare");
    let script = r#"mount -t sysfs sysfs /sys 2>/dev/null; exec "$@""#;
    command.args([
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        script,
        "sh",
    ]);
    command
}

fn environment(command: &mut Command, lab: &Lab) {
    command
        .env("BATON_RUN_DIR", lab.dir().join("run"))
        .env("BATON_STATE_DIR", lab.dir().join("state"));
    command.env("NO_COLOR", "1");
}

fn write(path: &Path, text: &str) -> Result<(), LabError> {
    std::fs::write(path, text).map_err(|source| LabError::File {
        path: path.into(),
        source,
    })
}
