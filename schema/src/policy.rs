//! What happens to a zone in an upgrade.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A zone's policy. The numbers stand in shared memory and are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u32)]
pub enum Policy {
    /// Same fingerprint: used as it stands.
    Adopt = 1,
    /// Built as a new generation beside the old one, by a chain of migrations.
    Migrate = 2,
    /// The new one counts from zero on the frozen old one; folded at commit, or back at rollback.
    Carry = 3,
    /// Derived from other zones: made again.
    Rebuild = 4,
    /// Used by both generations while they overlap: a changed layout moves all lcores in one step.
    AllAtOnce = 5,
    /// A kernel object whose fixed parameters changed.
    Reopen = 6,
    /// No path.
    Refuse = 7,
}

impl Policy {
    /// All of them, in the order of their numbers.
    pub const ALL: [Policy; 7] = [
        Policy::Adopt,
        Policy::Migrate,
        Policy::Carry,
        Policy::Rebuild,
        Policy::AllAtOnce,
        Policy::Reopen,
        Policy::Refuse,
    ];

    /// The number in shared memory.
    pub const fn to_u32(self) -> u32 {
        self as u32
    }

    /// The policy with this number, if there is one.
    pub fn from_u32(number: u32) -> Option<Policy> {
        Policy::ALL
            .into_iter()
            .find(|policy| policy.to_u32() == number)
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Policy::Adopt => "adopt",
            Policy::Migrate => "migrate",
            Policy::Carry => "carry",
            Policy::Rebuild => "rebuild",
            Policy::AllAtOnce => "all at once",
            Policy::Reopen => "reopen",
            Policy::Refuse => "refuse",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_there_and_back() {
        for policy in Policy::ALL {
            assert_eq!(Policy::from_u32(policy.to_u32()), Some(policy));
        }
        assert_eq!(Policy::from_u32(0), None);
        assert_eq!(Policy::from_u32(8), None);
    }
}
