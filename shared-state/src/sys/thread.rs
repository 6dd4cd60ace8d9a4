//! The calling thread: its number, its core, its priority.

use std::io;

use super::checked;

/// The kernel's number of the calling thread, as its own pid namespace counts.
pub fn gettid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    let tid = unsafe { libc::gettid() };
    u32::try_from(tid).expect("a thread id is positive")
}

/// Binds the calling thread to one CPU.
pub fn set_affinity(cpu: usize) -> io::Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu)?;
    Ok(nix::sched::sched_setaffinity(
        nix::unistd::Pid::from_raw(0),
        &set,
    )?)
}

/// The CPUs that the calling thread may run on.
pub fn affinity() -> io::Result<Vec<usize>> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0))?;
    let all = 0..nix::sched::CpuSet::count();
    Ok(all
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect())
}

/// Sets the nice value (−20 first to 19 last) of the calling thread alone.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: plain numbers; `who` = 0 is the calling thread (Linux keeps nice per thread).
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) }.into())?;
    Ok(())
}

/// Sets the nice value of this session's autogroup, without which a thread's own nice value says
/// nothing against threads of other sessions. Fine where the kernel has no autogroups.
pub fn set_autogroup_nice(nice: i32) -> io::Result<()> {
    match std::fs::write("/proc/self/autogroup", nice.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Puts the calling thread last in line: for work that must never delay an lcore.
pub fn set_lowest_priority() -> io::Result<()> {
    set_nice(19)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_has_its_number() {
        let other = std::thread::spawn(gettid).join().unwrap();
        assert_ne!(gettid(), other);
    }

    #[test]
    fn a_thread_is_bound_to_the_core_it_asked_for() {
        std::thread::spawn(|| {
            let cpu = *affinity().unwrap().last().unwrap();
            set_affinity(cpu).unwrap();
            assert_eq!(affinity().unwrap(), [cpu]);
        })
        .join()
        .unwrap();
        assert!(set_affinity(100_000).is_err());
    }

    #[test]
    fn lowering_the_priority_is_allowed_to_everybody() {
        std::thread::spawn(|| set_lowest_priority().unwrap())
            .join()
            .unwrap();
    }
}
