//! What the supervisor decides: a pure function (state, event) -> (state, actions).
//!
//! ```text
//!  idle -> starting -> forwarding <-> plan -> spawn -> attach -> migrate -> warm -> swap* -> soak -> commit -> retire
//!               |          |             \______ending______/              \__prepare -> back*__/ |
//!            stopped    starting (orphan)   (before the first swap)          (go back)      take-back
//!                          ^                                                                    |
//!                          |------ clearing <- whenever the only owner died -------------------/
//! ```
//!
//! Invariants, each checked over every reachable state by the tests beside this:
//! I1 Every state except idle, forwarding and stopped has an armed deadline, and a deadline or a
//!    death leads on from it: nothing waits for ever. (In clearing the deadline kills again.)
//! I2 Each swap step is meant for one side at a time.
//! I3 Only consent or death moves a shard: no deadline hands one over; it kills at most.
//! I4 Whatever fails, the end is *older forwards*, *newer committed*, or stopped by the operator.
//!
//! Nothing here knows processes, words in shared memory or clocks; [`crate::driver`] does.

mod lifecycle;
mod transition;
mod words;

#[cfg(test)]
mod tests;

pub use baton_schema::control::Phase;

/// One of the parties that may own shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who forwards now, or did when the upgrade began.
    Older,
    /// Who shall forward next.
    Newer,
    /// The older one after the commit: it owns nothing and is leaving.
    Retiring,
}

/// Why a tenant is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// `baton run`: there is nothing yet.
    First,
    /// The only owner died: the last good binary is to take its shards.
    Orphan,
    /// An upgrade.
    Upgrade,
}

/// Where a sole tenant is on its way to forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sole {
    /// Started, not yet heard of.
    Spawn,
    /// Opens or adopts ports and zones.
    Attach,
    /// Builds what it derives.
    Warm,
    /// Takes the shards of the dead (orphan only).
    Take,
    /// Waits until it may be tried again (orphan only).
    Backoff,
}

/// The state of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing was started.
    Idle,
    /// A sole tenant is brought up.
    Starting(Start, Sole),
    /// The older tenant owns all shards; no upgrade runs.
    Forwarding,
    /// The candidate is examined; nothing was started.
    Plan,
    /// The older one builds its zones in the layout that the candidate, an earlier version, knows.
    Export,
    /// The newer one was started and has not said hello.
    Spawn,
    /// It adopts zones and ports.
    Attach,
    /// It builds its generation beside the live one.
    Migrate,
    /// It builds what it derives.
    Warm,
    /// Step number `.0` was asked to move; the steps before it are the newer one's.
    Swap(u16),
    /// All shards are the newer one's; going back costs one swap.
    Soak,
    /// The newer one folds what ends the older generation.
    Commit {
        /// Whether the older one could still take back.
        older_alive: bool,
    },
    /// Committed; the older one is leaving.
    Retire {
        /// Whether it was killed.
        killed: bool,
    },
    /// The newer one is ended; it never owned a shard.
    Ending {
        /// Whether the first deadline passed.
        killed: bool,
    },
    /// The newer one readies the older generation for the way back.
    Prepare {
        /// The step the way back begins with.
        from: u16,
    },
    /// Step number `.0` was asked back; the steps after it are the older one's.
    Back(u16),
    /// The newer one gave everything back and is ended.
    Leaving {
        /// Whether the first deadline passed.
        killed: bool,
    },
    /// One side is dead or dying; the other takes its shards.
    TakeBack {
        /// Who lives on.
        by: Side,
        /// How far it is.
        step: Take,
    },
    /// Nobody alive may own: everyone is being ended before the last good binary is started.
    Clearing {
        /// Whether that binary failed just now, so that the next attempt waits a little.
        again: bool,
    },
    /// Ends forwarding.
    Stopping {
        /// Whether the first deadline passed.
        killed: bool,
        /// How the supervisor ends.
        outcome: Outcome,
    },
    /// The end.
    Stopped,
}

/// How far a take-over is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Take {
    /// The other one was killed and is not dead yet.
    Killing,
    /// Whatever a dead lcore owns is given to the survivor.
    Taking,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// `baton run` on a fresh instance.
    Start,
    /// `baton run` found a headless tenant that owns everything.
    Resumed,
    /// The operator wants an upgrade.
    Upgrade,
    /// The plan says GO.
    Planned,
    /// The plan says GO, and the older one has to write the candidate's layouts first.
    PlannedBack,
    /// The plan says NO GO.
    Refused,
    /// The started tenant said hello and has all descriptors.
    Attached,
    /// A tenant finished a phase.
    Done(Side, Phase),
    /// A tenant could not do a phase.
    Failed(Side, Phase),
    /// All shards of a step have this owner.
    Moved(u16, Side),
    /// Every shard of the instance has this owner.
    AllWith(Side),
    /// A tenant's process ended.
    Died(Side),
    /// No tenant process is left.
    NobodyLeft,
    /// The newer one does worse than the baseline.
    GateBreached,
    /// The operator wants to go back.
    Rollback,
    /// The operator wants forwarding to end.
    Stop,
    /// The armed deadline passed.
    Deadline,
}

/// What the driver has to do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Examine the candidate.
    Plan,
    /// Have the older tenant write the layouts of an earlier version beside its own.
    Export,
    /// Start a tenant as [`Side::Newer`].
    Spawn(Start),
    /// Tell a tenant to begin a phase.
    Go(Side, Phase),
    /// Give the shards of a fresh instance to the newer tenant.
    Claim,
    /// Give a side, from now until the state changes, every shard whose owner's lifeline reads dead.
    Take(Side),
    /// Ask the owners of a step's shards to hand them to a side.
    Ask(u16, Side),
    /// Withdraw what was asked for a step, as far as nobody accepted.
    Withdraw(u16),
    /// Ask a tenant to end.
    End(Side),
    /// End a tenant by its pidfd.
    Kill(Side),
    /// The newer tenant is now the older one; the former older one is retiring.
    Promote,
    /// The generation of the newer tenant is given up.
    FreeZones,
    /// Superseded generations are retired.
    RetireZones,
    /// The upgrade will end with this verdict; its receipt is written when the instance is at rest
    /// again. The first cause stands, a later verdict replaces an earlier one.
    Decide(Verdict, Cause),
    /// Tell the operator.
    Report(Notice),
    /// From now on wait for this, no longer than its deadline.
    Arm(Wait),
    /// Nothing is waited for.
    Disarm,
    /// The supervisor is done.
    Exit(Outcome),
}

/// What is waited for: the driver knows how long each may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wait {
    /// The plan.
    Plan,
    /// A hello and the transfer of descriptors.
    Spawn,
    /// A phase before the first swap.
    Phase,
    /// One step to change hands.
    Step,
    /// The soak to pass.
    Soak,
    /// Commit, or the preparation of a rollback.
    Commit,
    /// The same by one that missed its heartbeats or a step's deadline: perhaps nobody polls what it owns.
    Silent,
    /// A survivor to take all shards.
    Take,
    /// A process to end after it was asked.
    End,
    /// A process to end after it was killed.
    Kill,
    /// The next attempt to start the last good binary.
    Backoff,
}

/// How an upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The newer one forwards for good.
    Committed,
    /// It owned shards, or the operator changed his mind; the older one forwards.
    RolledBack,
    /// Refused by the plan.
    Refused,
    /// Ended before the first swap.
    Failed,
    /// A survivor or a fresh start of the last good binary forwards.
    TookOver,
    /// Ended by `baton stop`, or with its supervisor.
    Interrupted,
}

/// Why an upgrade did not simply commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It did.
    None,
    /// The plan's verdict.
    Plan,
    /// A tenant reported that it failed in a phase.
    Failed(Phase),
    /// A phase took longer than its deadline.
    Deadline(Phase),
    /// A tenant died in a phase.
    Died(Side, Phase),
    /// The gate.
    Gate,
    /// The operator.
    Operator,
}

/// Something that happened and is not the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The older tenant died: there is no way back any more.
    ForwardOnly,
    /// Nobody alive can own: the last good binary is started.
    NoOwner,
    /// A killed tenant is not dead yet; nobody takes its shards by time.
    Undead,
}

/// How the supervisor itself ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The operator stopped it.
    Stopped,
    /// The first start failed.
    StartFailed,
}

/// The machine: its state, and into how many steps the shards are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// Where it is.
    pub state: State,
    /// Steps of a swap: one for each lcore.
    pub steps: u16,
}

impl Machine {
    /// A machine that has not begun.
    pub fn new(steps: u16) -> Machine {
        Machine {
            state: State::Idle,
            steps: steps.max(1),
        }
    }

    /// Takes one event and says what is to be done.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let (state, actions) = transition::next(self.state, event, self.steps);
        self.state = state;
        actions
    }
}
