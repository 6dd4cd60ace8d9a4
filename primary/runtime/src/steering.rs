//! The ways between shards: one single-producer ring for each ordered pair, in a memzone both
//! generations use. A packet met by the wrong shard goes to the right one over it.
//!
//! Order: a buffer's `place` is stored before the ring index that publishes it. Failure: what a
//! dead producer published is consumed as ever; what it did not publish is found by its `place`.

use crate::counters::{Count, Words};
use crate::datapath::Error;
use crate::zone::{Declare, Init, Size, ZoneSize};
use baton_schema::{Policy, Record};
use baton_shared_state::BURST;
use baton_shared_state::Region;
use baton_shared_state::mempool::Pool;
use baton_shared_state::place::{Holder, Place};
use baton_shared_state::ring::SpscRing;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// One entry of a ring between shards.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, Record)]
#[record(name = "baton.steer", version = 1)]
#[repr(C)]
pub(crate) struct Steered {
    /// The packet buffer's index.
    pub mbuf: u32,
}

/// The memzone's name.
pub(crate) const STEER_ZONE: &str = "baton.steer";

const CAPACITY: usize = 1024;

fn ring_bytes() -> usize {
    SpscRing::bytes_for(CAPACITY).next_multiple_of(64)
}

/// Declares the rings of all pairs.
pub(crate) fn declare(declare: &mut Declare) {
    const SIZE: Size = |_, shards| {
        let pairs = u64::from(shards) * u64::from(shards);
        ZoneSize {
            len: pairs * ring_bytes() as u64,
            count: pairs * CAPACITY as u64,
            stride: 0,
        }
    };
    const INIT: Init = |region, _, shards| {
        for pair in 0..usize::from(shards) * usize::from(shards) {
            SpscRing::create(pair_region(&region, pair), CAPACITY)
                .expect("the zone has the size the rings asked for");
        }
    };
    declare.zone::<Steered>(STEER_ZONE, STEER_ZONE, Policy::AllAtOnce, SIZE, INIT);
}

fn pair_region(region: &Region, pair: usize) -> Region {
    region
        .slice(pair * ring_bytes(), ring_bytes())
        .expect("the zone is as long as its pairs")
}

/// One shard's rings from and to every other.
pub(crate) struct Steering {
    shard: u16,
    inward: Vec<SpscRing>,
    outward: Vec<SpscRing>,
    staged: Vec<([u32; BURST], usize)>,
}

impl Steering {
    pub(crate) fn open(region: &Region, shard: u16, shards: u16) -> Result<Steering, Error> {
        let ring = |from: u16, to: u16| {
            SpscRing::attach(pair_region(
                region,
                usize::from(from) * usize::from(shards) + usize::from(to),
            ))
            .map_err(|why| Error::new(format!("steering ring from shard {from} to {to}: {why}")))
        };
        Ok(Steering {
            shard,
            inward: (0..shards)
                .map(|from| ring(from, shard))
                .collect::<Result<_, _>>()?,
            outward: (0..shards)
                .map(|to| ring(shard, to))
                .collect::<Result<_, _>>()?,
            staged: vec![([0; BURST], 0); usize::from(shards)],
        })
    }

    /// Stages a packet for another shard; `flush` publishes it.
    #[inline]
    pub(crate) fn stage(&mut self, to: u16, mbuf: u32) {
        let (mbufs, len) = &mut self.staged[usize::from(to)];
        mbufs[*len] = mbuf;
        *len += 1;
    }

    /// Publishes what was staged; what does not fit is counted and given to `free`.
    #[inline]
    pub(crate) fn flush(&mut self, pool: &Pool, counters: &Words, mut free: impl FnMut(u32)) {
        for (to, (mbufs, len)) in self.staged.iter_mut().enumerate() {
            if *len == 0 {
                continue;
            }
            let place = Place::new(Holder::steer(self.shard, to as u16), 0);
            for &mbuf in &mbufs[..*len] {
                pool.set_place(mbuf, place);
            }
            let sent = self.outward[to].enqueue_burst(&mbufs[..*len]);
            counters.count(Count::SteeredOut, sent as u64);
            counters.count(Count::SteerFull, (*len - sent) as u64);
            mbufs[sent..*len].iter().for_each(|&mbuf| free(mbuf));
            *len = 0;
        }
    }

    /// Takes what other shards sent.
    #[inline]
    pub(crate) fn take(&mut self, out: &mut [u32]) -> usize {
        let mut taken = 0;
        for ring in &self.inward {
            taken += ring.dequeue_burst(&mut out[taken..]);
        }
        taken
    }

    /// Every buffer on its way to this shard.
    pub(crate) fn window(&self, visit: &mut dyn FnMut(Holder, u32)) {
        for (from, ring) in self.inward.iter().enumerate() {
            let holder = Holder::steer(from as u16, self.shard);
            ring.window(&mut |mbuf| visit(holder, mbuf));
        }
    }
}
