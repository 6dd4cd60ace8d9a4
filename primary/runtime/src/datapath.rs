//! What an author of a datapath writes: the [`Datapath`] trait.
//!
//! Two structs carry a program: its `State` (zones that outlive every process, each with a
//! policy) and the implementor itself (made anew from the config by each version). The runtime
//! owns everything else: ports, lcores, shards and the takeover in both directions.

use crate::burst::Burst;
use crate::setup::Setup;
use crate::shard::Shard;
use crate::zone::Zones;
use baton_schema::Reason;
use baton_schema::config::Mistake;
use baton_shared_state::mbuf::Packet;
use serde::de::DeserializeOwned;

/// Why a datapath could not be made or refuses to go on.
#[derive(Debug, thiserror::Error)]
#[error("{}{sentence}", key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct Error {
    key: Option<String>,
    sentence: String,
}

impl Error {
    /// An error with the sentence an operator will read: what was expected, what was found, what to do.
    pub fn new(sentence: impl Into<String>) -> Error {
        Error {
            key: None,
            sentence: sentence.into(),
        }
    }

    /// The same about a key of the config, named from the top of the file: `balancer.servers[2]`. What
    /// [`Datapath::check_config`] says so is printed with file, line and column.
    pub fn at(key: impl Into<String>, sentence: impl Into<String>) -> Error {
        Error {
            key: Some(key.into()),
            sentence: sentence.into(),
        }
    }

    /// The key, if there is one, and what is wrong there.
    pub(crate) fn mistake(&self) -> Option<Mistake> {
        let key = self.key.as_ref()?;
        Some(Mistake::at(key, &self.sentence))
    }
}

impl From<Mistake> for Error {
    fn from(mistake: Mistake) -> Error {
        Error::at(mistake.key, mistake.what)
    }
}

/// The result of the hooks that may refuse.
pub type Result<T> = core::result::Result<T, Error>;

/// A program that forwards packets, one instance a shard.
///
/// All hooks of one instance run on one lcore thread (`new` runs before, on the control thread);
/// none of them may block. State may name config only by value, or must check it: the config
/// can be younger than the state.
pub trait Datapath: Sized + Send + 'static {
    /// The program's own table of the TOML file, named as [`Datapath::name`].
    type Config: DeserializeOwned + Send + Sync + 'static;
    /// What outlives the process.
    type State: Zones;
    /// Why a packet is dropped; each becomes a named counter.
    type Drop: Reason;

    /// The program's name: its table in the config and its name in plans and receipts.
    fn name() -> String {
        let full = core::any::type_name::<Self>();
        let bare = full.split('<').next().unwrap_or(full);
        bare.rsplit("::").next().unwrap_or(bare).to_lowercase()
    }

    /// The program's version, as plans and receipts print it.
    fn version() -> &'static str {
        "0.1.0"
    }

    /// How many records a zone of this name gets at the first start. A running zone keeps its size.
    fn capacity(_config: &Self::Config, _zone: &str) -> u32 {
        65_536
    }

    /// The key of the config that [`Datapath::capacity`] reads, for errors; the program's table unless said.
    fn capacity_key(_zone: &str) -> String {
        Self::name()
    }

    /// Checks what the config alone can tell, before anything is touched.
    ///
    /// # Errors
    /// A sentence for the operator; `--check-config` prints it and exits with 2. [`Error::at`] gives it a place.
    fn check_config(_config: &Self::Config, _setup: &Setup) -> Result<()> {
        Ok(())
    }

    /// Makes the instance of one shard (`setup.shard()`), while another tenant may still forward.
    ///
    /// # Errors
    /// A sentence for the operator; an upgrade ends there with the older version forwarding.
    fn new(config: &Self::Config, setup: &Setup) -> Result<Self>;

    /// Runs up to [`baton_shared_state::BURST`] packets of this shard's flows to completion.
    fn burst(&mut self, shard: &mut Shard<Self>, burst: Burst);

    /// The bucket (0..=255) of a received packet; asked only where there are several shards.
    fn steer(&self, packet: &Packet) -> u8 {
        crate::flow::FlowKey::of(packet).map_or(0, |key| key.symmetric_bucket())
    }

    /// About each millisecond, between bursts: aging, timers. Keep it under some microseconds.
    fn tick(&mut self, _shard: &mut Shard<Self>) {}

    /// The program's own check of the state it would take over, before the swap.
    ///
    /// # Errors
    /// A sentence; the upgrade is refused with it and the older version goes on.
    fn check(&self, _shard: &Shard<Self>) -> Result<()> {
        Ok(())
    }
}
