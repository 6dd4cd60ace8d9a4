//! What `attach` attaches to, beside routes and rules.

use std::sync::OnceLock;

use baton_shared_state::Region;
use baton_shared_state::audit::Audit;
use baton_shared_state::mbuf::Chain;
use baton_shared_state::mempool::Pool;
use baton_shared_state::meter::{Meters, Rfc4115, SrTcm, TrTcm};
use baton_shared_state::rcu::{DeferQueue, Qsbr};
use baton_shared_state::table::{Dirty, IdPlan, IdSpace, Index, Keys, NO_ID};

use crate::input::Input;
use crate::{Subject, guarded};

/// Rows that the index names by their keys.
const ROWS: u32 = 10;

/// Their keys, whole.
fn keys() -> &'static Keys<[u64; 2]> {
    static KEYS: OnceLock<Keys<[u64; 2]>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let region = guarded(Keys::<[u64; 2]>::bytes_for(ROWS));
        let keys = Keys::new(region, ROWS).expect("keys");
        (0..ROWS).for_each(|id| _ = keys.publish(id, &[u64::from(id), 0]));
        keys
    })
}

pub fn index() -> Subject {
    let region = guarded(Index::bytes_for(2, 4));
    let index = Index::create(region, 2, 4, 3).expect("an index");
    (0..20).for_each(|id| {
        _ = index
            .shard(1)
            .insert(0x1234_5678_9abc_def0 ^ u64::from(id), id)
    });
    for id in 0..ROWS {
        let (key, shard) = (u128::from(id).to_le_bytes(), index.shard(1));
        _ = shard.insert(shard.hash(&key), id);
    }
    Subject {
        region,
        places: vec![0, 64, 64 + 64 * 5],
        read: |region, input| {
            let index = Index::attach(region).ok()?;
            let shard = index.shard(index.shards() - 1);
            let hashes: [u64; 32] = core::array::from_fn(|_| u64::from_le_bytes(input.bytes()));
            let mut ids = [0; 32];
            shard.find_burst(|i| hashes[i], |_| {}, |i, id| id as usize != i, &mut ids);
            hashes.iter().for_each(|hash| _ = shard.probe_length(*hash));
            let wanted: [[u64; 2]; 32] = core::array::from_fn(|i| [i as u64, 0]);
            shard.find_keys(keys(), &wanted, &mut ids);
            assert!(ids.iter().all(|id| *id < ROWS || *id == NO_ID));
            Some(())
        },
    }
}

pub fn ids() -> Subject {
    let plan = IdPlan::new(200, 2).expect("a plan");
    let region = guarded(IdSpace::bytes_for(&plan));
    IdSpace::create(region, plan).expect("ids");
    Subject {
        region,
        places: vec![0, 64, 128],
        read: |region, input| {
            let space = IdSpace::attach(region).ok()?;
            let shards = space.plan().shards as u16;
            let shard = space.shard(input.half() % shards);
            let _ = shard.available();
            let _ = space.ranges(input.half()).flatten().take(10_000).count();
            let _ = space.shard_of(input.word() % space.total());
            Some(())
        },
    }
}

pub fn dirty() -> Subject {
    let region = guarded(Dirty::bytes_for(5000));
    Dirty::create(region, 5000).expect("a bitmap");
    Subject {
        region,
        places: vec![0, 64, 72, 80],
        read: |region, _| {
            let bitmap = Dirty::attach(region).ok()?;
            let _ = (bitmap.len(), bitmap.is_empty());
            let before = region.to_vec(0, region.len());
            bitmap.drain(|id| assert!(id < bitmap.ids().next_multiple_of(64)));
            region.copy_in(0, &before);
            Some(())
        },
    }
}

pub fn qsbr() -> Subject {
    let region = guarded(Qsbr::bytes());
    let qsbr = Qsbr::create(region).expect("words of readers");
    qsbr.reader(5).expect("a slot").online();
    Subject {
        region,
        places: vec![0, 64, 128, 192, 256, 256 + 64 * 5],
        read: |region, input| {
            let before = region.to_vec(0, region.len());
            let qsbr = Qsbr::attach(region).ok()?;
            let token = u64::from_le_bytes(input.bytes());
            let dead = input.byte();
            qsbr.check(token, |slot| slot as u8 % 8 < dead);
            let _ = qsbr.is_online(input.half());
            region.copy_in(0, &before);
            Some(())
        },
    }
}

pub fn queue() -> Subject {
    let region = guarded(DeferQueue::bytes_for(6));
    DeferQueue::create(region, 6).expect("a queue");
    Subject {
        region,
        places: vec![0, 64, 128, 192],
        read: |region, _| {
            let queue = DeferQueue::attach(region).ok()?;
            let _ = (queue.waiting(), queue.values().count());
            Some(())
        },
    }
}

pub fn meters() -> Subject {
    Subject {
        region: guarded(Meters::bytes_for(4)),
        places: vec![0],
        read: |region, input| {
            let meters = Meters::new(region, 4).ok()?;
            let (rate, burst) = (u64::from(input.word()), 1 + u64::from(input.word()));
            let before = region.to_vec(0, region.len());
            let (now, bytes) = (u64::from_le_bytes(input.bytes()), input.word());
            let (a, b, c) = (
                SrTcm::new(rate, burst, burst / 2, 1 << 30).expect("rates"),
                TrTcm::new(rate / 2, burst, rate, burst, 1 << 30).expect("rates"),
                Rfc4115::new(rate, burst, rate, burst, 1 << 30).expect("rates"),
            );
            for id in 0..4 {
                let _ = a.mark_blind(meters.at(id), now, bytes);
                let _ = b.mark_blind(meters.at(id), now, bytes);
                let _ = c.mark_blind(meters.at(id), now, bytes);
            }
            region.copy_in(0, &before);
            Some(())
        },
    }
}

/// Bytes of a mbuf's line.
const LINE: usize = 64;

pub fn pool() -> Subject {
    fn data() -> Region {
        static DATA: OnceLock<Region> = OnceLock::new();
        *DATA.get_or_init(|| guarded(Pool::data_bytes(64, 2048)))
    }
    let region = guarded(Pool::meta_bytes(64));
    let pool = Pool::create(region, data(), 2048).expect("a pool");
    // A packet of three segments and its clone, in somebody's hand.
    let mut cache = pool.cache(0);
    let mut chain = Chain::of(cache.alloc().expect("free ones"));
    for _ in 0..2 {
        let mut next = cache.alloc().expect("free ones");
        next.append(100).expect("room");
        chain.push(next).expect("few segments");
    }
    let clone = chain.clone(&mut cache).expect("free ones");
    let lines = region.len() - 64 * LINE;
    let line = |m: u32| lines + m as usize * LINE;
    let mut places = vec![0, 64, 128, 4096, lines, line(32)];
    places.extend(chain.indexes().chain(clone.indexes()).map(line));
    (chain.into_raw(), clone.into_raw());
    Subject {
        region,
        places,
        read: |region, input| {
            let before = region.to_vec(0, region.len());
            let pool = Pool::attach(region, data()).ok()?;
            let m = input.word() % pool.count();
            let _ = (pool.packet(m), pool.place(m), pool.bytes(m).1);
            chains(pool, input);
            let _ = Audit::new(pool).finish().is_exact();
            region.copy_in(0, &before);
            Some(())
        },
    }
}

/// Whatever lines say, a chain is whole or refused: what it shows is inside the pool, and as long as it says.
fn chains(pool: Pool, input: &mut Input<'_>) {
    let cache = pool.cache(usize::from(input.byte() % 4));
    for _ in 0..4 {
        let m = input.word() % (pool.count() + 1);
        let Ok(chain) = Chain::from_raw(m, &cache) else {
            continue;
        };
        assert_eq!(chain.indexes().count(), chain.segments());
        assert!(chain.indexes().all(|segment| segment < pool.count()));
        let shown: usize = chain.iter().flatten().map(<[u8]>::len).sum();
        assert!(shown <= chain.len());
        let (off, mut to) = (usize::from(input.half()), [0; 300]);
        let read = chain.copy_out(off, &mut to);
        assert!(!read || off + to.len() <= chain.len());
        let _ = (chain.is_writable(), chain.headroom(), chain.tailroom());
        chain.into_raw();
    }
}
