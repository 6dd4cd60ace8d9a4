//! Two generations of a program in one process: the layout of its records changes, shards go there and
//! back, under packets whose numbers are checked at the other end.

use crate::config;
use crate::prelude::*;
use crate::resolve::Authority;
use crate::tenant::{Standing, Tenant};
use crate::transition::Fold;
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

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "t.flow", version = 1)]
#[repr(C)]
struct FlowV1 {
    first: u32,
}

#[derive(Record, FromBytes, IntoBytes, Immutable, Clone, Copy)]
#[record(name = "t.flow", version = 2, follows = FlowV1)]
#[repr(C)]
struct FlowV2 {
    first: u32,
    class: u32,
}

impl Migrate<FlowV1> for FlowV2 {
    const LOSES: &'static [Loss] = &[Loss("class")];
    fn up(old: FlowV1) -> FlowV2 {
        FlowV2 {
            first: old.first,
            class: 0,
        }
    }
    fn down(new: FlowV2) -> FlowV1 {
        FlowV1 { first: new.first }
    }
}

#[derive(Reason, Clone, Copy)]
enum Drop {
    NoKey,
    Full,
}

#[derive(Deserialize)]
struct Nothing {}

/// A program that writes into each packet the number of the first packet of its flow.
macro_rules! program {
    ($name:ident, $state:ident, $flow:ident, $hot:ident, $make:expr) => {
        #[derive(Zones)]
        struct $state {
            #[zone(migrate)]
            flows: Table<FlowKey, $flow, $hot>,
        }

        struct $name;

        impl Datapath for $name {
            type Config = Nothing;
            type State = $state;
            type Drop = Drop;

            fn name() -> String {
                "program".into()
            }

            fn capacity(_: &Nothing, _: &str) -> u32 {
                4096
            }

            fn new(_: &Nothing, _: &Setup) -> Result<Self> {
                Ok($name)
            }

            fn burst(&mut self, shard: &mut Shard<Self>, burst: Burst) {
                for (mut packet, key, found) in
                    shard.state.flows.find_burst(burst, Packet::flow_key)
                {
                    let Some(key) = key else {
                        shard.drop(packet, Drop::NoKey);
                        continue;
                    };
                    let number = number(packet.data());
                    let flow = found
                        .or_else(|| shard.state.flows.find_or_insert(key, || $make(number)).ok());
                    let Some(flow) = flow else {
                        shard.drop(packet, Drop::Full);
                        continue;
                    };
                    packet.data_mut()[50..54].copy_from_slice(&flow.first.to_le_bytes());
                    if number.is_multiple_of(4) {
                        in_pieces(shard, packet);
                    } else {
                        shard.transmit(PortId(0), packet);
                    }
                }
            }
        }
    };
}

/// Sends a packet as one of two segments, to the first of which another referred: it leaves whole.
fn in_pieces<D: Datapath<Drop = Drop>>(shard: &mut Shard<D>, packet: Packet) {
    let mut chain = Chain::of(packet);
    if let Some(rest) = chain.split_off(20, shard.cache()) {
        let twin = chain.clone(shard.cache());
        chain.chain(rest).expect("two segments");
        twin.into_iter().for_each(|twin| twin.free(shard.cache()));
    }
    shard.transmit_chain(PortId(0), chain, Drop::Full);
}

program!(Older, StateV1, FlowV1, Hot32, |first| FlowV1 { first });
program!(Newer, StateV2, FlowV2, Hot64, |first| FlowV2 {
    first,
    class: 7
});

const CONFIG: &str = "[instance]\nfile-prefix = \"t\"\nlcores = \"0\"\nmbufs = 2048\n[[port]]\nname = \"lan\"\nvdev = \"net_ring0\"\nrxd = 256\ntxd = 256\n[program]\n";
const DEADLINE: Duration = Duration::from_secs(20);

fn number(frame: &[u8]) -> u32 {
    u32::from_le_bytes(frame[46..50].try_into().expect("four bytes"))
}

struct World {
    arena: Arena,
    directory: Directory,
    ledger: Ledger,
    next: u32,
    due: u32,
    firsts: HashMap<u16, u32>,
    /// A port's peer and its pool, once there is a port.
    peer: Option<(Peer, Pool)>,
}

impl World {
    fn new() -> World {
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
    fn first(&mut self) -> Tenant<Older> {
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
    fn second(&self, first: &Tenant<Older>, generation: u16) -> Tenant<Newer> {
        self.next(first, 1, generation, 1)
    }

    fn next<A: Datapath, B: Datapath>(
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
    fn send(&mut self, n: u32, flow: u16) {
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

    fn settle(&mut self) {
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
    fn swap(&mut self, to: u16, generation: u16, flow: u16) {
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

#[test]
fn sessions_and_packets_survive_an_upgrade_a_rollback_and_another_upgrade() {
    let mut world = World::new();
    let mut older = world.first();
    world.send(5_000, 1000);
    let mut newer = world.second(&older, 2);
    world.send(1_000, 1020);
    world.swap(1, 2, 1020);
    newer.transition.set_soaking(true);
    world.send(5_000, 1040);
    world.settle();
    let older_flows = |world: &World| {
        world
            .directory
            .list()
            .iter()
            .filter(|zone| zone.name == "t.flow")
            .count()
    };
    assert_eq!(
        older_flows(&world),
        2,
        "both generations of the records stand side by side"
    );

    newer.prepare_rollback().expect("counters folded");
    world.swap(0, 1, 1060);
    world.send(5_000, 1000);
    world.settle();
    newer.stop();
    let mut newest = world.second(&older, 3);
    world.swap(1, 3, 1080);
    newest.transition.set_soaking(true);
    newest.commit().expect("commit");
    older.stop();
    world.send(5_000, 1000);
    world.settle();
    assert_eq!(
        world.firsts.len(),
        120,
        "flows from before, between and after"
    );

    let stats = newest.stats(true);
    assert_eq!(
        (stats.mbufs.unaccounted, stats.mbufs.doubled),
        (0, 0),
        "{:?}",
        stats.mbufs
    );
    assert_eq!(
        stats.drops.iter().map(|(_, count)| count).sum::<u64>(),
        0,
        "{:?}",
        stats.drops
    );
    newest.stop();
}

#[test]
fn counters_are_carried_there_and_back() {
    let mut world = World::new();
    let mut older = world.first();
    world.send(400, 1000);
    world.settle();
    let mut newer = world.second(&older, 2);
    world.swap(1, 2, 1000);
    world.send(400, 1000);
    world.settle();
    newer.prepare_rollback().expect("counters folded");
    world.swap(0, 1, 1000);
    world.settle();
    let sent = u64::from(world.next);
    newer.stop();
    older.stop();
    let entry = world
        .directory
        .find("t.flow.hot", 1)
        .expect("the older counters");
    let region = world.directory.zone_region(&entry).expect("its bytes");
    let total: u64 = (0..entry.count as usize)
        .map(|id| region.read::<Hot32>(id * 16))
        .map(|hot| u64::from(hot.packets))
        .sum();
    // The first packet of a flow makes its row, and is not one that was found.
    assert_eq!(total, sent - world.firsts.len() as u64);
}

#[test]
fn an_older_version_takes_over_after_the_commit_and_gives_back() {
    let mut world = World::new();
    let mut older = world.first();
    world.send(1_000, 1000);
    let mut newer = world.second(&older, 2);
    world.swap(1, 2, 1000);
    newer.transition.set_soaking(true);
    newer.commit().expect("commit");
    assert_eq!(
        newer.transition.fold(),
        Fold::No,
        "a tick that folds up would let go of what is exported next"
    );
    older.stop();
    world.send(1_000, 1040);
    world.settle();
    let counted = packets_of(&world, "t.flow.hot", 2);

    let zones = [("t.flow".to_owned(), 1), ("t.flow.hot".to_owned(), 1)];
    newer.export(3, &zones).expect("the older layouts");
    let mut again: Tenant<Older> = world.next(&newer, 2, 3, 3);
    world.send(1_000, 1080);
    world.swap(2, 3, 1080);
    world.send(1_000, 1120);
    world.settle();
    assert!(
        packets_of(&world, "t.flow.hot", 3) > counted,
        "what was counted before went along"
    );

    world.swap(1, 2, 1120);
    newer.export(3, &[]).expect("the end of the older layouts");
    world.send(1_000, 1120);
    world.settle();
    again.stop();
    newer.stop();
}

/// Packets counted in all rows of a zone of counters.
fn packets_of(world: &World, zone: &str, generation: u16) -> u64 {
    let entry = world
        .directory
        .find(zone, generation)
        .expect("the counters");
    let region = world.directory.zone_region(&entry).expect("their bytes");
    let rows = 0..entry.count as usize;
    match entry.schema_version {
        1 => rows
            .map(|id| u64::from(region.read::<Hot32>(id * 16).packets))
            .sum(),
        _ => rows.map(|id| region.read::<Hot64>(id * 32).packets).sum(),
    }
}
