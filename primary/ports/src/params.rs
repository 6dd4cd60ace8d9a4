//! What is fixed when a port's kernel objects are made, and so cannot change by adoption.

use std::fmt;

use crate::spec::{Driver, PortSpec};

/// The fixed parameters of a port: equal fingerprints can be adopted, others must be reopened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

/// The fixed parameters of a port (see [`Parameters`]).
pub fn parameters(spec: &PortSpec) -> Parameters {
    Parameters::of(spec)
}

impl Parameters {
    /// Those of a specification. Name and number are not among them: a port may be renamed.
    pub fn of(spec: &PortSpec) -> Parameters {
        let mut list = vec![
            ("driver".to_owned(), spec.driver.name().to_owned()),
            ("queues".to_owned(), spec.queues.to_string()),
            ("rxd".to_owned(), spec.rxd.to_string()),
            ("txd".to_owned(), spec.txd.to_string()),
        ];
        if let Some(iface) = &spec.iface {
            list.push(("iface".to_owned(), iface.clone()));
        }
        if spec.driver == Driver::AfXdp {
            list.push(("start_queue".to_owned(), spec.start_queue.to_string()));
        }
        list.extend(spec.params.clone());
        list.sort();
        Parameters(list)
    }

    /// Names and values, sorted.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// A number that differs when any parameter does (FNV-1a, 64 bits).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.to_string().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash
    }

    /// What differs, as `rxd: 2048 -> 4096`.
    pub fn differences(&self, next: &Parameters) -> Vec<String> {
        let value = |list: &Parameters, key: &str| {
            let found = list.0.iter().find(|(name, _)| name == key);
            found.map_or("none".to_owned(), |(_, value)| value.clone())
        };
        let mut keys: Vec<&String> = self.0.iter().chain(&next.0).map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .filter_map(|key| {
                let (from, to) = (value(self, key), value(next, key));
                (from != to).then(|| format!("{key}: {from} -> {to}"))
            })
            .collect()
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (key, value)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_ring_changes_the_fingerprint_and_a_name_does_not() {
        let spec = PortSpec::parse_vdev("net_tap0,iface=tap0").unwrap();
        let renamed = Parameters::of(&spec.clone().named("inside", 4));
        let before = parameters(&spec);
        assert_eq!(before.fingerprint(), renamed.fingerprint());
        let after = parameters(&spec.with_rings(4096, 2048).unwrap());
        assert_ne!(before.fingerprint(), after.fingerprint());
        assert_eq!(before.differences(&after), ["rxd: 2048 -> 4096"]);
        assert!(before.differences(&before).is_empty());
    }

    #[test]
    fn an_added_key_is_a_difference() {
        let one = parameters(&PortSpec::parse_vdev("net_null0").unwrap());
        let two = parameters(&PortSpec::parse_vdev("net_null0,size=64").unwrap());
        assert_eq!(one.differences(&two), ["size: none -> 64"]);
        assert_eq!(one.pairs().len(), 4);
    }
}
