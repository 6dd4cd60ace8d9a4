//! A primary without ports: it speaks the control protocol, holds lifelines, owns shards by the
//! ledger and fails where it is told to. What it is told stands behind its own ELF image, so that
//! two of them are two binaries: `MARK` and then JSON.

mod lcore;
mod told;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use baton_schema::Policy;
use baton_schema::control::{
    FromPrimary, MbufStats, Phase, PortStats, Report, ShardStats, Stats, ToPrimary, ZoneReport,
};
use baton_shared_state::CONTROL_SHARD;
use baton_shared_state::arena::{Access, Arena};
use baton_shared_state::channel::{Channel, ChannelError};
use baton_shared_state::directory::Directory;
use baton_shared_state::ledger::{Ledger, lcore_slot, tenant_of};

use lcore::Lcore;
use told::{Told, manifest, schema, told};

fn main() {
    let told = told();
    let args: Vec<String> = std::env::args().collect();
    let value = |flag: &str| {
        args.iter()
            .position(|arg| arg == flag)
            .and_then(|at| args.get(at + 1))
    };
    if args.iter().any(|arg| arg == "--manifest") {
        println!(
            "{}",
            serde_json::to_string(&manifest(&told)).expect("serializes")
        );
        return;
    }
    if let Some(path) = value("--check-config") {
        let mut text = String::new();
        let read = std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text));
        if read.is_err() || told.fault == "config" {
            eprintln!("{path}:3:1: gateway.qos: unknown field `qos`");
            exit(2);
        }
        if told.fault == "unfit" {
            eprintln!("{path}:4:10: instance.lcores: told that this machine is not fit");
            exit(7);
        }
        return;
    }
    if told.fault == "start" {
        exit(3);
    }
    let socket = value("--supervisor").expect("a socket").clone();
    let mut primary = Primary::attach(told, Path::new(&socket));
    primary.serve(Path::new(&socket));
}

struct Primary {
    told: Told,
    channel: Option<Channel>,
    tenant: u16,
    generation: u16,
    live: Option<u16>,
    shards: u16,
    lcores: u16,
    fds: Vec<(String, OwnedFd)>,
    arena: Arena,
    stop: Arc<AtomicBool>,
    polls: Arc<AtomicU64>,
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

impl Primary {
    fn attach(told: Told, socket: &Path) -> Primary {
        let channel = Channel::connect(socket).expect("the supervisor listens");
        let hello = FromPrimary::Hello {
            pid: std::process::id(),
            manifest: manifest(&told),
            resume: None,
        };
        channel.send(&hello, &[]).expect("sent");
        let Ok(Some((
            ToPrimary::Welcome {
                tenant,
                generation,
                live,
                config,
                shards,
                ..
            },
            _,
        ))) = channel.recv(soon())
        else {
            exit(4);
        };
        let config =
            baton_supervisor::config::Config::parse(&config, Path::new("c.toml")).expect("valid");
        let mut fds: Vec<(String, OwnedFd)> = Vec::new();
        loop {
            let Ok(Some((ToPrimary::Fds { keys, last }, more))) = channel.recv(soon()) else {
                exit(5)
            };
            fds.extend(keys.into_iter().zip(more));
            channel.send(&FromPrimary::Acknowledged, &[]).expect("sent");
            if last {
                break;
            }
        }
        let segments = fds
            .iter()
            .filter_map(|(key, fd)| {
                Some((
                    key.strip_prefix("segment/")?.to_owned(),
                    fd.try_clone().ok()?,
                ))
            })
            .collect();
        let arena = Arena::attach(segments, Access::ReadWrite).expect("attaches");
        Primary {
            told,
            channel: Some(channel),
            tenant,
            generation,
            live,
            shards,
            lcores: config.lcores(),
            fds,
            arena,
            stop: Arc::default(),
            polls: Arc::default(),
        }
    }

    fn send(&self, message: &FromPrimary) {
        if let Some(channel) = &self.channel {
            let _ = channel.send(message, &[]);
        }
    }

    fn serve(&mut self, socket: &Path) {
        loop {
            let Some(channel) = &self.channel else {
                std::thread::sleep(Duration::from_millis(20));
                self.come_back(socket);
                continue;
            };
            match channel.recv::<ToPrimary>(Instant::now() + Duration::from_millis(50)) {
                Ok(Some((ToPrimary::Go(phase), _))) => self.go(phase),
                Ok(Some((ToPrimary::GetStats, _))) => {
                    self.send(&FromPrimary::Snapshot(self.stats()))
                }
                Ok(Some((ToPrimary::Export { generation, zones }, _))) => {
                    self.export(generation, &zones)
                }
                Ok(Some((ToPrimary::Stop, _))) => self.leave(),
                Ok(Some(_)) | Err(ChannelError::TimedOut) => {}
                Ok(None) | Err(_) => self.channel = None,
            }
        }
    }

    fn go(&mut self, phase: Phase) {
        if self.told.fault == format!("fail {phase}") {
            return self.send(&FromPrimary::Failed {
                phase,
                why: format!("told to fail in {phase}"),
            });
        }
        if self.told.fault == format!("hang {phase}") {
            return;
        }
        if self.told.fault == format!("die {phase}") {
            std::process::abort();
        }
        let mut report = Report::default();
        match phase {
            Phase::Attach if self.live.is_none() => {
                self.create_zone(self.generation, self.told.writes)
            }
            Phase::Migrate if self.needs_migration() => {
                self.create_zone(self.generation, self.told.writes);
                report.counts.push(("lost_sessions".into(), 0));
                report.zones.push(ZoneReport {
                    name: "nat.session".into(),
                    policy: Policy::Migrate,
                    from_version: 1,
                    to_version: self.told.writes,
                    records: 1000,
                    bytes: 1000 * 8 * u64::from(self.told.writes),
                    losses_back: vec!["qos_class".into()],
                });
            }
            Phase::Warm => self.start_lcores(),
            Phase::Retire => self.leave(),
            _ => {}
        }
        self.send(&FromPrimary::Done { phase, report });
    }

    fn needs_migration(&self) -> bool {
        let directory = Directory::open(&self.arena).expect("a directory");
        let found = directory
            .find("nat.session", self.live.unwrap_or(0))
            .expect("a zone");
        found.schema_version != self.told.writes
    }

    /// Its zone in an earlier layout, for an earlier version.
    fn export(&self, generation: u16, zones: &[(String, u32)]) {
        if self.told.fault == "fail export" {
            let why = "told to fail in export".to_owned();
            return self.send(&FromPrimary::Failed {
                phase: Phase::Migrate,
                why,
            });
        }
        for (_, version) in zones {
            self.create_zone(generation, *version);
        }
        self.send(&FromPrimary::Done {
            phase: Phase::Migrate,
            report: Report::default(),
        });
    }

    fn create_zone(&self, generation: u16, version: u32) {
        let channel = self.channel.as_ref().expect("connected");
        let schema = schema(version);
        let stride = schema.size;
        self.send(&FromPrimary::CreateZone {
            name: "nat.session".into(),
            schema,
            generation,
            len: u64::from(stride) * 1000,
            policy: Policy::Migrate,
            count: 1000,
            stride,
        });
        let Ok(Some((ToPrimary::Zone { id, .. }, _))) = channel.recv(soon()) else {
            exit(6)
        };
        self.send(&FromPrimary::ZoneReady { id });
        let Ok(Some((ToPrimary::Acknowledged, _))) = channel.recv(soon()) else {
            exit(7)
        };
    }

    fn start_lcores(&self) {
        for index in 0..self.lcores {
            let lcore = Lcore {
                arena: self.arena.clone(),
                ledger: Ledger::open(&self.arena).expect("a ledger"),
                slot: lcore_slot(self.tenant, usize::from(index)),
                shards: (0..usize::from(self.shards))
                    .filter(|shard| shard % usize::from(self.lcores) == usize::from(index))
                    .chain((index == 0).then_some(CONTROL_SHARD))
                    .collect(),
                stop: self.stop.clone(),
                polls: self.polls.clone(),
                deaf: self.told.fault == "deaf",
            };
            let (ready, held) = std::sync::mpsc::channel();
            std::thread::spawn(move || lcore.run(&ready));
            held.recv_timeout(Duration::from_secs(5))
                .expect("the lifeline is held");
        }
    }

    fn stats(&self) -> Stats {
        let polls = self.polls.load(Ordering::Relaxed);
        let ledger = Ledger::open(&self.arena).expect("a ledger");
        let owned = |shard: u16| {
            ledger
                .owner_word(usize::from(shard))
                .lcore
                .is_some_and(|lcore| tenant_of(lcore) == self.tenant)
        };
        let shards = (0..self.shards)
            .map(|shard| ShardStats {
                shard,
                sessions: 500,
                rx_packets: polls,
                owned: owned(shard),
                ..ShardStats::default()
            })
            .collect();
        let port = PortStats {
            name: "inside".into(),
            driver: "net_fake".into(),
            up: true,
            rx_packets: polls,
            rx_ring_entries: 4096,
            posted: 4096,
            device: vec![("rx_ring_full".into(), 0)],
            ..PortStats::default()
        };
        let mbufs = MbufStats {
            total: 64,
            free: 64,
            accounted: 64,
            ..MbufStats::default()
        };
        Stats {
            shards,
            drops: vec![("ttl_exceeded".into(), 3)],
            ports: vec![port],
            mbufs,
            program: vec![],
        }
    }

    fn leave(&self) {
        self.stop.store(true, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(5));
        exit(0);
    }

    /// A supervisor listens again: everything is brought back to it.
    fn come_back(&mut self, socket: &Path) {
        let Ok(channel) = Channel::connect(socket) else {
            return;
        };
        let hello = FromPrimary::Hello {
            pid: std::process::id(),
            manifest: manifest(&self.told),
            resume: Some(self.tenant),
        };
        let (keys, fds): (Vec<String>, Vec<_>) = self
            .fds
            .iter()
            .map(|(key, fd)| (key.clone(), fd.as_fd()))
            .unzip();
        if channel.send(&hello, &[]).is_err()
            || channel.send(&FromPrimary::Deposit { keys }, &fds).is_err()
        {
            return;
        }
        let mut asked = 0;
        loop {
            match channel.recv::<ToPrimary>(soon()) {
                Ok(Some((ToPrimary::Acknowledged, _))) => break,
                Ok(Some((ToPrimary::GetStats, _))) => asked += 1,
                _ => return,
            }
        }
        self.channel = Some(channel);
        for _ in 0..asked {
            self.send(&FromPrimary::Snapshot(self.stats()));
        }
    }
}
