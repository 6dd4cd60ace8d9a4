//! What a fake primary is told, behind its own image, and the manifest that follows from it.

use baton_schema::{Field, Kind, Manifest, Policy, Schema, ZoneManifest, wire};
use serde::Deserialize;

/// Stands in front of the instructions.
const MARK: &[u8] = b"\nFAKE-PRIMARY ";

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Told {
    pub(crate) version: String,
    pub(crate) writes: u32,
    pub(crate) reads: Vec<u32>,
    #[serde(default)]
    pub(crate) fault: String,
}

pub(crate) fn told() -> Told {
    let image = std::fs::read("/proc/self/exe").expect("its own image");
    let at = image.windows(MARK.len()).rposition(|window| window == MARK);
    let text = at.map(|at| &image[at + MARK.len()..]).unwrap_or_default();
    serde_json::from_slice(text).unwrap_or(Told {
        version: "0".into(),
        writes: 1,
        reads: vec![1],
        fault: String::new(),
    })
}

pub(crate) fn schema(version: u32) -> Schema {
    let field = |name: &str, offset: u32| Field {
        name: name.into(),
        offset,
        size: 8,
        kind: Kind::U64,
        names: vec![],
        doc: String::new(),
    };
    let fields = (0..version)
        .map(|n| field(&format!("f{n}"), n * 8))
        .collect();
    Schema {
        name: "nat.session".into(),
        version,
        size: version * 8,
        align: 8,
        fields,
        doc: String::new(),
    }
}

pub(crate) fn manifest(told: &Told) -> Manifest {
    let zone = ZoneManifest {
        name: "nat.session".into(),
        policy: Policy::Migrate,
        writes: schema(told.writes),
        reads: told.reads.iter().map(|version| schema(*version)).collect(),
        losses_back: if told.writes > 1 {
            vec!["qos_class".into()]
        } else {
            vec![]
        },
        parameters: None,
    };
    Manifest {
        name: "gateway".into(),
        version: told.version.clone(),
        wire: wire::VERSION,
        zones: vec![zone],
    }
}
