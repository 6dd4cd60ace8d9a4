//! The world as far as the machine can notice it, and what may happen in it next.

use crate::state::*;
use Side::{Newer, Older, Retiring};

pub(super) const STEPS: usize = 2;

/// Takes one change of a world to be walked.
type TryOne<'a> = dyn FnMut(&dyn Fn(&mut World)) + 'a;

/// Who has a step's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    Nobody,
    Dead,
    Alive(Side),
}

/// The world as far as the machine can notice it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) machine: Machine,
    alive: [bool; 3],
    pub(super) owners: [Owner; STEPS],
    /// Asked and not yet accepted: it can be withdrawn.
    pub(super) asked: Option<(u16, Side)>,
    /// Accepted: it completes, or its owner dies.
    accepted: Option<(u16, Side)>,
    told: Option<(Side, Phase)>,
    taking: Option<Side>,
    pub(super) greeting: bool,
    pub(super) planning: bool,
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
    pub(super) fn new() -> World {
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

    pub(super) fn is_alive(&self, side: Side) -> bool {
        self.alive[index(side)]
    }

    pub(super) fn step(&mut self, event: Event) {
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
    pub(super) fn following(&self) -> Vec<World> {
        let mut all = Vec::new();
        let mut try_one = |change: &dyn Fn(&mut World)| {
            let mut next = self.clone();
            change(&mut next);
            all.push(next);
        };
        self.deaths(&mut try_one);
        if self.armed.is_some() {
            try_one(&|w| w.step(Event::Deadline));
        }
        self.answers(&mut try_one);
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

    /// Who lives may die, who owns everything is found to, and what the dead owned is taken.
    fn deaths(&self, try_one: &mut TryOne<'_>) {
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
    }

    /// Who was asked or told something says that it is done, or that it failed.
    fn answers(&self, try_one: &mut TryOne<'_>) {
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

    pub(super) fn at_rest(&self) -> bool {
        matches!(
            self.machine.state,
            State::Idle | State::Forwarding | State::Stopped
        )
    }

    pub(super) fn check(&self) {
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
