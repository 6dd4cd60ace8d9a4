//! Real processes, killed at any instant: a worker forwards every frame back to the neighbour; it
//! is killed with SIGKILL again and again under the stream, and the next one goes on with what it
//! finds. Every frame comes back once and in order, and no mbuf is missing.

mod rig;

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use baton_ports::{Port, PortSpec, adopt, create};
use baton_shared_state::Region;
use baton_shared_state::arena::{Access, Arena, ArenaSpec};
use baton_shared_state::audit::{Accounting, Audit, settle};
use baton_shared_state::limits::BURST;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::Holder;
use baton_shared_state::sync::Ordering;

use rig::net::{Wire, in_namespace, skip, veth};
use rig::{MBUFS, frame, number, transmit};

/// How often the worker is killed.
const KILLS: u32 = 12;
/// Frames that may be under way: fewer than any ring holds, so that nothing is lost before us.
const WINDOW: u32 = 200;
/// How long a whole stream may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(300);
/// What a worker is told: the vdev string and the descriptors it inherits, as `key=number`.
const WORKER: &str = "BATON_TEST_WORKER";
/// Where the worker counts its bursts, behind the cursors.
const BURSTS_AT: usize = 64 << 10;

/// Everything that outlives the workers.
struct Instance {
    arena: Arena,
    pool: Pool,
    spec: PortSpec,
    vault: HashMap<String, OwnedFd>,
}

fn spec(vdev: &str) -> PortSpec {
    let spec = PortSpec::parse_vdev(vdev).expect("a good string");
    spec.named("inside", 1)
        .with_rings(512, 512)
        .expect("powers of two")
}

impl Instance {
    fn create(vdev: &str) -> Instance {
        let arena = Arena::create(&ArenaSpec {
            mbufs: MBUFS,
            ..ArenaSpec::default()
        });
        let arena = arena.expect("an arena");
        let (meta, data) = (
            arena.require("meta").unwrap(),
            arena.require("data").unwrap(),
        );
        let pool = Pool::create_with(meta, data, 2048, MBUFS).expect("a pool");
        let (spec, mut vault) = (spec(vdev), HashMap::new());
        let made = create(&spec, &pool, arena.require("tables").unwrap());
        made.expect("the port can be made")
            .into_iter()
            .for_each(|made| vault.extend(made.fds));
        Instance {
            arena,
            pool,
            spec,
            vault,
        }
    }

    fn attach(told: &str) -> Instance {
        let mut parts = told.split(';');
        let spec = spec(parts.next().unwrap_or_default());
        let (mut segments, mut vault) = (Vec::new(), HashMap::new());
        for (key, number) in parts.filter_map(|part| part.split_once('=')) {
            let number: RawFd = number.parse().expect("a descriptor's number");
            // SAFETY: the parent left this descriptor open for us, and names it once.
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            match key.strip_prefix("segment/") {
                Some(name) => segments.push((name.to_owned(), fd)),
                None => drop(vault.insert(key.to_owned(), fd)),
            }
        }
        let arena = Arena::attach(segments, Access::ReadWrite).expect("the arena");
        let (meta, data) = (
            arena.require("meta").unwrap(),
            arena.require("data").unwrap(),
        );
        let pool = Pool::attach(meta, data).expect("the pool");
        Instance {
            arena,
            pool,
            spec,
            vault,
        }
    }

    fn tables(&self) -> Region {
        self.arena.require("tables").expect("the segment")
    }

    fn bursts(&self) -> u64 {
        self.tables().u64(BURSTS_AT).load(Ordering::Acquire)
    }

    fn port(&self) -> Box<dyn Port> {
        let source = |key: &str| self.vault.get(key).and_then(|fd| fd.try_clone().ok());
        adopt(&self.spec, 0, &source, &self.pool, self.tables()).expect("the port")
    }

    fn audit(&self, port: &dyn Port) -> Accounting {
        let mut audit = Audit::new(self.pool);
        port.windows(&mut |holder, m| audit.found(holder, m));
        audit.in_kernel(Holder::tx(self.spec.id, 0), port.in_kernel());
        audit.finish()
    }

    /// Takes the queue over from whoever died: the cache's half-done steps, the port's, then what was in hand.
    fn take_over(&self) -> (Box<dyn Port>, Cache) {
        let (mut port, mut cache) = (self.port(), self.pool.cache(0));
        let mut held = Vec::new();
        settle(self.pool, 0, &Audit::new(self.pool).finish());
        port.repair(&mut cache, &mut held);
        let settled = settle(self.pool, 0, &self.audit(&*port));
        let ours: HashSet<u32> = held.iter().copied().collect();
        let blank: Vec<u32> = settled
            .in_hand
            .into_iter()
            .filter(|m| !ours.contains(m))
            .collect();
        cache.free_burst(&blank);
        transmit(&mut *port, &mut cache, &held);
        (port, cache)
    }

    fn forward(&self, port: &mut dyn Port, cache: &mut Cache) {
        let mut out = [0; BURST];
        let n = port.rx_burst(cache, &mut out);
        if n == 0 {
            std::thread::yield_now();
            return;
        }
        transmit(port, cache, &out[..n]);
        self.tables().u64(BURSTS_AT).fetch_add(1, Ordering::Release);
    }

    /// Starts this program again as a worker that inherits every descriptor.
    fn spawn(&self) -> Worker {
        let mut inherited = Vec::new();
        let mut told = self.vdev();
        let segments = self.arena.fds().expect("the segments");
        let segments = segments
            .into_iter()
            .map(|(name, fd)| (format!("segment/{name}"), fd));
        let vault = self
            .vault
            .iter()
            .map(|(key, fd)| (key.clone(), fd.try_clone().unwrap()));
        for (key, fd) in segments.chain(vault) {
            let open = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty());
            nix::fcntl::fcntl(&fd, open).expect("a descriptor");
            told += &format!(";{key}={}", fd.as_raw_fd());
            inherited.push(fd);
        }
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["--exact", "worker", "--nocapture"])
            .env(WORKER, told);
        let child = command.stdout(Stdio::null()).spawn().expect("a worker");
        Worker(child)
    }

    fn vdev(&self) -> String {
        let iface = self.spec.iface.as_deref().unwrap_or_default();
        format!("{}0,iface={iface}", self.spec.driver.name())
    }
}

/// A worker process, killed when it goes out of scope.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not a test by itself: the process that is killed.
#[test]
fn worker() {
    let Ok(told) = std::env::var(WORKER) else {
        return;
    };
    let instance = Instance::attach(&told);
    let (mut port, mut cache) = instance.take_over();
    let deadline = Instant::now() + PATIENCE; // outlives nobody
    while Instant::now() < deadline {
        instance.forward(&mut *port, &mut cache);
    }
}

/// The neighbour: numbers of frames out and back.
struct Stream {
    wire: Wire,
    sent: u32,
    back: u32,
    deadline: Instant,
}

impl Stream {
    /// Keeps the window full and checks what came back.
    fn turn(&mut self, more: bool) {
        assert!(
            Instant::now() < self.deadline,
            "{} of {} came back",
            self.back,
            self.sent
        );
        while more && self.sent - self.back < WINDOW {
            self.wire.send(&frame(self.sent));
            self.sent += 1;
        }
        while let Some(bytes) = self.wire.recv() {
            assert_eq!(number(&bytes), self.back, "once and in order");
            self.back += 1;
        }
    }
}

fn killed_again_and_again(vdev: &str) {
    let instance = Instance::create(vdev);
    let wire = Wire::open("peer0");
    let mut stream = Stream {
        wire,
        sent: 0,
        back: 0,
        deadline: Instant::now() + PATIENCE,
    };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64 ^ u64::from(std::process::id());
    for _ in 0..KILLS {
        let worker = instance.spawn();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let enough = instance.bursts() + 20 + random % 200;
        while instance.bursts() < enough {
            stream.turn(true);
        }
        // Somewhere inside a burst.
        let instant = Instant::now() + Duration::from_nanos(random >> 20 & 0x7fff);
        while Instant::now() < instant {}
        drop(worker);
    }
    let (mut port, mut cache) = instance.take_over();
    while stream.back < stream.sent {
        instance.forward(&mut *port, &mut cache);
        stream.turn(false);
    }
    let sum = instance.audit(&*port);
    assert!(sum.is_exact(), "{sum:?}");
    assert!(stream.sent > KILLS * 20, "{} frames", stream.sent);
}

#[test]
fn af_packet_survives_kills_at_any_instant() {
    in_namespace("af_packet_survives_kills", || {
        veth(1);
        killed_again_and_again("net_af_packet0,iface=gw0");
    });
}

#[test]
fn af_xdp_survives_kills_at_any_instant() {
    if !nix::unistd::geteuid().is_root() {
        skip(
            "af_xdp_survives_kills_at_any_instant",
            "loading an XDP program needs root",
        );
        return;
    }
    in_namespace("af_xdp_survives_kills", || {
        veth(1);
        killed_again_and_again("net_af_xdp0,iface=gw0");
    });
}
