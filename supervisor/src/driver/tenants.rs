//! Who the tenants are, on disk: for `baton stop` of a headless instance, and for the next
//! supervisor. A pid counts only together with its start time and boot.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use baton_shared_state::sys;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use crate::history::hex;

/// How long a process has between the polite signal and the other one.
const POLITE: Duration = Duration::from_secs(5);

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantRecord {
    /// Its number.
    pub pid: u32,
    /// Its start, in ticks since boot.
    pub start_time: u64,
    /// Its slot.
    pub slot: u16,
    /// Its generation set.
    pub generation: u16,
    /// Its content.
    pub binary_sha256: String,
}

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    boot_id: String,
    tenants: Vec<TenantRecord>,
}

/// A tenant could not be ended.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// It lives on.
    #[error("pid {pid} does not end: killed, but not dead after {waited_s} s (undead)")]
    Undead {
        /// Which.
        pid: u32,
        /// How long it was waited for.
        waited_s: u64,
    },
    /// The kernel refused.
    #[error("pid {pid}: {source}")]
    Io {
        /// Which.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Writes the file anew; readers see the whole old or the whole new one.
pub fn store(path: &Path, tenants: &[TenantRecord]) -> io::Result<()> {
    let contents = Contents {
        boot_id: this_boot(),
        tenants: tenants.to_vec(),
    };
    let draft = path.with_extension("draft");
    fs::write(&draft, serde_json::to_vec_pretty(&contents)?)?;
    fs::rename(&draft, path)
}

/// The tenants of the file that are alive: same boot, same pid, same start.
pub fn alive(path: &Path) -> Vec<TenantRecord> {
    let Ok(bytes) = fs::read(path) else {
        return Vec::new();
    };
    let contents: Contents = serde_json::from_slice(&bytes).unwrap_or_default();
    if contents.boot_id != this_boot() {
        return Vec::new();
    }
    contents
        .tenants
        .into_iter()
        .filter(|tenant| open(tenant).is_some())
        .collect()
}

/// A descriptor of exactly that process, if it lives.
pub fn open(tenant: &TenantRecord) -> Option<OwnedFd> {
    // The descriptor first, then the start time: what is compared is what is held.
    let pidfd = sys::pidfd_open(tenant.pid).ok()?;
    let found = sys::process_start_time(tenant.pid).ok()?;
    let ended = sys::pidfd_wait(pidfd.as_fd(), Instant::now()).unwrap_or(true);
    (found == tenant.start_time && !ended).then_some(pidfd)
}

/// Ends all of them: politely, then not.
pub fn end(tenants: &[TenantRecord], patience: Duration) -> Result<(), EndError> {
    let held: Vec<(u32, OwnedFd)> = tenants
        .iter()
        .filter_map(|tenant| open(tenant).map(|pidfd| (tenant.pid, pidfd)))
        .collect();
    for (_, pidfd) in &held {
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), Signal::SIGTERM);
    }
    let polite = Instant::now() + POLITE.min(patience);
    for (pid, pidfd) in &held {
        let gone = |deadline| {
            sys::pidfd_wait(pidfd.as_fd(), deadline)
                .map_err(|source| EndError::Io { pid: *pid, source })
        };
        if gone(polite)? {
            continue;
        }
        let _ = sys::pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL);
        if !gone(Instant::now() + patience)? {
            return Err(EndError::Undead {
                pid: *pid,
                waited_s: patience.as_secs(),
            });
        }
    }
    Ok(())
}

fn this_boot() -> String {
    sys::boot_id().map(|id| hex(&id)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, TenantRecord) {
        let child = Command::new("sleep")
            .arg("1000")
            .spawn()
            .expect("sleep runs");
        let start_time = sys::process_start_time(child.id()).expect("alive");
        let record = TenantRecord {
            pid: child.id(),
            start_time,
            slot: 0,
            generation: 1,
            binary_sha256: "ab".into(),
        };
        (child, record)
    }

    #[test]
    fn a_pid_used_again_by_another_process_is_not_alive() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tenants.json");
        let (mut child, record) = sleeper();
        let mut other = record.clone();
        other.start_time += 1;
        store(&path, &[record.clone(), other]).expect("written");
        assert_eq!(alive(&path), std::slice::from_ref(&record));
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert_eq!(alive(&path), []);
    }

    #[test]
    fn all_are_ended_and_reported_dead() {
        let (mut child, record) = sleeper();
        let reaper = std::thread::spawn(move || child.wait());
        end(std::slice::from_ref(&record), Duration::from_secs(10)).expect("ends");
        reaper.join().expect("joins").expect("reaped");
        assert!(open(&record).is_none());
    }

    #[test]
    fn another_boots_file_and_garbage_name_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tenants.json");
        assert_eq!(alive(&path), []);
        fs::write(&path, "{").expect("written");
        assert_eq!(alive(&path), []);
        let (mut child, record) = sleeper();
        let contents = Contents {
            boot_id: "another".into(),
            tenants: vec![record],
        };
        fs::write(&path, serde_json::to_vec(&contents).expect("serializes")).expect("written");
        assert_eq!(alive(&path), []);
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}
