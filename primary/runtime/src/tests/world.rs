//! An instance in one process: its arena, the far end of its port, and packets on their way through whoever has it.

use super::{Newer, Older};
use crate::config;
use crate::prelude::*;
use crate::resolve::Authority;
use crate::tenant::{Standing, Tenant};
use baton_ports::PortSpec;
use baton_ports::net_ring::Peer;
use baton_shared_state::arena::{Arena, ArenaSpec};
use baton_shared_state::directory::Directory;
use baton_shared_state::ledger::{Ledger, lcore_slot};
use baton_shared_state::mempool::Pool;
use baton_shared_state::ownership;
use baton_shared_state::{CHUNK, CONTROL_SHARD, sys};
use std::collections::HashMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const CONFIG: &str = "[instance]\nfile-prefix = \"t\"\nlcores = \"0\"\nmbufs = 2048\n[[port]]\nname = \"lan\"\nvdev = \"net_ring0\"\nrxd = 256\ntxd = 256\n[program]\n";
const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn number(frame: &[u8]) -> u32 {
    u32::from_le_bytes(frame[46..50].try_into().expect("four bytes"))
}

pub(super) struct World {
    arena: Arena,
    pub(super) directory: Directory,
    ledger: Ledger,
    pub(super) next: u32,
    due: u32,
    pub(super) firsts: HashMap<u16, u32>,
    /// A port's peer and its pool, once there is a port.
    peer: Option<(Peer, Pool)>,
}

impl World {
    pub(super) fn new() -> World {
        let spec = ArenaSpec {
            prefix: "t".into(),
            tables_bytes: 32 << 20,
            mbufs: 2048,
            chunk: CHUNK,
            ..ArenaSpec::default()
        };
        let arena = Arena::create(&spec).expect("an arena");
        let directory = Directory::create(&arena).expect("a directory");
        let ledger = Ledger::create(&arena, 1).expect("a ledger");
        World {
            arena,
            directory,
            ledger,
            next: 0,
            due: 0,
            firsts: HashMap::new(),
            peer: None,
        }
    }

    fn tenant<D: Datapath>(&self, tenant: u16, generation: u16, live: Option<u16>) -> Tenant<D> {
        let config =
            config::parse::<D::Config>(CONFIG, "t.toml", &D::name()).expect("a good config");
        let standing = Standing {
            tenant,
            generation,
            live,
        };
        let authority = Authority::Own(self.directory.clone());
        Tenant::new(
            config,
            authority,
            self.arena.clone(),
            standing,
            HashMap::new(),
        )
        .expect("a tenant")
    }

    /// The first tenant, forwarding.
    pub(super) fn first(&mut self) -> Tenant<Older> {
        let mut tenant = self.tenant::<Older>(0, 1, None);
        tenant.attach().expect("attach");
        tenant.warm().expect("warm");
        for shard in [0, CONTROL_SHARD] {
            self.ledger
                .claim_first(shard, lcore_slot(0, 0), 1)
                .expect("nobody had it");
        }
        let spec = PortSpec::parse_vdev("net_ring0")
            .expect("a spec")
            .named("lan", 0)
            .with_rings(256, 256)
            .expect("rings");
        let pool = tenant.attached.as_ref().expect("attached").pool;
        let peer =
            Peer::open(&spec, 0, &tenant.fds["port/lan/0/rings"], &pool).expect("the other end");
        self.peer = Some((peer, pool));
        tenant
    }

    /// The next tenant, warm, owning nothing.
    pub(super) fn second(&self, first: &Tenant<Older>, generation: u16) -> Tenant<Newer> {
        self.next(first, 1, generation, 1)
    }

    pub(super) fn next<A: Datapath, B: Datapath>(
        &self,
        before: &Tenant<A>,
        slot: u16,
        generation: u16,
        live: u16,
    ) -> Tenant<B> {
        let mut tenant = self.tenant::<B>(slot, generation, Some(live));
        tenant.fds = before
            .fds
            .iter()
            .map(|(key, fd)| {
                (
                    key.clone(),
                    sys::process::duplicate(fd.as_fd()).expect("a duplicate"),
                )
            })
            .collect();
        tenant.attach().expect("attach");
        let report = tenant.migrate().expect("migrate");
        assert_eq!(report.count("differences"), Some(0));
        tenant.warm().expect("warm");
        tenant
    }

    /// Sends `n` packets of 40 flows, `flow` on, and takes what comes back meanwhile.
    pub(super) fn send(&mut self, n: u32, flow: u16) {
        for _ in 0..n {
            let until = Instant::now() + DEADLINE;
            let (peer, pool) = self.peer.as_mut().expect("a port");
            let mut cache = pool.cache(40);
            let mut packet = loop {
                match cache.alloc() {
                    Some(packet) => break packet,
                    None => assert!(Instant::now() < until, "no buffer came back"),
                }
            };
            let port = flow + (self.next % 40) as u16;
            packet
                .append(60)
                .expect("room for a small frame")
                .copy_from_slice(&frame(port, self.next));
            self.firsts.entry(port).or_insert(self.next);
            let mbuf = packet.into_raw();
            while peer.send_burst(&[mbuf]) == 0 {
                assert!(Instant::now() < until, "the port takes nothing");
                std::thread::yield_now();
            }
            self.next += 1;
            self.receive();
            // The rings hold 256: more on their way would be dropped by name, not lost.
            while self.next - self.due > 128 {
                self.receive();
                assert!(
                    Instant::now() < until,
                    "{} of {} came back",
                    self.due,
                    self.next
                );
            }
        }
    }

    /// Takes what has come back: each next number once, with the first number of its flow.
    fn receive(&mut self) {
        let (peer, pool) = self.peer.as_mut().expect("a port");
        let mut mbufs = [0; 32];
        let n = peer.recv_burst(&mut mbufs);
        for &mbuf in &mbufs[..n] {
            let packet = Packet::from_raw(mbuf, *pool);
            assert_eq!(
                number(packet.data()),
                self.due,
                "a packet was lost, doubled or overtaken"
            );
            let port = u16::from_be_bytes([packet.data()[34], packet.data()[35]]);
            let first = u32::from_le_bytes(packet.data()[50..54].try_into().expect("four bytes"));
            assert_eq!(first, self.firsts[&port], "flow {port} was forgotten");
            self.due += 1;
        }
    }

    pub(super) fn settle(&mut self) {
        let until = Instant::now() + DEADLINE;
        while self.due < self.next {
            self.receive();
            assert!(
                Instant::now() < until,
                "{} of {} packets came back",
                self.due,
                self.next
            );
        }
    }

    /// Asks both shards over to a tenant, and goes on sending until they have moved: each flow at least once.
    pub(super) fn swap(&mut self, to: u16, generation: u16, flow: u16) {
        self.send(40, flow);
        let slot = lcore_slot(to, 0);
        for shard in [CONTROL_SHARD, 0] {
            ownership::ask(
                self.ledger.owner(shard),
                self.ledger.request(shard),
                slot,
                generation,
            )
            .expect("asked");
        }
        let until = Instant::now() + DEADLINE;
        while [0, CONTROL_SHARD]
            .iter()
            .any(|&shard| self.ledger.owner_word(shard).lcore != Some(slot))
        {
            self.send(1, flow);
            assert!(Instant::now() < until, "the shards did not move");
        }
    }
}

/// A UDP packet whose payload begins with its number.
fn frame(port: u16, number: u32) -> [u8; 60] {
    let mut frame = [0u8; 60];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&[10, 0, 0, 1]);
    frame[30..34].copy_from_slice(&[10, 0, 0, 2]);
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    frame[46..50].copy_from_slice(&number.to_le_bytes());
    frame
}
