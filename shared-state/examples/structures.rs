//! Nanoseconds for each operation of the shared structures, on one core and private memory.
//!
//! `cargo run --release -p baton-shared-state --example structures`
//!
//! Each row is the median of several rounds. It tells whether a change made something slower; a
//! comparison with other libraries needs both in one run on one machine.

use std::hint::black_box;
use std::time::Instant;

use baton_shared_state::lpm::Lpm;
use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::Pool;
use baton_shared_state::region::Region;
use baton_shared_state::ring::{MpmcRing, SpscRing};
use baton_shared_state::table::{Dirty, Hot, Hot64, Index, Keys, NO_ID, Records, hash_bytes};

const ROUNDS: usize = 15;
const BURST: usize = 32;

fn main() {
    rings();
    pool();
    rows(1 << 17);
    rows(1 << 20);
    routes();
}

/// Prints the median time of one operation; `round` does `operations` of them.
fn row(name: &str, operations: usize, mut round: impl FnMut()) {
    round();
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            round();
            start.elapsed().as_nanos() as f64 / operations as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<44} {:>8.2} ns", times[ROUNDS / 2]);
}

fn rings() {
    let region = Region::private(SpscRing::bytes_for(1024));
    let spsc = SpscRing::create(region, 1024).expect("a ring");
    let region = Region::private(MpmcRing::bytes_for(1024));
    let mpmc = MpmcRing::create(region, 1024).expect("a ring");
    let mut burst = [7; BURST];
    row(
        "ring SP/SC, bulk 32, an element in and out",
        10_000 * BURST,
        || {
            for _ in 0..10_000 {
                spsc.enqueue_burst(black_box(&burst));
                spsc.dequeue_burst(black_box(&mut burst));
            }
        },
    );
    row(
        "ring MP/MC, bulk 32, an element in and out",
        10_000 * BURST,
        || {
            for _ in 0..10_000 {
                mpmc.enqueue_burst(black_box(&burst));
                mpmc.dequeue_burst(black_box(&mut burst));
            }
        },
    );
}

fn pool() {
    let meta = Region::private(Pool::meta_bytes(16_384));
    let data = Region::private(Pool::data_bytes(16_384, 2048));
    let pool = Pool::create(meta, data, 2048).expect("a pool");
    let mut cache = pool.cache(0);
    let mut burst = [0; BURST];
    row(
        "mempool cached get and put, bulk 32",
        10_000 * BURST,
        || {
            for _ in 0..10_000 {
                let n = cache.alloc_burst(black_box(&mut burst));
                cache.free_burst(black_box(&burst[..n]));
            }
        },
    );
    row(
        "mbuf through Packet: touch 1 byte, re-own",
        10_000 * BURST,
        || {
            for _ in 0..10_000 {
                cache.alloc_burst(&mut burst);
                for m in &mut burst {
                    pool.set_packet(*m, 256, 64);
                    let mut packet = Packet::from_raw(*m, pool);
                    packet.data_mut()[14] ^= 1;
                    *m = packet.into_raw();
                }
                cache.free_burst(&burst);
            }
        },
    );
}

/// A generator of numbers that the optimizer cannot foresee.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash_bytes(1, &state.to_le_bytes())
}

fn rows(n: u32) {
    let region = Region::private(Index::bytes_for(1, Index::lines_for(n)));
    let index = Index::create(region, 1, Index::lines_for(n), 9).expect("an index");
    let (index, seed) = (index.shard(0), index.seed());
    let keys = Keys::<[u32; 4]>::new(Region::private(Keys::<[u32; 4]>::bytes_for(n)), n);
    let keys = keys.expect("keys");
    let records = Records::<[u64; 4]>::new(Region::private(Records::<[u64; 4]>::bytes_for(n)), n);
    let records = records.expect("records");
    let hot = Hot::<Hot64>::new(Region::private(Hot::<Hot64>::bytes_for(n)), n).expect("hot");
    let region = Region::private(Dirty::bytes_for(n));
    let dirty = Dirty::create(region, n).expect("a bitmap");
    let key = |i: u32| [i, !i, i ^ 77, 6];
    let hash = |i: u32| hash_bytes(seed, zerocopy::IntoBytes::as_bytes(&key(i)));
    row(&format!("index rebuild, {n} rows"), n as usize, || {
        index.rebuild((0..n).map(|i| (hash(i), i))).expect("room");
    });
    (0..n).for_each(|i| _ = keys.publish(i, &key(i)));
    let mut state = 5;
    let order: Vec<u32> = (0..1 << 16)
        .map(|_| (random(&mut state) % u64::from(n)) as u32)
        .collect();
    let burst = |order: &[u32], offset: u32| {
        let mut out = [NO_ID; BURST];
        let mut found = 0;
        for part in order.chunks_exact(BURST) {
            found += index.find_burst(
                |i| hash(part[i] + offset),
                |id| keys.prefetch(id),
                |i, id| keys.is(id, &key(part[i] + offset)),
                &mut out,
            );
        }
        black_box(found)
    };
    row("find_burst, all hit (16 B keys)", order.len(), || {
        assert_eq!(burst(&order, 0), order.len())
    });
    row("find_burst, all miss", order.len(), || {
        assert_eq!(burst(&order, n), 0)
    });
    row("find, hit", order.len(), || {
        for i in &order {
            black_box(index.find(hash(*i), |id| keys.is(id, &key(*i))));
        }
    });
    row("remove and insert at the planned fill", order.len(), || {
        for i in &order {
            index.remove(hash(*i), *i);
            index.insert(hash(*i), *i).expect("room");
        }
    });
    row("hot.count", order.len(), || {
        order.iter().for_each(|i| hot.count(*i, 1, 64, 5))
    });
    row("records.read (32 B)", order.len(), || {
        order.iter().for_each(|i| _ = black_box(records.read(*i)));
    });
    row("dirty.mark", order.len(), || {
        order.iter().for_each(|i| dirty.mark(*i))
    });
}

fn routes() {
    let mut writer = Lpm::create(Region::private(Lpm::bytes_for(4096)), 4096).expect("routes");
    let mut state = 11;
    let rules: Vec<(u32, u8)> = (0..100_000)
        .map(|_| {
            let r = random(&mut state);
            let depth = if r.is_multiple_of(64) {
                28
            } else {
                16 + (r >> 8) as u8 % 9
            };
            ((r >> 32) as u32, depth)
        })
        .collect();
    let start = Instant::now();
    for (prefix, depth) in &rules {
        writer.insert(*prefix, *depth, 3).expect("room");
    }
    let each = start.elapsed().as_nanos() as f64 / rules.len() as f64;
    println!("{:<44} {each:>8.2} ns", "routes: insert, 100,000 rules");
    let addresses: Vec<u32> = (0..1 << 16).map(|_| random(&mut state) as u32).collect();
    let mut hops = vec![0; addresses.len()];
    let reader = writer.reader();
    row("routes: lookup_burst, uniform", addresses.len(), || {
        reader.lookup_burst(&addresses, black_box(&mut hops));
    });
    row("routes: delete and insert", 20_000, || {
        for (prefix, depth) in &rules[..20_000] {
            writer
                .delete(*prefix, *depth)
                .expect("a depth that was inserted");
            writer.quiesced();
            writer.insert(*prefix, *depth, 4).expect("room");
        }
    });
}
