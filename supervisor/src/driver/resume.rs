//! Taking up a headless instance: its tenant comes back to the control socket and brings every
//! descriptor; arena, ledger and directory are found behind them.
//!
//! ```text
//!   tenant      Hello{resume} -> ; <- GetStats ; Deposit.. (each acknowledged) -> ; Snapshot -> (all is there)
//! ```

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use baton_schema::Manifest;
use baton_schema::control::{FromPrimary, Opening, ToPrimary};
use baton_shared_state::arena::{Access, Arena};
use baton_shared_state::channel::{Channel, ChannelError, Listener};
use baton_shared_state::directory::Directory;
use baton_shared_state::ledger::Ledger;
use baton_shared_state::paths::Paths;
use baton_shared_state::sys;
use baton_shared_state::vault::Vault;
use nix::sys::signal::Signal;

use super::boot::{DriverError, World, assemble};
use super::handover::Layout;
use super::jobs::Wake;
use super::lock::Lock;
use super::notify::Signals;
use super::tenants::{self, TenantRecord};
use super::{Driver, Live, Tenant};
use crate::config::Config;
use crate::state::{Event, Phase, Side};

/// How long a tenant may take to come back; it looks for a supervisor many times a second.
const RETURN: Duration = Duration::from_secs(10);

/// How often it is looked whether those that are waited for still live.
const LOOK: Duration = Duration::from_millis(50);

/// A tenant that came back.
struct Returned {
    record: TenantRecord,
    pidfd: OwnedFd,
    channel: Channel,
    manifest: Manifest,
}

/// Who came back, with what it brought.
pub(super) struct Return {
    listener: Listener,
    vault: Vault,
    tenants: Vec<Returned>,
}

/// Waits for a tenant to come back; `None` if those that lived have ended meanwhile.
pub(super) fn await_tenants(
    paths: &Paths,
    alive: &[TenantRecord],
) -> Result<Option<Return>, DriverError> {
    let listener = Listener::bind(&paths.socket())?;
    let mut vault = Vault::new();
    let tenants = await_return(&listener, &mut vault, alive);
    if !tenants.is_empty() {
        return Ok(Some(Return {
            listener,
            vault,
            tenants,
        }));
    }
    match living(alive).next() {
        Some(tenant) => Err(DriverError::Headless {
            prefix: paths.prefix.clone(),
            pid: tenant.pid,
            why: "did not come back to the control socket".to_owned(),
        }),
        None => Ok(None),
    }
}

/// A driver for what is there already.
pub(super) fn resume(
    paths: Paths,
    config: Config,
    lock: Lock,
    signals: Signals,
    wake: Wake,
    alive: &[TenantRecord],
    back: Return,
) -> Result<(Driver, Event), DriverError> {
    let first = alive.first().map_or(0, |tenant| tenant.pid);
    let headless = |why: &str| DriverError::Headless {
        prefix: paths.prefix.clone(),
        pid: first,
        why: why.to_owned(),
    };
    let Return {
        listener,
        vault,
        tenants: mut returned,
    } = back;
    let arena = attach(&vault)?;
    let ledger = Ledger::open(&arena)?;
    let directory = Directory::take_over(&arena)?;
    let shards = u16::try_from(ledger.shard_count()).unwrap_or(1);
    let layout = Layout {
        shards,
        lcores: config.lcores(),
    };
    let owner = returned
        .iter()
        .position(|tenant| layout.all_with(&ledger, tenant.record.slot));
    let Some(owner) = owner.map(|at| returned.swap_remove(at)) else {
        return Err(headless(
            "does not own every shard: an upgrade was cut off in its swap",
        ));
    };
    if !layout.fits(&ledger) {
        return Err(headless(
            "runs on other lcores than the config names: undo that change",
        ));
    }
    let former = alive
        .iter()
        .find(|tenant| tenant.pid != owner.record.pid)
        .cloned();
    end_others(alive, &owner.record);
    let generations = directory.list().into_iter().map(|zone| zone.generation);
    let tenants = alive.iter().map(|tenant| tenant.generation);
    let last_generation = generations.chain(tenants).max().unwrap_or(0);
    let world = World {
        listener,
        arena,
        ledger,
        directory,
        vault,
        candidate: None,
        layout,
    };
    let mut driver = assemble(paths, config, lock, signals, wake, world);
    driver.last_generation = last_generation;
    driver.take_up(owner);
    driver.note_cut_off(former);
    Ok((driver, Event::Resumed))
}

impl Driver {
    /// The returned tenant is the older one from here on; what an earlier supervisor left undone
    /// is withdrawn.
    fn take_up(&mut self, owner: Returned) {
        let Returned {
            record,
            pidfd,
            channel,
            manifest,
        } = owner;
        // Who owns every shard works on its own generation set, committed or not.
        let generation = record.generation;
        let committed = self.ledger.live_generation() == Some(generation);
        self.ledger.set_live_generation(generation);
        self.live = Some(Live {
            sha256: record.binary_sha256.clone(),
            generation,
        });
        self.tenants.older = Some(Tenant::adopt(pidfd, &record, channel, manifest));
        if !committed {
            // The soak was cut off with everything moved: there is nobody to go back to.
            tracing::warn!(
                prefix = self.paths.prefix,
                generation,
                "an upgrade was cut off in its soak: committed"
            );
            self.answer(Side::Older, &ToPrimary::Go(Phase::Commit));
        }
        self.withdraw_leftovers();
        self.store_tenants();
        self.free_slots();
        tracing::info!(
            prefix = self.paths.prefix,
            pid = record.pid,
            generation,
            "headless instance taken up"
        );
    }
}

/// Waits until the tenants that live are back, or the time is over; all their descriptors are
/// then in the vault.
fn await_return(listener: &Listener, vault: &mut Vault, alive: &[TenantRecord]) -> Vec<Returned> {
    let deadline = Instant::now() + RETURN;
    let mut returned: Vec<Returned> = Vec::new();
    // A killed process of much memory takes its time to be gone: it is waited for no longer than that.
    while returned.len() < living(alive).count() && Instant::now() < deadline {
        let channel = match listener.accept(deadline.min(Instant::now() + LOOK)) {
            Ok(channel) => channel,
            Err(ChannelError::TimedOut) => continue,
            Err(_) => break,
        };
        match take_in(channel, vault, alive, deadline) {
            Ok(Some(tenant)) => {
                returned.retain(|known| known.record.pid != tenant.record.pid);
                returned.push(tenant);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = %error, "a returning tenant's connection failed"),
        }
    }
    returned
}

fn living(tenants: &[TenantRecord]) -> impl Iterator<Item = &TenantRecord> {
    tenants
        .iter()
        .filter(|tenant| tenants::open(tenant).is_some())
}

/// One connection: a tenant with all its descriptors, or somebody else, who may try again later.
fn take_in(
    channel: Channel,
    vault: &mut Vault,
    alive: &[TenantRecord],
    deadline: Instant,
) -> Result<Option<Returned>, ChannelError> {
    let peer = channel.peer()?;
    let Some((
        Opening::Hello {
            manifest, resume, ..
        },
        _,
    )) = channel.recv::<Opening>(deadline)?
    else {
        return Ok(None);
    };
    let known = alive
        .iter()
        .find(|tenant| tenant.pid == peer.pid && Some(tenant.slot) == resume);
    let Some((record, pidfd)) =
        known.and_then(|record| Some((record.clone(), tenants::open(record)?)))
    else {
        return Ok(None);
    };
    // Answered after the last deposit: the end of what it brings.
    channel.try_send(&ToPrimary::GetStats, &[])?;
    loop {
        match channel.recv::<FromPrimary>(deadline)? {
            Some((FromPrimary::Deposit { keys }, fds)) => {
                if !vault.put_all(keys, fds) {
                    return Ok(None);
                }
                channel.try_send(&ToPrimary::Acknowledged, &[])?;
            }
            Some((FromPrimary::Snapshot(_), _)) => {
                return Ok(Some(Returned {
                    record,
                    pidfd,
                    channel,
                    manifest,
                }));
            }
            Some(_) => {}
            None => return Ok(None),
        }
    }
}

fn attach(vault: &Vault) -> Result<Arena, DriverError> {
    let keys: Vec<String> = vault
        .keys()
        .filter(|key| key.starts_with("segment/"))
        .map(str::to_owned)
        .collect();
    let segments = keys.iter().filter_map(|key| {
        Some((
            key.strip_prefix("segment/")?.to_owned(),
            vault.duplicate(key)?,
        ))
    });
    Ok(Arena::attach(segments.collect(), Access::ReadWrite)?)
}

/// Who owns nothing was the newer one of an upgrade that nobody leads any more.
fn end_others(alive: &[TenantRecord], owner: &TenantRecord) {
    use std::os::fd::AsFd;
    for other in alive.iter().filter(|tenant| tenant.pid != owner.pid) {
        if let Some(pidfd) = tenants::open(other) {
            tracing::warn!(
                pid = other.pid,
                generation = other.generation,
                "a tenant without shards is ended"
            );
            let _ = sys::pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL);
        }
    }
}
