//! Single stories, event by event.

use super::world::{Owner, STEPS, World};
use crate::state::*;
use Side::{Newer, Older, Retiring};

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
            Action::Arm(Wait::Silent)
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
fn a_newer_one_that_stands_still_is_not_waited_for_as_for_one_that_answers() {
    let mut world = upgraded_to(State::Soak);
    let actions = world.machine.step(Event::GateBreached);
    assert!(
        actions.contains(&Action::Arm(Wait::Silent)),
        "nobody polls meanwhile: {actions:?}"
    );
    let actions = world.machine.step(Event::Deadline);
    assert!(actions.contains(&Action::Kill(Newer)), "{actions:?}");
    world.machine.step(Event::Died(Newer));
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
