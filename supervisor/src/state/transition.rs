//! The transitions of an upgrade, one function for each part of the diagram in [`super`].

use super::lifecycle::{at_rest, clear, clearing, starting, stop, stopping};
use super::{Action, Cause, Event, Notice, Phase, Side, Start, State, Take, Verdict, Wait};
use Action::{
    Arm, Ask, Decide, Disarm, End, FreeZones, Go, Kill, Promote, Report, RetireZones, Spawn,
    Withdraw,
};
use Side::{Newer, Older, Retiring};

pub(super) type Next = (State, Vec<Action>);

/// The next state and what is to be done. An event that means nothing in a state changes nothing.
pub(super) fn next(state: State, event: Event, steps: u16) -> Next {
    if event == Event::Stop {
        return stop(state);
    }
    match state {
        State::Idle | State::Forwarding => at_rest(state, event),
        State::Starting(start, at) => starting(start, at, event),
        State::Plan => plan(event),
        State::Export => export(event),
        State::Spawn | State::Attach | State::Migrate | State::Warm => {
            before_swap(state, event, steps)
        }
        State::Swap(_) | State::Soak => swapping(state, event),
        State::Commit { older_alive } => commit(older_alive, event),
        State::Retire { killed } => retire(killed, event),
        State::Ending { killed } => ending(killed, event),
        State::Prepare { .. } | State::Back(_) => going_back(state, event, steps),
        State::Leaving { killed } => leaving(killed, event),
        State::TakeBack { by, step } => take_back(by, step, event),
        State::Clearing { again } => clearing(again, event),
        State::Stopping { killed, outcome } => stopping(killed, outcome, event),
        State::Stopped => (state, vec![]),
    }
}

/// Nothing was started yet.
fn plan(event: Event) -> Next {
    let end = |verdict, cause| (State::Forwarding, vec![Decide(verdict, cause), Disarm]);
    match event {
        Event::Planned => (State::Spawn, vec![Spawn(Start::Upgrade), Arm(Wait::Spawn)]),
        Event::PlannedBack => (State::Export, vec![Action::Export, Arm(Wait::Phase)]),
        Event::Refused => end(Verdict::Refused, Cause::Plan),
        Event::Deadline => end(Verdict::Failed, Cause::Deadline(Phase::Plan)),
        Event::Rollback => end(Verdict::RolledBack, Cause::Operator),
        Event::Died(Older) => clear(
            false,
            vec![Decide(Verdict::Failed, Cause::Died(Older, Phase::Plan))],
        ),
        _ => (State::Plan, vec![]),
    }
}

/// The older one writes the candidate's layouts; nothing was started yet.
fn export(event: Event) -> Next {
    let end = |verdict, cause| {
        (
            State::Forwarding,
            vec![Decide(verdict, cause), FreeZones, Disarm],
        )
    };
    match event {
        Event::Done(Older, Phase::Migrate) => {
            (State::Spawn, vec![Spawn(Start::Upgrade), Arm(Wait::Spawn)])
        }
        Event::Failed(Older, failed) => end(Verdict::Failed, Cause::Failed(failed)),
        Event::Deadline => end(Verdict::Failed, Cause::Deadline(Phase::Migrate)),
        Event::Rollback => end(Verdict::RolledBack, Cause::Operator),
        Event::Died(Older) => clear(
            false,
            vec![Decide(Verdict::Failed, Cause::Died(Older, Phase::Migrate))],
        ),
        _ => (State::Export, vec![]),
    }
}

/// Spawn to warm: the newer one owns nothing, so any failure ends it and nothing happened.
fn before_swap(state: State, event: Event, steps: u16) -> Next {
    let phase = state.phase().expect("each of these states is a phase");
    let go = |state, phase| (state, vec![Go(Newer, phase), Arm(Wait::Phase)]);
    let end = |verdict, cause| {
        (
            State::Ending { killed: false },
            vec![Decide(verdict, cause), End(Newer), Arm(Wait::End)],
        )
    };
    match (state, event) {
        (State::Spawn, Event::Attached) => go(State::Attach, Phase::Attach),
        (State::Attach, Event::Done(Newer, Phase::Attach)) => go(State::Migrate, Phase::Migrate),
        (State::Migrate, Event::Done(Newer, Phase::Migrate)) => go(State::Warm, Phase::Warm),
        (State::Warm, Event::Done(Newer, Phase::Warm)) => {
            let first = steps - 1;
            (State::Swap(first), vec![Ask(first, Newer), Arm(Wait::Step)])
        }
        (_, Event::Died(Older)) => clear(
            false,
            vec![
                Decide(Verdict::Failed, Cause::Died(Older, phase)),
                Kill(Newer),
            ],
        ),
        (_, Event::Died(Newer)) => {
            let decided = Decide(Verdict::Failed, Cause::Died(Newer, phase));
            (State::Forwarding, vec![decided, FreeZones, Disarm])
        }
        (_, Event::Failed(Newer, failed)) => end(Verdict::Failed, Cause::Failed(failed)),
        (_, Event::Deadline) => end(Verdict::Failed, Cause::Deadline(phase)),
        (_, Event::Rollback) => end(Verdict::RolledBack, Cause::Operator),
        _ => (state, vec![]),
    }
}

fn ending(killed: bool, event: Event) -> Next {
    match event {
        Event::Died(Newer) => (State::Forwarding, vec![FreeZones, Disarm]),
        Event::Died(Older) => clear(false, vec![Kill(Newer)]),
        Event::Deadline => (State::Ending { killed: true }, kill(killed, Newer)),
        _ => (State::Ending { killed }, vec![]),
    }
}

/// Kills who did not end when asked; the second time it is reported: it owns nothing, so forwarding
/// does not suffer, but its zones stay occupied until it is dead.
fn kill(again: bool, side: Side) -> Vec<Action> {
    let mut actions = vec![Kill(side), Arm(Wait::Kill)];
    if again {
        actions.insert(0, Report(Notice::Undead));
    }
    actions
}

/// Swap and soak: both sides are warm, any failure of the newer one leads back.
fn swapping(state: State, event: Event) -> Next {
    let phase = state.phase().expect("each of these states is a phase");
    let (from, withdraw) = match state {
        State::Swap(step) => (step, Some(step)),
        _ => (0, None),
    };
    match (state, event) {
        (State::Swap(step), Event::Moved(moved, Newer)) if moved == step => {
            match step.checked_sub(1) {
                Some(following) => (
                    State::Swap(following),
                    vec![Ask(following, Newer), Arm(Wait::Step)],
                ),
                None => (State::Soak, vec![Go(Newer, Phase::Soak), Arm(Wait::Soak)]),
            }
        }
        (State::Soak, Event::Deadline) => (
            State::Commit { older_alive: true },
            vec![Go(Newer, Phase::Commit), Arm(Wait::Commit)],
        ),
        (State::Soak, Event::Died(Older)) => {
            let decided = Decide(Verdict::TookOver, Cause::Died(Older, phase));
            let actions = vec![
                decided,
                Report(Notice::ForwardOnly),
                Go(Newer, Phase::Commit),
                Arm(Wait::Commit),
            ];
            (State::Commit { older_alive: false }, actions)
        }
        (_, Event::Deadline) => prepare(from, withdraw, Cause::Deadline(phase)),
        (_, Event::Failed(Newer, failed)) => prepare(from, withdraw, Cause::Failed(failed)),
        (_, Event::GateBreached) => prepare(from, withdraw, Cause::Gate),
        (_, Event::Rollback) => prepare(from, withdraw, Cause::Operator),
        (_, Event::Died(Newer)) => survive(Older, withdraw, Cause::Died(Newer, phase)),
        (_, Event::Died(Older)) => survive(Newer, withdraw, Cause::Died(Older, phase)),
        _ => (state, vec![]),
    }
}

/// The way back by consent begins.
fn prepare(from: u16, withdraw: Option<u16>, cause: Cause) -> Next {
    let mut actions = vec![Decide(Verdict::RolledBack, cause)];
    actions.extend(withdraw.map(Withdraw));
    let wait = match cause {
        // It did not answer in time: perhaps nobody polls what it owns.
        Cause::Gate | Cause::Deadline(_) => Wait::Silent,
        _ => Wait::Commit,
    };
    actions.extend([Go(Newer, Phase::Rollback), Arm(wait)]);
    (State::Prepare { from }, actions)
}

/// The other one is dead: `by` lives and takes what it owned.
fn survive(by: Side, withdraw: Option<u16>, cause: Cause) -> Next {
    let verdict = if by == Older {
        Verdict::RolledBack
    } else {
        Verdict::TookOver
    };
    let mut actions = vec![Decide(verdict, cause)];
    actions.extend(withdraw.map(Withdraw));
    if by == Newer {
        actions.push(Report(Notice::ForwardOnly));
    }
    actions.extend([Action::Take(by), Arm(Wait::Take)]);
    (
        State::TakeBack {
            by,
            step: Take::Taking,
        },
        actions,
    )
}

fn take_back(by: Side, step: Take, event: Event) -> Next {
    match (step, event) {
        (_, Event::Died(dead)) if dead == by => clear(false, vec![Kill(Newer), Kill(Older)]),
        (Take::Killing, Event::Died(_)) => (
            State::TakeBack {
                by,
                step: Take::Taking,
            },
            vec![Action::Take(by), Arm(Wait::Take)],
        ),
        (Take::Killing, Event::Deadline) => (State::TakeBack { by, step }, kill(true, Newer)),
        (Take::Taking, Event::AllWith(all)) if all == by => match by {
            Older => (State::Forwarding, vec![FreeZones, Disarm]),
            Newer | Retiring => (
                State::Commit { older_alive: false },
                vec![Go(Newer, Phase::Commit), Arm(Wait::Commit)],
            ),
        },
        (Take::Taking, Event::Deadline) => clear(false, vec![Kill(by)]),
        _ => (State::TakeBack { by, step }, vec![]),
    }
}

fn commit(older_alive: bool, event: Event) -> Next {
    let alone = |actions: Vec<Action>| (State::Commit { older_alive: false }, actions);
    let forwarding = (State::Forwarding, vec![Promote, RetireZones, Disarm]);
    match event {
        Event::Died(Older) if older_alive => alone(vec![Report(Notice::ForwardOnly)]),
        Event::Done(Newer, Phase::Commit) if older_alive => {
            let decided = Decide(Verdict::Committed, Cause::None);
            (
                State::Retire { killed: false },
                vec![
                    decided,
                    Promote,
                    Go(Retiring, Phase::Retire),
                    Arm(Wait::End),
                ],
            )
        }
        Event::Done(Newer, Phase::Commit) => {
            let (state, mut actions) = forwarding;
            actions.insert(0, Decide(Verdict::Committed, Cause::None));
            (state, actions)
        }
        Event::Died(Newer) if older_alive => {
            survive(Older, None, Cause::Died(Newer, Phase::Commit))
        }
        Event::Failed(Newer, Phase::Commit) if older_alive => {
            prepare(0, None, Cause::Failed(Phase::Commit))
        }
        // Only a death lets the older one take: it is waited for.
        Event::Deadline if older_alive => {
            let decided = Decide(Verdict::RolledBack, Cause::Deadline(Phase::Commit));
            (
                State::TakeBack {
                    by: Older,
                    step: Take::Killing,
                },
                vec![decided, Kill(Newer), Arm(Wait::Kill)],
            )
        }
        Event::Died(Newer) => clear(false, vec![]),
        // Alone and unable to fold its counters: it still forwards, which is what counts.
        Event::Failed(Newer, Phase::Commit) => forwarding,
        Event::Deadline => clear(false, vec![Kill(Newer)]),
        _ => (State::Commit { older_alive }, vec![]),
    }
}

fn retire(killed: bool, event: Event) -> Next {
    match event {
        Event::Died(Retiring) => (State::Forwarding, vec![RetireZones, Disarm]),
        Event::Died(Older) => clear(false, vec![Kill(Retiring)]),
        Event::Deadline => (State::Retire { killed: true }, kill(killed, Retiring)),
        _ => (State::Retire { killed }, vec![]),
    }
}

/// Prepare and back: the control shard comes back first.
fn going_back(state: State, event: Event, steps: u16) -> Next {
    match (state, event) {
        // What cannot be folded back is a counter; the sessions are what counts.
        (
            State::Prepare { from },
            Event::Done(Newer, Phase::Rollback) | Event::Failed(Newer, Phase::Rollback),
        ) => (State::Back(from), vec![Ask(from, Older), Arm(Wait::Step)]),
        (State::Back(step), Event::Moved(moved, Older)) if moved == step => {
            if step + 1 < steps {
                return (
                    State::Back(step + 1),
                    vec![Ask(step + 1, Older), Arm(Wait::Step)],
                );
            }
            (
                State::Leaving { killed: false },
                vec![End(Newer), Arm(Wait::End)],
            )
        }
        (_, Event::Died(Newer)) => {
            survive(Older, asked(state), Cause::Died(Newer, Phase::Rollback))
        }
        (_, Event::Died(Older)) => {
            survive(Newer, asked(state), Cause::Died(Older, Phase::Rollback))
        }
        // It does not answer, or does not let go: only its death lets the older one take.
        (_, Event::Deadline) => {
            let mut actions: Vec<Action> = asked(state).map(Withdraw).into_iter().collect();
            actions.extend([Kill(Newer), Arm(Wait::Kill)]);
            let step = Take::Killing;
            (State::TakeBack { by: Older, step }, actions)
        }
        _ => (state, vec![]),
    }
}

fn asked(state: State) -> Option<u16> {
    match state {
        State::Back(step) => Some(step),
        _ => None,
    }
}

fn leaving(killed: bool, event: Event) -> Next {
    match event {
        Event::Died(Newer) => (State::Forwarding, vec![FreeZones, Disarm]),
        Event::Died(Older) => clear(false, vec![Kill(Newer)]),
        Event::Deadline => (State::Leaving { killed: true }, kill(killed, Newer)),
        _ => (State::Leaving { killed }, vec![]),
    }
}
