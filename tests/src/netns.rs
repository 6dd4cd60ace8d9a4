//! Network namespaces without a name: a descriptor keeps each alive, so nothing is left when this process ends.
//!
//! Other programs enter one through `/proc/<our pid>/fd/<n>`. Everything that runs in a namespace of ours was
//! started by us, directly or not: that is how leftovers are found and killed by pid.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A namespace could not be made, entered or furnished.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The kernel refused.
    #[error("namespace {name}: {what}: {source} (needs root, or a user namespace: unshare -Urnm)")]
    Refused {
        /// What it is called here.
        name: &'static str,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A command inside it failed.
    #[error("namespace {name}: `{command}` ended with {status}: {stderr}")]
    Command {
        /// What it is called here.
        name: &'static str,
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// What it said.
        stderr: String,
    },
}

/// A network namespace.
#[derive(Debug)]
pub struct Netns {
    name: &'static str,
    file: File,
}

/// Counters of an interface that count lost packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Received and dropped.
    pub rx: u64,
    /// Dropped in sending.
    pub tx: u64,
}

impl Netns {
    /// A new, empty one, with `lo` up and without IPv6 (whose own packets would be counted as dropped ones).
    pub fn new(name: &'static str) -> Result<Netns, NetnsError> {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let file = made.join().expect("the thread does not panic");
        let file = file.map_err(|source| NetnsError::Refused {
            name,
            what: "making it",
            source,
        })?;
        let netns = Netns { name, file };
        netns.write("net/ipv6/conf/all/disable_ipv6", "1")?;
        netns.write("net/ipv6/conf/default/disable_ipv6", "1")?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The file by which other programs enter it while this process lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// A command that will run inside; its pid is the program's own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs `work` in a thread that has entered; what it opens stays inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        std::thread::scope(|scope| {
            let thread =
                scope.spawn(|| setns(&self.file, CloneFlags::CLONE_NEWNET).map(|()| work()));
            let done = thread.join().expect("the work inside does not panic");
            done.map_err(|e| NetnsError::Refused {
                name: self.name,
                what: "entering it",
                source: e.into(),
            })
        })
    }

    /// Runs a command of blanks-separated words inside; it must succeed.
    pub fn run(&self, line: &str) -> Result<String, NetnsError> {
        let mut words = line.split_whitespace();
        let output = self
            .command(words.next().unwrap_or("true"))
            .args(words)
            .output();
        let output = output.map_err(|source| NetnsError::Refused {
            name: self.name,
            what: "running nsenter",
            source,
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(NetnsError::Command {
            name: self.name,
            command: line.into(),
            status: output.status.to_string(),
            stderr: String::from_utf8_lossy(&output.stderr).trim().into(),
        })
    }

    /// `ip` with these words.
    pub fn ip(&self, words: &str) -> Result<String, NetnsError> {
        self.run(&format!("ip {words}"))
    }

    /// Writes a setting below `/proc/sys`; one that this kernel does not have is skipped.
    pub fn write(&self, setting: &str, value: &str) -> Result<(), NetnsError> {
        let path = PathBuf::from("/proc/sys").join(setting);
        match self.inside(|| {
            if path.exists() {
                std::fs::write(&path, value)
            } else {
                Ok(())
            }
        })? {
            Ok(()) => Ok(()),
            Err(source) => Err(NetnsError::Refused {
                name: self.name,
                what: "writing to /proc/sys",
                source,
            }),
        }
    }

    /// Reads a file below `/proc/net` as it is inside; empty if there is none.
    pub fn proc_net(&self, file: &str) -> Result<String, NetnsError> {
        let path = PathBuf::from("/proc/thread-self/net").join(file);
        self.inside(|| std::fs::read_to_string(path).unwrap_or_default())
    }

    /// The loss counters of an interface.
    pub fn losses(&self, interface: &str) -> Result<Losses, NetnsError> {
        Ok(losses(&self.proc_net("dev")?, interface))
    }

    /// Every process inside.
    pub fn pids(&self) -> Vec<Pid> {
        let Ok(own) = self.file.metadata() else {
            return Vec::new();
        };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| {
            let other = std::fs::metadata(format!("/proc/{pid}/ns/net"));
            other.is_ok_and(|other| (other.dev(), other.ino()) == (own.dev(), own.ino()))
        })
        .map(Pid::from_raw)
        .collect()
    }

    /// Kills whatever still runs inside.
    pub fn kill_all(&self) {
        for pid in self.pids() {
            let _ = kill(pid, Signal::SIGKILL); // it may have ended meanwhile
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// `name: bytes packets errs drop ... (8 columns) bytes packets errs drop ...` in `/proc/net/dev`.
fn losses(table: &str, interface: &str) -> Losses {
    let row = table.lines().find_map(|line| {
        line.split_once(':')
            .filter(|(name, _)| name.trim() == interface)
    });
    let columns: Vec<u64> = row
        .map_or("", |(_, rest)| rest)
        .split_whitespace()
        .flat_map(str::parse)
        .collect();
    let at = |n: usize| columns.get(n).copied().unwrap_or(0);
    Losses {
        rx: at(2) + at(3) + at(4),
        tx: at(10) + at(11) + at(12),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_counters_of_the_right_interface_are_read() {
        let table = "Inter-|   Receive                    |  Transmit\n face |bytes packets errs drop fifo\n\
            \x20   c01: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n\
            \x20    c0: 100 2 1 3 0 0 0 0 200 4 0 7 2 0 0 0\n";
        assert_eq!(losses(table, "c0"), Losses { rx: 4, tx: 9 });
        assert_eq!(losses(table, "none"), Losses::default());
    }
}
