//! Any words in any order, also such as no honest world says.

use proptest::prelude::*;

use crate::state::*;
use Side::{Newer, Older, Retiring};

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
