//! The functions that move a shard, over every interleaving and every value the memory model
//! allows. Run with `RUSTFLAGS="--cfg loom" cargo test -p baton-shared-state --test ownership_loom`.

#![cfg(loom)]

use baton_shared_state::ownership::{
    OwnerWord, accept, ask, claim_first, hand_over, take_from_dead, withdraw,
};
use baton_shared_state::sync::{AtomicBool, AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;

const A: u16 = 1;
const B: u16 = 2;
const C: u16 = 3;

struct Shard {
    owner: AtomicU64,
    request: AtomicU64,
    /// What A stored while it owned the shard; its next owner must see it.
    state: AtomicU64,
    kill: AtomicBool,
    /// A's lifeline.
    dead: AtomicBool,
}

fn shard() -> Arc<Shard> {
    let shard = Shard {
        owner: AtomicU64::new(OwnerWord::unowned().pack()),
        request: AtomicU64::new(0),
        state: AtomicU64::new(0),
        kill: AtomicBool::new(false),
        dead: AtomicBool::new(false),
    };
    claim_first(&shard.owner, A, 1).unwrap();
    Arc::new(shard)
}

/// A, which dies at the first step after it was killed. True if it handed over.
fn run_owner(shard: &Shard) -> bool {
    let killed = || {
        let killed = shard.kill.load(Ordering::Relaxed);
        if killed {
            shard.dead.store(true, Ordering::Release);
        }
        killed
    };
    shard.state.store(7, Ordering::Relaxed);
    if killed() {
        return false;
    }
    let Some(accepted) = accept(&shard.owner, &shard.request, A) else {
        return false;
    };
    if killed() {
        return false;
    }
    hand_over(&shard.owner, accepted, A).expect("a living owner is never taken from");
    true
}

/// A taker: reads the owner word, then the lifeline, then tries. True if the shard is its own now.
fn run_taker(shard: &Shard, me: u16) -> bool {
    let seen = OwnerWord::unpack(shard.owner.load(Ordering::Acquire));
    let dead = seen.lcore == Some(A) && shard.dead.load(Ordering::Acquire);
    let mine = seen.lcore == Some(me) || dead && take_from_dead(&shard.owner, seen, me, 2);
    if mine {
        assert_eq!(
            shard.state.load(Ordering::Relaxed),
            7,
            "what A stored is seen"
        );
    }
    mine
}

#[test]
fn of_withdraw_and_accept_exactly_one_succeeds() {
    loom::model(|| {
        let shard = shard();
        let asked = ask(&shard.owner, &shard.request, B, 2).unwrap();
        let owner = {
            let shard = shard.clone();
            thread::spawn(move || accept(&shard.owner, &shard.request, A).is_some())
        };
        let withdrawn = withdraw(&shard.request, asked);
        assert_ne!(owner.join().unwrap(), withdrawn);
    });
}

#[test]
fn a_withdrawn_request_never_moves_the_shard() {
    loom::model(|| {
        let shard = shard();
        let owner = {
            let shard = shard.clone();
            thread::spawn(move || run_owner(&shard))
        };
        let asked = ask(&shard.owner, &shard.request, B, 2).unwrap();
        let withdrawn = withdraw(&shard.request, asked);
        let handed_over = owner.join().unwrap();
        assert!(!(withdrawn && handed_over));
        let now = OwnerWord::unpack(shard.owner.load(Ordering::Acquire));
        assert_eq!(now.lcore, Some(if handed_over { B } else { A }));
    });
}

#[test]
fn of_two_takers_of_one_dead_shard_exactly_one_succeeds() {
    loom::model(|| {
        let shard = shard();
        shard.state.store(7, Ordering::Relaxed);
        shard.dead.store(true, Ordering::Release);
        let other = {
            let shard = shard.clone();
            thread::spawn(move || run_taker(&shard, C))
        };
        let b = run_taker(&shard, B);
        let c = other.join().unwrap();
        assert!(b ^ c);
        let now = OwnerWord::unpack(shard.owner.load(Ordering::Acquire));
        assert_eq!((now.lcore, now.epoch), (Some(if b { B } else { C }), 2));
    });
}

#[test]
fn a_stuck_lcore_that_wakes_late_is_the_owner_or_is_dead() {
    loom::model(|| {
        let shard = shard();
        ask(&shard.owner, &shard.request, B, 2).unwrap();
        let owner = {
            let shard = shard.clone();
            thread::spawn(move || run_owner(&shard))
        };
        let taker = {
            let shard = shard.clone();
            thread::spawn(move || run_taker(&shard, C))
        };
        shard.kill.store(true, Ordering::Relaxed);
        let handed_over = owner.join().unwrap();
        let taken = taker.join().unwrap();
        assert!(!(handed_over && taken), "two owners");
        let now = OwnerWord::unpack(shard.owner.load(Ordering::Acquire));
        let expected = match (handed_over, taken) {
            (true, _) => B,
            (_, true) => C,
            _ => A,
        };
        assert_eq!(now.lcore, Some(expected));
    });
}
