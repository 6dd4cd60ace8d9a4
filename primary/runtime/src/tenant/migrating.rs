//! The states of a tenant's shards: opened, and copied while their owner goes on where a layout changed.

use super::{OWNERS, Tenant};
use crate::counters::{SHARD_ZONE, Words};
use crate::datapath::{Datapath, Error};
use crate::lcore::Run;
use crate::shard::{Io, Shard};
use crate::steering::{STEER_ZONE, Steering};
use crate::zone::{Copied, Opener, Zones};
use baton_schema::control::Report;
use baton_shared_state::sync::Ordering;
use baton_shared_state::sys;
use std::time::{Duration, Instant};

/// Rounds of copying what changed before the rest is left to the swap.
const ROUNDS: u32 = 4;

impl<D: Datapath> Tenant<D> {
    /// Opens each shard's state and makes its datapath; copies what changed layout, while the owner goes on.
    pub(crate) fn migrate(&mut self) -> Result<Report, Error> {
        self.prepare()?;
        let upgrading = self.standing.live.is_some();
        let mut copied = Vec::new();
        if upgrading {
            self.each_state(|_, live| live.track(true));
            self.owners_pass_a_boundary()?;
            copied = self.copy_round();
            for _ in 1..ROUNDS {
                if self
                    .copy_round()
                    .iter()
                    .map(|(_, copied)| copied.records)
                    .sum::<u64>()
                    == 0
                {
                    break;
                }
            }
            self.transition.write_through(true);
        }
        let mut differences = 0;
        let mut report = Report::default();
        for zone in &self.attached()?.reports {
            let mut zone = zone.clone();
            for (_, copied) in copied.iter().filter(|(name, _)| *name == zone.name) {
                zone.records += copied.records;
                differences += copied.differences;
            }
            report.zones.push(zone);
        }
        report.counts.push((
            "records".into(),
            copied.iter().map(|(_, copied)| copied.records).sum(),
        ));
        report.counts.push(("differences".into(), differences));
        if differences > 0 {
            return Err(Error::new(format!(
                "{differences} records do not come back as they went (losses apart): this binary's migration is wrong; the older version goes on"
            )));
        }
        for run in &self.runs {
            run.datapath.check(&run.shard)?;
        }
        Ok(report)
    }

    /// Makes the shards' states, queues and datapaths, owned by nobody yet.
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        if !self.runs.is_empty() {
            return Ok(());
        }
        let attached = self
            .attached
            .as_mut()
            .ok_or_else(|| Error::new("asked to migrate before attach"))?;
        for shard in 0..self.shards {
            let mut opener =
                Opener::new(&attached.zones, shard, self.shards, self.transition.clone());
            let state = D::State::open(&mut opener).map_err(|why| Error::new(why.to_string()))?;
            let setup = attached.setup.for_shard(shard);
            let datapath = D::new(&self.config.program, &setup)?;
            let counters = Words::of_shard(&attached.zones[SHARD_ZONE].region, shard);
            let io = Io::new(
                shard,
                self.shards,
                attached.pool,
                attached.ports.queues_of(shard),
                counters,
                attached.drops[usize::from(shard)],
            );
            let steering = Steering::open(&attached.zones[STEER_ZONE].region, shard, self.shards)?;
            let mut shard = Shard::new(state, io);
            shard.build(&setup);
            self.runs
                .push(Run::new(shard, datapath, steering, self.transition.clone()));
        }
        Ok(())
    }

    fn each_state(&mut self, mut visit: impl FnMut(&'static str, &mut dyn crate::zone::Live)) {
        for run in &mut self.runs {
            run.shard.state.each(&mut visit);
        }
    }

    fn copy_round(&mut self) -> Vec<(&'static str, Copied)> {
        let mut all = Vec::new();
        self.each_state(|_, live| all.extend(live.precopy()));
        all
    }

    /// Waits until every owner has begun a new round of its loop, so that it sees what was just stored.
    fn owners_pass_a_boundary(&self) -> Result<(), Error> {
        let since = sys::clock_boottime_ns();
        let deadline = Instant::now() + OWNERS;
        for shard in 0..usize::from(self.shards) {
            while let Some(slot) = self.ledger.owner_word(shard).lcore {
                if self.ledger.heartbeat(slot).load(Ordering::Acquire) > since {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(Error::new(format!(
                        "shard {shard}: its owner (lcore slot {slot}) has not passed a burst boundary for {} s; look at it with baton status",
                        OWNERS.as_secs()
                    )));
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        Ok(())
    }
}
