//! `net_null`: received packets come from a template, what is sent is freed. For benches.
//!
//! Keys: `size` (bytes, 64), `template` (a frame in hexadecimal), `flows` (the UDP source port runs
//! through that many values), `spread=1` (the flows differ in source and destination address, too,
//! and come in their order once, then by strides that no prefetcher foresees), `no-rx=1`, `queues`,
//! `mac`.
//!
//! Cursor 0: packets made. Failure: packets in hand are found by their mark; nothing else exists.

mod frames;

use std::os::fd::BorrowedFd;

use baton_shared_state::Region;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::{Holder, Place};
use baton_shared_state::simd::prefetch;
use baton_shared_state::sync::Ordering;

use crate::cursors::{Cursors, Facts};
use crate::driver::Created;
use crate::error::PortError;
use crate::hand::Hand;
use crate::port::{CsumSource, Port, Totals};
use crate::spec::{PortSpec, parse_hex, parse_mac};
pub use frames::stride;
use frames::{VARIES, Varies, flows, udp_frame};

const DEFAULT_SIZE: usize = 64;
/// The cursor of packets made.
const MADE: usize = 0;
/// Bytes of a short frame.
const SHORT: usize = 64;
/// Frames that are brought into the cache before their turn.
const AHEAD: usize = 16;

pub(crate) fn create(spec: &PortSpec, cursors: Region) -> Result<Vec<Created>, PortError> {
    let facts = Facts {
        mac: own_mac(spec),
        mtu: 1500,
        mode: 0,
    };
    (0..spec.queues)
        .map(|queue| {
            Cursors::create(spec, queue, cursors, facts)?;
            Ok(Created::new(queue))
        })
        .collect()
}

pub(crate) fn adopt(
    spec: &PortSpec,
    queue: u16,
    pool: &Pool,
    cursors: Region,
) -> Result<Box<dyn Port>, PortError> {
    let cursors = Cursors::open(spec, queue, cursors)?;
    let template = match spec.param("template").and_then(parse_hex) {
        Some(frame) => frame,
        None => udp_frame(own_mac(spec), number(spec, "size", DEFAULT_SIZE)),
    };
    let room = (pool.chunk() as usize).saturating_sub(pool.headroom().into());
    if template.len().max(SHORT) > room {
        return Err(PortError::TemplateTooLong {
            port: spec.name.clone(),
            found: template.len().max(SHORT),
            room,
        });
    }
    let flows = flows(&template, number(spec, "flows", 1), spec.switch("spread"));
    Ok(Box::new(NullPort {
        hand: Hand {
            pool: *pool,
            port: spec.id,
            queue,
        },
        cursors,
        stride: match spec.switch("spread") {
            true => stride(flows.len()),
            false => 1,
        },
        short: short(&template),
        flows,
        template,
        next: (Walk::default(), 0),
        silent: spec.switch("no-rx"),
    }))
}

/// The address of a port without an interface: the key `mac`, or one made of its device's number.
pub(crate) fn own_mac(spec: &PortSpec) -> [u8; 6] {
    let given = spec.param("mac").and_then(parse_mac);
    given.unwrap_or([0x02, 0xba, 0x70, 0x00, 0x00, spec.id as u8])
}

struct NullPort {
    hand: Hand,
    cursors: Cursors,
    template: Vec<u8>,
    /// The template and zeros behind it, if it is that short: what a compiler copies by a few wide stores.
    short: Option<[u8; SHORT]>,
    /// What the frames of each flow differ in; empty when nothing varies.
    flows: Vec<Varies>,
    stride: usize,
    /// The flow of the next packet, if that has the number behind it.
    next: (Walk, u64),
    silent: bool,
}

/// A way through the flows.
#[derive(Clone, Copy, Default)]
struct Walk {
    flow: usize,
    /// The flow that is [`AHEAD`] packets ahead.
    ahead: usize,
    step: usize,
    all: usize,
}

impl Walk {
    /// Through `all` flows from packet number `made` on, `step` of them at once.
    fn new(all: usize, step: usize, made: u64) -> Walk {
        let flow = ((made % all as u64) * step as u64 % all as u64) as usize;
        Walk {
            flow,
            ahead: (flow + step * AHEAD) % all,
            step,
            all,
        }
    }

    /// A step further.
    #[inline]
    fn step(&mut self) {
        let next = |flow: usize| {
            let next = flow + self.step;
            next - if next >= self.all { self.all } else { 0 }
        };
        (self.flow, self.ahead) = (next(self.flow), next(self.ahead));
    }
}

impl NullPort {
    /// The way from packet number `made` on.
    fn walk_from(&self, made: u64) -> Walk {
        let all = self.flows.len().max(1);
        let step = if made < all as u64 { 1 } else { self.stride } % all;
        match self.next {
            (walk, next) if next == made && walk.step == step => walk,
            _ => Walk::new(all, step, made),
        }
    }

    /// What varies in the next packet of a walk.
    #[inline(always)]
    fn next<'a>(flows: &'a [Varies], walk: &mut Walk) -> Option<&'a Varies> {
        // As the network card of a machine does that it is in: what has arrived is in the cache.
        if let Some(flow) = flows.get(walk.ahead) {
            prefetch(flow);
        }
        let varies = flows.get(walk.flow);
        walk.step();
        varies
    }
}

impl Port for NullPort {
    fn rx_burst(&mut self, cache: &mut Cache, out: &mut [u32]) -> usize {
        if self.silent {
            return 0;
        }
        let n = cache.alloc_burst(out);
        let cursor = self.cursors.word(MADE);
        let made = cursor.load(Ordering::Relaxed);
        let mut walk = self.walk_from(made);
        let (mbufs, len) = (&out[..n], self.template.len());
        let (shard, flows) = (cache.shard(), self.flows.as_slice());
        match self.short {
            // Copied here, so that it stays in registers from one packet to the next.
            Some(short) => {
                self.hand
                    .start_filled::<SHORT>(shard, mbufs, len as u16, made as u32, |head| {
                        *head = short;
                        vary(head, Self::next(flows, &mut walk));
                    })
            }
            None => {
                self.hand.start(shard, mbufs, len as u16, made as u32);
                for m in mbufs {
                    let varies = Self::next(flows, &mut walk);
                    self.hand.fill(*m, |packet| {
                        packet.data_mut().copy_from_slice(&self.template);
                        vary(packet.data_mut(), varies);
                    });
                }
            }
        }
        let made = made.wrapping_add(n as u64);
        cursor.store(made, Ordering::Release);
        self.next = (walk, made);
        self.cursors.count_rx(n as u64, (n * len) as u64);
        n
    }

    fn tx_burst(&mut self, cache: &mut Cache, mbufs: &[u32]) -> usize {
        let here = Place::new(Holder::cache(cache.shard()), 0);
        let bytes = self.hand.pool.set_places(mbufs, |_| here);
        self.cursors.count_tx(mbufs.len() as u64, bytes);
        cache.give_back(mbufs);
        mbufs.len()
    }

    fn kick(&mut self) {}

    fn release(&mut self, _cache: &mut Cache) {}

    fn resume(&mut self, _cache: &mut Cache) {}

    fn repair(&mut self, cache: &mut Cache, held: &mut Vec<u32>) {
        let made = self.cursors.word(MADE).load(Ordering::Acquire);
        self.hand.settle(cache, made as u32, held);
    }

    fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn ring_used(&self) -> (u32, u32) {
        (0, 0)
    }

    fn posted(&self) -> u32 {
        0
    }

    fn totals(&self) -> Totals {
        self.cursors.totals()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn windows(&self, _visit: &mut dyn FnMut(Holder, u32)) {}

    fn in_kernel(&self) -> u32 {
        0
    }

    fn mac(&self) -> [u8; 6] {
        self.cursors.facts().mac
    }

    fn mtu(&self) -> u16 {
        self.cursors.facts().mtu
    }

    fn csum(&self) -> CsumSource {
        CsumSource::Flagged
    }

    fn mode(&self) -> &'static str {
        "template"
    }

    fn link_up(&self) -> bool {
        true
    }
}

/// Makes a frame one of its flow.
#[inline(always)]
fn vary(frame: &mut [u8], varies: Option<&Varies>) {
    if let (Some(varies), Some(place)) = (varies, frame.get_mut(VARIES)) {
        place.copy_from_slice(varies);
    }
}

/// A frame as one that is copied whole, if it is short.
fn short(frame: &[u8]) -> Option<[u8; SHORT]> {
    let mut short = [0; SHORT];
    short.get_mut(..frame.len())?.copy_from_slice(frame);
    Some(short)
}

fn number(spec: &PortSpec, key: &str, default: usize) -> usize {
    spec.param(key)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[cfg(test)]
mod tests;
