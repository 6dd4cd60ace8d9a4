//! Numbers of the tenants: asked for when somebody needs them, once or twice for a rate, and
//! never waited for longer than a moment.

use std::time::{Duration, Instant};

use baton_schema::control::{Stats, ToPrimary};

use super::Driver;
use crate::plan::QueueLoad;
use crate::state::Side;

/// Between two samples of a rate.
const INTERVAL: Duration = Duration::from_millis(250);

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Questions that a tenant may leave unanswered before it is asked no more.
const UNANSWERED: usize = 4;

/// What the numbers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A client's `status`.
    Status(u64),
    /// The plan of a job.
    Plan(u64),
    /// The end of a receipt.
    After,
}

/// A measurement under way.
#[derive(Debug)]
pub(super) struct Measure {
    id: u64,
    purpose: Purpose,
    side: Side,
    twice: bool,
    first: Option<(Instant, Stats)>,
    again: Option<Instant>,
    deadline: Instant,
}

/// What was measured; as much as came in time.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) before: Option<Stats>,
    pub(super) now: Option<Stats>,
    pub(super) interval: Duration,
}

impl Measure {
    /// When it has something to do by itself.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(
            self.again
                .map_or(self.deadline, |again| again.min(self.deadline)),
        )
    }
}

impl Driver {
    /// Begins a measurement of whoever serves.
    pub(super) fn measure(&mut self, purpose: Purpose, twice: bool) {
        let side = self.serving();
        let id = self.next_number;
        self.next_number += 1;
        let deadline = Instant::now() + PATIENCE;
        self.measures.push(Measure {
            id,
            purpose,
            side,
            twice,
            first: None,
            again: None,
            deadline,
        });
        if !self.ask_stats(side, id) {
            self.complete(id, Measured::default());
        }
    }

    /// The last numbers of a receipt.
    pub(super) fn measure_after(&mut self) {
        self.measure(Purpose::After, false);
    }

    fn ask_stats(&mut self, side: Side, id: u64) -> bool {
        let Some(tenant) = self.tenants.get_mut(side) else {
            return false;
        };
        let sent = tenant.snapshots.len() < UNANSWERED && tenant.send(&ToPrimary::GetStats).is_ok();
        if sent {
            tenant.snapshots.push_back(id);
        }
        sent
    }

    /// A tenant's numbers arrived; they are of the oldest question.
    pub(super) fn snapshot(&mut self, side: Side, stats: Stats) {
        let Some(id) = self
            .tenants
            .get_mut(side)
            .and_then(|tenant| tenant.snapshots.pop_front())
        else {
            return;
        };
        let Some(measure) = self.measures.iter_mut().find(|measure| measure.id == id) else {
            return;
        };
        match measure.first.take() {
            None if measure.twice => {
                let now = Instant::now();
                measure.first = Some((now, stats));
                measure.again = Some(now + INTERVAL);
            }
            None => self.complete(
                id,
                Measured {
                    before: None,
                    now: Some(stats),
                    interval: Duration::ZERO,
                },
            ),
            Some((at, before)) => {
                let measured = Measured {
                    before: Some(before),
                    now: Some(stats),
                    interval: at.elapsed(),
                };
                self.complete(id, measured);
            }
        }
    }

    /// Second samples that are due, and measurements that took too long.
    pub(super) fn sample(&mut self) {
        let now = Instant::now();
        let due: Vec<(u64, Side)> = self
            .measures
            .iter_mut()
            .filter(|measure| measure.again.is_some_and(|again| now >= again))
            .map(|measure| {
                measure.again = None;
                (measure.id, measure.side)
            })
            .collect();
        for (id, side) in due {
            if !self.ask_stats(side, id) {
                self.give_up(id);
            }
        }
        let late: Vec<u64> = self
            .measures
            .iter()
            .filter(|measure| now >= measure.deadline)
            .map(|measure| measure.id)
            .collect();
        late.into_iter().for_each(|id| self.give_up(id));
    }

    /// Completes with what came so far.
    fn give_up(&mut self, id: u64) {
        let Some(measure) = self.measures.iter_mut().find(|measure| measure.id == id) else {
            return;
        };
        let now = measure.first.take().map(|(_, stats)| stats);
        self.complete(
            id,
            Measured {
                before: None,
                now,
                interval: Duration::ZERO,
            },
        );
    }

    fn complete(&mut self, id: u64, measured: Measured) {
        let Some(at) = self.measures.iter().position(|measure| measure.id == id) else {
            return;
        };
        let measure = self.measures.remove(at);
        match measure.purpose {
            Purpose::Status(client) => self.answer_status(client, measured),
            Purpose::Plan(job) => self.measured(job, &measured),
            Purpose::After => self.close(measured.now),
        }
    }
}

/// The load of each queue between two samples; without two there is none.
pub(super) fn loads(measured: &Measured) -> Vec<QueueLoad> {
    let (Some(before), Some(now)) = (&measured.before, &measured.now) else {
        return Vec::new();
    };
    let nanos = measured.interval.as_nanos().max(1);
    let mut loads = Vec::new();
    for port in &now.ports {
        let Some(earlier) = before
            .ports
            .iter()
            .find(|row| row.name == port.name && row.queue == port.queue)
        else {
            continue;
        };
        let packets = u128::from(port.rx_packets.saturating_sub(earlier.rx_packets));
        loads.push(QueueLoad {
            port: port.name.clone(),
            queue: port.queue,
            rate_pps: u64::try_from(packets * 1_000_000_000 / nanos).unwrap_or(u64::MAX),
            ring_entries: port.rx_ring_entries,
            posted: port.posted,
        });
    }
    loads
}

#[cfg(test)]
mod tests {
    use baton_schema::control::PortStats;

    use super::*;

    fn stats(rx_packets: u64) -> Stats {
        let port = PortStats {
            name: "inside".into(),
            rx_packets,
            rx_ring_entries: 4096,
            posted: 2048,
            ..PortStats::default()
        };
        Stats {
            ports: vec![port],
            ..Stats::default()
        }
    }

    #[test]
    fn a_rate_needs_two_samples() {
        let measured = Measured {
            before: Some(stats(1_000)),
            now: Some(stats(26_000)),
            interval: Duration::from_millis(250),
        };
        let loads = loads(&measured);
        assert_eq!(
            (loads[0].rate_pps, loads[0].ring_entries, loads[0].posted),
            (100_000, 4096, 2048)
        );
        let once = Measured {
            before: None,
            ..measured
        };
        assert!(super::loads(&once).is_empty());
    }

    #[test]
    fn a_counter_that_began_anew_is_no_negative_rate() {
        let measured = Measured {
            before: Some(stats(9_000)),
            now: Some(stats(10)),
            interval: Duration::from_secs(1),
        };
        assert_eq!(loads(&measured)[0].rate_pps, 0);
    }
}
