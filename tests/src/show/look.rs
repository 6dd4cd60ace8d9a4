//! What a look at the sessions costs the datapath: nanoseconds a packet of the gateway's own path, while `baton-dump`
//! reads the same segments from another process on another CPU, and while it does not, in turns.
//!
//! The path runs over `net_null` in this process, so that nothing else stands in the figure: no generator, no kernel.
//! What is counted is the CPU time of its thread: caches and memory that two CPUs share are in it, other programs that
//! want the same CPU are not.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton::bench::Bench;
use baton::prelude::{Mac, PortId};
use baton_primary::Gateway;
use baton_primary::session::SessionV2;
use baton_schema::control::{Client, Opening, ToClient};
use baton_shared_state::channel::{Channel, Listener};

use super::Failure;
use crate::lab::LabError;
use crate::machine::{Cpus, pin, sibling};
use crate::traffic::frame::{self, Checksum, Header, Kind, Probe};
use crate::verdict::quantile;
use crate::wait::interrupted;

/// The instance's name.
const PREFIX: &str = "look";
/// Rounds of one measured slice: about two milliseconds.
const SLICE: u32 = 1_000;
/// How long one of the two goes on before it is the other's turn.
const TURN: Duration = Duration::from_millis(500);
/// More flows than this the template cannot make: they differ in their source port.
const MOST_SESSIONS: u32 = 60_000;

type Gate = Bench<Gateway<SessionV2>>;

/// Medians of both, and their ratio.
pub fn dump(sessions: u32, turns: u32) -> Result<bool, Failure> {
    let sessions = sessions.clamp(1, MOST_SESSIONS);
    let dir = tempfile::tempdir().map_err(|source| file(&std::env::temp_dir(), source))?;
    let cpus = Cpus::of_this_machine();
    let mut gate = gateway(sessions)?;
    let reader = Reader::new(dir.path())?;
    println!(
        "dump: {sessions} sessions, net_null, one thread on CPU {}; baton-dump again and again on CPU {}; {turns} turns \
         of {} ms each",
        cpus.lcores,
        cpus.rest,
        TURN.as_millis()
    );
    let (mut with, mut without) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| -> Result<(), Failure> {
        scope.spawn(|| reader.answer());
        scope.spawn(|| reader.read(cpus.rest));
        let _end = End(&reader);
        pin(cpus.lcores).map_err(|e| Failure::Unfit {
            what: format!("cannot run on CPU {}: {e}", cpus.lcores),
        })?;
        for turn in 0..2 * turns {
            if interrupted() {
                break;
            }
            let reads = turn % 2 == 0;
            reader.set(reads);
            measure(&mut gate, if reads { &mut with } else { &mut without });
        }
        Ok(())
    })?;
    let looks = reader.looks.load(Ordering::Relaxed);
    let failed = reader.failed.load(Ordering::Relaxed);
    with.sort_unstable();
    without.sort_unstable();
    let median = |all: &[u64]| quantile(all, 0.5).unwrap_or(0) as f64 / 1_000.0;
    let p99 = |all: &[u64]| quantile(all, 0.99).unwrap_or(0) as f64 / 1_000.0;
    for (name, all) in [("with", &with), ("without", &without)] {
        println!(
            "ns of CPU time a packet, {name} a dump: n={} median={:.2} p99={:.2}",
            all.len(),
            median(all),
            p99(all)
        );
    }
    println!(
        "ratio of the medians {:.4}; {looks} dumps of {sessions} sessions, {failed} failed",
        median(&with) / median(&without)
    );
    Ok(looks > 0 && failed == 0)
}

/// Slices of one turn, in picoseconds a packet.
fn measure(gate: &mut Gate, slices: &mut Vec<u64>) {
    let end = Instant::now() + TURN;
    gate.rounds(SLICE); // what the other turn left in the caches is not this one's
    while Instant::now() < end {
        let start = cpu_time_ns();
        let packets = gate.rounds(SLICE) as u64;
        slices.push((cpu_time_ns() - start) * 1_000 / packets.max(1));
    }
}

/// Of this thread: what other programs take of the CPU is not what the reader costs.
fn cpu_time_ns() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    let now = now.expect("every thread has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// A gateway over `net_null` with that many sessions.
fn gateway(sessions: u32) -> Result<Gate, Failure> {
    let toml = format!(
        "[instance]\nfile-prefix = \"{PREFIX}\"\nlcores = \"0\"\nidle = \"spin\"\n\
         [[port]]\nname = \"inside\"\nvdev = \"net_null0,flows={sessions},template={}\"\naddress = [\"10.0.0.1/16\"]\n\
         [[port]]\nname = \"outside\"\nvdev = \"net_null1,no-rx=1\"\naddress = [\"203.0.113.2/24\"]\n\
         [[route]]\nprefix = \"0.0.0.0/0\"\nvia = \"203.0.113.1\"\n\
         [gateway.nat]\ninside = [\"inside\"]\noutside = \"outside\"\npool = [\"203.0.113.16/28\"]\nsessions = {}\n\
         per-source = 1000000\n",
        template(),
        (2 * sessions).max(4_096),
    );
    let unfit = |why: String| Failure::Unfit { what: why };
    let mut gate = Gate::new(&toml).map_err(|why| unfit(why.to_string()))?;
    let next_hop = Ipv4Addr::new(203, 0, 113, 1);
    gate.learn(PortId(1), next_hop, Mac([2, 0, 0, 0, 0, 1]));
    let before = gate.drops();
    gate.rounds(sessions.div_ceil(32) * 4);
    match gate.drops() {
        after if after == before => Ok(gate),
        after => Err(unfit(format!("the gateway dropped packets: {after:?}"))),
    }
}

/// A frame of an inside host, in hexadecimal.
fn template() -> String {
    let mut bytes = [0; frame::HEADERS + frame::MIN_PAYLOAD];
    let header = Header {
        dst_mac: [0x02, 0xba, 0x70, 0, 0, 0],
        src_mac: [2, 0, 0, 0, 0, 9],
        src: Ipv4Addr::new(10, 0, 1, 1),
        dst: Ipv4Addr::new(198, 51, 100, 7),
        src_port: 1_024,
        dst_port: 53,
    };
    let probe = Probe {
        kind: Kind::Up,
        flow: 0,
        seq: 0,
        sent_ns: 0,
    };
    frame::write(&mut bytes, &header, &probe, Checksum::Complete);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The other process, started again and again, and the supervisor's part for it.
struct Reader<'run> {
    run: &'run Path,
    listener: Listener,
    segments: BTreeMap<String, OwnedFd>,
    wanted: AtomicBool,
    busy: AtomicBool,
    over: AtomicBool,
    looks: AtomicU64,
    failed: AtomicU64,
}

/// Ends the reader's threads, also when the measurement ends early.
struct End<'r, 'run>(&'r Reader<'run>);

impl Drop for End<'_, '_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Release);
    }
}

impl<'run> Reader<'run> {
    fn new(run: &'run Path) -> Result<Reader<'run>, Failure> {
        let folder = run.join(PREFIX);
        std::fs::create_dir(&folder).map_err(|source| file(&folder, source))?;
        let socket = folder.join("control.sock");
        let listener = Listener::bind(&socket).map_err(|why| Failure::Unfit {
            what: why.to_string(),
        })?;
        Ok(Reader {
            run,
            listener,
            segments: own_segments().map_err(|source| file(Path::new("/proc/self/fd"), source))?,
            wanted: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            over: AtomicBool::new(false),
            looks: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// Begins to read, or waits until the last one has ended.
    fn set(&self, reads: bool) {
        self.wanted.store(reads, Ordering::Release);
        while self.busy.load(Ordering::Acquire) != reads {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// `baton-dump` on this CPU, one after the other, while it is wanted.
    fn read(&self, cpu: usize) {
        let _ = pin(cpu); // a machine with one CPU has no other
        while !self.over.load(Ordering::Acquire) {
            let wanted = self.wanted.load(Ordering::Acquire);
            self.busy.store(wanted, Ordering::Release);
            if !wanted {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let mut command = Command::new(sibling("baton-dump"));
            command
                .args([PREFIX, "show", "nat.session", "--format", "json"])
                .env("BATON_RUN_DIR", self.run)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let done = command.status().is_ok_and(|status| status.success());
            let counter = if done { &self.looks } else { &self.failed };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.busy.store(false, Ordering::Release);
    }

    /// Hands the segments to whoever asks, as a supervisor does.
    fn answer(&self) {
        while !self.over.load(Ordering::Acquire) {
            let soon = Instant::now() + Duration::from_millis(100);
            let Ok(channel) = self.listener.accept(soon) else {
                continue;
            };
            let asked = channel.recv::<Opening>(Instant::now() + Duration::from_secs(5));
            if let Ok(Some((Opening::Client(Client::Attach), _))) = asked {
                self.hand_out(&channel);
            }
        }
    }

    fn hand_out(&self, channel: &Channel) {
        let message = ToClient::Fds {
            keys: self
                .segments
                .keys()
                .map(|name| format!("segment/{name}"))
                .collect(),
            last: true,
        };
        let fds: Vec<_> = self.segments.values().map(AsFd::as_fd).collect();
        let _ = channel.send(&message, &fds); // the reader says itself that nothing came
    }
}

/// The segments of this process's only arena, opened for reading: a bench has no supervisor that would hold them.
fn own_segments() -> std::io::Result<BTreeMap<String, OwnedFd>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else {
            continue; // the descriptor of this very listing
        };
        let target = target.to_string_lossy();
        let name = target
            .strip_prefix("/memfd:baton.")
            .or_else(|| target.strip_prefix("/hugetlbfs:baton."));
        if let Some(name) = name {
            let name = name.trim_end_matches(" (deleted)").to_owned();
            found.insert(name, File::open(entry.path())?.into());
        }
    }
    Ok(found)
}

fn file(path: &Path, source: std::io::Error) -> Failure {
    let path = path.to_owned();
    LabError::File { path, source }.into()
}
