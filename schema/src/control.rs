//! The messages of the control socket (`SOCK_SEQPACKET`): one message a packet, fds beside it.
//!
//! ```text
//!   primary    Hello -> ; <- Welcome ; <- Fds.. (each answered Acknowledged) ; <- Go(phase) ; Done | Failed -> ; ...
//!   client     Opening::Client(Attach) -> ; <- ToClient::Fds.. (read-only) | Refused
//!              Opening::Client(Verb(json)) -> ; <- ToClient::Line.. ; <- ToClient::End
//! ```
//!
//! The first message of every connection decodes as [`Opening`]: a primary's [`FromPrimary::Hello`] has the same
//! bytes as [`Opening::Hello`]. A message may carry at most [`MAX_FDS`] fds; their keys stand in it, in order.
//!
//! Failure: a peer that sends what does not decode is disconnected; nothing it asked for has happened.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::manifest::Manifest;
use crate::policy::Policy;
use crate::schema::Schema;
pub use crate::stats::{MbufStats, PortStats, Report, ShardStats, Stats, ZoneReport};

/// Most fds beside one message (the kernel's `SCM_MAX_FD` is 253).
pub const MAX_FDS: usize = 64;

/// The first message of any connection to the control socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Opening {
    /// A primary. The same bytes as [`FromPrimary::Hello`].
    Hello {
        /// Its pid, compared with the socket's credentials.
        pid: u32,
        /// What it reads and writes.
        manifest: Manifest,
        /// The tenant slot it already holds (the supervisor is the one that is new).
        resume: Option<u16>,
    },
    /// A tool or the command line.
    Client(Client),
}

/// What a client wants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Client {
    /// The segments, read-only: answered by [`ToClient::Fds`].
    Attach,
    /// A verb of the command line, as JSON: answered by [`ToClient::Line`]s and one [`ToClient::End`].
    Verb(String),
}

/// Supervisor to client.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToClient {
    /// Fds beside this message, opened read-only; keys `segment/<name>`.
    Fds {
        /// One a descriptor, in order.
        keys: Vec<String>,
        /// No more follow.
        last: bool,
    },
    /// The request is refused.
    Refused {
        /// A sentence with a way out.
        why: String,
    },
    /// One event of a running verb, as JSON.
    Line(String),
    /// The verb ended.
    End {
        /// Exit code of the command.
        code: u8,
        /// Its result, as JSON.
        result: String,
    },
}

/// Primary to supervisor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromPrimary {
    /// The first message.
    Hello {
        /// Its pid, compared with the socket's credentials.
        pid: u32,
        /// What it reads and writes.
        manifest: Manifest,
        /// The tenant slot it already holds.
        resume: Option<u16>,
    },
    /// Asks for a zone: answered by [`ToPrimary::Zone`] or [`ToPrimary::ZoneRefused`].
    CreateZone {
        /// As in the directory.
        name: String,
        /// Stored beside it.
        schema: Schema,
        /// The set it belongs to.
        generation: u16,
        /// Bytes.
        len: u64,
        /// What happens to it in the next upgrade.
        policy: Policy,
        /// Records.
        count: u64,
        /// Bytes from one record to the next.
        stride: u32,
    },
    /// The zone's content is complete.
    ZoneReady {
        /// As in [`ToPrimary::Zone`].
        id: u32,
    },
    /// The zone is not needed any more.
    RetireZone {
        /// As in [`ToPrimary::Zone`].
        id: u32,
    },
    /// Fds beside this message, to be kept: answered by [`ToPrimary::Acknowledged`].
    Deposit {
        /// One a descriptor, in order.
        keys: Vec<String>,
    },
    /// [`ToPrimary::Fds`] arrived.
    Acknowledged,
    /// A [`ToPrimary::Go`] finished well.
    Done {
        /// Which.
        phase: Phase,
        /// What it did.
        report: Report,
    },
    /// A phase failed; nothing the other tenant uses was written.
    Failed {
        /// Which.
        phase: Phase,
        /// A sentence with a way out.
        why: String,
    },
    /// Answer to [`ToPrimary::GetStats`].
    Snapshot(Stats),
}

/// Supervisor to primary.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToPrimary {
    /// Answer to [`FromPrimary::Hello`].
    Welcome {
        /// The slot it has from now on.
        tenant: u16,
        /// The generation set it builds.
        generation: u16,
        /// The generation set now live; `None` at the first start.
        live: Option<u16>,
        /// The config's TOML text.
        config: String,
        /// Where it was read, for error messages.
        config_path: String,
        /// How many shards the instance has.
        shards: u16,
    },
    /// Fds beside this message: answered by [`FromPrimary::Acknowledged`].
    Fds {
        /// One a descriptor, in order: `segment/<name>`, `port/<name>/...`.
        keys: Vec<String>,
        /// No more follow.
        last: bool,
    },
    /// Answer to [`FromPrimary::CreateZone`].
    Zone {
        /// The directory entry's id.
        id: u32,
        /// In the arena.
        offset: u64,
        /// Bytes.
        len: u64,
        /// The set it belongs to.
        generation: u16,
    },
    /// Answer to [`FromPrimary::CreateZone`].
    ZoneRefused {
        /// A sentence with a way out.
        why: String,
    },
    /// Answer to [`FromPrimary::Deposit`], [`FromPrimary::ZoneReady`] and [`FromPrimary::RetireZone`].
    Acknowledged,
    /// Do a phase: answered by [`FromPrimary::Done`] or [`FromPrimary::Failed`].
    Go(Phase),
    /// Answered by [`FromPrimary::Snapshot`].
    GetStats,
    /// End forwarding and exit with 0.
    Stop,
    /// Build and keep current these zones in an older layout, for a successor that knows no newer one;
    /// an empty list ends that. Answered by [`FromPrimary::Done`] or [`FromPrimary::Failed`] of
    /// [`Phase::Migrate`].
    Export {
        /// The generation set they belong to.
        generation: u16,
        /// Name and version of each.
        zones: Vec<(String, u32)>,
    },
}

/// A phase of an upgrade (or of the first start).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Manifest, config and cost, before anything happens.
    Plan,
    /// The process starts.
    Spawn,
    /// Segments, zones and ports.
    Attach,
    /// New generations are built beside the old ones.
    Migrate,
    /// Rings, indexes and caches are touched.
    Warm,
    /// Shards change hands.
    Swap,
    /// Both generations are kept current.
    Soak,
    /// Counters are folded; no way back by one swap from here.
    Commit,
    /// Counters are folded back.
    Rollback,
    /// The process that owns nothing any more exits.
    Retire,
    /// Every packet buffer is accounted for.
    Audit,
}

impl Phase {
    /// The phase of a number, as `phase as u32` gives it.
    pub fn from_number(number: u32) -> Option<Phase> {
        use Phase::*;
        let all = [
            Plan, Spawn, Attach, Migrate, Warm, Swap, Soak, Commit, Rollback, Retire, Audit,
        ];
        all.into_iter().find(|phase| *phase as u32 == number)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Plan => "plan",
            Phase::Spawn => "spawn",
            Phase::Attach => "attach",
            Phase::Migrate => "migrate",
            Phase::Warm => "warm",
            Phase::Swap => "swap",
            Phase::Soak => "soak",
            Phase::Commit => "commit",
            Phase::Rollback => "rollback",
            Phase::Retire => "retire",
            Phase::Audit => "audit",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn manifest() -> Manifest {
        Manifest {
            name: "gateway".to_owned(),
            version: "1.4.2".to_owned(),
            wire: wire::VERSION,
            zones: Vec::new(),
        }
    }

    #[test]
    fn a_primarys_hello_opens_a_connection() {
        let hello = FromPrimary::Hello {
            pid: 7,
            manifest: manifest(),
            resume: Some(3),
        };
        let opening: Opening = wire::decode(&wire::encode(&hello).unwrap()).unwrap();
        assert_eq!(
            opening,
            Opening::Hello {
                pid: 7,
                manifest: manifest(),
                resume: Some(3)
            }
        );
    }

    #[test]
    fn a_client_is_not_taken_for_a_primary() {
        for client in [Client::Attach, Client::Verb("{}".to_owned())] {
            let bytes = wire::encode(&Opening::Client(client.clone())).unwrap();
            assert_eq!(
                wire::decode::<Opening>(&bytes).unwrap(),
                Opening::Client(client)
            );
            assert!(!matches!(
                wire::decode::<FromPrimary>(&bytes),
                Ok(FromPrimary::Hello { .. })
            ));
        }
    }

    #[test]
    fn a_manifest_is_the_same_in_json() {
        let json = serde_json::to_string(&manifest()).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest());
    }

    #[test]
    fn phases_have_the_same_name_in_text_and_json() {
        for phase in [Phase::Plan, Phase::Migrate, Phase::Rollback, Phase::Audit] {
            assert_eq!(
                serde_json::to_string(&phase).unwrap(),
                format!("\"{phase}\"")
            );
        }
    }
}
