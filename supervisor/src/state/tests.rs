//! The machine beside a model of the world: every order of deaths, answers, deadlines and
//! operator's wishes is walked through, and in each reachable pair of both the invariants hold.

use std::collections::{HashMap, HashSet, VecDeque};

use proptest::prelude::*;

use super::*;
use Side::{Newer, Older, Retiring};

const STEPS: usize = 2;

/// Takes one change of a world to be walked.
type TryOne<'a> = dyn FnMut(&dyn Fn(&mut World)) + 'a;

/// Who has a step's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Nobody,
    Dead,
    Alive(Side),
}

/// The world as far as the machine can notice it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    machine: Machine,
    alive: [bool; 3],
    owners: [Owner; STEPS],
    /// Asked and not yet accepted: it can be withdrawn.
    asked: Option<(u16, Side)>,
    /// Accepted: it completes, or its owner dies.
    accepted: Option<(u16, Side)>,
    told: Option<(Side, Phase)>,
    taking: Option<Side>,
    greeting: bool,
    planning: bool,
    armed: Option<Wait>,
}

fn index(side: Side) -> usize {
    match side {
        Older => 0,
        Newer => 1,
        Retiring => 2,
    }
}

impl World {
    fn new() -> World {
        World {
            machine: Machine::new(STEPS as u16),
            alive: [false; 3],
            owners: [Owner::Nobody; STEPS],
            asked: None,
            accepted: None,
            told: None,
            taking: None,
            greeting: false,
            planning: false,
            armed: None,
        }
    }

    fn is_alive(&self, side: Side) -> bool {
        self.alive[index(side)]
    }

    fn step(&mut self, event: Event) {
        let before = self.machine.state;
        let actions = self.machine.step(event);
        if self.machine.state != before {
            self.taking = None;
        }
        for action in actions {
            self.apply(action);
        }
        if self.machine.state == State::Forwarding {
            self.told = None;
        }
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::Plan => self.planning = true,
            Action::Export => self.told = Some((Older, Phase::Migrate)),
            Action::Spawn(_) => {
                assert!(!self.is_alive(Newer), "two newer tenants: {self:?}");
                self.alive[index(Newer)] = true;
                self.greeting = true;
            }
            Action::Go(side, phase) if self.is_alive(side) => self.told = Some((side, phase)),
            Action::Claim => {
                assert!(self.owners.iter().all(|owner| *owner == Owner::Nobody));
                self.owners = [Owner::Alive(Newer); STEPS];
            }
            Action::Take(side) => self.taking = Some(side),
            Action::Ask(step, to) => {
                assert!(
                    self.is_alive(to),
                    "a shard is meant for a dead side: {self:?}"
                );
                assert!(self.asked.is_none(), "two steps asked at once: {self:?}");
                self.asked = Some((step, to));
            }
            Action::Withdraw(_) => self.asked = None,
            Action::Promote => self.promote(),
            Action::Arm(wait) => self.armed = Some(wait),
            Action::Disarm => self.armed = None,
            Action::FreeZones => assert!(
                !self.is_alive(Newer),
                "zones freed under a living tenant: {self:?}"
            ),
            _ => {}
        }
    }

    fn promote(&mut self) {
        self.alive = [self.alive[1], false, self.alive[0]];
        for owner in &mut self.owners {
            *owner = match *owner {
                Owner::Alive(Newer) => Owner::Alive(Older),
                Owner::Alive(Older) => panic!("promoted over an owner: {self:?}"),
                other => other,
            };
        }
    }

    fn die(&mut self, side: Side) {
        self.alive[index(side)] = false;
        for owner in &mut self.owners {
            if *owner == Owner::Alive(side) {
                *owner = Owner::Dead;
            }
        }
        self.told = self.told.filter(|(to, _)| *to != side);
        if let Some((step, _)) = self.accepted
            && self.owners[usize::from(step)] == Owner::Dead
        {
            self.accepted = None;
        }
        // What was asked of the dead is void: its heir's word has another epoch.
        if let Some((step, _)) = self.asked
            && self.owners[usize::from(step)] == Owner::Dead
        {
            self.asked = None;
        }
        if side == Newer {
            self.greeting = false;
        }
        self.step(Event::Died(side));
        if self.alive == [false; 3] {
            self.step(Event::NobodyLeft);
        }
    }

    /// Every world that may come next, and whether it came without the operator.
    fn following(&self) -> Vec<World> {
        let mut all = Vec::new();
        let mut try_one = |change: &dyn Fn(&mut World)| {
            let mut next = self.clone();
            change(&mut next);
            all.push(next);
        };
        for side in [Older, Newer, Retiring] {
            if self.is_alive(side) {
                try_one(&|w| w.die(side));
            }
            if self.is_alive(side)
                && self.accepted.is_none()
                && self.owners == [Owner::Alive(side); STEPS]
            {
                try_one(&|w| w.step(Event::AllWith(side)));
            }
        }
        if let Some(side) = self
            .taking
            .filter(|side| self.is_alive(*side) && self.owners.contains(&Owner::Dead))
        {
            try_one(&|w| {
                w.owners = w.owners.map(|owner| {
                    if owner == Owner::Dead {
                        Owner::Alive(side)
                    } else {
                        owner
                    }
                });
            });
        }
        if self.armed.is_some() {
            try_one(&|w| w.step(Event::Deadline));
        }
        if self.greeting {
            try_one(&|w| {
                w.greeting = false;
                w.step(Event::Attached);
            });
        }
        if self.planning {
            for event in [Event::Planned, Event::PlannedBack, Event::Refused] {
                try_one(&|w| {
                    w.planning = false;
                    w.step(event);
                });
            }
        }
        if let Some((side, phase)) = self.told {
            try_one(&|w| w.answer(side, phase));
            try_one(&|w| {
                w.told = None;
                w.step(Event::Failed(side, phase));
            });
        }
        self.handovers(&mut try_one);
        for event in [
            Event::Start,
            Event::Upgrade,
            Event::Rollback,
            Event::GateBreached,
            Event::Stop,
        ] {
            try_one(&|w| w.step(event));
        }
        all
    }

    fn answer(&mut self, side: Side, phase: Phase) {
        self.told = None;
        self.step(Event::Done(side, phase));
    }

    /// What is asked stays asked until all of it arrived, or it is withdrawn; an owner that
    /// accepted completes, whatever was withdrawn meanwhile.
    fn handovers(&self, try_one: &mut TryOne<'_>) {
        if let Some((step, to)) = self.asked {
            let owner = self.owners[usize::from(step)];
            if owner == Owner::Alive(to) && self.accepted.is_none() {
                try_one(&|w| {
                    w.asked = None;
                    w.step(Event::Moved(step, to));
                });
            } else if matches!(owner, Owner::Alive(_)) && self.accepted.is_none() {
                try_one(&|w| w.accepted = w.asked);
            }
        }
        if let Some((step, to)) = self.accepted {
            try_one(&|w| {
                w.accepted = None;
                w.owners[usize::from(step)] = if w.is_alive(to) {
                    Owner::Alive(to)
                } else {
                    Owner::Dead
                };
            });
        }
    }

    fn at_rest(&self) -> bool {
        matches!(
            self.machine.state,
            State::Idle | State::Forwarding | State::Stopped
        )
    }

    fn check(&self) {
        // I1: whoever waits has a deadline.
        assert_eq!(self.armed.is_none(), self.at_rest(), "{self:?}");
        match self.machine.state {
            // I4: at rest after anything, one living tenant owns everything.
            State::Forwarding => {
                assert_eq!(self.owners, [Owner::Alive(Older); STEPS], "{self:?}");
                assert!(
                    self.is_alive(Older) && !self.is_alive(Newer) && !self.is_alive(Retiring),
                    "{self:?}"
                );
            }
            State::Soak | State::Commit { .. } => {
                assert_eq!(self.owners, [Owner::Alive(Newer); STEPS], "{self:?}");
            }
            State::Plan
            | State::Export
            | State::Spawn
            | State::Attach
            | State::Migrate
            | State::Warm
            | State::Ending { .. } => {
                assert_eq!(
                    self.owners,
                    [Owner::Alive(Older); STEPS],
                    "nothing happened yet: {self:?}"
                );
            }
            _ => {}
        }
    }
}

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

/// The older one at rest, ready for an upgrade.
fn forwarding() -> World {
    let mut world = World::new();
    world.step(Event::Start);
    world.greeting = false;
    world.step(Event::Attached);
    world.step(Event::Done(Newer, Phase::Attach));
    world.step(Event::Done(Newer, Phase::Warm));
    assert_eq!(world.machine.state, State::Forwarding);
    world
}

fn upgraded_to(state: State) -> World {
    let mut world = forwarding();
    let mut events = vec![Event::Upgrade, Event::Planned, Event::Attached];
    events.extend(
        [Phase::Attach, Phase::Migrate, Phase::Warm].map(|phase| Event::Done(Newer, phase)),
    );
    events.extend([
        Event::Moved(1, Newer),
        Event::Moved(0, Newer),
        Event::Deadline,
    ]);
    for event in events {
        if world.machine.state == state {
            return world;
        }
        if let Event::Moved(step, to) = event {
            world.asked = None;
            world.owners[usize::from(step)] = Owner::Alive(to);
        }
        world.greeting = false;
        world.planning = false;
        world.step(event);
    }
    assert_eq!(world.machine.state, state);
    world
}

#[test]
fn a_good_upgrade_moves_the_last_lcore_first_and_retires_the_older_one() {
    let mut world = upgraded_to(State::Soak);
    assert_eq!(world.owners, [Owner::Alive(Newer); STEPS]);
    assert_eq!(
        world.machine.step(Event::Deadline),
        [Action::Go(Newer, Phase::Commit), Action::Arm(Wait::Commit)]
    );
    let actions = world.machine.step(Event::Done(Newer, Phase::Commit));
    assert!(actions.contains(&Action::Decide(Verdict::Committed, Cause::None)));
    assert!(actions.contains(&Action::Go(Retiring, Phase::Retire)));
    assert_eq!(
        world.machine.step(Event::Died(Retiring)),
        [Action::RetireZones, Action::Disarm]
    );
    assert_eq!(world.machine.state, State::Forwarding);
}

#[test]
fn before_the_first_swap_every_failure_ends_the_newer_one_and_names_its_phase() {
    for state in [State::Spawn, State::Attach, State::Migrate, State::Warm] {
        let phase = state.phase().expect("a phase");
        for (event, cause) in [
            (Event::Deadline, Cause::Deadline(phase)),
            (Event::Failed(Newer, phase), Cause::Failed(phase)),
            (Event::Died(Newer), Cause::Died(Newer, phase)),
        ] {
            let mut world = upgraded_to(state);
            let actions = world.machine.step(event);
            assert!(
                actions.contains(&Action::Decide(Verdict::Failed, cause)),
                "{state:?} {event:?}: {actions:?}"
            );
            if event != Event::Died(Newer) {
                world.machine.step(Event::Died(Newer));
            }
            assert_eq!(
                world.machine.state,
                State::Forwarding,
                "{state:?} {event:?}"
            );
        }
    }
}

#[test]
fn a_step_that_takes_too_long_is_withdrawn_and_undone() {
    let mut world = upgraded_to(State::Swap(0));
    let actions = world.machine.step(Event::Deadline);
    assert_eq!(
        actions,
        [
            Action::Decide(Verdict::RolledBack, Cause::Deadline(Phase::Swap)),
            Action::Withdraw(0),
            Action::Go(Newer, Phase::Rollback),
            Action::Arm(Wait::Commit)
        ]
    );
    assert!(
        world
            .machine
            .step(Event::Done(Newer, Phase::Rollback))
            .contains(&Action::Ask(0, Older))
    );
    assert!(
        world
            .machine
            .step(Event::Moved(0, Older))
            .contains(&Action::Ask(1, Older))
    );
    assert!(
        world
            .machine
            .step(Event::Moved(1, Older))
            .contains(&Action::End(Newer))
    );
    assert!(
        world
            .machine
            .step(Event::Died(Newer))
            .contains(&Action::FreeZones)
    );
    assert_eq!(world.machine.state, State::Forwarding);
}

#[test]
fn the_newer_ones_death_after_the_swap_gives_the_shards_back() {
    let mut world = upgraded_to(State::Soak);
    let actions = world.machine.step(Event::Died(Newer));
    assert!(actions.contains(&Action::Take(Older)), "{actions:?}");
    assert!(actions.contains(&Action::Decide(
        Verdict::RolledBack,
        Cause::Died(Newer, Phase::Soak)
    )));
    world.machine.step(Event::AllWith(Older));
    assert_eq!(world.machine.state, State::Forwarding);
}

#[test]
fn a_second_upgrade_and_late_words_change_nothing() {
    for state in [State::Spawn, State::Migrate, State::Swap(1), State::Soak] {
        for event in [
            Event::Upgrade,
            Event::Start,
            Event::Done(Newer, Phase::Audit),
            Event::Attached,
        ] {
            if state == State::Spawn && event == Event::Attached {
                continue;
            }
            let mut world = upgraded_to(state);
            assert_eq!(world.machine.step(event), [], "{state:?} {event:?}");
            assert_eq!(world.machine.state, state);
        }
    }
}

#[test]
fn a_killed_tenant_that_is_not_dead_gives_nothing_away() {
    let mut world = upgraded_to(State::Commit { older_alive: true });
    let actions = world.machine.step(Event::Deadline);
    assert!(actions.contains(&Action::Kill(Newer)) && !actions.contains(&Action::Take(Older)));
    for _ in 0..3 {
        assert!(
            world
                .machine
                .step(Event::Deadline)
                .contains(&Action::Report(Notice::Undead))
        );
        assert!(matches!(
            world.machine.state,
            State::TakeBack {
                by: Older,
                step: Take::Killing
            }
        ));
    }
    assert!(
        world
            .machine
            .step(Event::Died(Newer))
            .contains(&Action::Take(Older))
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let side = prop_oneof![Just(Older), Just(Newer), Just(Retiring)];
    let phase = prop_oneof![
        Just(Phase::Attach),
        Just(Phase::Migrate),
        Just(Phase::Warm),
        Just(Phase::Swap),
        Just(Phase::Commit),
        Just(Phase::Rollback),
        Just(Phase::Audit),
    ];
    prop_oneof![
        Just(Event::Start),
        Just(Event::Resumed),
        Just(Event::Upgrade),
        Just(Event::Planned),
        Just(Event::PlannedBack),
        Just(Event::Refused),
        Just(Event::Attached),
        Just(Event::NobodyLeft),
        Just(Event::GateBreached),
        Just(Event::Rollback),
        Just(Event::Deadline),
        Just(Event::Deadline),
        (side.clone(), phase.clone()).prop_map(|(side, phase)| Event::Done(side, phase)),
        (side.clone(), phase).prop_map(|(side, phase)| Event::Failed(side, phase)),
        (0..4u16, side.clone()).prop_map(|(step, side)| Event::Moved(step, side)),
        side.clone().prop_map(Event::AllWith),
        side.prop_map(Event::Died),
    ]
}

proptest! {
    /// Even words that no honest world says leave the machine with a deadline wherever it waits,
    /// and with only one step asked at a time.
    #[test]
    fn any_words_leave_a_deadline_and_one_intended_owner(events in prop::collection::vec(any_event(), 0..200), steps in 1..5u16) {
        let mut machine = Machine::new(steps);
        let mut armed = false;
        for event in events {
            let actions = machine.step(event);
            let asks = actions.iter().filter(|action| matches!(action, Action::Ask(..))).count();
            prop_assert!(asks <= 1);
            for action in &actions {
                match action {
                    Action::Arm(_) => armed = true,
                    Action::Disarm => armed = false,
                    Action::Ask(step, _) | Action::Withdraw(step) => prop_assert!(*step < steps),
                    _ => {}
                }
            }
            let rest = matches!(machine.state, State::Idle | State::Forwarding | State::Stopped);
            prop_assert_eq!(armed, !rest, "{:?} after {:?}", machine.state, event);
        }
    }
}
