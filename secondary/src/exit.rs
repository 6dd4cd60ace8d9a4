//! The exit codes of `baton-dump`: the same numbers as every command of baton.

/// How the command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed, unexpectedly.
    Failed = 1,
    /// Wrong usage: an unknown zone, an expression that does not parse.
    Usage = 2,
    /// No such instance, or no supervisor that could hand out its memory.
    NotRunning = 3,
    /// The supervisor refused.
    Refused = 4,
    /// This user or machine may not.
    Unfit = 7,
    /// Corrupt or foreign state.
    Corrupt = 8,
}

impl Exit {
    /// The number the process ends with.
    pub const fn code(self) -> u8 {
        self as u8
    }
}
