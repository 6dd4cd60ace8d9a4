//! Connections to the control socket: whom to hear, and the verbs of the command line.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use baton_schema::Manifest;
use baton_schema::control::{Client, MAX_FDS, Opening, ToClient, ToPrimary};
use baton_shared_state::channel::{Channel, ChannelError, Peer};

use super::jobs::Source;
use super::measure::{Measured, Purpose};
use super::record::Record;
use super::{Driver, Tenant, host};
use crate::exit::Exit;
use crate::receipt::AskedBy;
use crate::request::Verb;
use crate::state::{Event, State};

/// Clients at one time; more are a mistake or malice.
const MOST: usize = 64;

/// A connection that is not a tenant's (yet).
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) channel: Channel,
    pub(super) since: Instant,
    /// Whether it said what it wants.
    pub(super) greeted: bool,
    pub(super) peer: Peer,
    /// Whether it waits for the end of forwarding.
    pub(super) stops: bool,
}

impl Driver {
    /// Somebody connected.
    pub(super) fn accept(&mut self) {
        let Ok(channel) = self.listener.accept(Instant::now()) else {
            return;
        };
        let peer = match channel.peer() {
            Ok(peer) if self.connections.len() < MOST => peer,
            Ok(peer) => {
                tracing::warn!(
                    prefix = self.paths.prefix,
                    pid = peer.pid,
                    "too many clients at once: closed"
                );
                return;
            }
            Err(error) => {
                tracing::warn!(prefix = self.paths.prefix, error = %error, "a peer without credentials");
                return;
            }
        };
        self.next_connection += 1;
        let connection = Connection {
            channel,
            since: Instant::now(),
            greeted: false,
            peer,
            stops: false,
        };
        self.connections.insert(self.next_connection, connection);
    }

    /// Another user's first word is not even looked at: it is told why.
    fn refuse_foreigner(&mut self, id: u64, own: u32) {
        let Some(connection) = self.connections.remove(&id) else {
            return;
        };
        let peer = connection.peer;
        tracing::warn!(
            prefix = self.paths.prefix,
            pid = peer.pid,
            uid = peer.uid,
            hint = "only this instance's user and root may speak here",
            "foreign user refused"
        );
        // Taken off the socket, or the peer would see a reset instead of the answer.
        let _ = connection.channel.recv::<Opening>(Instant::now());
        let why = format!(
            "this instance belongs to uid {own}, you are uid {}: use its account, or root",
            peer.uid
        );
        let _ = connection.channel.try_send(&ToClient::Refused { why }, &[]);
    }

    /// A connection has something to say, or ended.
    pub(super) fn hear_connection(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let peer = connection.peer;
        let own = nix::unistd::geteuid().as_raw();
        if peer.uid != own && peer.uid != 0 {
            return self.refuse_foreigner(id, own);
        }
        match connection.channel.recv::<Opening>(Instant::now()) {
            Ok(Some((
                Opening::Hello {
                    pid,
                    manifest,
                    resume,
                },
                _,
            ))) => {
                let Some(connection) = self.connections.remove(&id) else {
                    return;
                };
                self.greet(connection, pid, manifest, resume);
            }
            Ok(Some((Opening::Client(client), fds))) => {
                connection.greeted = true;
                self.on_client(id, client, fds);
            }
            Err(ChannelError::TimedOut) => {}
            Ok(None) => {
                self.connections.remove(&id);
            }
            Err(error) => {
                tracing::warn!(prefix = self.paths.prefix, pid = peer.pid, error = %error, "message refused, connection closed");
                self.connections.remove(&id);
            }
        }
    }

    /// A primary says hello: it has to be the one that was started.
    fn greet(&mut self, connection: Connection, pid: u32, manifest: Manifest, resume: Option<u16>) {
        // Zones that were written for it are live for it.
        let live = self.exported.or(self.live_generation());
        let shards = self.layout.shards;
        let config_path = self.config.path.display().to_string();
        let expected = connection.peer.pid;
        // A tenant whose connection broke, or whose supervisor this is not, comes back with its slot.
        let back = self.tenants.all().find(|(_, tenant)| {
            tenant.pid == expected && Some(tenant.slot) == resume && tenant.channel.is_none()
        });
        if let Some((side, _)) = back {
            tracing::info!(prefix = self.paths.prefix, pid, "tenant is back");
            if let Some(tenant) = self.tenants.get_mut(side) {
                tenant.channel = Some(connection.channel);
            }
            return;
        }
        let newer = self
            .tenants
            .newer
            .as_mut()
            .filter(|tenant| tenant.channel.is_none() && tenant.manifest.is_none());
        let Some(tenant) =
            newer.filter(|tenant| tenant.pid == pid && pid == expected && resume.is_none())
        else {
            tracing::warn!(
                prefix = self.paths.prefix,
                pid = expected,
                "a primary that was not started here was refused"
            );
            return;
        };
        tenant.manifest = Some(manifest);
        let welcome = ToPrimary::Welcome {
            tenant: tenant.slot,
            generation: tenant.generation,
            live,
            config: tenant.config.clone(),
            config_path,
            shards,
        };
        tenant.channel = Some(connection.channel);
        tenant.outbox = self
            .vault
            .batches("")
            .into_iter()
            .map(|batch| batch.keys)
            .collect();
        let sent = tenant
            .send(&welcome)
            .and_then(|()| tenant.send_batch(&self.vault));
        if let Some(record) = &mut self.record {
            record.to = self.tenants.newer.as_ref().map(Tenant::program);
        }
        if let Err(error) = sent {
            tracing::warn!(prefix = self.paths.prefix, pid, error = %error, "welcome not sent");
        }
    }

    fn on_client(&mut self, id: u64, client: Client, fds: Vec<OwnedFd>) {
        match client {
            Client::Attach => self.hand_out_segments(id),
            Client::Verb(text) => match serde_json::from_str::<Verb>(&text) {
                Ok(verb) => self.on_verb(id, verb, fds.into_iter().next().map(File::from)),
                Err(error) => self.say(
                    id,
                    Exit::Usage,
                    format!("this supervisor does not know that request: {error}"),
                    Some("use a baton of the same version".into()),
                ),
            },
        }
    }

    /// The segments for a tool, by descriptors that cannot write.
    fn hand_out_segments(&mut self, id: u64) {
        let message = match self.arena.read_only_fds() {
            Ok(fds) => {
                let (keys, fds): (Vec<String>, Vec<OwnedFd>) = fds
                    .into_iter()
                    .take(MAX_FDS)
                    .map(|(name, fd)| (format!("segment/{name}"), fd))
                    .unzip();
                let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                return self.send_to(id, &ToClient::Fds { keys, last: true }, &borrowed);
            }
            Err(error) => ToClient::Refused {
                why: error.to_string(),
            },
        };
        self.send_to(id, &message, &[]);
    }

    fn on_verb(&mut self, id: u64, verb: Verb, binary: Option<File>) {
        match (verb, binary) {
            // Who begins or ends has no time for questions, and no rates.
            (Verb::Status, _) => match self.machine.state {
                State::Starting(..) | State::Clearing { .. } | State::Stopping { .. } => {
                    self.answer_status(id, Measured::default());
                }
                _ => self.measure(Purpose::Status(id), true),
            },
            (Verb::Stop, _) => self.on_stop(id),
            (Verb::Plan { name }, Some(file)) => match self.machine.state {
                State::Forwarding => self.start_job(Source::File(file), name, Some(id), false),
                _ => self.busy(id),
            },
            (
                Verb::Upgrade {
                    name,
                    soak_ms,
                    argv,
                },
                Some(file),
            ) => {
                self.begin_upgrade(id, "upgrade", Source::File(file), name, soak_ms, argv);
            }
            (Verb::Plan { .. } | Verb::Upgrade { .. }, None) => {
                self.say(
                    id,
                    Exit::Usage,
                    "the binary's descriptor is missing".into(),
                    Some("use a baton of the same version".into()),
                );
            }
            (Verb::Rollback { revision, argv }, _) => self.on_rollback(id, revision, argv),
        }
    }

    fn on_stop(&mut self, id: u64) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stops = true;
        }
        self.event(Event::Stop);
    }

    /// Opens the record of an upgrade and starts its plan, unless one runs.
    pub(super) fn begin_upgrade(
        &mut self,
        id: u64,
        kind: &'static str,
        source: Source,
        name: String,
        soak_ms: Option<u64>,
        argv: Vec<String>,
    ) {
        if self.machine.state != State::Forwarding || self.record.is_some() || self.leaving {
            return self.busy(id);
        }
        self.open_record(kind, Some(id), argv);
        if let Some(record) = &mut self.record {
            record.soak =
                soak_ms.map_or(self.config.upgrade.soak.0, std::time::Duration::from_millis);
        }
        self.pending_job(source, name);
        self.event(Event::Upgrade);
    }

    /// A new record; its number is the next receipt's.
    pub(super) fn open_record(
        &mut self,
        kind: &'static str,
        client: Option<u64>,
        argv: Vec<String>,
    ) {
        let mut record = Record::new(self.history.next_number(), kind);
        record.from = self.tenants.older.as_ref().map(Tenant::program);
        if let Some(id) = client {
            let uid = self
                .connections
                .get(&id)
                .map_or(0, |connection| connection.peer.uid);
            record.asked_by = Some(AskedBy {
                uid,
                user: host::user_name(uid),
                argv,
            });
            record.watchers.push(id);
        }
        self.record = Some(record);
    }

    /// Another upgrade runs: its number and phase are named.
    pub(super) fn busy(&mut self, id: u64) {
        let text = match &self.record {
            Some(record) => format!(
                "{} #{} runs, in phase {}",
                record.kind,
                record.number,
                self.phase_word()
            ),
            None => format!("the instance is {}", self.machine.state.word()),
        };
        self.say(
            id,
            Exit::Busy,
            text,
            Some(format!("wait, or baton rollback {}", self.paths.prefix)),
        );
    }

    pub(super) fn phase_word(&self) -> &'static str {
        if self.closing {
            "closing"
        } else {
            self.machine.state.word()
        }
    }
}
