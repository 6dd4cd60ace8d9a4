//! What the counters before and after an upgrade say was lost.

use std::collections::BTreeMap;

use baton_schema::control::Stats;

use super::{DeviceCounter, Drops, Loss, Mbufs};

/// Device counters that count packets lost at a port, each once.
const LOSS_COUNTERS: [&str; 9] = [
    "rx_ring_full",
    "fill_empty",
    "rx_gso_dropped",
    "rx_oversized",
    "rx_bad_desc",
    "rx_invalid_descs",
    "tx_dropped",
    "tx_invalid_descs",
    "tx_write_errors",
];

/// What some drivers say once more, in sum, of all that they lost on the way in.
const LOSS_SUM: &str = "rx_dropped";

/// Drop reasons of the runtime itself: a full ring, or a packet that the program forgot.
const LOSS_REASONS: [&str; 3] = ["runtime_tx_full", "runtime_steer_full", "runtime_forgotten"];

impl Loss {
    /// What the counters before and after say. Unless every number a claim needs was read, it is
    /// not made.
    pub fn derive(
        counters: &[DeviceCounter],
        drops: &[Drops],
        mbufs: Option<&Mbufs>,
        sessions: Option<u64>,
    ) -> Loss {
        let mut loss = Loss {
            sessions,
            ..Loss::default()
        };
        let reasons: Option<u64> = drops
            .iter()
            .filter(|drop| LOSS_REASONS.contains(&drop.reason.as_str()))
            .map(|drop| Some(drop.after?.saturating_sub(drop.before?)))
            .sum();
        if let (Some(at_ports), Some(reasons), Some(mbufs)) = (at_ports(counters), reasons, mbufs) {
            loss.packets = Some(at_ports + reasons + mbufs.unaccounted);
            loss.derived_from = vec![
                "device_counters".into(),
                "drops".into(),
                "mbufs.unaccounted".into(),
            ];
        }
        if sessions.is_some() {
            loss.derived_from.push("records".into());
        }
        loss
    }
}

/// What the ports lost, queue by queue: the single counters or their sum, whichever tells of more.
/// `None` when nothing was counted, or a number is missing.
fn at_ports(counters: &[DeviceCounter]) -> Option<u64> {
    let mut queues: BTreeMap<(&str, u16), (u64, u64)> = BTreeMap::new();
    for counter in counters {
        let (single, sum) = (
            LOSS_COUNTERS.contains(&counter.name.as_str()),
            counter.name == LOSS_SUM,
        );
        if !single && !sum {
            continue;
        }
        let lost = counter.after?.saturating_sub(counter.before?);
        let queue = queues.entry((&counter.port, counter.queue)).or_default();
        if sum {
            queue.1 += lost;
        } else {
            queue.0 += lost;
        }
    }
    let lost = queues.values().map(|(single, sum)| single.max(sum)).sum();
    (!queues.is_empty()).then_some(lost)
}

/// The counters of `before` beside those of `after`, by port, queue and name.
pub fn device_counters(before: Option<&Stats>, after: Option<&Stats>) -> Vec<DeviceCounter> {
    let read = |stats: Option<&Stats>, port: &str, queue: u16, name: &str| {
        let row = stats?
            .ports
            .iter()
            .find(|row| row.name == port && row.queue == queue)?;
        row.device
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| *value)
    };
    let Some(shown) = after.or(before) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    for port in &shown.ports {
        for (name, _) in &port.device {
            rows.push(DeviceCounter {
                port: port.name.clone(),
                queue: port.queue,
                name: name.clone(),
                before: read(before, &port.name, port.queue, name),
                after: read(after, &port.name, port.queue, name),
                source: port.driver.clone(),
            });
        }
    }
    rows
}

/// The drop reasons of `before` beside those of `after`.
pub fn drops(before: Option<&Stats>, after: Option<&Stats>) -> Vec<Drops> {
    let read = |stats: Option<&Stats>, reason: &str| {
        stats?
            .drops
            .iter()
            .find(|(found, _)| found == reason)
            .map(|(_, value)| *value)
    };
    let Some(shown) = after.or(before) else {
        return Vec::new();
    };
    shown
        .drops
        .iter()
        .map(|(reason, _)| Drops {
            reason: reason.clone(),
            before: read(before, reason),
            after: read(after, reason),
            baseline_per_s: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use baton_schema::control::PortStats;

    use super::*;

    fn stats(full: u64, ttl: u64) -> Stats {
        let port = PortStats {
            name: "inside".into(),
            driver: "net_af_xdp".into(),
            device: vec![
                ("rx_ring_full".into(), full),
                ("rx_dropped".into(), full),
                ("rx_wakeups".into(), 9),
            ],
            ..PortStats::default()
        };
        Stats {
            ports: vec![port],
            drops: vec![("ttl_exceeded".into(), ttl)],
            ..Stats::default()
        }
    }

    const WHOLE: Mbufs = Mbufs {
        total: 16,
        accounted: 16,
        unaccounted: 0,
    };

    #[test]
    fn counters_stand_before_and_after_and_loss_is_their_difference() {
        let counters = device_counters(Some(&stats(3, 0)), Some(&stats(10, 0)));
        assert_eq!((counters[0].before, counters[0].after), (Some(3), Some(10)));
        let loss = Loss::derive(&counters, &[], Some(&WHOLE), Some(0));
        assert_eq!((loss.packets, loss.sessions), (Some(7), Some(0)));
        assert_eq!(
            loss.derived_from,
            ["device_counters", "drops", "mbufs.unaccounted", "records"]
        );
        assert_eq!((loss.duplicated, loss.reordered), (None, None));
    }

    #[test]
    fn what_was_not_measured_is_null_and_not_zero() {
        let counters = device_counters(None, Some(&stats(10, 0)));
        assert_eq!(counters[0].before, None);
        assert_eq!(
            Loss::derive(&counters, &[], Some(&WHOLE), None),
            Loss::default()
        );
        let both = device_counters(Some(&stats(0, 0)), Some(&stats(0, 0)));
        assert_eq!(Loss::derive(&both, &[], None, None).packets, None);
        assert_eq!(Loss::derive(&[], &[], Some(&WHOLE), None).packets, None);
    }

    #[test]
    fn what_the_runtime_itself_dropped_is_lost_too() {
        let with = |reason: &str, count| Stats {
            drops: vec![(reason.into(), count)],
            ..stats(0, 0)
        };
        let lost = |reason: &str| {
            let (before, after) = (with(reason, 1), with(reason, 4));
            let counters = device_counters(Some(&before), Some(&after));
            let rows = drops(Some(&before), Some(&after));
            Loss::derive(&counters, &rows, Some(&WHOLE), None).packets
        };
        assert_eq!(lost("runtime_tx_full"), Some(3));
        assert_eq!(lost("ttl_exceeded"), Some(0), "the program meant to");
    }

    #[test]
    fn drop_reasons_are_compared_by_name() {
        let rows = drops(Some(&stats(0, 4)), Some(&stats(0, 6)));
        assert_eq!(
            (rows[0].before, rows[0].after, rows[0].baseline_per_s),
            (Some(4), Some(6), None)
        );
        assert!(drops(None, None).is_empty());
    }
}
