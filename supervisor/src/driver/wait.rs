//! The loop's two halves: waiting for descriptors, and what time brings.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use baton_shared_state::lifeline::Lifelines;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Driver, SIDES};
use crate::state::{Event, Side, State};

/// While shards change hands the ledger is looked at this often.
const LOOK: Duration = Duration::from_millis(1);

/// The longest sleep: heartbeats and the watchdog are looked at in between.
const LONGEST: Duration = Duration::from_millis(500);

/// Connections that say nothing are closed after this.
const SILENT: Duration = Duration::from_secs(5);

/// A heartbeat older than this breaks the soak, unless the config says otherwise.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Something to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Signal,
    Listener,
    Wake,
    Connection(u64),
    Channel(Side),
    Pidfd(Side),
}

impl Driver {
    /// Sleeps until something is ready or due.
    pub(super) fn wait(&self) -> Vec<Source> {
        let sources = self.sources();
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN))
            .collect();
        let timeout = self.sleep();
        let millis = u16::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u16::MAX);
        if poll(&mut fds, PollTimeout::from(millis)).is_err() {
            return Vec::new();
        }
        let ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        sources
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| ready(fd))
            .map(|((source, _), _)| *source)
            .collect()
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>)> {
        let mut all = vec![
            (Source::Signal, self.signals.as_fd()),
            (Source::Listener, self.listener.as_fd()),
            (Source::Wake, self.wake.as_fd()),
        ];
        all.extend(
            self.connections
                .iter()
                .map(|(id, connection)| (Source::Connection(*id), connection.channel.as_fd())),
        );
        for (side, tenant) in self.tenants.all() {
            all.push((Source::Pidfd(side), tenant.pidfd()));
            all.extend(
                tenant
                    .channel
                    .as_ref()
                    .map(|channel| (Source::Channel(side), channel.as_fd())),
            );
        }
        all
    }

    fn sleep(&self) -> Duration {
        if self.handover.is_some() || self.taking.is_some() {
            return LOOK;
        }
        let now = Instant::now();
        let due = self
            .timer
            .iter()
            .map(|(_, at)| *at)
            .chain(self.measures.iter().filter_map(|measure| measure.due()));
        due.map(|at| at.saturating_duration_since(now))
            .min()
            .unwrap_or(LONGEST)
            .min(LONGEST)
    }

    /// Handles one thing that is ready.
    pub(super) fn ready(&mut self, source: Source) {
        match source {
            Source::Signal => self.signalled(),
            Source::Listener => self.accept(),
            Source::Wake => self.prepared(),
            Source::Connection(id) => self.hear_connection(id),
            Source::Channel(side) => self.hear_tenant(side),
            Source::Pidfd(side) => self.bury(side),
        }
    }

    /// What time brings: shards that arrived, deadlines, measurements, heartbeats.
    pub(super) fn tick(&mut self) {
        self.watch_handover();
        self.watch_taking();
        if let Some((_, at)) = self.timer
            && Instant::now() >= at
        {
            self.timer = None;
            self.event(Event::Deadline);
        }
        self.sample();
        if self.machine.state == State::Soak {
            self.gate();
        }
        self.connections
            .retain(|_, connection| connection.greeted || connection.since.elapsed() < SILENT);
        self.watchdog.pat();
        if self.leaving && !self.machine.state.upgrading() && self.record.is_none() {
            self.left = true;
        }
    }

    fn watch_handover(&mut self) {
        let Some(handover) = &mut self.handover else {
            return;
        };
        let Some(records) = handover.arrived(self.layout, &self.ledger) else {
            return;
        };
        let step = handover.step();
        self.handover = None;
        let forward = matches!(self.machine.state, State::Swap(_));
        for (shard, ring) in records {
            self.tell_moved(&shard, ring);
            if let Some(record) = &mut self.record {
                record.moved(shard, ring);
            }
        }
        self.event(Event::Moved(
            step,
            if forward { Side::Newer } else { Side::Older },
        ));
    }

    fn watch_taking(&mut self) {
        let Some(side) = self.taking else { return };
        let Some(owner) = self.owner(side) else {
            return;
        };
        let taken = match Lifelines::open(&self.arena) {
            Ok(lifelines) => self.layout.take_from_dead(&lifelines, &self.ledger, owner),
            Err(_) => 0,
        };
        if taken > 0 {
            tracing::warn!(
                prefix = self.paths.prefix,
                shards = taken,
                generation = owner.generation,
                "shards of a dead owner given to the survivor"
            );
        }
        if self.layout.all_with(&self.ledger, owner.slot) {
            self.taking = None;
            self.event(Event::AllWith(side));
        }
    }

    /// In soak, the newer tenant's lcores have to be seen alive.
    fn gate(&mut self) {
        let limit = self
            .config
            .upgrade
            .gate
            .heartbeat
            .map_or(HEARTBEAT, |period| period.0);
        let Some(oldest) = self.oldest_heartbeat() else {
            return;
        };
        if let Some(record) = &mut self.record {
            record.heartbeat(oldest, limit);
        }
        if oldest <= limit {
            return;
        }
        let text = format!(
            "heartbeat: the oldest is {} ms old, the limit is {} ms",
            oldest.as_millis(),
            limit.as_millis()
        );
        tracing::error!(prefix = self.paths.prefix, error = text, "gate breached");
        if let Some(record) = &mut self.record {
            record.why.get_or_insert(text);
        }
        self.event(Event::GateBreached);
    }

    /// Age of the oldest heartbeat of an lcore that owns a shard; an lcore that never beat counts
    /// from when its tenant came to be.
    fn oldest_heartbeat(&self) -> Option<Duration> {
        let now = baton_shared_state::sys::clock_boottime_ns();
        let age = |shard: usize| {
            let lcore = self.ledger.owner_word(shard).lcore?;
            let beat = self
                .ledger
                .heartbeat(lcore)
                .load(baton_shared_state::sync::Ordering::Relaxed);
            (beat != 0).then(|| Duration::from_nanos(now.saturating_sub(beat)))
        };
        self.layout.all().filter_map(age).max()
    }

    /// A tenant may have ended.
    fn bury(&mut self, side: Side) {
        let Some(how) = self.tenants.get_mut(side).and_then(super::Tenant::ended) else {
            return;
        };
        // What it said last may explain its end.
        self.hear_tenant(side);
        let Some(tenant) = self.tenants.slot(side).take() else {
            return;
        };
        if side == Side::Retiring {
            tracing::info!(
                prefix = self.paths.prefix,
                pid = tenant.pid,
                generation = tenant.generation,
                "tenant retired"
            );
        } else {
            tracing::warn!(
                prefix = self.paths.prefix,
                pid = tenant.pid,
                generation = tenant.generation,
                error = how,
                "tenant ended"
            );
        }
        let text = format!("pid {}: {how}", tenant.pid);
        if let Some(record) = &mut self.record
            && record.verdict().is_none()
        {
            record.why.get_or_insert(text.clone());
        }
        if self.live.is_none() {
            self.last_failure.get_or_insert_with(|| text.clone());
        }
        if side == Side::Older {
            self.buried = Some((tenant.program(), text));
        }
        if self.ledger.release_tenant(tenant.slot).is_err() {
            self.stale_slots.push(tenant.slot);
        }
        self.store_tenants();
        self.event(Event::Died(side));
    }

    /// Frees the slots of the dead that no owner word names any more.
    pub(super) fn free_slots(&mut self) {
        let ledger = self.ledger;
        self.stale_slots
            .retain(|slot| ledger.release_tenant(*slot).is_err());
    }

    /// Who the tenants are, on disk.
    pub(super) fn store_tenants(&self) {
        let records: Vec<_> = SIDES
            .into_iter()
            .filter_map(|side| self.tenants.get(side))
            .map(super::Tenant::record)
            .collect();
        if let Err(error) = super::tenants::store(&self.paths.tenants(), &records) {
            tracing::error!(prefix = self.paths.prefix, error = %error, hint = "baton stop of a headless instance will not find its tenants", "tenants.json not written");
        }
    }
}
