//! The transitions around upgrades: the first start, the heir of a dead owner, the end.

use super::transition::Next;
use super::{
    Action, Cause, Event, Notice, Outcome, Phase, Side, Sole, Start, State, Verdict, Wait,
};
use Action::{
    Arm, Claim, Decide, Disarm, End, Exit, FreeZones, Go, Kill, Promote, Report, RetireZones, Spawn,
};
use Side::{Newer, Older, Retiring};

pub(super) fn at_rest(state: State, event: Event) -> Next {
    match (state, event) {
        (State::Idle, Event::Start) => (
            State::Starting(Start::First, Sole::Spawn),
            vec![Spawn(Start::First), Arm(Wait::Spawn)],
        ),
        (State::Idle, Event::Resumed) => (State::Forwarding, vec![Disarm]),
        (State::Forwarding, Event::Upgrade) => (State::Plan, vec![Action::Plan, Arm(Wait::Plan)]),
        (State::Forwarding, Event::Died(Older)) => clear(false, vec![]),
        _ => (state, vec![]),
    }
}

/// A sole tenant: the first of an instance, or the heir of a dead one.
pub(super) fn starting(start: Start, at: Sole, event: Event) -> Next {
    let to = |sole, actions: Vec<Action>| (State::Starting(start, sole), actions);
    let phase = |sole, phase| to(sole, vec![Go(Newer, phase), Arm(Wait::Phase)]);
    match (at, event) {
        (Sole::Backoff, Event::Deadline) => to(Sole::Spawn, vec![Spawn(start), Arm(Wait::Spawn)]),
        (Sole::Backoff, _) => to(at, vec![]),
        (Sole::Spawn, Event::Attached) => phase(Sole::Attach, Phase::Attach),
        // The heir is the binary that forwarded, so nothing changes layout: no migration.
        (Sole::Attach, Event::Done(Newer, Phase::Attach)) => phase(Sole::Warm, Phase::Warm),
        (Sole::Warm, Event::Done(Newer, Phase::Warm)) => match start {
            Start::First => (State::Forwarding, vec![Claim, Promote, Disarm]),
            Start::Orphan | Start::Upgrade => {
                to(Sole::Take, vec![Action::Take(Newer), Arm(Wait::Take)])
            }
        },
        (Sole::Take, Event::AllWith(Newer)) => {
            let decided = Decide(Verdict::TookOver, Cause::Died(Older, Phase::Swap));
            (
                State::Forwarding,
                vec![decided, Promote, RetireZones, Disarm],
            )
        }
        (_, Event::Died(Newer)) if start == Start::First => {
            (State::Stopped, vec![Disarm, Exit(Outcome::StartFailed)])
        }
        (_, Event::Died(Newer)) => to(Sole::Backoff, vec![FreeZones, Arm(Wait::Backoff)]),
        (_, Event::Deadline | Event::Failed(Newer, _)) if start == Start::First => (
            State::Stopping {
                killed: true,
                outcome: Outcome::StartFailed,
            },
            vec![Kill(Newer), Arm(Wait::Kill)],
        ),
        (_, Event::Deadline | Event::Failed(Newer, _)) => clear(true, vec![Kill(Newer)]),
        _ => to(at, vec![]),
    }
}

/// Nobody who is alive may go on: all are ended, then the last good binary is started.
pub(super) fn clear(again: bool, mut actions: Vec<Action>) -> Next {
    actions.extend([Report(Notice::NoOwner), Arm(Wait::Kill)]);
    (State::Clearing { again }, actions)
}

pub(super) fn clearing(again: bool, event: Event) -> Next {
    match event {
        Event::NobodyLeft if again => (
            State::Starting(Start::Orphan, Sole::Backoff),
            vec![FreeZones, Arm(Wait::Backoff)],
        ),
        Event::NobodyLeft => {
            let actions = vec![FreeZones, Spawn(Start::Orphan), Arm(Wait::Spawn)];
            (State::Starting(Start::Orphan, Sole::Spawn), actions)
        }
        // Time moves no shard: it only kills again and says so.
        Event::Deadline => {
            let kills = [Kill(Newer), Kill(Older), Kill(Retiring)];
            let mut actions = vec![Report(Notice::Undead)];
            actions.extend(kills);
            actions.push(Arm(Wait::Kill));
            (State::Clearing { again }, actions)
        }
        _ => (State::Clearing { again }, vec![]),
    }
}

pub(super) fn stop(state: State) -> Next {
    match state {
        State::Stopped | State::Stopping { .. } => (state, vec![]),
        State::Idle => (State::Stopped, vec![Exit(Outcome::Stopped)]),
        _ => {
            let mut actions = vec![End(Newer), End(Retiring), End(Older), Arm(Wait::End)];
            if state.upgrading() && !matches!(state, State::Retire { .. }) {
                actions.insert(0, Decide(Verdict::Interrupted, Cause::Operator));
            }
            (
                State::Stopping {
                    killed: false,
                    outcome: Outcome::Stopped,
                },
                actions,
            )
        }
    }
}

pub(super) fn stopping(killed: bool, outcome: Outcome, event: Event) -> Next {
    match event {
        Event::NobodyLeft => (State::Stopped, vec![Disarm, Exit(outcome)]),
        Event::Deadline if !killed => (
            State::Stopping {
                killed: true,
                outcome,
            },
            vec![Kill(Newer), Kill(Retiring), Kill(Older), Arm(Wait::Kill)],
        ),
        Event::Deadline => (
            State::Stopped,
            vec![Report(Notice::Undead), Disarm, Exit(outcome)],
        ),
        _ => (State::Stopping { killed, outcome }, vec![]),
    }
}
