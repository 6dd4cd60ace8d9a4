//! The last line of a run: what was sent, what arrived, and where the rest stayed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::instance::{Instance, Numbers};
use crate::lab::{EndLosses, Lab, LabError};
use crate::machine;
use crate::tcp::TcpCounters;
use crate::traffic::report::Report;

/// Every counter that can say where a packet stayed, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    interfaces: EndLosses,
    numbers: Numbers,
    tcp: TcpCounters,
    stolen_ms: u64,
}

/// The judgement of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Sequenced packets sent, both directions.
    pub sent: u64,
    /// Packets/s asked for.
    pub rate_asked: u64,
    /// Packets/s that the generator reached.
    pub rate_reached: u64,
    /// Of those sent, received.
    pub received: u64,
    /// Of those, not received.
    pub lost: u64,
    /// Received again.
    pub duplicated: u64,
    /// Received after a higher number of their flow.
    pub reordered: u64,
    /// Received in the wrong place, or with a wrong checksum; and flows that changed their outside port.
    pub wrong: u64,
    /// Dropped by the peers' interfaces in sending.
    pub lost_before: u64,
    /// Dropped at the gateway's ports.
    pub lost_port: u64,
    /// Dropped by the gateway, for a named reason or as a leaked mbuf.
    pub lost_gateway: u64,
    /// Dropped by the peers' interfaces in receiving, or by the sink.
    pub lost_after: u64,
    /// Sessions when the run began.
    pub sessions_before: u64,
    /// Sessions when it ended.
    pub sessions_after: u64,
    /// TCP connections reset.
    pub tcp_resets: u64,
    /// TCP segments sent again.
    pub tcp_retransmits: u64,
    /// Gaps of all changes of hands, in ns, sorted; from the receipts.
    pub gaps_ns: Vec<u64>,
    /// Those of the way to a newer version alone, sorted.
    pub gaps_forward_ns: Vec<u64>,
    /// Those of the way back alone, sorted.
    pub gaps_back_ns: Vec<u64>,
    /// CPU time in ms that the host gave to others meanwhile: a loss beside much of it may be the machine's.
    pub stolen_ms: u64,
    /// Every counter behind the sums that is not zero.
    pub reasons: BTreeMap<String, u64>,
}

impl Snapshot {
    /// Now, but for TCP, whose counters were read while its programs were running.
    pub fn take(
        lab: &Lab,
        instance: &Instance<'_>,
        tcp: TcpCounters,
    ) -> Result<Snapshot, LabError> {
        Ok(Snapshot {
            interfaces: lab.losses()?,
            numbers: instance.counts()?,
            tcp,
            stolen_ms: machine::stolen_ms(),
        })
    }

    /// Sessions at that moment.
    pub fn sessions(&self) -> u64 {
        self.numbers.sessions
    }

    /// Mbufs that were nowhere, or in two places.
    pub fn leaked(&self) -> u64 {
        self.numbers.leaked
    }
}

impl Verdict {
    /// Judges a run by what was counted before and after it.
    pub fn judge(before: &Snapshot, after: &Snapshot, report: &Report) -> Verdict {
        let mut reasons = BTreeMap::new();
        let (from, to) = (&before.interfaces, &after.interfaces);
        let mut since = |name: &str, from: u64, to: u64| {
            let grown = to.saturating_sub(from);
            if grown > 0 {
                reasons.insert(name.to_owned(), grown);
            }
            grown
        };
        let refused = report.up.refused + report.down.refused;
        let dropped = since("client tx_dropped", from.client.tx, to.client.tx)
            + since("server tx_dropped", from.server.tx, to.server.tx);
        let devices = lost_at_devices(&before.numbers.devices, &after.numbers.devices, &mut since);
        let [inside, outside] = [0, 1].map(|n| (from.gateway[n], to.gateway[n]));
        let netdevs = since("g0 rx_dropped", inside.0.rx, inside.1.rx)
            + since("g1 rx_dropped", outside.0.rx, outside.1.rx);
        let leaving = since("g0 tx_dropped", inside.0.tx, inside.1.tx)
            + since("g1 tx_dropped", outside.0.tx, outside.1.tx);
        let drops: u64 = after
            .numbers
            .drops
            .iter()
            .map(|(name, &to)| {
                since(
                    &format!("drop {name}"),
                    before.numbers.drops.get(name).copied().unwrap_or(0),
                    to,
                )
            })
            .sum();
        let sinks = since("client rx_dropped", from.client.rx, to.client.rx)
            + since("server rx_dropped", from.server.rx, to.server.rx)
            + since("client sink ring", 0, report.down.ring_drops)
            + since("server sink ring", 0, report.up.ring_drops);
        let leaked = since("leaked mbufs", before.numbers.leaked, after.numbers.leaked);
        since("flows that changed their outside port", 0, report.moved);
        since("misdelivered", 0, report.both(|a| a.misdelivered));
        since("bad checksums", 0, report.both(|a| a.bad_checksums));
        Verdict {
            sent: report.sent(),
            rate_asked: report.rate_asked,
            rate_reached: report.rate_reached,
            received: report.both(|a| a.received),
            lost: report.both(|a| a.lost),
            duplicated: report.both(|a| a.duplicated),
            reordered: report.both(|a| a.reordered),
            wrong: report.moved + report.both(|a| a.misdelivered + a.bad_checksums),
            lost_before: refused.max(dropped),
            lost_port: devices.max(netdevs),
            lost_gateway: drops + leaked,
            lost_after: sinks + leaving,
            sessions_before: before.sessions(),
            sessions_after: after.sessions(),
            tcp_resets: after.tcp.resets.saturating_sub(before.tcp.resets),
            tcp_retransmits: after.tcp.retransmits.saturating_sub(before.tcp.retransmits),
            gaps_ns: Vec::new(),
            gaps_forward_ns: Vec::new(),
            gaps_back_ns: Vec::new(),
            stolen_ms: after.stolen_ms.saturating_sub(before.stolen_ms),
            reasons,
        }
    }

    /// The same with the gaps of these receipts.
    pub fn with_receipts<'a>(mut self, receipts: impl IntoIterator<Item = &'a Value>) -> Verdict {
        let gaps: Vec<(bool, u64)> = receipts.into_iter().flat_map(gaps_ns).collect();
        let sorted = |wanted: &dyn Fn(bool) -> bool| {
            let wanted = gaps.iter().filter(|(forward, _)| wanted(*forward));
            let mut sorted: Vec<u64> = wanted.map(|(_, ns)| *ns).collect();
            sorted.sort_unstable();
            sorted
        };
        self.gaps_forward_ns = sorted(&|forward| forward);
        self.gaps_back_ns = sorted(&|forward| !forward);
        self.gaps_ns = sorted(&|_| true);
        self
    }

    /// Whether every count that has to be zero is.
    pub fn is_clean(&self) -> bool {
        self.sent > 0 && self.reached_every_packet() && self.tcp_resets == 0
    }

    /// The same without TCP: nothing lost, doubled, out of order, or dropped anywhere.
    pub fn reached_every_packet(&self) -> bool {
        let streams = self.lost + self.duplicated + self.reordered + self.wrong;
        streams + self.lost_before + self.lost_port + self.lost_gateway + self.lost_after == 0
    }

    /// Whether the generator got the processor time to send what was asked.
    pub fn kept_up(&self) -> bool {
        self.rate_reached * 20 >= self.rate_asked * 19
    }

    /// Where packets were lost, in words; `None` if nowhere.
    pub fn place(&self) -> Option<String> {
        let places: Vec<String> = self
            .reasons
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let place = match (places.is_empty(), self.lost) {
            (false, _) => places.join(", "),
            (true, 0) => return None,
            (true, lost) => format!("{lost} packets, by no counter we know"),
        };
        Some(match self.stolen_ms {
            0 => place,
            ms => format!("{place}; the host took {ms} ms of CPU time meanwhile"),
        })
    }

    /// The gap below which this share of all gaps lies.
    pub fn gap_ns(&self, share: f64) -> Option<u64> {
        quantile(&self.gaps_ns, share)
    }
}

/// Packets lost at the gateway's queues, by the devices' counters.
fn lost_at_devices(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
    since: &mut impl FnMut(&str, u64, u64) -> u64,
) -> u64 {
    let mut devices: BTreeMap<(&str, bool), u64> = BTreeMap::new();
    for (name, &to) in after.iter().filter(|(name, _)| counts_loss(name)) {
        let from = before.get(name).copied().unwrap_or(0);
        let (queue, counter) = name.rsplit_once('/').unwrap_or(("", name));
        // A queue's `rx_dropped` says again what its `rx_ring_full` and `fill_empty` have said.
        *devices.entry((queue, counter == "rx_dropped")).or_default() += since(name, from, to);
    }
    let queues: BTreeSet<&str> = devices.keys().map(|(queue, _)| *queue).collect();
    let of = |queue, sum| devices.get(&(queue, sum)).copied().unwrap_or(0);
    queues
        .iter()
        .map(|queue| of(queue, true).max(of(queue, false)))
        .sum()
}

/// The value below which this share of sorted values lies.
pub fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let at = ((sorted.len() as f64 * share).ceil() as usize).max(1) - 1;
    sorted.get(at).copied()
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us =
            |ns: Option<u64>| ns.map_or("null".to_owned(), |ns| ns.div_ceil(1_000).to_string());
        write!(
            f,
            "verdict: sent={} received={} lost={}",
            self.sent, self.received, self.lost
        )?;
        write!(
            f,
            " duplicated={} reordered={}",
            self.duplicated, self.reordered
        )?;
        write!(
            f,
            " lost_before={} lost_port={}",
            self.lost_before, self.lost_port
        )?;
        write!(
            f,
            " lost_gateway={} lost_after={}",
            self.lost_gateway, self.lost_after
        )?;
        write!(
            f,
            " sessions_before={} sessions_after={}",
            self.sessions_before, self.sessions_after
        )?;
        write!(
            f,
            " tcp_resets={} tcp_retransmits={}",
            self.tcp_resets, self.tcp_retransmits
        )?;
        write!(
            f,
            " gap_us_median={} gap_us_max={}",
            us(self.gap_ns(0.5)),
            us(self.gaps_ns.last().copied())
        )
    }
}

/// Gaps of every change of hands in a receipt, where one was measured and a queue waited; with each, whether it was on
/// the way to the newer version.
pub fn gaps_ns(receipt: &Value) -> Vec<(bool, u64)> {
    let shards = receipt["shards"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let polls = |shard: &&Value| shard["shard"].as_u64() != Some(CONTROL_SHARD);
    shards
        .iter()
        .filter(polls)
        .filter_map(|shard| Some((shard["direction"] != "back", shard["gap_ns"].as_u64()?)))
        .collect()
}

/// Whether a device counter counts packets, rather than events: a transmit ring found empty is rest, not loss.
fn counts_loss(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    if name == "tx_empty" {
        return false;
    }
    [
        "drop",
        "full",
        "empty",
        "missed",
        "invalid",
        "no_mbuf",
        "error",
        "oversized",
        "bad_desc",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// The shard that polls no queue.
const CONTROL_SHARD: u64 = 63;

#[cfg(test)]
mod tests;
