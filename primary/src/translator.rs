//! What: one shard's means of translation: the checked config, the pool, the static forwards.

use crate::config::{Forward, Nat};
use crate::port_pool::PortPool;
use baton::prelude::Setup;
use baton_datapath::rewrite::End;

/// What one shard needs to translate.
#[derive(Debug)]
pub(crate) struct Translator {
    pub(crate) nat: Nat,
    pub(crate) pool: PortPool,
    /// Sessions one inside address may hold on this shard: an even part, rounded up.
    pub(crate) limit: u32,
    pub(crate) forwards: Forwards,
}

impl Translator {
    pub(crate) fn new(nat: Nat, setup: &Setup) -> Translator {
        // Unforeseeable is what matters here, not reproducible: the address of a fresh allocation
        // and the process id differ from start to start.
        let seed = Box::new(0u8);
        let seed = u64::from(std::process::id()) << 32 ^ (&raw const *seed).addr() as u64;
        // In tests the same for all, so that two gateways can be compared.
        let seed = if cfg!(test) { 42 } else { seed };
        Translator {
            pool: PortPool::new(&nat.pool, nat.ports, seed ^ u64::from(setup.shard()) << 17),
            limit: nat.per_source.div_ceil(u32::from(setup.shards().max(1))),
            forwards: Forwards(nat.forwards.clone()),
            nat,
        }
    }
}

/// Static forwards; few, so they are searched in order.
#[derive(Clone, Debug)]
pub(crate) struct Forwards(Vec<Forward>);

impl Forwards {
    /// Where packets to an outside end arrive.
    #[inline]
    pub(crate) fn inside_of(&self, protocol: u8, outside: End) -> Option<End> {
        let found = self.0.iter();
        let found = found.filter(|f| f.protocol == protocol && f.outside == outside);
        found.map(|f| f.inside).next()
    }

    /// What an inside end looks like from outside.
    #[inline]
    pub(crate) fn outside_of(&self, protocol: u8, inside: End) -> Option<End> {
        let found = self.0.iter();
        let found = found.filter(|f| f.protocol == protocol && f.inside == inside);
        found.map(|f| f.outside).next()
    }
}
