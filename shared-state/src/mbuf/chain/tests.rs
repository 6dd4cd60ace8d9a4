//! A packet of many segments is a row of bytes, whatever is done to it; bad lines are none.

use proptest::prelude::*;

use crate::audit::{Audit, settle};
use crate::mbuf::samples::{all_of, assert_all_free, chain, packet};
use crate::mbuf::{Chain, ChainError, MAX_SEGMENTS, Packet};
use crate::mempool::Cache;
use crate::mempool::tests::pool;
use crate::place::{Holder, Place};

#[test]
fn a_head_has_its_segments_and_gives_them_back() {
    let pool = pool(64);
    let mut cache = pool.cache(1);
    let mut whole = chain(&mut cache, &[b"one ", b"two ", b"three"]);
    assert_eq!((whole.segments(), whole.len()), (3, 13));
    assert_eq!(all_of(&whole), b"one two three");
    let parts: Vec<&[u8]> = whole.iter().flatten().collect();
    assert_eq!(parts, [&b"one "[..], b"two ", b"three"]);
    let mut buffer = [0; 16];
    assert_eq!(whole.read(4, 3, &mut []), Some(&b"two"[..]));
    assert_eq!(whole.read(2, 9, &mut buffer), Some(&b"e two thr"[..]));
    assert!(whole.read(5, 9, &mut buffer).is_none() && whole.read(2, 9, &mut [0; 8]).is_none());
    assert!(whole.write(3, b"-2-") && !whole.write(11, b"333"));
    assert_eq!(all_of(&whole), b"one-2-o three");
    let m = whole.into_raw();
    let accounting = Audit::of(pool, |visit| visit(Holder::tx(3, 1), m));
    assert!(accounting.is_exact(), "{accounting:?}");
    assert!(accounting.by_holder.contains(&("tx 3/1".into(), 3)));
    cache.free_packets(&[m]);
    assert_all_free(pool);
}

#[test]
fn who_takes_a_head_for_a_packet_finds_an_empty_one() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let m = chain(&mut cache, &[b"one", b"two"]).into_raw();
    let packet = Packet::from_raw(m, pool);
    assert_eq!(packet.data(), b"");
    drop(packet);
    assert_all_free(pool);
}

#[test]
fn a_linear_chain_is_a_packet() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let whole = chain(&mut cache, &[b"one", b"two"]);
    whole.line().set_hash(7);
    let mut whole = match whole.into_packet() {
        Err(chain) => chain,
        Ok(packet) => panic!("{packet:?} has two segments"),
    };
    assert!(whole.linearize(&mut cache) && whole.is_linear());
    let packet = whole.into_packet().unwrap();
    assert_eq!((packet.data(), packet.hash()), (&b"onetwo"[..], 7));
    cache.free(packet);
    assert_all_free(pool);
}

#[test]
fn what_does_not_fit_the_head_is_not_linearized() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let mut whole = chain(&mut cache, &[&[1; 1000], &[2; 792], &[3; 1]]);
    assert!(!whole.linearize(&mut cache));
    assert_eq!((whole.segments(), whole.len()), (3, 1793));
    assert!(whole.trim(1) && whole.linearize(&mut cache));
    assert_eq!(
        (whole.len(), whole.tailroom(), whole.headroom()),
        (1792, 0, 256)
    );
    drop(whole);
    assert_all_free(pool);
}

#[test]
fn there_are_no_more_segments_than_there_may_be() {
    let pool = pool(128);
    let mut cache = pool.cache(0);
    let mut whole = chain(&mut cache, &[&b"x"[..]; MAX_SEGMENTS]);
    let more = packet(&mut cache, b"y");
    let more = whole.push(more).unwrap_err();
    let more = whole.chain(Chain::of(more)).unwrap_err();
    more.free(&mut cache);
    whole.free(&mut cache);
    assert_all_free(pool);
}

#[test]
fn bad_lines_are_no_packet_and_say_why() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let whole = chain(&mut cache, &[b"a", b"b", b"c"]);
    let [a, b, c] = whole.indexes().collect::<Vec<_>>()[..] else {
        panic!("three segments");
    };
    whole.into_raw();
    let why = |m: u32| {
        Chain::from_raw(m, &pool.cache(0))
            .map(Chain::into_raw)
            .unwrap_err()
    };
    let count = pool.count();
    assert_eq!(why(count), ChainError::NoMbuf { m: count, count });
    assert_eq!(why(b), ChainError::NotHead { m: b, on: a });
    pool.line(b).set_next(count);
    let next = count;
    assert_eq!(why(a), ChainError::Range { at: b, next, count });
    for circle in [a, b] {
        pool.line(b).set_next(circle);
        assert_eq!(
            why(a),
            ChainError::Link {
                at: b,
                next: circle
            }
        );
    }
    pool.line(b).set_next(c);
    pool.line(a).set_segments(4, 1);
    assert!(matches!(
        why(a),
        ChainError::Range { .. } | ChainError::Link { .. }
    ));
    pool.line(a).set_segments(60_000, 1);
    assert!(matches!(why(a), ChainError::Segments { found: 60_000, .. }));
    assert_eq!(
        Audit::of(pool, |visit| visit(Holder::rx(0, 0), a)).broken,
        [a]
    );
    pool.line(a).set_segments(3, 1);
    Chain::from_raw(a, &cache).unwrap().free(&mut cache);
    assert_all_free(pool);
}

#[test]
fn a_circle_of_places_ends_an_audit_and_a_settlement() {
    let pool = pool(64);
    let mut cache = pool.cache(0);
    let [a, b] = [0; 2].map(|_| cache.alloc().unwrap().into_raw());
    for (m, on) in [(a, b), (b, a)] {
        pool.line(m).set_next(on);
        pool.line(m).set_segments(9, 0xffff);
        pool.set_place(m, Place::new(Holder::SEGMENT, on));
    }
    let accounting = Audit::of(pool, |visit| visit(Holder::rx(0, 0), a));
    assert_eq!(accounting.broken, [a]);
    let accounting = Audit::new(pool).finish();
    assert_eq!(settle(pool, 0, &accounting).freed, []);
    assert!(Chain::from_raw(a, &cache).is_err());
    cache.free_packets(&[]);
}

#[derive(Debug, Clone)]
enum Step {
    New(Vec<u8>),
    Push(usize, Vec<u8>),
    Join(usize, usize),
    Prepend(usize, Vec<u8>),
    Append(usize, Vec<u8>),
    Adj(usize, usize),
    Trim(usize, usize),
    Split(usize, usize),
    Linearize(usize),
    Clone(usize),
    Copy(usize),
    Writable(usize),
    Write(usize, usize, Vec<u8>),
    Raw(usize),
    Free(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..700);
    let few = || prop::collection::vec(any::<u8>(), 0..200);
    let at = 0usize..8;
    let cut = 0usize..900;
    let step = prop_oneof![
        bytes().prop_map(Step::New),
        (at.clone(), bytes()).prop_map(|(i, b)| Step::Push(i, b)),
        (at.clone(), at.clone()).prop_map(|(i, j)| Step::Join(i, j)),
        (at.clone(), few()).prop_map(|(i, b)| Step::Prepend(i, b)),
        (at.clone(), few()).prop_map(|(i, b)| Step::Append(i, b)),
        (at.clone(), cut.clone()).prop_map(|(i, n)| Step::Adj(i, n)),
        (at.clone(), cut.clone()).prop_map(|(i, n)| Step::Trim(i, n)),
        (at.clone(), cut.clone()).prop_map(|(i, n)| Step::Split(i, n)),
        at.clone().prop_map(Step::Linearize),
        at.clone().prop_map(Step::Clone),
        at.clone().prop_map(Step::Copy),
        at.clone().prop_map(Step::Writable),
        (at.clone(), cut, few()).prop_map(|(i, n, b)| Step::Write(i, n, b)),
        at.clone().prop_map(Step::Raw),
        at.prop_map(Step::Free),
    ];
    prop::collection::vec(step, 1..40)
}

/// Packets, and the bytes each should have.
struct World {
    cache: Cache,
    all: Vec<(Chain, Vec<u8>)>,
}

impl World {
    fn step(&mut self, step: Step) {
        match step {
            Step::New(bytes) => {
                if let Some(mut packet) = self.cache.alloc() {
                    packet.append(bytes.len()).unwrap().copy_from_slice(&bytes);
                    self.all.push((Chain::of(packet), bytes));
                }
            }
            Step::Join(i, j) if i != j && i.max(j) < self.all.len() => {
                let (second, bytes) = self.all.remove(j);
                let (first, model) = &mut self.all[if j < i { i - 1 } else { i }];
                match first.chain(second) {
                    Ok(()) => model.extend(bytes),
                    Err(second) => self.all.push((second, bytes)),
                }
            }
            Step::Free(i) if i < self.all.len() => self.all.remove(i).0.free(&mut self.cache),
            Step::Raw(i) if i < self.all.len() => {
                let (chain, bytes) = self.all.remove(i);
                let chain = Chain::from_raw(chain.into_raw(), &self.cache).unwrap();
                self.all.push((chain, bytes));
            }
            Step::Split(i, _) | Step::Clone(i) | Step::Copy(i) if i < self.all.len() => {
                self.step_to_two(i, step);
            }
            other => self.step_of_one(other),
        }
    }

    fn step_to_two(&mut self, i: usize, step: Step) {
        let (chain, model) = &mut self.all[i];
        let second = match step {
            Step::Split(_, at) => {
                let rest = chain.split_off(at, &mut self.cache);
                assert!(rest.is_none() || at > 0 && at < model.len());
                rest.map(|rest| (rest, model.split_off(at)))
            }
            Step::Clone(_) => chain.clone(&mut self.cache).map(|two| (two, model.clone())),
            _ => chain.copy(&mut self.cache).map(|two| (two, model.clone())),
        };
        self.all.extend(second);
    }

    fn step_of_one(&mut self, step: Step) {
        let (cache, all) = (&mut self.cache, &mut self.all);
        match step {
            Step::Push(i, bytes) => {
                let (Some((chain, model)), Some(mut packet)) = (all.get_mut(i), cache.alloc())
                else {
                    return;
                };
                packet.append(bytes.len()).unwrap().copy_from_slice(&bytes);
                if chain.push(packet).is_ok() {
                    model.extend(bytes);
                }
            }
            Step::Prepend(i, bytes) => {
                let Some((chain, model)) = all.get_mut(i) else {
                    return;
                };
                if let Some(room) = chain.prepend(bytes.len()) {
                    room.copy_from_slice(&bytes);
                    model.splice(..0, bytes);
                }
            }
            Step::Append(i, bytes) => {
                let Some((chain, model)) = all.get_mut(i) else {
                    return;
                };
                if let Some(room) = chain.append(bytes.len()) {
                    room.copy_from_slice(&bytes);
                    model.extend(bytes);
                }
            }
            Step::Adj(i, n) => {
                let Some((chain, model)) = all.get_mut(i) else {
                    return;
                };
                assert_eq!(chain.adj(n), n <= model.len());
                model.drain(..if n <= model.len() { n } else { 0 });
            }
            Step::Trim(i, n) => {
                let Some((chain, model)) = all.get_mut(i) else {
                    return;
                };
                assert_eq!(chain.trim(n), n <= model.len());
                model.truncate(model.len().checked_sub(n).unwrap_or(model.len()));
            }
            Step::Linearize(i) => {
                let Some((chain, _)) = all.get_mut(i) else {
                    return;
                };
                let fits = chain.linearize(cache);
                assert_eq!(fits, chain.is_linear());
            }
            Step::Writable(i) => {
                let Some((chain, _)) = all.get_mut(i) else {
                    return;
                };
                let done = chain.make_writable(cache);
                assert_eq!(done, chain.is_writable());
            }
            Step::Write(i, off, bytes) => {
                let Some((chain, model)) = all.get_mut(i) else {
                    return;
                };
                let whole = chain.is_writable();
                let written = chain.write(off, &bytes);
                let fits = off + bytes.len() <= model.len();
                assert!(if written { fits } else { !fits || !whole });
                if written {
                    model[off..off + bytes.len()].copy_from_slice(&bytes);
                }
            }
            _ => {}
        }
    }

    fn check(&self) {
        for (chain, model) in &self.all {
            assert_eq!(chain.len(), model.len());
            assert_eq!(&all_of(chain), model);
            let parts: Vec<u8> = chain.iter().flatten().flatten().copied().collect();
            assert_eq!(&parts, model);
        }
        let accounting = Audit::of(self.cache.pool(), |visit| {
            self.all
                .iter()
                .for_each(|(chain, _)| visit(Holder::parked(0, 0), chain.index()));
        });
        assert!(accounting.is_exact(), "{accounting:?}");
    }
}

proptest! {
    #[test]
    fn a_chain_is_a_row_of_bytes(steps in steps()) {
        let pool = pool(150);
        let mut world = World { cache: pool.cache(0), all: Vec::new() };
        for step in steps {
            world.step(step);
            world.check();
        }
        let heads: Vec<u32> = world.all.drain(..).map(|(chain, _)| chain.into_raw()).collect();
        world.cache.free_packets(&heads);
        assert_all_free(pool);
    }
}
