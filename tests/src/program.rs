//! A child process: spawned with its output in a file, stopped within a deadline, never left behind.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait::{TimedOut, wait_for};

/// A child could not be started, or did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It did not start.
    #[error("{name}: cannot start {program:?}: {source}")]
    Start {
        /// What it is called here.
        name: String,
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It did not end in time.
    #[error("{name}: {source}\n{log}")]
    NotEnded {
        /// What it is called here.
        name: String,
        /// How long was waited.
        source: TimedOut,
        /// The end of its output.
        log: String,
    },
    /// It ended badly.
    #[error("{name}: ended with {status}\n{log}")]
    Bad {
        /// What it is called here.
        name: String,
        /// How.
        status: ExitStatus,
        /// The end of its output.
        log: String,
    },
}

/// A running child; dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command` with standard input closed and both outputs in `<dir>/<name>.log`.
    pub fn spawn(name: &str, dir: &Path, command: &mut Command) -> Result<Program, ProgramError> {
        command.stdin(Stdio::null());
        Program::spawn_with(name, dir, command, Stdio::from)
    }

    /// The same, with standard input as `command` has it and standard output made by `out` from the log file.
    pub fn spawn_with(
        name: &str,
        dir: &Path,
        command: &mut Command,
        out: impl FnOnce(File) -> Stdio,
    ) -> Result<Program, ProgramError> {
        let log = dir.join(format!("{name}.log"));
        let started = File::create(&log).and_then(|file| {
            let other = file.try_clone()?;
            command.stdout(out(file)).stderr(other).spawn()
        });
        match started {
            Ok(child) => Ok(Program {
                name: name.into(),
                child,
                log,
            }),
            Err(source) => {
                let program = command.get_program().into();
                Err(ProgramError::Start {
                    name: name.into(),
                    program,
                    source,
                })
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// All of its output so far.
    pub fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The last lines of its output.
    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        let from = lines.len().saturating_sub(TAIL_LINES);
        lines[from..]
            .iter()
            .map(|line| format!("  {}: {line}\n", self.name))
            .collect()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, ProgramError> {
        let child = &mut self.child;
        let ended = wait_for("its end", within, || {
            child.try_wait().ok().flatten().ok_or("running")
        });
        ended.map_err(|source| ProgramError::NotEnded {
            name: self.name.clone(),
            source,
            log: self.tail(),
        })
    }

    /// Waits for its end, which must be exit code 0.
    pub fn finish(&mut self, within: Duration) -> Result<(), ProgramError> {
        let status = self.wait(within)?;
        match status.success() {
            true => Ok(()),
            false => Err(ProgramError::Bad {
                name: self.name.clone(),
                status,
                log: self.tail(),
            }),
        }
    }

    /// Sends a signal; a child that has ended does not mind.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), signal); // ESRCH: it is gone, as wanted
    }

    /// Asks it to end, and kills it when it has not within the deadline.
    pub fn stop(&mut self, within: Duration) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        self.signal(Signal::SIGTERM);
        if let Ok(status) = self.wait(within) {
            return Some(status);
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

const TAIL_LINES: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (tempfile::TempDir, Program) {
        let dir = tempfile::tempdir().expect("a directory for logs");
        let program = Program::spawn("sh", dir.path(), Command::new("sh").args(["-c", script]))
            .expect("sh starts");
        (dir, program)
    }

    #[test]
    fn a_bad_end_is_told_with_the_last_output() {
        let (_dir, mut program) = shell("echo reason; exit 3");
        let error = program
            .finish(Duration::from_secs(10))
            .expect_err("exit 3")
            .to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("sh: reason"),
            "{error}"
        );
    }

    #[test]
    fn a_child_that_ignores_the_request_is_killed() {
        let (_dir, mut program) = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
        wait_for("the trap", Duration::from_secs(10), || {
            match program.output().contains("ready") {
                true => Ok(()),
                false => Err("not yet"),
            }
        })
        .expect("it gets there");
        let status = program.stop(Duration::from_millis(100)).expect("it ended");
        assert!(!status.success());
    }

    #[test]
    fn nothing_is_left_behind() {
        let (_dir, program) = shell("sleep 60");
        let pid = Pid::from_raw(program.pid() as i32);
        drop(program);
        assert!(kill(pid, None).is_err(), "{pid} is still there");
    }
}
