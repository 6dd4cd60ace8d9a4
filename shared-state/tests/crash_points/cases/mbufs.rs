//! Packets of several mbufs: chains, clones and external data, by a shard that dies and one that lives on.

use std::sync::OnceLock;

use baton_shared_state::Region;
use baton_shared_state::audit::{Accounting, Audit, settle};
use baton_shared_state::mbuf::{Chain, External};
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::{Holder, HolderKind, Place};

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    vec![
        alone("mbuf, a chain built and freed", |region| {
            let mut cache = pool(region).cache(DEAD);
            let chain = built(&mut cache, 4);
            in_hand(chain).free(&mut cache);
        }),
        alone("mbuf, a chain linearized", |region| {
            let mut cache = pool(region).cache(DEAD);
            let chain = built(&mut cache, 4);
            let mut chain = in_hand(chain);
            assert!(chain.linearize(&mut cache) && chain.is_linear());
            chain.free(&mut cache);
        }),
        alone("mbuf, a chain split and joined", |region| {
            split_and_join(&mut pool(region).cache(DEAD));
        }),
        alone("mbuf, a chain cloned and freed", |region| {
            clones(&mut pool(region).cache(DEAD));
        }),
        alone("mbuf, external data lent and taken back", |region| {
            lend(&mut pool(region).cache(DEAD));
        }),
        shared("mbuf, a clone while another clones", |region| {
            settle_shared(region, clone_and_free);
        }),
        shared("mbuf, a clone while another frees", |region| {
            settle_shared(region, |cache| {
                for m in parked(cache.pool()) {
                    whole(m, cache).free(cache);
                }
            });
        }),
        shared_anew(),
    ]
}

/// More than one cache takes at once, so that there are some for both.
const MBUFS: u32 = 320;
const CHUNK: u32 = 2048;
const DEAD: usize = 1;
const LIVE: usize = 2;
/// The arena offset of what is lent.
const LENT: u64 = 1 << 30;

/// As in `pool.rs`; and memory that is lent.
fn split(meta: Region) -> (Region, Region) {
    static DATA: OnceLock<Region> = OnceLock::new();
    let data = DATA.get_or_init(|| Region::private(Pool::data_bytes(MBUFS, CHUNK)));
    (meta, *data)
}

fn pool(region: Region) -> Pool {
    static OUTSIDE: OnceLock<Region> = OnceLock::new();
    let (meta, data) = split(region);
    let pool = Pool::attach(meta, data).expect("a pool");
    let outside = *OUTSIDE.get_or_init(|| Region::private(8192));
    assert!(pool.lend_from(vec![(LENT, outside)]));
    pool
}

fn create(region: Region) {
    let (meta, data) = split(region);
    let pool = Pool::create(meta, data, CHUNK).expect("a pool");
    // What a cache takes out of the common ring is not what is tried here.
    for shard in [DEAD, LIVE] {
        let mut one = [0];
        let mut cache = pool.cache(shard);
        cache.alloc_burst(&mut one);
        cache.free_burst(&one);
    }
}

fn built(cache: &mut Cache, segments: usize) -> Chain {
    let mut chain: Option<Chain> = None;
    for i in 0..segments {
        let mut packet = cache.alloc().expect("a mbuf");
        packet.append(100).expect("room").fill(i as u8);
        match &mut chain {
            None => chain = Some(Chain::of(packet)),
            Some(chain) => chain.push(packet).expect("room for a segment"),
        }
    }
    chain.expect("at least one")
}

/// As if a port had received it.
fn in_hand(chain: Chain) -> Chain {
    let place = Place::new(Holder::app(DEAD as u16), 0);
    chain.pool().set_place(chain.index(), place);
    chain
}

fn whole(m: u32, cache: &Cache) -> Chain {
    Chain::from_raw(m, cache).expect("a whole packet")
}

fn split_and_join(cache: &mut Cache) {
    let mut first = built(cache, 5);
    first = in_hand(first);
    // At an end, and inside of a segment that is not the last.
    let mut second = first.split_off(300, cache).expect("a mbuf");
    let third = first.split_off(150, cache).expect("a mbuf");
    assert!(second.adj(110) && second.trim(30));
    first.chain(third).expect("room");
    first.chain(second).expect("room");
    assert_eq!((first.segments(), first.len()), (6, 360));
    first.free(cache);
}

fn clones(cache: &mut Cache) {
    let mut first = built(cache, 2);
    first = in_hand(first);
    let mut second = first.clone(cache).expect("mbufs");
    let mut third = in_hand(second.clone(cache).expect("mbufs"));
    first.free(cache);
    assert!(third.make_writable(cache) && third.write(0, b"x"));
    second.free(cache);
    third.free(cache);
    // The one that has the chunks is changed while another refers to them.
    let mut first = built(cache, 2);
    let second = first.clone(cache).expect("mbufs");
    assert!(first.make_writable(cache));
    first.free(cache);
    second.free(cache);
}

fn lend(cache: &mut Cache) {
    let mut loan = External::lend(LENT + 64, 1000, cache).expect("a loan");
    let mut first = loan.packet(0, 500, cache).expect("a mbuf");
    first
        .chain(loan.packet(500, 500, cache).expect("a mbuf"))
        .expect("room");
    let second = in_hand(first.clone(cache).expect("mbufs"));
    first.free(cache);
    assert_eq!(loan.references(), 2);
    second.free(cache);
    loan.take_back(cache).expect("nobody has any of it");
}

/// Heads that the live one keeps for longer.
fn parked(pool: Pool) -> Vec<u32> {
    let mbufs = 0..pool.count();
    mbufs
        .filter(|m| pool.place(*m).holder.kind() == HolderKind::Parked)
        .collect()
}

fn park(chain: Chain) {
    let pool = chain.pool();
    let place = Place::new(Holder::parked(LIVE as u16, 0), 0);
    pool.set_place(chain.into_raw(), place);
}

fn audit(pool: Pool) -> Accounting {
    Audit::of(pool, |visit| {
        parked(pool)
            .iter()
            .for_each(|m| visit(Holder::parked(LIVE as u16, 0), *m));
    })
}

/// What a dead one had in hand hangs together, and is given back; what it lent ends.
fn settle_shard(pool: Pool, shard: usize) -> Vec<Chain> {
    let settled = settle(pool, shard, &audit(pool));
    let cache = pool.cache(shard);
    settled.in_hand.iter().map(|m| whole(*m, &cache)).collect()
}

fn settle_dead(region: Region) {
    let pool = pool(region);
    let mut cache = pool.cache(DEAD);
    for chain in settle_shard(pool, DEAD) {
        chain.free(&mut cache);
    }
    for loan in External::adopt(&cache) {
        loan.take_back(&mut cache).expect("all packets are gone");
    }
}

fn is_whole(region: Region) -> Result<(), String> {
    let pool = pool(region);
    let before = audit(pool);
    expect(before.is_exact(), || format!("{before:?}"))?;
    let mut cache = pool.cache(LIVE);
    parked(pool)
        .iter()
        .for_each(|m| whole(*m, &cache).free(&mut cache));
    let after = audit(pool);
    expect(after.is_exact() && after.free == u64::from(MBUFS), || {
        format!("{after:?}")
    })?;
    let plain = (0..MBUFS).all(|m| pool.line(m).is_plain());
    expect(plain, || "a free mbuf is not plain".into())?;
    let mut astray = None;
    pool.windows(&mut |holder, m| {
        if pool.place(m).holder != holder {
            astray = Some((m, holder, pool.place(m)));
        }
    });
    expect(astray.is_none(), || {
        format!("it is free elsewhere: {astray:?}")
    })?;
    let (mut all, mut n) = (vec![0; MBUFS as usize + 1], 0);
    for shard in [LIVE, DEAD] {
        n += pool.cache(shard).alloc_burst(&mut all[n..]);
    }
    let mut once: Vec<u32> = all[..n].to_vec();
    once.sort_unstable();
    once.dedup();
    expect(n == MBUFS as usize && once.len() == n, || {
        format!("{n} mbufs given out, {} different ones", once.len())
    })
}

/// What one shard does by itself.
fn alone(name: &'static str, operation: fn(Region)) -> Case {
    Case {
        name,
        bytes: Pool::meta_bytes(MBUFS),
        setup: create,
        operation,
        repair: settle_dead,
        check: is_whole,
    }
}

/// Two shards have clones of one packet. One clones its own once more, frees both, and dies in it; the other does
/// something with its own, then the dead one's is settled.
fn shared(name: &'static str, repair: fn(Region)) -> Case {
    Case {
        name,
        bytes: Pool::meta_bytes(MBUFS),
        setup: |region| {
            create(region);
            let pool = pool(region);
            let (mut cache, mut live) = (pool.cache(DEAD), pool.cache(LIVE));
            let mut first = built(&mut cache, 2);
            park(first.clone(&mut live).expect("mbufs"));
            in_hand(first).into_raw();
        },
        operation: clone_and_die,
        repair,
        check: is_whole,
    }
}

/// As [`shared`], but the live one has the chunks. It frees what it has, and shares new packets, in the same mbufs.
fn shared_anew() -> Case {
    Case {
        setup: |region| {
            create(region);
            let pool = pool(region);
            let (mut cache, mut live) = (pool.cache(DEAD), pool.cache(LIVE));
            let mut first = built(&mut live, 2);
            in_hand(first.clone(&mut cache).expect("mbufs")).into_raw();
            park(first);
        },
        ..shared("mbuf, a clone while another shares anew", |region| {
            settle_shared(region, |cache| {
                for m in parked(cache.pool()) {
                    whole(m, cache).free(cache);
                }
                let mut first = built(cache, 2);
                park(first.clone(cache).expect("mbufs"));
                park(first);
            });
        })
    }
}

fn clone_and_die(region: Region) {
    let mut cache = pool(region).cache(DEAD);
    let of_dead = |m: &u32| cache.pool().place(*m).holder == Holder::app(DEAD as u16);
    let m = (0..MBUFS).find(of_dead).expect("the first");
    let mut first = whole(m, &cache);
    let second = first.clone(&mut cache).expect("mbufs");
    first.free(&mut cache);
    second.free(&mut cache);
}

fn settle_shared(region: Region, live: fn(&mut Cache)) {
    let pool = pool(region);
    settle_shard(pool, LIVE).into_iter().for_each(park);
    live(&mut pool.cache(LIVE));
    settle_dead(region);
}

/// The live one's next clone, given up again.
fn clone_and_free(cache: &mut Cache) {
    for m in parked(cache.pool()) {
        let mut kept = whole(m, cache);
        kept.clone(cache).expect("mbufs").free(cache);
        park(kept);
    }
}
