//! A primary under a supervisor: one message after another, each phase answered.
//!
//! Failure: when the supervisor goes away forwarding goes on, headless; this process comes back to the
//! control socket as soon as somebody listens there, with everything it holds.

use crate::datapath::{Datapath, Error};
use crate::link::{Link, LinkError};
use crate::resolve::{Authority, manifest};
use crate::tenant::{Standing, Tenant};
use crate::{config, resolve};
use baton_schema::control::{FromPrimary, Phase, Report, ToPrimary};
use baton_shared_state::arena::{Access, Arena};
use baton_shared_state::sys;
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// How often the control thread looks for signals and dead lcores.
const LOOK: Duration = Duration::from_millis(50);
/// How long the first messages may take.
const WELCOME: Duration = Duration::from_secs(10);

/// What the supervisor said at first.
struct Welcome {
    standing: Standing,
    config: String,
    config_path: String,
}

/// Runs until told to stop, by the supervisor or by a signal.
pub(crate) fn run<D: Datapath>(socket: &Path, term: &Arc<AtomicBool>) -> Result<ExitCode, Error> {
    let said = |why: LinkError| Error::new(why.to_string());
    let mut link = Link::connect(socket).map_err(said)?;
    link.hello(manifest::<D>(), None).map_err(said)?;
    let welcome = welcome(&mut link)?;
    let mut fds = receive_fds(&mut link)?;
    let arena = attach_arena(&mut fds)?;
    let config = config::parse::<D::Config>(&welcome.config, &welcome.config_path, &D::name());
    let config = match config {
        Ok(config) => config,
        Err(why) => {
            let _ = link.failed_phase(Phase::Attach, why.to_string());
            return Err(why);
        }
    };
    let tenant = Tenant::<D>::new(
        config,
        Authority::Supervisor(link),
        arena,
        welcome.standing,
        fds,
    )?;
    Control {
        tenant,
        socket,
        headless: false,
    }
    .serve(term)
}

fn welcome(link: &mut Link) -> Result<Welcome, Error> {
    match link
        .next(WELCOME)
        .map_err(|why| Error::new(why.to_string()))?
    {
        Some((
            ToPrimary::Welcome {
                tenant,
                generation,
                live,
                config,
                config_path,
                ..
            },
            _,
        )) => Ok(Welcome {
            standing: Standing {
                tenant,
                generation,
                live,
            },
            config,
            config_path,
        }),
        Some((other, _)) => Err(Error::new(format!(
            "the supervisor began with {other:?}, expected Welcome: it is of another version"
        ))),
        None => Err(Error::new(format!(
            "the supervisor did not answer Hello within {} s",
            WELCOME.as_secs()
        ))),
    }
}

fn receive_fds(link: &mut Link) -> Result<HashMap<String, OwnedFd>, Error> {
    let mut all = HashMap::new();
    loop {
        match link
            .next(WELCOME)
            .map_err(|why| Error::new(why.to_string()))?
        {
            Some((ToPrimary::Fds { keys, last }, fds)) => {
                if keys.len() != fds.len() {
                    return Err(Error::new(format!(
                        "the supervisor named {} descriptors and sent {}: the limit of open files may be too low",
                        keys.len(),
                        fds.len()
                    )));
                }
                all.extend(keys.into_iter().zip(fds));
                link.send(&FromPrimary::Acknowledged, &[])
                    .map_err(|why| Error::new(why.to_string()))?;
                if last {
                    return Ok(all);
                }
            }
            Some((other, _)) => {
                return Err(Error::new(format!(
                    "the supervisor sent {other:?}, expected Fds"
                )));
            }
            None => {
                return Err(Error::new(
                    "the supervisor did not send the segments in time",
                ));
            }
        }
    }
}

fn attach_arena(fds: &mut HashMap<String, OwnedFd>) -> Result<Arena, Error> {
    let mut segments = Vec::new();
    for (key, fd) in fds.iter() {
        if let Some(name) = key.strip_prefix("segment/") {
            let fd = sys::process::duplicate(fd.as_fd())
                .map_err(|why| Error::new(format!("segment {name}: {why}")))?;
            segments.push((name.to_owned(), fd));
        }
    }
    Arena::attach(segments, Access::ReadWrite).map_err(|why| Error::new(why.to_string()))
}

/// The control thread of a supervised primary.
struct Control<'a, D: Datapath> {
    tenant: Tenant<D>,
    socket: &'a Path,
    headless: bool,
}

/// Whether to go on.
enum Next {
    On,
    End(ExitCode),
}

impl<D: Datapath> Control<'_, D> {
    fn serve(mut self, term: &Arc<AtomicBool>) -> Result<ExitCode, Error> {
        loop {
            if term.load(std::sync::atomic::Ordering::Relaxed) {
                self.tenant.stop();
                return Ok(ExitCode::SUCCESS);
            }
            if self.tenant.lcore_died() {
                return Err(Error::new(
                    "an lcore ended by itself: this process ends, so that its shards can be taken over",
                ));
            }
            if self.headless {
                std::thread::sleep(LOOK);
                self.try_return();
                continue;
            }
            match self.link().next(LOOK) {
                Ok(Some((message, fds))) => {
                    if let Next::End(code) = self.on_message(message, fds) {
                        return Ok(code);
                    }
                }
                Ok(None) => {}
                Err(why) => {
                    tracing::warn!(%why, "forwarding goes on without a supervisor");
                    self.headless = true;
                }
            }
        }
    }

    fn link(&mut self) -> &mut Link {
        match &mut self.tenant.authority {
            Authority::Supervisor(link) => link,
            resolve::Authority::Own(_) => unreachable!("a supervised tenant is made with a link"),
        }
    }

    fn on_message(&mut self, message: ToPrimary, fds: Vec<OwnedFd>) -> Next {
        match message {
            ToPrimary::Go(Phase::Retire) | ToPrimary::Stop => {
                self.tenant.stop();
                let _ = self.link().done(Phase::Retire, Report::default());
                return Next::End(ExitCode::SUCCESS);
            }
            ToPrimary::Go(phase) => self.go(phase),
            ToPrimary::Export { generation, zones } => {
                let outcome = self.tenant.export(generation, &zones);
                self.answer(Phase::Migrate, outcome);
            }
            ToPrimary::GetStats => {
                let stats = self.tenant.stats(true);
                let _ = self.link().send(&FromPrimary::Snapshot(stats), &[]);
            }
            ToPrimary::Fds { keys, .. } => {
                self.more_segments(keys, fds);
                let _ = self.link().send(&FromPrimary::Acknowledged, &[]);
            }
            other => tracing::warn!(?other, "not expected now; ignored"),
        }
        Next::On
    }

    /// The arena has grown: maps what is new, unless a zone was wanted there already.
    fn more_segments(&mut self, keys: Vec<String>, fds: Vec<OwnedFd>) {
        for (key, fd) in keys.into_iter().zip(fds) {
            if let Some(name) = key.strip_prefix("segment/")
                && self.tenant.arena.segment(name).is_none()
                && let Ok(copy) = sys::process::duplicate(fd.as_fd())
                && let Err(why) = self.tenant.arena.attach_segment(name, copy)
            {
                tracing::warn!(%why, name, "a new segment could not be mapped");
            }
            self.tenant.fds.insert(key, fd);
        }
    }

    fn go(&mut self, phase: Phase) {
        let began = std::time::Instant::now();
        let outcome = match phase {
            Phase::Attach => self.tenant.attach(),
            Phase::Migrate => self.tenant.migrate(),
            Phase::Warm => self.tenant.warm(),
            Phase::Commit => self.tenant.commit(),
            Phase::Rollback => self.tenant.prepare_rollback(),
            Phase::Soak => {
                self.tenant.transition.set_soaking(true);
                Ok(Report::default())
            }
            Phase::Audit => Ok(Report::default()),
            other => Err(Error::new(format!("{other} is no phase of a primary"))),
        };
        tracing::info!(%phase, ms = began.elapsed().as_millis() as u64, "phase");
        self.answer(phase, outcome);
    }

    /// Tells the supervisor how a phase ended.
    fn answer(&mut self, phase: Phase, outcome: Result<Report, Error>) {
        let sent = match outcome {
            Ok(report) => self.link().done(phase, report),
            Err(why) => {
                tracing::error!(%phase, error = %why, "failed");
                self.link().failed_phase(phase, why.to_string())
            }
        };
        if let Err(why) = sent {
            tracing::warn!(%why, "the answer did not reach the supervisor");
        }
    }

    /// Somebody may listen on the control socket again: comes back with every descriptor.
    fn try_return(&mut self) {
        let Ok(mut link) = Link::connect(self.socket) else {
            return;
        };
        if link
            .hello(manifest::<D>(), Some(self.tenant.standing.tenant))
            .is_err()
        {
            return;
        }
        let fds: Vec<(String, OwnedFd)> = self
            .tenant
            .fds
            .iter()
            .filter_map(|(key, fd)| {
                sys::process::duplicate(fd.as_fd())
                    .ok()
                    .map(|fd| (key.clone(), fd))
            })
            .collect();
        if link.deposit(&fds).is_ok() {
            tracing::info!("a supervisor is back");
            self.tenant.authority = Authority::Supervisor(link);
            self.headless = false;
        }
    }
}
