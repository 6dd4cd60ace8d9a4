//! What: service classes of sessions: a class for each DSCP, given to a session by its first
//! packet. The older program has no classes and refuses the key with a way out.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

/// Number of code points.
const CODE_POINTS: usize = 64;

/// What a version of the program makes of the key `qos`.
pub trait QosClasses: DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The class of sessions whose first packet carries `dscp`.
    fn class_of(&self, dscp: u8) -> u8;
}

/// `[gateway.qos]`.
#[derive(Clone, Debug)]
pub struct Qos {
    classes: [u8; CODE_POINTS],
}

impl QosClasses for Qos {
    fn class_of(&self, dscp: u8) -> u8 {
        self.classes[usize::from(dscp) % CODE_POINTS]
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct QosTable {
    #[serde(default)]
    class: Vec<ClassTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ClassTable {
    dscp: u8,
    class: u8,
}

impl<'de> Deserialize<'de> for Qos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Qos, D::Error> {
        let mut classes = [0; CODE_POINTS];
        for ClassTable { dscp, class } in QosTable::deserialize(deserializer)?.class {
            *classes.get_mut(usize::from(dscp)).ok_or_else(|| {
                D::Error::custom(format!("expected a dscp of 0 to 63, found {dscp}"))
            })? = class;
        }
        Ok(Qos { classes })
    }
}

/// A program without service classes.
#[derive(Clone, Copy, Debug)]
pub enum NoQos {}

impl QosClasses for NoQos {
    fn class_of(&self, _dscp: u8) -> u8 {
        match *self {}
    }
}

impl<'de> Deserialize<'de> for NoQos {
    fn deserialize<D: Deserializer<'de>>(_deserializer: D) -> Result<NoQos, D::Error> {
        Err(D::Error::custom(
            "this version has no service classes; remove the key, or run gateway 2.0.0 or newer",
        ))
    }
}
