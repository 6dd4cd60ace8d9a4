//! Two generations of a program in one process: the layout of its records changes, shards go there and
//! back, under packets whose numbers are checked at the other end.

mod world;

use crate::prelude::*;
use crate::tenant::Tenant;
use crate::transition::Fold;
use world::{World, number};

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
