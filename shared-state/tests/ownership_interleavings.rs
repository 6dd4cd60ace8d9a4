//! Every interleaving of the parties to a change of owner, explored to the end.
//!
//! Each party is a machine whose steps are single loads and compare-and-swaps; what it stores is
//! decided by the functions that the product uses. Parties: the owner A, which may be stuck or be
//! killed between any two steps; a supervisor that asks, withdraws when time is over, and kills
//! what does not yield; two lcores, B and C, that may own next and take what a dead owner left.
//!
//! The same search over wrong rules must fail, or it would prove nothing.

#![cfg(not(loom))]

use std::collections::HashSet;

use baton_shared_state::ownership::{OwnerWord, RequestState, RequestWord};

const A: u16 = 1;
const B: u16 = 2;
const C: u16 = 3;

/// What the parties are allowed to do wrong, to see that the search notices.
#[derive(Clone, Copy, Default)]
struct Rules {
    /// The supervisor withdraws with a plain store.
    blind_withdraw: bool,
    /// A taker does not ask the lifeline.
    take_by_time: bool,
    /// The owner hands over with a plain store.
    blind_hand_over: bool,
    /// A new owner guesses from the request whether it was handed the shard.
    handed_by_request: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Owner {
    /// Polls its queues; looks at the request between bursts.
    Polling,
    SawRequest(u64),
    Accepting(u64, u64),
    Accepted(RequestWord),
    HandingOver(u64, u64),
    /// Handed over; touches nothing.
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Supervisor {
    Start,
    SawRequest(u64),
    Asking(u64, RequestWord),
    /// Asked; may withdraw at any time.
    Waiting(RequestWord),
    Withdrawn,
    /// Too late to withdraw: the swap completes, or the owner is killed.
    Committed,
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Taker {
    Watching,
    SawOwner(u64),
    /// Read the owner's lifeline dead.
    Taking(u64),
    Polling,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct World {
    owner: u64,
    request: u64,
    a_dead: bool,
    a: Owner,
    supervisor: Supervisor,
    takers: [Taker; 2],
}

impl World {
    fn start() -> World {
        World {
            owner: OwnerWord::unowned().passed_to(Some(A), 1).pack(),
            request: 0,
            a_dead: false,
            a: Owner::Polling,
            supervisor: Supervisor::Start,
            takers: [Taker::Watching; 2],
        }
    }

    /// Live parties that believe the shard is theirs.
    fn pollers(&self) -> usize {
        let a = !self.a_dead && self.a != Owner::Gone;
        usize::from(a) + self.takers.iter().filter(|t| **t == Taker::Polling).count()
    }

    fn next(&self, rules: Rules) -> Vec<World> {
        let mut worlds = Vec::new();
        self.owner_steps(rules, &mut worlds);
        self.supervisor_steps(rules, &mut worlds);
        for taker in 0..2 {
            self.taker_steps(rules, taker, &mut worlds);
        }
        worlds
    }

    fn owner_steps(&self, rules: Rules, worlds: &mut Vec<World>) {
        if self.a_dead {
            return;
        }
        let mut step = |change: &dyn Fn(&mut World)| worlds.push(self.with(change));
        match self.a {
            Owner::Polling if RequestWord::unpack(self.request).state == RequestState::Asked => {
                step(&|w| w.a = Owner::SawRequest(w.request));
            }
            Owner::Polling | Owner::Gone => {}
            Owner::SawRequest(old) => step(&|w| {
                let accepted = RequestWord::unpack(old).accepted(OwnerWord::unpack(w.owner), A);
                w.a = match accepted {
                    Some(new) => Owner::Accepting(old, new.pack()),
                    None => Owner::Polling,
                };
            }),
            Owner::Accepting(old, new) => step(&|w| {
                w.a = Owner::Polling;
                if w.request == old {
                    w.request = new;
                    w.a = Owner::Accepted(RequestWord::unpack(new));
                }
            }),
            Owner::Accepted(request) => step(&|w| {
                let found = OwnerWord::unpack(w.owner);
                let mine = OwnerWord {
                    epoch: request.epoch,
                    lcore: Some(A),
                    ..found
                };
                let new = mine.passed_to(Some(request.next), request.generation);
                w.a = Owner::HandingOver(mine.pack(), new.pack());
            }),
            Owner::HandingOver(old, new) => step(&|w| {
                if w.owner == old || rules.blind_hand_over {
                    w.owner = new;
                }
                w.a = Owner::Gone;
            }),
        }
    }

    fn supervisor_steps(&self, rules: Rules, worlds: &mut Vec<World>) {
        let mut step = |change: &dyn Fn(&mut World)| worlds.push(self.with(change));
        match self.supervisor {
            Supervisor::Start => step(&|w| w.supervisor = Supervisor::SawRequest(w.request)),
            Supervisor::SawRequest(old) => step(&|w| {
                let owner = OwnerWord::unpack(w.owner);
                w.supervisor = match RequestWord::unpack(old).asked(owner, B, 2) {
                    Ok(new) => Supervisor::Asking(old, new),
                    Err(_) => Supervisor::End,
                };
            }),
            Supervisor::Asking(old, new) => step(&|w| {
                w.supervisor = Supervisor::Start;
                if w.request == old {
                    w.request = new.pack();
                    w.supervisor = Supervisor::Waiting(new);
                }
            }),
            Supervisor::Waiting(asked) => step(&|w| {
                w.supervisor = Supervisor::Committed;
                if w.request == asked.pack() || rules.blind_withdraw {
                    w.request = asked.withdrawn().pack();
                    w.supervisor = Supervisor::Withdrawn;
                }
            }),
            Supervisor::Committed if self.owner == World::start().owner => {
                step(&|w| (w.a_dead, w.supervisor) = (true, Supervisor::End));
            }
            Supervisor::Committed | Supervisor::Withdrawn | Supervisor::End => {}
        }
        // The owner may also die by itself, at any time.
        if !self.a_dead && self.a != Owner::Gone {
            step(&|w| w.a_dead = true);
        }
    }

    fn taker_steps(&self, rules: Rules, taker: usize, worlds: &mut Vec<World>) {
        let me = [B, C][taker];
        let mut step = |change: &dyn Fn(&mut World)| worlds.push(self.with(change));
        match self.takers[taker] {
            Taker::Watching => {
                let now = OwnerWord::unpack(self.owner);
                let dead = now.lcore == Some(A) && self.a_dead;
                if now.lcore == Some(me) {
                    step(&|w| w.takers[taker] = Taker::Polling);
                } else if dead || rules.take_by_time || now.lcore == Some(A) {
                    step(&|w| w.takers[taker] = Taker::SawOwner(w.owner));
                }
            }
            Taker::SawOwner(seen) => {
                let owner_is_a = OwnerWord::unpack(seen).lcore == Some(A);
                step(&|w| {
                    let dead = owner_is_a && (w.a_dead || rules.take_by_time);
                    w.takers[taker] = match dead {
                        true => Taker::Taking(seen),
                        false => Taker::Watching,
                    };
                });
            }
            Taker::Taking(seen) => step(&|w| {
                w.takers[taker] = Taker::Watching;
                if w.owner == seen {
                    w.owner = OwnerWord::unpack(seen).taken_by(me, 2).pack();
                    w.takers[taker] = Taker::Polling;
                }
            }),
            Taker::Polling => {}
        }
    }

    fn with(&self, change: &dyn Fn(&mut World)) -> World {
        let mut world = *self;
        change(&mut world);
        world
    }
}

/// What the search found.
#[derive(Debug, Default)]
struct Found {
    worlds: usize,
    withdrawn: usize,
    handed_over: usize,
    taken: usize,
    broken: Option<String>,
}

fn explore(rules: Rules) -> Found {
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let mut open = vec![World::start()];
    while let Some(world) = open.pop() {
        if !seen.insert(world) {
            continue;
        }
        found.worlds += 1;
        let next: Vec<World> = world
            .next(rules)
            .into_iter()
            .filter(|w| *w != world)
            .collect();
        if let Some(why) = broken(&world, rules, next.is_empty()) {
            found.broken = Some(format!("{why}: {world:?}"));
            return found;
        }
        if world.supervisor == Supervisor::Withdrawn {
            found.withdrawn += 1;
        }
        if world.a == Owner::Gone {
            found.handed_over += 1;
        }
        if world.a_dead && world.takers.contains(&Taker::Polling) {
            found.taken += 1;
        }
        open.extend(next);
    }
    found
}

/// Whether the new owner repairs what it finds.
fn repairs(world: &World, rules: Rules) -> bool {
    let owner = OwnerWord::unpack(world.owner);
    if rules.handed_by_request {
        let request = RequestWord::unpack(world.request);
        return owner.lcore != Some(request.next) || owner.epoch != request.epoch + 1;
    }
    owner.repair
}

fn broken(world: &World, rules: Rules, is_last: bool) -> Option<&'static str> {
    let owner = OwnerWord::unpack(world.owner);
    if world.pollers() > 1 {
        return Some("two poll one shard");
    }
    if world.supervisor == Supervisor::Withdrawn && world.a == Owner::Gone {
        return Some("a withdrawn request was carried out");
    }
    if world.takers.contains(&Taker::Polling) && repairs(world, rules) != world.a_dead {
        return Some(
            "a new owner took a dead one's leavings for a hand-over, or the other way round",
        );
    }
    if owner.epoch > 2 {
        return Some("the shard changed hands twice for one reason");
    }
    if is_last && world.pollers() == 0 {
        return Some("nobody polls, for ever");
    }
    None
}

#[test]
fn no_interleaving_gives_a_shard_two_pollers_or_none() {
    let found = explore(Rules::default());
    assert_eq!(found.broken, None);
    assert!(
        found.withdrawn > 0 && found.handed_over > 0 && found.taken > 0,
        "{found:?}"
    );
    assert!(found.worlds > 100, "{found:?}");
}

#[test]
fn the_search_notices_a_withdrawal_by_plain_store() {
    let rules = Rules {
        blind_withdraw: true,
        ..Rules::default()
    };
    let broken = explore(rules).broken.expect("withdraw races with accept");
    assert!(
        broken.starts_with("a withdrawn request was carried out"),
        "{broken}"
    );
}

#[test]
fn the_search_notices_a_taker_that_goes_by_time() {
    let rules = Rules {
        take_by_time: true,
        ..Rules::default()
    };
    let broken = explore(rules).broken.expect("a stuck lcore wakes late");
    assert!(broken.starts_with("two poll one shard"), "{broken}");
}

#[test]
fn the_search_notices_an_owner_that_goes_by_the_request() {
    let rules = Rules {
        handed_by_request: true,
        ..Rules::default()
    };
    let broken = explore(rules)
        .broken
        .expect("the owner dies with the request standing");
    assert!(broken.starts_with("a new owner took"), "{broken}");
}

#[test]
fn a_hand_over_by_plain_store_is_safe_only_because_death_precedes_taking() {
    let rules = Rules {
        blind_hand_over: true,
        ..Rules::default()
    };
    assert_eq!(explore(rules).broken, None);
    let both = Rules {
        take_by_time: true,
        ..rules
    };
    assert!(explore(both).broken.is_some());
}
