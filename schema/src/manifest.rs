//! What a binary reads and writes: printed by `--manifest`, read by `baton plan` before anything happens.

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::migrate::Chain;
use crate::policy::Policy;
use crate::schema::Schema;

/// One binary's zones and the wire version it speaks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The program's name, for example `gateway`.
    pub name: String,
    /// The program's version, for example `1.5.0`.
    pub version: String,
    /// [`wire::VERSION`](crate::wire::VERSION) of the binary.
    pub wire: u32,
    /// Every zone it uses.
    pub zones: Vec<ZoneManifest>,
}

/// One zone of a [`Manifest`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ZoneManifest {
    /// As in the zone directory.
    pub name: String,
    /// What happens to it in an upgrade if its layout changed.
    pub policy: Policy,
    /// What this binary writes.
    pub writes: Schema,
    /// All it can come from, oldest first, what it writes included.
    pub reads: Vec<Schema>,
    /// What going back to the oldest of them loses.
    pub losses_back: Vec<String>,
    /// Of what else must be equal for the zone to be adopted (a port's ring sizes), if anything.
    pub parameters: Option<Fingerprint>,
}

impl Manifest {
    /// The zone with this name.
    pub fn zone(&self, name: &str) -> Option<&ZoneManifest> {
        self.zones.iter().find(|zone| zone.name == name)
    }
}

impl ZoneManifest {
    /// A zone of the records of `chain`.
    pub fn of(name: &str, policy: Policy, chain: &Chain) -> ZoneManifest {
        let oldest = chain.versions().first().copied().unwrap_or_default();
        ZoneManifest {
            name: name.to_owned(),
            policy,
            writes: chain.newest().clone(),
            reads: chain.schemas.clone(),
            losses_back: chain.losses_back(oldest),
            parameters: None,
        }
    }

    /// Whether this binary can read what has this fingerprint.
    pub fn reads(&self, found: Fingerprint) -> bool {
        self.reads
            .iter()
            .any(|schema| schema.fingerprint() == found)
    }

    /// What will really be done with a zone whose live layout is `found` (`None`: there is none yet).
    ///
    /// An equal layout is adopted whatever the policy; a changed one follows it, or is refused where there is
    /// no path. A zone that does not exist yet is built.
    pub fn decide(&self, found: Option<Fingerprint>) -> Policy {
        let Some(found) = found else {
            return Policy::Rebuild;
        };
        if self.policy == Policy::Rebuild {
            return Policy::Rebuild;
        }
        if found == self.writes.fingerprint() {
            return Policy::Adopt;
        }
        match self.policy {
            Policy::Migrate | Policy::Carry | Policy::AllAtOnce if self.reads(found) => self.policy,
            Policy::Reopen => Policy::Reopen,
            _ => Policy::Refuse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use crate::schema::Field;

    fn version(version: u32) -> Schema {
        let field = Field {
            name: "server".to_owned(),
            offset: 0,
            size: 4,
            kind: Kind::U32,
            names: Vec::new(),
            doc: String::new(),
        };
        Schema {
            name: "lb.flow".to_owned(),
            version,
            size: 4,
            align: 4,
            fields: vec![field],
            doc: String::new(),
        }
    }

    fn zone(policy: Policy) -> ZoneManifest {
        ZoneManifest {
            name: "flows".to_owned(),
            policy,
            writes: version(4),
            reads: vec![version(2), version(3), version(4)],
            losses_back: Vec::new(),
            parameters: None,
        }
    }

    #[test]
    fn a_layout_without_a_path_is_refused_whatever_the_policy() {
        let old = Some(version(1).fingerprint());
        for policy in [
            Policy::Adopt,
            Policy::Migrate,
            Policy::Carry,
            Policy::AllAtOnce,
            Policy::Refuse,
        ] {
            assert_eq!(zone(policy).decide(old), Policy::Refuse, "{policy}");
        }
    }

    #[test]
    fn an_equal_layout_is_adopted() {
        let same = Some(version(4).fingerprint());
        for policy in [
            Policy::Adopt,
            Policy::Migrate,
            Policy::Carry,
            Policy::AllAtOnce,
        ] {
            assert_eq!(zone(policy).decide(same), Policy::Adopt, "{policy}");
        }
        assert_eq!(zone(Policy::Rebuild).decide(same), Policy::Rebuild);
    }

    #[test]
    fn a_changed_layout_follows_its_policy() {
        let old = Some(version(2).fingerprint());
        for policy in [
            Policy::Migrate,
            Policy::Carry,
            Policy::AllAtOnce,
            Policy::Rebuild,
            Policy::Reopen,
        ] {
            assert_eq!(zone(policy).decide(old), policy);
        }
        assert_eq!(zone(Policy::Adopt).decide(old), Policy::Refuse);
        assert_eq!(
            zone(Policy::Migrate).decide(None),
            Policy::Rebuild,
            "there is none yet: it is built"
        );
    }
}
