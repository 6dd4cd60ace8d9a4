//! The primary's side of the supervisor's control socket.
//!
//! Requests of ours (zones, deposits) wait for their own answer; whatever else arrives meanwhile is
//! kept in order. Failure: a supervisor that is gone ends no forwarding; the link says so and the
//! primary goes on without it.

use baton_schema::control::{FromPrimary, MAX_FDS, Phase, Report, ToPrimary};
use baton_schema::{Manifest, Policy, Schema};
use baton_shared_state::channel::{Channel, ChannelError};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an answer of the supervisor is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// Why the link cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The socket failed, or carried what is no message.
    #[error("control socket {path}: {source}")]
    Channel { path: String, source: ChannelError },
    /// The supervisor closed it.
    #[error("control socket {path}: the supervisor is gone")]
    Gone { path: String },
    /// An answer did not come.
    #[error("control socket {path}: no answer to {wanted} within {} s", ANSWER.as_secs())]
    Late { path: String, wanted: &'static str },
    /// The zone was refused.
    #[error("{why}")]
    ZoneRefused { why: String },
}

/// A zone as the supervisor granted it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    pub(crate) id: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What arrived: a message and the descriptors beside it.
pub(crate) type Arrived = (ToPrimary, Vec<OwnedFd>);

/// A connection to the supervisor.
pub(crate) struct Link {
    channel: Channel,
    path: PathBuf,
    kept: VecDeque<Arrived>,
}

impl Link {
    pub(crate) fn connect(path: &Path) -> Result<Link, LinkError> {
        let channel = Channel::connect(path).map_err(|source| LinkError::Channel {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Link {
            channel,
            path: path.into(),
            kept: VecDeque::new(),
        })
    }

    pub(crate) fn hello(&self, manifest: Manifest, resume: Option<u16>) -> Result<(), LinkError> {
        self.send(
            &FromPrimary::Hello {
                pid: std::process::id(),
                manifest,
                resume,
            },
            &[],
        )
    }

    pub(crate) fn send(
        &self,
        message: &FromPrimary,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), LinkError> {
        self.channel
            .send(message, fds)
            .map_err(|source| self.failed(source))
    }

    pub(crate) fn done(&self, phase: Phase, report: Report) -> Result<(), LinkError> {
        self.send(&FromPrimary::Done { phase, report }, &[])
    }

    pub(crate) fn failed_phase(&self, phase: Phase, why: String) -> Result<(), LinkError> {
        self.send(&FromPrimary::Failed { phase, why }, &[])
    }

    /// The next message, or `None` when `timeout` is over.
    pub(crate) fn next(&mut self, timeout: Duration) -> Result<Option<Arrived>, LinkError> {
        if let Some(kept) = self.kept.pop_front() {
            return Ok(Some(kept));
        }
        self.receive(timeout)
    }

    fn receive(&self, timeout: Duration) -> Result<Option<Arrived>, LinkError> {
        match self.channel.recv::<ToPrimary>(Instant::now() + timeout) {
            Ok(Some(arrived)) => Ok(Some(arrived)),
            Ok(None) => Err(LinkError::Gone {
                path: self.path.display().to_string(),
            }),
            Err(ChannelError::TimedOut) => Ok(None),
            Err(source) => Err(self.failed(source)),
        }
    }

    /// The answer that `take` recognises; what it gives back is kept for later.
    fn answer<T>(
        &mut self,
        wanted: &'static str,
        mut take: impl FnMut(Arrived) -> Result<T, Arrived>,
    ) -> Result<T, LinkError> {
        let deadline = Instant::now() + ANSWER;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if let Some(arrived) = self.receive(left)? {
                match take(arrived) {
                    Ok(answer) => return Ok(answer),
                    Err(other) => self.kept.push_back(other),
                }
            }
        }
        Err(LinkError::Late {
            path: self.path.display().to_string(),
            wanted,
        })
    }

    /// Asks for a zone.
    #[allow(
        clippy::too_many_arguments,
        reason = "the message's fields, named at the one call"
    )]
    pub(crate) fn create_zone(
        &mut self,
        name: &str,
        schema: Schema,
        generation: u16,
        len: u64,
        policy: Policy,
        count: u64,
        stride: u32,
    ) -> Result<Granted, LinkError> {
        self.send(
            &FromPrimary::CreateZone {
                name: name.into(),
                schema,
                generation,
                len,
                policy,
                count,
                stride,
            },
            &[],
        )?;
        let answer = self.answer("CreateZone", |arrived| match arrived {
            (
                ToPrimary::Zone {
                    id, offset, len, ..
                },
                _,
            ) => Ok(Ok(Granted { id, offset, len })),
            (ToPrimary::ZoneRefused { why }, _) => Ok(Err(why)),
            other => Err(other),
        })?;
        answer.map_err(|why| LinkError::ZoneRefused { why })
    }

    /// Segments that the arena has grown by while an answer was waited for; their message stays.
    pub(crate) fn kept_segments(&self) -> impl Iterator<Item = (&str, &OwnedFd)> {
        let messages = self.kept.iter().filter_map(|(message, fds)| match message {
            ToPrimary::Fds { keys, .. } => Some(keys.iter().zip(fds)),
            _ => None,
        });
        messages
            .flatten()
            .filter_map(|(key, fd)| Some((key.strip_prefix("segment/")?, fd)))
    }

    /// Says that a zone's content is complete.
    pub(crate) fn zone_ready(&mut self, id: u32) -> Result<(), LinkError> {
        self.send(&FromPrimary::ZoneReady { id }, &[])?;
        self.acknowledged("ZoneReady")
    }

    /// Leaves descriptors with the supervisor, in batches.
    pub(crate) fn deposit(&mut self, fds: &[(String, OwnedFd)]) -> Result<(), LinkError> {
        for batch in fds.chunks(MAX_FDS) {
            let keys = batch.iter().map(|(key, _)| key.clone()).collect();
            let borrowed: Vec<BorrowedFd<'_>> = batch.iter().map(|(_, fd)| fd.as_fd()).collect();
            self.send(&FromPrimary::Deposit { keys }, &borrowed)?;
            self.acknowledged("Deposit")?;
        }
        Ok(())
    }

    fn acknowledged(&mut self, wanted: &'static str) -> Result<(), LinkError> {
        self.answer(wanted, |arrived| match arrived {
            (ToPrimary::Acknowledged, _) => Ok(()),
            other => Err(other),
        })
    }

    fn failed(&self, source: ChannelError) -> LinkError {
        LinkError::Channel {
            path: self.path.display().to_string(),
            source,
        }
    }
}
