//! One tenant process: how it is started, spoken to and ended. Signals go through its pidfd only.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::Instant;

use baton_schema::Manifest;
use baton_schema::control::ToPrimary;
use baton_shared_state::channel::{Channel, ChannelError};
use baton_shared_state::ledger::{Ledger, LedgerError, TenantName};
use baton_shared_state::paths::Paths;
use baton_shared_state::sys;
use baton_shared_state::vault::Vault;
use nix::sys::signal::Signal;

use super::tenants::TenantRecord;
use crate::binary::{self, Binary};
use crate::request;

/// A process that owns shards, shall, or did.
#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) slot: u16,
    pub(super) generation: u16,
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) sha256: String,
    pub(super) since: Instant,
    pub(super) manifest: Option<Manifest>,
    pub(super) channel: Option<Channel>,
    /// The config it was given.
    pub(super) config: String,
    /// Batches of keys that wait for the acknowledgement of the one before.
    pub(super) outbox: VecDeque<Vec<String>>,
    pub(super) greeted: bool,
    /// Keys it deposited that were not there before.
    pub(super) deposited: Vec<String>,
    /// Zones it asked for and has not published.
    pub(super) building: Vec<u32>,
    /// Which measurements wait for its next snapshots, in order.
    pub(super) snapshots: VecDeque<u64>,
    pidfd: OwnedFd,
    child: Option<Child>,
}

/// A tenant could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    /// The process.
    #[error("{path}: cannot be started: {source}")]
    Process { path: String, source: io::Error },
    /// Its slot.
    #[error(transparent)]
    Slot(#[from] LedgerError),
}

impl Tenant {
    /// Starts `binary` for this instance and gives it a slot.
    pub(super) fn spawn(
        binary: &Binary,
        name: &str,
        paths: &Paths,
        ledger: &Ledger,
        generation: u16,
        config: String,
    ) -> Result<Tenant, SpawnError> {
        let failed = |source| SpawnError::Process {
            path: binary.path.display().to_string(),
            source,
        };
        let mut command = binary.command(name);
        command
            .arg("--supervisor")
            .arg(paths.socket())
            .arg("--file-prefix")
            .arg(&paths.prefix);
        command.stdout(Stdio::null());
        // The service manager hears from the supervisor alone.
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC")
            .env_remove("WATCHDOG_PID");
        // Its own group: Ctrl-C at the supervisor's terminal is not meant for it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = binary::spawn(&mut command).map_err(failed)?;
        let pid = child.id();
        let named =
            sys::pidfd_open(pid).and_then(|pidfd| Ok((pidfd, sys::process_start_time(pid)?)));
        let (pidfd, start_time) = match named {
            Ok(named) => named,
            Err(source) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(source));
            }
        };
        let full = TenantName {
            pid,
            start_time,
            generation,
            binary_hash: hash_bytes(&binary.sha256),
        };
        let mut tenant = Tenant::new(pidfd, 0, full, binary.sha256.clone());
        tenant.child = Some(child);
        tenant.config = config;
        match ledger.claim_tenant(&full) {
            Ok(slot) => tenant.slot = slot,
            Err(error) => {
                tenant.kill();
                if let Some(child) = &mut tenant.child {
                    let _ = child.wait();
                }
                return Err(error.into());
            }
        }
        Ok(tenant)
    }

    /// A process of an earlier supervisor.
    pub(super) fn adopt(
        pidfd: OwnedFd,
        record: &TenantRecord,
        channel: Channel,
        manifest: Manifest,
    ) -> Tenant {
        let name = TenantName {
            pid: record.pid,
            start_time: record.start_time,
            generation: record.generation,
            binary_hash: hash_bytes(&record.binary_sha256),
        };
        let mut tenant = Tenant::new(pidfd, record.slot, name, record.binary_sha256.clone());
        tenant.channel = Some(channel);
        tenant.manifest = Some(manifest);
        tenant.greeted = true;
        tenant
    }

    fn new(pidfd: OwnedFd, slot: u16, name: TenantName, sha256: String) -> Tenant {
        Tenant {
            slot,
            generation: name.generation,
            pid: name.pid,
            start_time: name.start_time,
            sha256,
            since: Instant::now(),
            manifest: None,
            channel: None,
            config: String::new(),
            outbox: VecDeque::new(),
            greeted: false,
            deposited: Vec::new(),
            building: Vec::new(),
            snapshots: VecDeque::new(),
            pidfd,
            child: None,
        }
    }

    /// Sends it a message; a tenant that is not connected gets none.
    pub(super) fn send(&self, message: &ToPrimary) -> Result<(), ChannelError> {
        match &self.channel {
            Some(channel) => channel.try_send(message, &[]),
            None => Err(ChannelError::Closed),
        }
    }

    /// Hands it the next batch of descriptors; false when there is none.
    pub(super) fn send_batch(&mut self, vault: &Vault) -> Result<bool, ChannelError> {
        let Some(keys) = self.outbox.pop_front() else {
            return Ok(false);
        };
        let Some(channel) = &self.channel else {
            return Err(ChannelError::Closed);
        };
        let (keys, fds): (Vec<String>, Vec<_>) = keys
            .into_iter()
            .filter_map(|key| vault.get(&key).map(|fd| (key.clone(), fd)))
            .unzip();
        channel.try_send(
            &ToPrimary::Fds {
                keys,
                last: self.outbox.is_empty(),
            },
            &fds,
        )?;
        Ok(true)
    }

    /// Its end is noticed here.
    pub(super) fn pidfd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Ends it at once.
    pub(super) fn kill(&self) {
        let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), Signal::SIGKILL);
    }

    /// Asks it to end: by message, or if it does not listen by signal.
    pub(super) fn end(&self) {
        if self.send(&ToPrimary::Stop).is_err() {
            let _ = sys::pidfd_send_signal(self.pidfd.as_fd(), Signal::SIGTERM);
        }
    }

    /// Whether it has ended, and how; reaps it.
    pub(super) fn ended(&mut self) -> Option<String> {
        let gone = sys::pidfd_wait(self.pidfd.as_fd(), Instant::now()).unwrap_or(false);
        if !gone {
            return None;
        }
        let status = self.child.as_mut().and_then(|child| child.wait().ok());
        Some(status.map_or("ended".to_owned(), |status| status.to_string()))
    }

    /// For the file on disk.
    pub(super) fn record(&self) -> TenantRecord {
        TenantRecord {
            pid: self.pid,
            start_time: self.start_time,
            slot: self.slot,
            generation: self.generation,
            binary_sha256: self.sha256.clone(),
        }
    }

    /// For receipts.
    pub(super) fn program(&self) -> crate::receipt::Program {
        crate::receipt::Program {
            name: self.manifest.as_ref().map(|manifest| manifest.name.clone()),
            version: self
                .manifest
                .as_ref()
                .map(|manifest| manifest.version.clone()),
            generation: Some(self.generation),
            pid: Some(self.pid),
            binary_sha256: self.sha256.clone(),
        }
    }

    /// For `status`.
    pub(super) fn shown(&self) -> request::Tenant {
        let text = |part: fn(&Manifest) -> &String| {
            self.manifest
                .as_ref()
                .map(part)
                .cloned()
                .unwrap_or_default()
        };
        request::Tenant {
            slot: self.slot,
            pid: self.pid,
            name: text(|manifest| &manifest.name),
            version: text(|manifest| &manifest.version),
            generation: self.generation,
            binary_sha256: self.sha256.clone(),
            for_ns: u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

/// The 32 bytes of a hash in hex; zeros where it is none.
fn hash_bytes(sha256: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, digits) in bytes.iter_mut().zip(sha256.as_bytes().chunks(2)) {
        *byte = std::str::from_utf8(digits)
            .ok()
            .and_then(|text| u8::from_str_radix(text, 16).ok())
            .unwrap_or(0);
    }
    bytes
}
