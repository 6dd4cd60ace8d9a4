//! A reader's process, seen from the test: started, watched, killed and reaped in every outcome.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::memory::Memory;

const WHO: &str = "BATON_CHURN_READER";
/// A reader that was told to end does so within one burst.
const LAST_WORDS: Duration = Duration::from_secs(30);

pub(crate) struct ReaderProcess {
    child: Child,
    slot: u16,
}

/// The process that a reader was started by.
pub(crate) struct Parent {
    pub(crate) pid: u32,
    pub(crate) numbers: Vec<(String, i32)>,
}

impl ReaderProcess {
    pub(crate) fn start(memory: &Memory, slot: u16) -> ReaderProcess {
        let mut who = format!("{} {slot}", std::process::id());
        for (name, number) in memory.numbers() {
            who += &format!(" {name}={number}");
        }
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "--nocapture", "reader_process"])
            .env(WHO, who)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("a process");
        ReaderProcess { child, slot }
    }

    pub(crate) fn must_live(&mut self) {
        let ended = self.child.try_wait().expect("its status");
        assert!(ended.is_none(), "reader {} has ended: {ended:?}", self.slot);
    }

    pub(crate) fn must_end_well(&mut self) {
        let status = self.wait(LAST_WORDS);
        assert!(status.success(), "reader {}: {status}", self.slot);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it lives");
        let status = self.wait(LAST_WORDS);
        assert!(!status.success(), "it was killed: {status}");
    }

    fn wait(&mut self, most: Duration) -> ExitStatus {
        let deadline = Instant::now() + most;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            assert!(Instant::now() < deadline, "reader {} goes on", self.slot);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for ReaderProcess {
    fn drop(&mut self) {
        // By its own handle, so that no other process can be meant; a second time is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a reader's process is told of itself; `None` in a process that no test has started.
pub(crate) fn who_am_i() -> Option<(Parent, u16)> {
    let who = std::env::var(WHO).ok()?;
    let mut words = who.split(' ');
    let mut next = || words.next().expect("as its parent wrote it");
    let (pid, slot) = (next().parse(), next().parse());
    let numbers = words.map(|word| {
        let (name, number) = word.split_once('=').expect("name and number");
        (name.to_owned(), number.parse().expect("a number"))
    });
    let parent = Parent {
        pid: pid.expect("a number"),
        numbers: numbers.collect(),
    };
    Some((parent, slot.expect("a number")))
}
