//! Everything that can be reached: the invariants hold there, and it comes to rest.

use std::collections::{HashMap, HashSet, VecDeque};

use super::world::World;

/// All reachable worlds and who follows whom.
fn explore() -> (Vec<World>, Vec<Vec<usize>>) {
    let mut numbers: HashMap<World, usize> = HashMap::new();
    let mut worlds = vec![World::new()];
    let mut follows: Vec<Vec<usize>> = Vec::new();
    numbers.insert(World::new(), 0);
    let mut queue = VecDeque::from([0]);
    while let Some(at) = queue.pop_front() {
        let mut next = Vec::new();
        for world in worlds[at].following() {
            let number = *numbers.entry(world.clone()).or_insert_with(|| {
                worlds.push(world);
                queue.push_back(worlds.len() - 1);
                worlds.len() - 1
            });
            next.push(number);
        }
        follows.push(next);
    }
    (worlds, follows)
}

#[test]
fn every_reachable_world_keeps_the_invariants_and_comes_to_rest() {
    let (worlds, follows) = explore();
    assert!(
        worlds.len() > 300,
        "the model is too small: {}",
        worlds.len()
    );
    for world in &worlds {
        world.check();
    }
    let mut before: Vec<Vec<usize>> = vec![Vec::new(); worlds.len()];
    for (at, next) in follows.iter().enumerate() {
        for to in next {
            before[*to].push(at);
        }
    }
    let mut good: HashSet<usize> = (0..worlds.len()).filter(|n| worlds[*n].at_rest()).collect();
    let mut queue: VecDeque<usize> = good.iter().copied().collect();
    while let Some(at) = queue.pop_front() {
        for from in &before[at] {
            if good.insert(*from) {
                queue.push_back(*from);
            }
        }
    }
    let stuck: Vec<&World> = (0..worlds.len())
        .filter(|n| !good.contains(n))
        .map(|n| &worlds[n])
        .collect();
    assert!(
        stuck.is_empty(),
        "{} worlds never come to rest, such as {:?}",
        stuck.len(),
        stuck[0]
    );
}

#[test]
fn every_phase_and_every_failure_is_reached_by_the_model() {
    let (worlds, _) = explore();
    let words: HashSet<&str> = worlds
        .iter()
        .map(|world| world.machine.state.word())
        .collect();
    for word in [
        "idle",
        "starting",
        "no-owner",
        "forwarding",
        "plan",
        "export",
        "spawn",
        "attach",
        "migrate",
        "warm",
        "swap",
        "soak",
        "commit",
        "forward-only",
        "retire",
        "rolling-back",
        "take-over",
        "stopping",
        "stopped",
    ] {
        assert!(words.contains(word), "no world is in \"{word}\"");
    }
}
