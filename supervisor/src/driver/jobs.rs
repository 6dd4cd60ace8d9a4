//! Examining a candidate: copied under its content, asked for its manifest, its parser let at the
//! config, all in a thread of its own; then the plan is made here, from what is live.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use baton_schema::Manifest;

use super::measure::{Measured, Purpose, loads};
use super::{Candidate, Driver};
use crate::binary::{Binary, BinaryError};
use crate::config::Config;
use crate::exit::Exit;
use crate::plan::{Plan, QueueLoad};
use crate::request::Answer;
use crate::state::{Event, State};

/// Where a candidate comes from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file the client opened.
    File(File),
    /// A binary that is kept already.
    Kept(String),
}

/// A candidate under examination.
#[derive(Debug)]
pub(super) struct Job {
    id: u64,
    name: String,
    client: Option<u64>,
    upgrade: bool,
    prepared: Option<Result<Prepared, BinaryError>>,
    load: Option<Vec<QueueLoad>>,
    /// Of an upgrade that has not entered its plan yet.
    source: Option<Source>,
}

/// What the thread found out.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) binary: Binary,
    pub(super) manifest: Manifest,
    pub(super) config: Option<Config>,
    pub(super) config_error: Option<String>,
    /// Whether that is because of this machine.
    pub(super) unfit: bool,
}

/// How the threads report back: a channel, and a descriptor that wakes the loop.
#[derive(Debug)]
pub(super) struct Wake {
    read: UnixStream,
    write: UnixStream,
    results: Receiver<(u64, Result<Prepared, BinaryError>)>,
    sender: Sender<(u64, Result<Prepared, BinaryError>)>,
}

impl Wake {
    pub(super) fn new() -> io::Result<Wake> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        let (sender, results) = channel();
        Ok(Wake {
            read,
            write,
            results,
            sender,
        })
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

/// Everything that can be learnt of a candidate without touching the instance.
pub(super) fn prepare(
    source: Source,
    name: &str,
    folder: &Path,
    config: &Path,
    prefix: &str,
) -> Result<Prepared, BinaryError> {
    let binary = match source {
        Source::File(mut file) => Binary::keep(folder, &mut file)?,
        Source::Kept(sha256) => Binary::open(folder, &sha256)?,
    };
    let manifest = binary.manifest(name)?;
    let loaded = Config::load(config).and_then(|config| config.of_prefix(prefix));
    let (config, mut config_error) = match loaded {
        Ok(loaded) => (Some(loaded), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut unfit = false;
    if config_error.is_none() {
        config_error = match binary.check_config(
            name,
            &config
                .as_ref()
                .map_or_else(PathBuf::new, |config| config.path.clone()),
        ) {
            Ok(()) => None,
            Err(BinaryError::Config {
                message,
                unfit: not_fit,
            }) => {
                unfit = not_fit;
                Some(message)
            }
            Err(error) => return Err(error),
        };
    }
    Ok(Prepared {
        binary,
        manifest,
        config,
        config_error,
        unfit,
    })
}

impl Driver {
    /// Examines a candidate for a `plan`.
    pub(super) fn start_job(
        &mut self,
        source: Source,
        name: String,
        client: Option<u64>,
        upgrade: bool,
    ) {
        let id = self.next_number;
        self.next_number += 1;
        self.jobs.push(Job {
            id,
            name,
            client,
            upgrade,
            prepared: None,
            load: None,
            source: Some(source),
        });
        self.run_job(id);
    }

    /// The candidate of an upgrade; it is examined when the machine says so.
    pub(super) fn pending_job(&mut self, source: Source, name: String) {
        let id = self.next_number;
        self.next_number += 1;
        self.jobs.push(Job {
            id,
            name,
            client: None,
            upgrade: true,
            prepared: None,
            load: None,
            source: Some(source),
        });
    }

    /// The machine says so.
    pub(super) fn start_upgrade_job(&mut self) {
        let waiting = self
            .jobs
            .iter()
            .find(|job| job.upgrade && job.source.is_some())
            .map(|job| job.id);
        match waiting {
            Some(id) => self.run_job(id),
            None => self.queue.push_back(Event::Refused),
        }
    }

    fn run_job(&mut self, id: u64) {
        let Some(job) = self.jobs.iter_mut().find(|job| job.id == id) else {
            return;
        };
        let Some(source) = job.source.take() else {
            return;
        };
        let (name, folder) = (job.name.clone(), self.paths.binaries());
        let (config, prefix) = (self.config.path.clone(), self.paths.prefix.clone());
        let sender = self.wake.sender.clone();
        let bell = self.wake.write.try_clone();
        let spawned = std::thread::Builder::new()
            .name(format!("plan-{id}"))
            .spawn(move || {
                let result = prepare(source, &name, &folder, &config, &prefix);
                let _ = sender.send((id, result));
                if let Ok(mut bell) = bell {
                    let _ = bell.write_all(&[1]);
                }
            });
        if let Err(source) = spawned {
            let path = self.paths.binaries();
            let error = BinaryError::Io {
                op: "start a thread to examine",
                path,
                source,
            };
            self.finish_part(id, Some(Err(error)), None);
        }
        self.measure(Purpose::Plan(id), true);
    }

    /// A thread reported back.
    pub(super) fn prepared(&mut self) {
        let mut bytes = [0; 64];
        while matches!((&self.wake.read).read(&mut bytes), Ok(n) if n > 0) {}
        while let Ok((id, result)) = self.wake.results.try_recv() {
            self.finish_part(id, Some(result), None);
        }
    }

    /// The load was measured.
    pub(super) fn measured(&mut self, id: u64, measured: &Measured) {
        if self.jobs.iter().any(|job| job.id == id && job.upgrade)
            && let Some(record) = &mut self.record
        {
            record.before.clone_from(&measured.now);
            record.loads = loads(measured);
        }
        self.finish_part(id, None, Some(loads(measured)));
    }

    fn finish_part(
        &mut self,
        id: u64,
        prepared: Option<Result<Prepared, BinaryError>>,
        load: Option<Vec<QueueLoad>>,
    ) {
        let Some(at) = self.jobs.iter().position(|job| job.id == id) else {
            return;
        };
        let job = &mut self.jobs[at];
        job.prepared = prepared.or_else(|| job.prepared.take());
        job.load = load.or_else(|| job.load.take());
        if job.prepared.is_none() || job.load.is_none() {
            return;
        }
        let job = self.jobs.remove(at);
        match (job.prepared, job.load) {
            (Some(Ok(prepared)), Some(load)) if job.upgrade => {
                self.planned(prepared, job.name, &load)
            }
            (Some(Ok(prepared)), Some(load)) => {
                let plan = self.plan(&prepared, &load);
                let exit = plan_exit(&plan);
                if let Some(client) = job.client {
                    self.finish_client(client, exit, &Answer::Plan(Box::new(plan)));
                }
            }
            (Some(Err(error)), _) if job.upgrade => self.unfit(&error),
            (Some(Err(error)), _) => {
                if let Some(client) = job.client {
                    self.say(
                        client,
                        Exit::Refused,
                        error.to_string(),
                        Some("nothing has been changed; name another binary".into()),
                    );
                }
            }
            _ => {}
        }
    }

    /// The candidate of an upgrade cannot even be examined.
    fn unfit(&mut self, error: &BinaryError) {
        if let Some(record) = &mut self.record {
            record.why.get_or_insert(error.to_string());
        }
        self.event(Event::Refused);
    }

    /// The plan of an upgrade is made: GO or not.
    fn planned(&mut self, prepared: Prepared, name: String, load: &[QueueLoad]) {
        if self.machine.state != State::Plan {
            return;
        }
        let plan = self.plan(&prepared, load);
        let (go, exit) = (plan.go, plan_exit(&plan));
        self.exports.clone_from(&plan.exports);
        let program = crate::receipt::Program {
            name: Some(plan.to.name.clone()),
            version: Some(plan.to.version.clone()),
            generation: None,
            pid: None,
            binary_sha256: plan.to.binary_sha256.clone(),
        };
        if let Some(record) = &mut self.record {
            record.to = Some(program);
            record.remark(summary(&plan));
            if !go {
                record.why = Some(plan.refusals.join("; "));
                record.exit = Some(exit);
            }
            record.plan = Some(plan);
        }
        if let (true, Some(config)) = (go, prepared.config) {
            let name = Path::new(&name)
                .file_name()
                .map_or(name.clone(), |file| file.to_string_lossy().into_owned());
            self.candidate = Some(Candidate {
                binary: prepared.binary,
                name,
                config,
            });
            let back = !self.exports.is_empty();
            return self.event(if back {
                Event::PlannedBack
            } else {
                Event::Planned
            });
        }
        self.event(Event::Refused);
    }
}

fn plan_exit(plan: &Plan) -> Exit {
    match (plan.go, &plan.config_error) {
        (true, _) => Exit::Done,
        (false, Some(_)) => Exit::Usage,
        (false, None) => Exit::Refused,
    }
}

fn summary(plan: &Plan) -> String {
    use baton_schema::Policy;
    let count = |policy: Policy| {
        plan.zones
            .iter()
            .filter(|zone| zone.policy == policy)
            .count()
    };
    format!(
        "{}   {} zones adopted, {} migrated, {} carried, {} rebuilt",
        if plan.go { "ok" } else { "NO GO" },
        count(Policy::Adopt),
        count(Policy::Migrate),
        count(Policy::Carry),
        count(Policy::Rebuild)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_program_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("text");
        std::fs::write(&path, "hello").expect("written");
        let file = File::open(&path).expect("readable");
        let error = prepare(Source::File(file), "./text", folder.path(), &path, "edge1")
            .expect_err("no program");
        assert!(error.to_string().contains("cannot execute"), "{error}");
        let gone = prepare(
            Source::Kept("ab".into()),
            "1.4",
            folder.path(),
            &path,
            "edge1",
        )
        .expect_err("not kept");
        assert!(gone.to_string().contains("no binary ab is kept"), "{gone}");
    }
}
