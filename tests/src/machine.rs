//! The machine: which CPUs to use, which programs are there.

use std::path::PathBuf;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Who runs where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus {
    /// Generator, sink, TCP programs, supervisor and thereby the ports' softirq.
    pub rest: usize,
    /// The lcores.
    pub lcores: usize,
}

impl Cpus {
    /// The first two CPUs this process may use; the same one twice if there is no other.
    pub fn of_this_machine() -> Cpus {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let mut free = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu).unwrap_or(false));
        let rest = free.next().unwrap_or(0);
        Cpus {
            rest,
            lcores: free.next().unwrap_or(rest),
        }
    }

    /// Confines the calling thread, and whatever it starts, to [`Cpus::rest`].
    pub fn confine(self) -> nix::Result<()> {
        pin(self.rest)
    }
}

/// Milliseconds that the host of a virtual machine has given to others, over all CPUs, since boot
/// (`steal` in proc_stat(5), in ticks of 10 ms).
pub fn stolen_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stolen(&stat) * 10
}

fn stolen(stat: &str) -> u64 {
    let all = stat.lines().next().unwrap_or_default();
    let steal = all.split_whitespace().nth(8);
    steal.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// Confines the calling thread, and whatever it starts, to one CPU.
pub fn pin(cpu: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// Where a program is, by `$PATH` and the system directories an ordinary user's path leaves out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// A program beside the running one: all binaries of the build stand in one directory.
pub fn sibling(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let mut dir = own.parent().map(PathBuf::from).unwrap_or_default();
    if dir.ends_with("deps") {
        dir.pop(); // a test's binary stands one deeper
    }
    dir.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpus_are_ones_this_process_may_use() {
        let allowed = sched_getaffinity(Pid::from_raw(0)).expect("every process has some");
        let cpus = Cpus::of_this_machine();
        assert!(
            allowed.is_set(cpus.rest).expect("a CPU number")
                && allowed.is_set(cpus.lcores).expect("a CPU number")
        );
    }

    #[test]
    fn stolen_time_is_the_eighth_number() {
        assert_eq!(stolen("cpu  1 2 3 4 5 6 7 88 9 10\ncpu0 1 1 1"), 88);
        assert_eq!(stolen(""), 0);
    }

    #[test]
    fn programs_are_found_by_name() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("baton-no-such-program"), None);
    }
}
