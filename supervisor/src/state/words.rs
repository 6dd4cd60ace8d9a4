//! A state in the words of the protocol, of receipts and of `baton status`.

use super::{Phase, Sole, Start, State};

impl State {
    /// The phase of the protocol, for the ledger, receipts and messages.
    pub fn phase(self) -> Option<Phase> {
        Some(match self {
            State::Plan => Phase::Plan,
            State::Spawn | State::Starting(_, Sole::Spawn | Sole::Backoff) => Phase::Spawn,
            State::Attach | State::Starting(_, Sole::Attach) => Phase::Attach,
            State::Export | State::Migrate => Phase::Migrate,
            State::Warm | State::Starting(_, Sole::Warm) => Phase::Warm,
            State::Swap(_) | State::Starting(_, Sole::Take) => Phase::Swap,
            State::Soak => Phase::Soak,
            State::Commit { .. } => Phase::Commit,
            State::Retire { .. } => Phase::Retire,
            State::Prepare { .. }
            | State::Back(_)
            | State::Leaving { .. }
            | State::TakeBack { .. } => Phase::Rollback,
            State::Ending { .. } => Phase::Rollback,
            State::Idle
            | State::Forwarding
            | State::Clearing { .. }
            | State::Stopping { .. }
            | State::Stopped => return None,
        })
    }

    /// The word `baton status` shows.
    pub fn word(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Starting(Start::Orphan, _) | State::Clearing { .. } => "no-owner",
            State::Starting(..) => "starting",
            State::Forwarding => "forwarding",
            State::Plan => "plan",
            State::Export => "export",
            State::Spawn => "spawn",
            State::Attach => "attach",
            State::Migrate => "migrate",
            State::Warm => "warm",
            State::Swap(_) => "swap",
            State::Soak => "soak",
            State::Commit { older_alive: true } => "commit",
            State::Commit { older_alive: false } => "forward-only",
            State::Retire { .. } => "retire",
            State::Ending { .. }
            | State::Prepare { .. }
            | State::Back(_)
            | State::Leaving { .. } => "rolling-back",
            State::TakeBack { .. } => "take-over",
            State::Stopping { .. } => "stopping",
            State::Stopped => "stopped",
        }
    }

    /// Whether an upgrade is under way, so that a second one is refused.
    pub fn upgrading(self) -> bool {
        !matches!(
            self,
            State::Idle
                | State::Forwarding
                | State::Starting(..)
                | State::Clearing { .. }
                | State::Stopping { .. }
                | State::Stopped
        )
    }
}
