//! What the command line says to the supervisor and hears from it: JSON inside the control
//! socket's client messages, so that an older `baton` and a newer supervisor get along.

use baton_schema::control::Stats;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::receipt::Receipt;

/// A verb for a running supervisor. A candidate's binary comes as a descriptor beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub enum Verb {
    /// Who owns what.
    Status,
    /// What an upgrade would do.
    Plan {
        /// The binary as the operator named it.
        name: String,
    },
    /// Do it.
    Upgrade {
        /// The binary as the operator named it.
        name: String,
        /// Time in which going back costs one swap, if not the configured one.
        soak_ms: Option<u64>,
        /// The command line, for the receipt.
        argv: Vec<String>,
    },
    /// Back to what forwarded before.
    Rollback {
        /// The receipt after which the wanted version forwarded.
        revision: Option<u64>,
        /// The command line, for the receipt.
        argv: Vec<String>,
    },
    /// End forwarding.
    Stop,
}

/// One line of progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Receipt number.
    pub number: u64,
    /// UTC, RFC 3339.
    pub at: String,
    /// `plan`, `spawn`, ..., `swap 1`.
    pub step: String,
    /// How long it took.
    pub duration_ns: Option<u64>,
    /// What there is to say.
    pub text: String,
}

/// The result of a verb.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    /// Of `status`.
    Status(Box<Status>),
    /// Of `plan`, and of an `upgrade` that the plan refused.
    Plan(Box<Plan>),
    /// Of `upgrade` and `rollback`.
    Receipt(Box<Receipt>),
    /// Anything else.
    Said {
        /// A sentence.
        text: String,
        /// What the operator can do.
        way_out: Option<String>,
    },
}

/// The state of an instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `baton.status/1`.
    pub schema: String,
    /// The instance.
    pub prefix: String,
    /// As the state machine calls it.
    pub state: String,
    /// Version of the supervisor.
    pub supervisor: String,
    /// Its process.
    pub supervisor_pid: u32,
    /// Who forwards.
    pub owner: Option<Tenant>,
    /// Who shall forward next.
    pub next: Option<Tenant>,
    /// Owner words, one row a shard.
    pub shards: Vec<Shard>,
    /// Numbers of the owner; `null` if it did not answer in time.
    pub stats: Option<Stats>,
    /// The same a moment earlier, for rates.
    pub stats_before: Option<Stats>,
    /// Time between the two.
    pub stats_interval_ns: Option<u64>,
    /// The running upgrade.
    pub upgrade: Option<Running>,
    /// The newest receipt.
    pub last: Option<Last>,
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Whether 2 MiB pages back the arena.
    pub huge_pages: bool,
}

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its slot.
    pub slot: u16,
    /// Its process.
    pub pid: u32,
    /// Its program.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its generation set.
    pub generation: u16,
    /// Its content.
    pub binary_sha256: String,
    /// Since it became what it is.
    pub for_ns: u64,
}

/// One owner word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Which shard; 63 is the control shard.
    pub shard: u16,
    /// Tenant slot; `null`: nobody.
    pub tenant: Option<u16>,
    /// Lcore index in that tenant.
    pub lcore: Option<u16>,
    /// Generation set.
    pub generation: u16,
    /// How often it changed hands.
    pub epoch: u32,
    /// Of the owner's last loop.
    pub heartbeat_age_ns: Option<u64>,
}

/// The running upgrade.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Running {
    /// Its receipt's number.
    pub number: u64,
    /// Where it is.
    pub phase: String,
    /// Until that phase's deadline.
    pub left_ns: Option<u64>,
}

/// The newest receipt in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// Its number.
    pub number: u64,
    /// Its verdict.
    pub verdict: crate::state::Verdict,
    /// Packets lost; `null`: not measured.
    pub lost: Option<u64>,
    /// When it ended.
    pub ended: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_answers_survive_the_socket() {
        let verb = Verb::Upgrade {
            name: "./b".into(),
            soak_ms: Some(500),
            argv: vec!["baton".into()],
        };
        let text = serde_json::to_string(&verb).expect("serializes");
        assert!(text.contains("\"verb\":\"upgrade\""));
        assert_eq!(serde_json::from_str::<Verb>(&text).expect("parses"), verb);
        let answer = Answer::Said {
            text: "no".into(),
            way_out: None,
        };
        let text = serde_json::to_string(&answer).expect("serializes");
        assert_eq!(
            serde_json::from_str::<Answer>(&text).expect("parses"),
            answer
        );
        let status = Answer::Status(Box::default());
        let text = serde_json::to_string(&status).expect("serializes");
        assert_eq!(
            serde_json::from_str::<Answer>(&text).expect("parses"),
            status
        );
    }

    #[test]
    fn an_unknown_verb_is_an_error_and_not_a_panic() {
        assert!(serde_json::from_str::<Verb>("{\"verb\":\"explode\"}").is_err());
        assert!(serde_json::from_str::<Verb>("{\"verb\":\"upgrade\"}").is_err());
        assert!(serde_json::from_str::<Verb>("[]").is_err());
    }
}
