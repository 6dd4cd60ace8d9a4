//! Many changes of hands under one stream, and what they cost.

use std::fmt;
use std::time::Duration;

use super::{Failure, SOAK, Wishes, build, carry, say};
use crate::instance::Instance;
use crate::lab::LabError;
use crate::trial::{self, Beside, NEWER, OLDER, Trial, gateway};
use crate::verdict::{Verdict, quantile};

/// In a soak, every so many upgrades one is committed, and taken back by an export.
const COMMITTED: u32 = 3;

/// What was done, each there and back: two changes of hands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Done {
    /// Taken back while the older process still waited.
    in_soak: u32,
    /// Committed, and taken back to a new process of the older binary, in a layout that the newer one wrote for it.
    by_export: u32,
}

/// The ways down that a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ways {
    InSoak,
    Both,
}

/// A run with its changes of hands.
struct Swaps {
    verdict: Verdict,
    done: Done,
    leaked: u64,
    rate: u64,
}

/// Both ways down, again and again: nothing may be lost, doubled, out of order or leaked.
pub fn soak(wishes: &Wishes, cycles: u32) -> Result<bool, Failure> {
    let run = swaps(wishes, cycles, Ways::Both)?;
    let Swaps {
        verdict,
        done,
        leaked,
        rate,
    } = &run;
    let swaps = verdict.gaps_ns.len() / usize::from(wishes.shards.max(1));
    println!("{done}");
    if !verdict.kept_up() {
        println!(
            "the generator reached {} of {rate} packets/s: its CPU is taken",
            verdict.rate_reached
        );
    }
    println!(
        "soak: swaps={swaps} rate={rate} sent={} received={} lost={} duplicated={} reordered={} leaked={leaked}",
        verdict.sent, verdict.received, verdict.lost, verdict.duplicated, verdict.reordered
    );
    let all = swaps >= cycles as usize && verdict.kept_up();
    Ok(verdict.reached_every_packet() && *leaked == 0 && all)
}

/// The gaps of many changes of hands, with their conditions.
pub fn gap(wishes: &Wishes, cycles: u32) -> Result<bool, Failure> {
    let Swaps { verdict, rate, .. } = swaps(wishes, cycles, Ways::InSoak)?;
    let us = |gaps: &[u64], share| {
        let ns = quantile(gaps, share);
        ns.map_or("null".to_owned(), |ns| {
            format!("{:.1}", ns as f64 / 1_000.0)
        })
    };
    for (way, gaps) in [
        ("to the newer version", &verdict.gaps_forward_ns),
        ("back", &verdict.gaps_back_ns),
        ("all", &verdict.gaps_ns),
    ] {
        println!(
            "gap, {way}: n={} median={} p99={} max={} us",
            gaps.len(),
            us(gaps, 0.5),
            us(gaps, 0.99),
            us(gaps, 1.0)
        );
    }
    println!(
        "     at {rate} packets/s in both directions together; lost={}",
        verdict.lost
    );
    Ok(verdict.reached_every_packet())
}

fn swaps(wishes: &Wishes, cycles: u32, ways: Ways) -> Result<Swaps, Failure> {
    let (dir, lab) = build(wishes, &[])?;
    let mut instance = Instance::start(&lab, &gateway(OLDER))?;
    let length = Duration::from_secs(10);
    let load = carry(wishes, &lab, &mut instance, length, Beside::Nothing)?;
    let mut done = Done::default();
    let (verdict, _) = trial::run(&lab, &mut instance, &load, Beside::Nothing, |trial| {
        while done.swaps() < cycles {
            done.there_and_back(trial, ways)?;
            if done.swaps() % 20 == 0 {
                let seconds = trial.elapsed().as_secs_f64();
                println!("  {} of {cycles} after {seconds:.0} s", done.swaps());
            }
        }
        Ok(())
    })?;
    let leaked = instance.counts()?.leaked;
    instance.stop()?;
    drop((lab, dir));
    say(&verdict);
    Ok(Swaps {
        verdict,
        done,
        leaked,
        rate: load.rate,
    })
}

impl Done {
    fn swaps(self) -> u32 {
        2 * (self.in_soak + self.by_export)
    }

    /// Whether the next upgrade is to be committed.
    fn commits_next(self, ways: Ways) -> bool {
        ways == Ways::Both && (self.in_soak + self.by_export) % COMMITTED == COMMITTED - 1
    }

    fn there_and_back(&mut self, trial: &mut Trial<'_, '_>, ways: Ways) -> Result<(), LabError> {
        if self.commits_next(ways) {
            let soaking = trial.upgrade(NEWER, SOAK)?;
            trial.commit(soaking)?;
            trial.go_back()?;
            self.by_export += 1;
        } else {
            let soaking = trial.upgrade(NEWER, Duration::from_secs(60))?;
            trial.roll_back(soaking)?;
            self.in_soak += 1;
        }
        Ok(())
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done { in_soak, by_export } = self;
        let there = in_soak + by_export;
        write!(
            f,
            "swaps there: {there} ({in_soak} not committed, {by_export} committed); \
             back: {in_soak} in the soak, {by_export} by an export after the commit"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_third_upgrade_of_a_soak_is_committed() {
        let mut done = Done::default();
        let mut kinds = Vec::new();
        for _ in 0..6 {
            let commits = done.commits_next(Ways::Both);
            assert!(!done.commits_next(Ways::InSoak));
            done.by_export += u32::from(commits);
            done.in_soak += u32::from(!commits);
            kinds.push(commits);
        }
        assert_eq!(kinds, [false, false, true, false, false, true]);
        assert_eq!(done.swaps(), 12);
        let said = done.to_string();
        assert!(said.contains("4 in the soak, 2 by an export"), "{said}");
    }
}
