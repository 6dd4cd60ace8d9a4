//! For benches and tests of whole programs: one lcore with all shards, over private memory, driven
//! round by round from the caller's thread. Not part of a running instance.

use crate::config;
use crate::datapath::{Datapath, Error};
use crate::mailbox::Mailbox;
use crate::neighbours::Neighbours;
use crate::open_ports;
use crate::resolve::Authority;
use crate::routes;
use crate::setup::{Mac, PortId};
use crate::shard::Shard;
use crate::tenancy::Lcore;
use crate::tenant::{Standing, Tenant};
use crate::zone::Gain;
use baton_ports::net_ring::Peer;
use baton_shared_state::arena::{Arena, ArenaSpec};
use baton_shared_state::directory::Directory;
use baton_shared_state::ledger::Ledger;
use baton_shared_state::lifeline::Lifelines;
use baton_shared_state::lpm::LpmWriter;
use baton_shared_state::mbuf::{Packet, PartialCsum};
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::{BURST, CHUNK, CONTROL_SHARD, LCORES_PER_TENANT, Region, sys};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A program with its loop in the caller's hand.
pub struct Bench<D: Datapath> {
    lcore: Lcore<D>,
    tenant: Tenant<D>,
    /// The time, and what a round takes, where that is made up.
    clock: Option<(u64, u64)>,
}

impl<D: Datapath> core::fmt::Debug for Bench<D> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

/// Bytes for tables.
const TABLES: u64 = 512 << 20;

impl<D: Datapath> Bench<D> {
    /// A program of this config, forwarding.
    ///
    /// # Errors
    /// As a start would.
    pub fn new(toml: &str) -> Result<Bench<D>, Error> {
        let said = |why: &dyn core::fmt::Display| Error::new(why.to_string());
        let config = config::parse::<D::Config>(toml, "bench.toml", &D::name())?;
        let spec = ArenaSpec {
            prefix: config.instance.file_prefix.0.clone(),
            tables_bytes: TABLES,
            mbufs: config.instance.mbufs,
            chunk: CHUNK,
            ..ArenaSpec::default()
        };
        let arena = Arena::create(&spec).map_err(|why| said(&why))?;
        let directory = Directory::create(&arena).map_err(|why| said(&why))?;
        let ledger =
            Ledger::create(&arena, usize::from(config.shards()?)).map_err(|why| said(&why))?;
        let standing = Standing {
            tenant: 0,
            generation: 1,
            live: None,
        };
        let mut tenant = Tenant::<D>::new(
            config,
            Authority::Own(directory),
            arena.clone(),
            standing,
            HashMap::new(),
        )?;
        tenant.attach()?;
        tenant.migrate()?;
        let runs = core::mem::take(&mut tenant.runs);
        let slot = standing.tenant * LCORES_PER_TENANT as u16;
        for shard in (0..usize::from(tenant.shards)).chain([CONTROL_SHARD]) {
            ledger
                .claim_first(shard, slot, standing.generation)
                .map_err(|why| said(&why))?;
        }
        let mailbox = Arc::new(Mailbox::default());
        let idle = tenant.config.instance.idle;
        let lifelines = Lifelines::open(&arena).map_err(|why| said(&why))?;
        let mut lcore = Lcore::new(
            0,
            slot,
            standing.generation,
            arena,
            ledger,
            lifelines,
            mailbox,
            idle,
            runs,
            true,
        );
        lcore.gain_given();
        Ok(Bench {
            lcore,
            tenant,
            clock: None,
        })
    }

    /// From now on a round takes `round_ns`, whatever it takes: under a tool that makes a program slow, as much of
    /// the work of each millisecond falls to a packet as without it.
    pub fn pretend(&mut self, round_ns: u64) {
        self.clock = Some((sys::clock_boottime_ns(), round_ns));
    }

    /// Rounds of the loop as an instance runs it; the packets met.
    pub fn rounds(&mut self, rounds: u32) -> usize {
        (0..rounds)
            .filter_map(|_| {
                let now = self.now();
                self.lcore.round(now)
            })
            .sum()
    }

    /// The same without what makes the program replaceable: no request and owner words, no heartbeat.
    pub fn bare_rounds(&mut self, rounds: u32) -> usize {
        (0..rounds)
            .map(|_| {
                let now = self.now();
                self.lcore.poll(now)
            })
            .sum()
    }

    fn now(&mut self) -> u64 {
        match &mut self.clock {
            None => sys::clock_boottime_ns(),
            Some((now, round_ns)) => {
                *now += *round_ns;
                *now
            }
        }
    }

    /// One round at a time of the caller's choice, in nanoseconds since boot; the packets met.
    pub fn round_at(&mut self, now_ns: u64) -> usize {
        self.lcore.poll(now_ns)
    }

    /// What the program keeps of a shard outside of shared memory.
    pub fn datapath(&mut self, shard: u16) -> Option<&mut D> {
        let mut runs = self.lcore.runs.iter_mut();
        let run = runs.find(|run| run.shard.index() == shard)?;
        Some(&mut run.datapath)
    }

    /// A shard, as its datapath sees it.
    pub fn shard(&mut self, shard: u16) -> Option<&mut Shard<D>> {
        let runs = self.lcore.runs.iter_mut();
        let mut shards = runs.map(|run| &mut run.shard);
        shards.find(|other| other.index() == shard)
    }

    /// Gives all shards away and gets them back.
    pub fn give_and_get_back(&mut self) {
        for run in &mut self.lcore.runs {
            run.release();
            run.gain(Gain::Handed);
            run.resume();
        }
    }

    /// Teaches a neighbour.
    ///
    /// # Panics
    /// When the program has no zone of neighbours.
    pub fn learn(&self, port: PortId, address: Ipv4Addr, mac: Mac) {
        Neighbours::over(self.region("neighbour")).learn(port, address, mac, 1);
    }

    /// Announces a route to a next hop, by its number among those of the config, or withdraws one.
    ///
    /// # Panics
    /// When the program has no zone of routes, or no room in it.
    pub fn route(&self, prefix: Ipv4Addr, len: u8, hop: Option<u16>) {
        let writer = LpmWriter::resume(self.region(routes::ZONE));
        let mut writer = writer.expect("routes were made");
        let done = match hop {
            Some(hop) => writer.insert(prefix.into(), len, hop),
            None => writer.delete(prefix.into(), len).map(drop),
        };
        done.expect("room for a route");
    }

    /// The far end of port number `port`, a `net_ring`; its buffers come from a cache of its own.
    ///
    /// # Panics
    /// When that port is no `net_ring`.
    pub fn end(&self, port: usize) -> End {
        self.end_of(port, 0)
    }

    /// The far end of one queue of port number `port`.
    ///
    /// # Panics
    /// When that port is no `net_ring`, or has fewer queues.
    pub fn end_of(&self, port: usize, queue: u16) -> End {
        let pool = self
            .tenant
            .attached
            .as_ref()
            .expect("a bench is attached")
            .pool;
        let specs = open_ports::specs(&self.tenant.config.ports, self.tenant.shards)
            .expect("they were opened");
        let spec = &specs[port];
        let rings = &self.tenant.fds[&format!("port/{}/{queue}/rings", spec.name)];
        let peer = Peer::open(spec, queue, rings, &pool).expect("the rings were made just now");
        End {
            peer,
            pool,
            cache: pool.cache(CONTROL_SHARD - 1 - port - 8 * usize::from(queue)),
            frames: Vec::new(),
            next: 0,
        }
    }

    /// The bytes of a memzone.
    ///
    /// # Panics
    /// When the program has no such zone.
    pub fn zone(&self, name: &str) -> Vec<u8> {
        let region = self.region(name);
        region.to_vec(0, region.len())
    }

    fn region(&self, zone: &str) -> Region {
        let attached = self.tenant.attached.as_ref().expect("a bench is attached");
        attached.zones[zone].region
    }

    /// Drop counters by name.
    pub fn drops(&self) -> Vec<(String, u64)> {
        self.tenant.stats(false).drops
    }
}

/// The far end of a `net_ring` port, with packets ready to be offered again and again.
#[derive(Debug)]
pub struct End {
    peer: Peer,
    pool: Pool,
    cache: Cache,
    frames: Vec<Vec<u8>>,
    next: usize,
}

impl End {
    /// The packets that [`End::offer`] sends in turn.
    pub fn prepare<const N: usize>(&mut self, count: u32, make: impl Fn(u32) -> [u8; N]) {
        self.frames = (0..count).map(|flow| make(flow).to_vec()).collect();
    }

    /// Has [`End::offer`] send them in an order that no prefetcher foresees.
    pub fn scatter(&mut self) {
        let (count, step) = (self.frames.len(), baton_ports::stride(self.frames.len()));
        let order = (0..count).map(|at| at * step % count);
        self.frames = order.map(|at| self.frames[at].clone()).collect();
    }

    /// Sends up to `n` packets, at most a burst.
    pub fn offer(&mut self, n: usize) {
        let mut mbufs = [0u32; BURST];
        let got = self.cache.alloc_burst(&mut mbufs[..n.min(BURST)]);
        for &mbuf in &mbufs[..got] {
            let frame = &self.frames[self.next];
            self.next = (self.next + 1) % self.frames.len();
            let mut packet = Packet::fresh(mbuf, self.pool);
            if let Some(bytes) = packet.append(frame.len()) {
                bytes.copy_from_slice(frame);
            }
            packet.into_raw();
        }
        let sent = self.peer.send_burst(&mbufs[..got]);
        self.cache.free_burst(&mbufs[sent..got]);
    }

    /// Sends one frame.
    pub fn send(&mut self, frame: &[u8]) {
        self.frames = vec![frame.to_vec()];
        self.next = 0;
        self.offer(1);
    }

    /// Sends one frame whose transport checksum a port has marked as unfinished; it stands `offset`
    /// bytes behind the transport header at `start`.
    pub fn send_unfinished(&mut self, frame: &[u8], start: u16, offset: u16) {
        let mut packet = self.cache.alloc().expect("a bench has buffers enough");
        if let Some(bytes) = packet.append(frame.len()) {
            bytes.copy_from_slice(frame);
        }
        packet.set_csum_partial(Some(PartialCsum { start, offset }));
        let mbuf = packet.into_raw();
        let sent = self.peer.send_burst(&[mbuf]);
        self.cache.free_burst(&[mbuf][sent..]);
    }

    /// Takes what the port sent, frame by frame.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let mut mbufs = [0u32; BURST];
        let mut frames = Vec::new();
        loop {
            let n = self.peer.recv_burst(&mut mbufs);
            for &mbuf in &mbufs[..n] {
                let packet = Packet::from_raw(mbuf, self.pool);
                frames.push(packet.data().to_vec());
                packet.into_raw();
            }
            self.cache.free_burst(&mbufs[..n]);
            if n == 0 {
                return frames;
            }
        }
    }

    /// Takes and frees what the port sent; how many packets that were.
    pub fn drain(&mut self) -> usize {
        let mut mbufs = [0u32; BURST];
        let mut drained = 0;
        loop {
            let n = self.peer.recv_burst(&mut mbufs);
            self.cache.free_burst(&mbufs[..n]);
            drained += n;
            if n < BURST {
                return drained;
            }
        }
    }
}
