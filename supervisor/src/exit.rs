//! The exit codes of `baton`: one meaning each, the same in every verb.

use std::process::ExitCode;

/// How a verb ended, and with it what forwarding does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; `plan`: GO; `status`: forwarding.
    Done = 0,
    /// Failed, unexpectedly; forwarding is unchanged.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// No such instance, or it is not running.
    NotRunning = 3,
    /// Refused before anything happened.
    Refused = 4,
    /// Another upgrade or another supervisor is at work.
    Busy = 5,
    /// The upgrade was rolled back; the previous version forwards.
    RolledBack = 6,
    /// The machine is not fit.
    Unfit = 7,
    /// Corrupt or foreign state.
    Corrupt = 8,
    /// Ended, but the receipt shows loss.
    Loss = 9,
}

impl Exit {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The exit of a number that came over the control socket.
    pub fn from_code(code: u8) -> Exit {
        match code {
            0 => Exit::Done,
            2 => Exit::Usage,
            3 => Exit::NotRunning,
            4 => Exit::Refused,
            5 => Exit::Busy,
            6 => Exit::RolledBack,
            7 => Exit::Unfit,
            8 => Exit::Corrupt,
            9 => Exit::Loss,
            _ => Exit::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_socket() {
        for code in 0..=9 {
            assert_eq!(Exit::from_code(code).code(), code);
        }
        assert_eq!(Exit::from_code(77), Exit::Failed);
    }
}
