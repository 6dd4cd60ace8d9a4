//! Promise: whoever writes to a shared structure may be killed before any one of its stores; the next process repairs
//! what it left, and nothing is lost, doubled, leaked or half visible.
//!
//! Each case is run once for each store that its operation makes: a child process does the operation and ends before
//! that store, this process repairs and checks. Then the repair itself is killed at each of its own stores, and done
//! again. `cargo test -p baton-shared-state --features crash-points --test crash_points`

mod cases;
mod memory;
mod rings;

use std::process::ExitCode;

use baton_shared_state::Region;
use baton_shared_state::sync::crash;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

/// A structure, what is done to it, and what has to hold.
pub(crate) struct Case {
    /// Structure and operation.
    pub(crate) name: &'static str,
    /// Bytes of shared memory it needs.
    pub(crate) bytes: usize,
    /// Makes it; nobody dies here.
    pub(crate) setup: fn(Region),
    /// What the child does until it ends.
    pub(crate) operation: fn(Region),
    /// What the next process does first.
    pub(crate) repair: fn(Region),
    /// What has to hold then; the structure is used on and its operation may be done again.
    pub(crate) check: fn(Region) -> Result<(), String>,
}

/// More points than an operation here has: an operation that never ends is a defect.
const MOST: u32 = 20_000;

fn main() -> ExitCode {
    let (mut all, mut failed) = (0, 0);
    for case in cases::all() {
        let points = run(&case);
        match points {
            Ok((points, repairs)) if points > 0 => {
                println!(
                    "{:<44} {points:>6} points, {repairs:>7} of their repairs",
                    case.name
                );
                all += points + repairs;
            }
            Ok(_) => {
                println!("{:<44} FAILED: no store was seen", case.name);
                failed += 1;
            }
            Err(why) => {
                println!("{:<44} FAILED: {why}", case.name);
                failed += 1;
            }
        }
    }
    println!("{all} crash points tried, {failed} structures failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Dies at each point of the operation, and at each point of each repair; how many there were.
fn run(case: &Case) -> Result<(u32, u32), String> {
    let memory = memory::Shared::new(case.bytes);
    let (mut points, mut repairs) = (0, 0);
    for point in 0..MOST {
        memory.zero();
        (case.setup)(memory.region());
        let died = in_child(point, || (case.operation)(memory.region()))?;
        let left = memory.copy();
        // Dead inside the repair, then repaired by a third process. A long operation is one step many times:
        // there this is tried for a part of its points.
        let deep = point < 40 || point % 29 == 0;
        for second in 0..if deep { MOST } else { 0 } {
            memory.restore(&left);
            if !in_child(second, || (case.repair)(memory.region()))? {
                break;
            }
            repairs += 1;
            (case.repair)(memory.region());
            verdict(case, memory.region(), point, Some(second))?;
        }
        // Repaired twice.
        memory.restore(&left);
        (case.repair)(memory.region());
        (case.repair)(memory.region());
        verdict(case, memory.region(), point, None)?;
        if !died {
            return Ok((points, repairs));
        }
        points += 1;
    }
    Err(format!("no end after {MOST} stores"))
}

fn verdict(case: &Case, region: Region, point: u32, second: Option<u32>) -> Result<(), String> {
    (case.check)(region).map_err(|why| match second {
        None => format!("dead before store {point}: {why}"),
        Some(second) => {
            format!("dead before store {point}, its repair before store {second}: {why}")
        }
    })
}

/// Runs `work` in a process of its own, which ends before store `point`; false if it came to its end.
fn in_child(point: u32, work: impl FnOnce()) -> Result<bool, String> {
    // SAFETY: this program has one thread, so the child may do anything.
    match unsafe { fork() }.map_err(|why| format!("fork: {why}"))? {
        ForkResult::Child => {
            crash::arm(point);
            work();
            crash::disarm();
            // SAFETY: the child ends here, without the parent's destructors.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, 0)) => Ok(false),
            Ok(WaitStatus::Exited(_, crash::CRASHED)) => Ok(true),
            other => Err(format!("the child at point {point}: {other:?}")),
        },
    }
}
