//! Other processes by descriptor, never by a bare number; and what this one may do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::checked;

/// A descriptor of a process, which stays that process's when its number is used again.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    let fd = checked(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).expect("a descriptor is small");
    // SAFETY: a fresh descriptor (close-on-exec) that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends a signal to the process of a pidfd; a process that has ended is `NotFound`-like `ESRCH`.
pub fn pidfd_send_signal(
    pidfd: BorrowedFd<'_>,
    signal: nix::sys::signal::Signal,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let (fd, signal) = (pidfd.as_raw_fd(), signal as i32);
    let info: *const libc::siginfo_t = core::ptr::null();
    // SAFETY: a live descriptor, a signal number, and no extra information.
    checked(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, info, 0) })?;
    Ok(())
}

/// Waits until the process of a pidfd has ended; false at the deadline.
pub fn pidfd_wait(pidfd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    wait_readable(pidfd, deadline)
}

/// Waits until `fd` is readable or hung up; false at the deadline.
pub fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
        match poll(&mut fds, poll_timeout(left)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens a file to be executed or handed on by descriptor, not to be read.
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    use nix::fcntl::{OFlag, open};
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    Ok(open(path, flags, nix::sys::stat::Mode::empty())?)
}

/// When a process started, in clock ticks since boot: with the boot id and the pid its full name.
pub fn process_start_time(pid: u32) -> io::Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path)?;
    start_time_of(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} has no start time"),
        )
    })
}

/// With `false`, other processes of this user can neither attach to this one nor take or reopen
/// its descriptors.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(dumpable)?)
}

/// Capabilities that parts of this project need, by the kernel's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the kernel's names, see capabilities(7)")]
pub enum Capability {
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    SysAdmin = 21,
    SysNice = 23,
    SysResource = 24,
    Bpf = 39,
}

impl Capability {
    /// The name that `capsh`, `setcap` and systemd use.
    pub fn name(self) -> &'static str {
        match self {
            Capability::NetAdmin => "CAP_NET_ADMIN",
            Capability::NetRaw => "CAP_NET_RAW",
            Capability::IpcLock => "CAP_IPC_LOCK",
            Capability::SysAdmin => "CAP_SYS_ADMIN",
            Capability::SysNice => "CAP_SYS_NICE",
            Capability::SysResource => "CAP_SYS_RESOURCE",
            Capability::Bpf => "CAP_BPF",
        }
    }
}

/// Which of `wanted` the calling process has not got in its effective set.
pub fn missing_capabilities(wanted: &[Capability]) -> io::Result<Vec<Capability>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let effective = effective_set(&status).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "/proc/self/status has no CapEff line",
        )
    })?;
    let missing = |c: &Capability| effective & (1 << (*c as u8)) == 0;
    Ok(wanted.iter().copied().filter(missing).collect())
}

fn effective_set(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Field 22 of `/proc/PID/stat`; the name before it may hold spaces and brackets.
fn start_time_of(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Rounded up to the next millisecond, so that a wait never spins through its last one.
fn poll_timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(i32::MAX)).unwrap_or(PollTimeout::MAX)
}

/// A second descriptor of the same open file.
pub fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;
    use std::process::{Command, Stdio};

    #[test]
    fn a_killed_process_is_seen_through_its_pidfd() {
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pidfd = pidfd_open(child.id()).unwrap();
        assert!(!pidfd_wait(pidfd.as_fd(), Instant::now()).unwrap());
        assert!(process_start_time(child.id()).unwrap() > 0);
        pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        assert!(pidfd_wait(pidfd.as_fd(), deadline).unwrap());
        child.wait().unwrap();
        let error = pidfd_send_signal(pidfd.as_fd(), Signal::SIGKILL).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn the_start_time_survives_a_strange_program_name() {
        let mut stat = String::from("7 (a) b (c)) S");
        for field in 4..=30 {
            stat.push_str(&format!(" {field}"));
        }
        assert_eq!(start_time_of(&stat), Some(22));
        assert_eq!(start_time_of("7 (a"), None);
    }

    #[test]
    fn a_missing_capability_is_named() {
        let status = "Name:\tx\nCapEff:\t0000000000001000\n";
        assert_eq!(effective_set(status), Some(1 << 12));
        assert_eq!(effective_set("Name:\tx\n"), None);
        assert_eq!(Capability::Bpf.name(), "CAP_BPF");
        missing_capabilities(&[Capability::NetAdmin]).unwrap();
    }

    #[test]
    fn an_executable_runs_by_descriptor() {
        use std::os::fd::AsRawFd;
        let fd = open_path(Path::new("/bin/true")).unwrap();
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        assert!(Command::new(path).status().unwrap().success());
        assert!(open_path(Path::new("/nonexistent")).is_err());
    }
}
