//! A running `baton` with its gateway in the lab: config, verbs, numbers, and an end without leftovers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::lab::{Lab, LabError};
use crate::machine::sibling;
use crate::netns::Netns;
use crate::program::Program;
use crate::wait::wait_for;

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

/// Live numbers, out of `baton status`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Sessions, all shards together.
    pub sessions: u64,
    /// Named drop counters.
    pub drops: BTreeMap<String, u64>,
    /// Device counters, `<port>/<queue>/<name>`.
    pub devices: BTreeMap<String, u64>,
    /// Mbufs that are nowhere, or in two places.
    pub leaked: u64,
    /// The process that forwards.
    pub owner: Option<u64>,
    /// Whether it answered; without an answer the counts above are zero.
    pub answered: bool,
    /// The phase of the running upgrade.
    pub phase: Option<String>,
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
        let instance = Instance {
            lab,
            supervisor: Some(supervisor),
            config,
        };
        lab.connect()?;
        instance.wait_until("forwarding", Duration::from_secs(30), |numbers| {
            numbers.owner.is_some() && numbers.answered
        })?;
        Ok(instance)
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
        Ok(numbers(&self.json(&["status", PREFIX])?))
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

/// The gateway's config: the one of the manual, with a route to the flows' sources.
pub fn config_text(lab: &Lab, binary: &Path) -> String {
    let shape = lab.shape();
    let [inside, outside] = lab.vdevs();
    let (rxd, shards) = (shape.rxd, shape.shards);
    // Twice what the rings of both ports can hold.
    let mbufs = (8 * u32::from(shards) * rxd)
        .next_power_of_two()
        .max(16_384);
    format!(
        r#"# The lab's instance, written by the test harness.
[instance]
file-prefix = "{PREFIX}"
binary = "{binary}"
lcores = "{lcores}"
shards = {shards}
mbufs = {mbufs}

[[port]]
name = "inside"
vdev = "{inside}"
address = ["10.0.0.1/24"]
rxd = {rxd}

[[port]]
name = "outside"
vdev = "{outside}"
address = ["203.0.113.2/24"]
rxd = {rxd}

[[route]]
prefix = "0.0.0.0/0"
via = "203.0.113.1"

[[route]]
prefix = "10.1.0.0/16"
via = "10.0.0.2"

[gateway.nat]
inside = ["inside"]
outside = "outside"
pool = ["203.0.113.16/28"]
sessions = {capacity}
per-source = 16384

[upgrade]
soak = "5s"
deadline = "{deadline}s"
"#,
        binary = binary.display(),
        lcores = shape.cpus.lcores,
        capacity = shape.capacity,
        deadline = shape.deadline.as_secs(),
    )
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

fn numbers(status: &Value) -> Numbers {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let stats = &status["stats"];
    let mut numbers = Numbers {
        answered: stats.is_object(),
        owner: status["owner"]["pid"].as_u64(),
        phase: status["upgrade"]["phase"].as_str().map(Into::into),
        ..Numbers::default()
    };
    numbers.sessions = list(&stats["shards"])
        .iter()
        .filter_map(|shard| shard["sessions"].as_u64())
        .sum();
    numbers.drops.extend(pairs(&stats["drops"]));
    for queue in list(&stats["ports"]) {
        let place = format!(
            "{}/{}",
            queue["name"].as_str().unwrap_or("?"),
            queue["queue"].as_u64().unwrap_or(0)
        );
        numbers.devices.extend(
            pairs(&queue["device"]).map(|(name, count)| (format!("{place}/{name}"), count)),
        );
    }
    let mbufs = &stats["mbufs"];
    numbers.leaked =
        mbufs["unaccounted"].as_u64().unwrap_or(0) + mbufs["doubled"].as_u64().unwrap_or(0);
    numbers
}

/// Named counts: `[["name", 1], ...]`, `[{"reason": "name", "count": 1}, ...]` or `{"name": 1, ...}`.
fn pairs(value: &Value) -> impl Iterator<Item = (String, u64)> {
    let from_pair = |pair: &Value| {
        let name = pair
            .get(0)
            .or_else(|| pair.get("reason"))
            .or_else(|| pair.get("name"))?;
        let count = pair.get(1).or_else(|| pair.get("count"))?;
        Some((name.as_str()?.to_owned(), count.as_u64()?))
    };
    let found: Vec<_> = match value {
        Value::Array(list) => list.iter().filter_map(from_pair).collect(),
        Value::Object(map) => map
            .iter()
            .filter_map(|(name, count)| Some((name.clone(), count.as_u64()?)))
            .collect(),
        _ => Vec::new(),
    };
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_out_of_a_status() {
        let status = serde_json::json!({
            "owner": {"pid": 7},
            "stats": {
                "shards": [{"sessions": 3}, {"sessions": 4}],
                "drops": [["ttl_exceeded", 2]],
                "ports": [{"name": "inside", "queue": 1, "device": [["rx_ring_full", 5]]}],
                "mbufs": {"unaccounted": 1, "doubled": 2},
            },
            "upgrade": {"phase": "soak"}
        });
        let numbers = numbers(&status);
        assert_eq!(
            (numbers.sessions, numbers.leaked, numbers.owner),
            (7, 3, Some(7))
        );
        assert_eq!(numbers.drops["ttl_exceeded"], 2);
        assert_eq!(numbers.devices["inside/1/rx_ring_full"], 5);
        assert_eq!(numbers.phase.as_deref(), Some("soak"));
        assert!(numbers.answered);
    }

    #[test]
    fn counts_are_read_in_every_form() {
        for form in [
            r#"{"a": 1}"#,
            r#"[["a", 1]]"#,
            r#"[{"reason": "a", "count": 1}]"#,
        ] {
            let value: Value = serde_json::from_str(form).expect("JSON");
            assert_eq!(
                pairs(&value).collect::<Vec<_>>(),
                [("a".to_owned(), 1)],
                "{form}"
            );
        }
    }
}
