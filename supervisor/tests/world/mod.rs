//! An instance of its own for one test: folders, a config, the real `baton`, and fake primaries.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The longest a step of a test may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One instance.
pub struct World {
    pub folder: tempfile::TempDir,
    supervisor: Option<Child>,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl World {
    /// Folders, a config with two shards, and version 1.0 running.
    pub fn running() -> World {
        let mut world = World::new();
        world.run();
        world.wait_for("forwarding");
        world
    }

    /// The same, not running.
    pub fn new() -> World {
        World::with_fault("")
    }

    /// The same with a fault in version 1.0.
    pub fn with_fault(fault: &str) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World {
            folder,
            supervisor: None,
        };
        let first = world.binary("1.0", 1, &[1], fault);
        let config = format!(
            "[instance]\nfile-prefix = \"t\"\nbinary = {first:?}\nlcores = \"0,0\"\nmbufs = 64\nsocket-mem = \"64\"\n\n\
             [upgrade]\nsoak = \"300ms\"\ndeadline = \"2s\"\n"
        );
        fs::write(world.config(), config).expect("written");
        world
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("t.toml")
    }

    /// A fake primary: the example's image with what it is told behind it.
    pub fn binary(&self, version: &str, writes: u32, reads: &[u32], fault: &str) -> PathBuf {
        let path = self
            .folder
            .path()
            .join(format!("gateway-{version}-{}", fault.replace(' ', "-")));
        fs::copy(example(), &path).expect("cargo build -p baton-supervisor --example fake_primary");
        let told = serde_json::json!({ "version": version, "writes": writes, "reads": reads, "fault": fault });
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("a copy");
        write!(file, "\nFAKE-PRIMARY {told}").expect("written");
        path
    }

    /// `baton run` in the background.
    pub fn run(&mut self) {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log");
        let child = self
            .command(&["run", "t", "--config"])
            .arg(self.config())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .expect("baton runs");
        self.supervisor = Some(child);
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command
            .args(args)
            .env("BATON_RUN_DIR", self.folder.path().join("run"))
            .env("BATON_STATE_DIR", self.folder.path().join("state"))
            .env("BATON_LOG", "debug")
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end.
    pub fn baton(&self, args: &[&str]) -> Ran {
        let child = self.start(args);
        finish(child)
    }

    /// Runs a verb of a copy of `baton` as another user; only root can.
    pub fn baton_as(&self, uid: u32, args: &[&str]) -> Ran {
        use std::os::unix::process::CommandExt;
        let copy = self.folder.path().join("baton");
        fs::copy(env!("CARGO_BIN_EXE_baton"), &copy).expect("copied");
        let mut command = Command::new(copy);
        command
            .args(args)
            .uid(uid)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.env("BATON_RUN_DIR", self.folder.path().join("run"));
        finish(command.spawn().expect("only root may call this"))
    }

    /// Starts a verb.
    pub fn start(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("baton starts")
    }

    /// An upgrade to its end.
    pub fn upgrade(&self, binary: &Path) -> Ran {
        self.baton(&["upgrade", "t", &binary.display().to_string()])
    }

    /// The status as JSON.
    pub fn status(&self) -> Value {
        let ran = self.baton(&["status", "t", "--format", "json"]);
        serde_json::from_str(&ran.out).unwrap_or(Value::Null)
    }

    /// Waits until the status names this state.
    pub fn wait_for(&self, state: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if status["state"] == state {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "never {state}: {status}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A receipt.
    pub fn receipt(&self, number: u64) -> Value {
        let path = self
            .folder
            .path()
            .join(format!("state/t/history/{number:06}.json"));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{path:?}: {error}\n{}", self.log()));
        serde_json::from_str(&text).expect("a receipt")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// What the supervisor said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The version that owns the shards, with every one of them owned by its process.
    pub fn owner(&self) -> (String, i64) {
        let status = self.wait_for("forwarding");
        let slot = &status["owner"]["slot"];
        for shard in status["shards"].as_array().expect("shards") {
            assert_eq!(&shard["tenant"], slot, "{status}");
        }
        let version = status["owner"]["version"]
            .as_str()
            .expect("a version")
            .to_owned();
        (version, status["owner"]["pid"].as_i64().expect("a pid"))
    }

    /// Sends the supervisor a signal and waits for its end.
    pub fn end_supervisor(&mut self, signal: &str) -> i32 {
        let child = self.supervisor.take().expect("it runs");
        let pid = child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .expect("kill runs")
                .success()
        );
        wait(child).code
    }

    /// Waits for the supervisor's own end.
    pub fn supervisor_ended(&mut self) -> i32 {
        wait(self.supervisor.take().expect("it runs")).code
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.baton(&["stop", "t"]);
        if let Some(mut child) = self.supervisor.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The example that `cargo test` builds beside the tests.
fn example() -> PathBuf {
    let own = std::env::current_exe().expect("a test");
    own.parent()
        .and_then(Path::parent)
        .expect("target/debug")
        .join("examples/fake_primary")
}

/// Waits for a verb's end.
pub fn finish(child: Child) -> Ran {
    wait(child)
}

fn wait(mut child: Child) -> Ran {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("its own child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let output = child.wait_with_output().expect("ended");
            panic!(
                "did not end in time: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output: Output = child.wait_with_output().expect("ended");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
