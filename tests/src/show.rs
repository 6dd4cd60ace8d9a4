//! What the commands in `scripts/` show: each a baseline without an upgrade, then the real thing, then one line.

mod look;
mod swaps;

use std::path::Path;
use std::time::Duration;

use baton_shared_state::sys::set_autogroup_nice;

use crate::instance::{Instance, PREFIX};
use crate::lab::{Lab, LabError, Offloads, PortKind, Shape};
use crate::machine::find_program;
use crate::traffic::control::Load;
use crate::trial::{self, Beside, NEWER, OLDER, Trial, gateway};
use crate::verdict::Verdict;

pub use look::dump;
pub use swaps::{gap, soak};

/// What the command line asks for.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// The driver; chosen by who asks if left out.
    pub port: Option<PortKind>,
    /// Packets/s, both directions together.
    pub rate: u64,
    /// Flows that carry the rate.
    pub flows: u32,
    /// Further sessions.
    pub sessions: u32,
    /// Shards and queues.
    pub shards: u16,
    /// Of the peers' interfaces.
    pub offloads: Offloads,
}

/// Why nothing could be shown.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something in the lab did not work.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// Packets are lost without any upgrade, at every rate tried.
    #[error(
        "this machine does not carry {rate} packets/s even without an upgrade: {place}\n\
         nothing was upgraded, and nothing is wrong with it: try when the machine, or its host, is less busy"
    )]
    TooSlow {
        /// The lowest rate tried.
        rate: u64,
        /// Where they were lost.
        place: String,
    },
    /// Something is missing.
    #[error("{what}")]
    Unfit {
        /// What, and the way out.
        what: String,
    },
}

/// Upgrade, roll back, upgrade again, with TCP beside the stream. `Ok(true)`: every zero is a zero.
pub fn demo(wishes: &Wishes, seconds: u64) -> Result<bool, Failure> {
    let (dir, lab) = build(wishes, &["iperf3", "nginx", "curl"])?;
    let length = Duration::from_secs(seconds.max(6));
    let mut instance = Instance::start(&lab, &gateway(OLDER))?;
    println!("baton run {PREFIX}: {OLDER} forwards");
    let load = carry(wishes, &lab, &mut instance, length, Beside::TcpPrograms)?;
    println!(
        "{} packets/s for {} s, with iperf3, nginx and curl; upgrade, rollback, upgrade",
        load.rate,
        length.as_secs()
    );
    let (verdict, _) = trial::run(&lab, &mut instance, &load, Beside::TcpPrograms, |trial| {
        there_and_back(trial, length)
    })?;
    println!(
        "\nbaton history {PREFIX}\n{}",
        instance.expect(0, &["history", PREFIX])?.out.trim_end()
    );
    instance.stop()?;
    drop((lab, dir));
    say(&verdict);
    println!("{verdict}");
    Ok(verdict.is_clean())
}

/// The story of the demo. Times are shares of its length.
fn there_and_back(trial: &mut Trial<'_, '_>, length: Duration) -> Result<(), LabError> {
    let first = trial
        .echo
        .connect(trial.lab, "opened before the first upgrade")?;
    trial.at(length.mul_f64(0.2))?;

    let soaking = trial.upgrade(NEWER, Duration::from_secs(120))?;
    println!(
        "{:>6.1} s  upgrade to {NEWER}: it soaks",
        trial.elapsed().as_secs_f64()
    );
    let second = trial
        .echo
        .connect(trial.lab, "opened under the newer binary")?;
    second.prove_alive()?;
    trial.at(length.mul_f64(0.5))?;

    trial.roll_back(soaking)?;
    println!(
        "{:>6.1} s  rolled back to {OLDER}",
        trial.elapsed().as_secs_f64()
    );
    second.prove_alive()?;
    println!("          a connection opened under {NEWER} is alive");
    trial.at(length.mul_f64(0.7))?;

    let soaking = trial.upgrade(NEWER, length.mul_f64(0.15))?;
    println!(
        "{:>6.1} s  upgrade to {NEWER}: it soaks",
        trial.elapsed().as_secs_f64()
    );
    trial.commit(soaking)?;
    println!("{:>6.1} s  committed", trial.elapsed().as_secs_f64());
    first.prove_alive()?;
    println!("          a connection opened before the first upgrade is alive");
    trial.at(length)?;
    first.finish()?;
    second.finish()?;
    Ok(())
}

/// Finds the rate that is carried without any upgrade: the asked one, or a half of it, or a half of that.
fn carry<'lab>(
    wishes: &Wishes,
    lab: &'lab Lab,
    instance: &mut Instance<'lab>,
    length: Duration,
    beside: Beside,
) -> Result<Load, Failure> {
    let mut load = Load {
        rate: wishes.rate,
        flows: wishes.flows,
        sessions: wishes.sessions,
    };
    loop {
        println!(
            "{} packets/s for {} s without an upgrade",
            load.rate,
            length.as_secs()
        );
        let (verdict, _) = trial::run(lab, instance, &load, beside, |trial| trial.at(length))?;
        let place = if !verdict.reached_every_packet() {
            verdict.place().unwrap_or_else(|| format!("{verdict}"))
        } else if !verdict.kept_up() {
            let (rate, cpu) = (verdict.rate_reached, lab.shape().cpus.rest);
            format!("the generator reached only {rate} packets/s: CPU {cpu} is too busy")
        } else {
            println!("          nothing lost");
            return Ok(load);
        };
        println!("          {place}");
        if load.rate / 2 < LOWEST_RATE {
            return Err(Failure::TooSlow {
                rate: load.rate,
                place,
            });
        }
        load.rate /= 2;
        println!("          trying half the rate");
    }
}

fn build(wishes: &Wishes, programs: &[&str]) -> Result<(tempfile::TempDir, Lab), Failure> {
    all_there(programs)?;
    let port = wishes.port.unwrap_or(if is_real_root() {
        PortKind::AfXdp
    } else {
        PortKind::AfPacket
    });
    let shape = Shape {
        shards: wishes.shards,
        offloads: wishes.offloads,
        soak: SOAK,
        ..Shape::of(port)
    };
    let cpus = shape.cpus;
    cpus.confine().map_err(|e| Failure::Unfit {
        what: format!("cannot run on CPU {}: {e}", cpus.rest),
    })?;
    own_scheduling_group();
    println!(
        "port {port}, {} shard(s), peers' offloads {}; lcores on CPU {}, everything else on CPU {}",
        shape.shards,
        if shape.offloads == Offloads::On {
            "on"
        } else {
            "off"
        },
        cpus.lcores,
        cpus.rest
    );
    if cpus.lcores == cpus.rest {
        println!("only one CPU: the lcores share it with everything else");
    }
    let file = |source| LabError::File {
        path: std::env::temp_dir(),
        source,
    };
    let dir = tempfile::Builder::new()
        .prefix("baton-lab-")
        .tempdir()
        .map_err(file)?;
    let lab = Lab::new(shape, dir.path())?;
    Ok((dir, lab))
}

/// Whether the lab's programs, these, and those of this build are installed.
fn all_there(programs: &[&str]) -> Result<(), Failure> {
    let needed = ["ip", "tc", "ethtool", "nsenter"].iter().chain(programs);
    let missing: Vec<&str> = needed
        .copied()
        .filter(|name| find_program(name).is_none())
        .collect();
    if !missing.is_empty() {
        let what = format!(
            "missing: {}; sudo apt-get install {}",
            missing.join(", "),
            packages(&missing).join(" ")
        );
        return Err(Failure::Unfit { what });
    }
    let missing: Vec<_> = ["baton", "baton-traffic", OLDER, NEWER]
        .into_iter()
        .map(gateway)
        .filter(|path| !path.is_file())
        .collect();
    if let Some(path) = missing.first() {
        return Err(Failure::Unfit {
            what: format!("{} is not built; scripts/demo builds it", path.display()),
        });
    }
    Ok(())
}

/// A session of its own is a scheduling group of its own: other programs' threads do not outnumber the lab's. As root
/// it also goes before all others; within it the lcores do, and the generator after them.
fn own_scheduling_group() {
    let _ = nix::unistd::setsid(); // refused only where it is one already
    if is_real_root() {
        let _ = set_autogroup_nice(-20); // a kernel without groups needs none
    }
}

fn say(verdict: &Verdict) {
    println!(
        "sent {} packets/s of {} asked for",
        verdict.rate_reached, verdict.rate_asked
    );
    if let Some(place) = verdict.place() {
        println!("not zero: {place}");
    }
}

/// The Debian packages of these programs.
fn packages(programs: &[&str]) -> Vec<&'static str> {
    let package = |name: &&str| match *name {
        "ip" | "tc" => "iproute2",
        "ethtool" => "ethtool",
        "iperf3" => "iperf3",
        "nginx" => "nginx-light",
        "curl" => "curl",
        _ => "util-linux",
    };
    programs.iter().map(package).collect()
}

/// Root outside of any user namespace: only there may a program load XDP.
pub fn is_real_root() -> bool {
    let map = std::fs::read_to_string(Path::new("/proc/self/uid_map")).unwrap_or_default();
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    nix::unistd::geteuid().is_root() && whole
}

/// Of an upgrade that is to be committed: none of the shows waits for it.
const SOAK: Duration = Duration::from_millis(300);

/// Below this rate a run without loss would say nothing.
const LOWEST_RATE: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_have_packages() {
        assert_eq!(
            packages(&["ip", "nginx", "nsenter"]),
            ["iproute2", "nginx-light", "util-linux"]
        );
    }
}
