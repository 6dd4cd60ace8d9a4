//! What the counters before and after an upgrade say was lost.

use baton_schema::control::Stats;

use super::{DeviceCounter, Drops, Loss, Mbufs};

/// Device counters that count packets lost at a port. An empty fill ring is not among them: what it
/// cost stands in `rx_dropped`.
const LOSS_COUNTERS: [&str; 4] = [
    "rx_ring_full",
    "rx_dropped",
    "tx_dropped",
    "tx_invalid_descs",
];

impl Loss {
    /// What the counters before and after say. Unless every number a claim needs was read, it is
    /// not made.
    pub fn derive(
        counters: &[DeviceCounter],
        mbufs: Option<&Mbufs>,
        sessions: Option<u64>,
    ) -> Loss {
        let mut loss = Loss {
            sessions,
            ..Loss::default()
        };
        let lossy: Vec<&DeviceCounter> = counters
            .iter()
            .filter(|counter| LOSS_COUNTERS.contains(&counter.name.as_str()))
            .collect();
        let at_ports: Option<u64> = lossy
            .iter()
            .map(|counter| Some(counter.after?.saturating_sub(counter.before?)))
            .sum();
        if let (Some(at_ports), Some(mbufs), false) = (at_ports, mbufs, lossy.is_empty()) {
            loss.packets = Some(at_ports + mbufs.unaccounted);
            loss.derived_from = vec!["device_counters".into(), "mbufs.unaccounted".into()];
        }
        if sessions.is_some() {
            loss.derived_from.push("records".into());
        }
        loss
    }
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
            device: vec![("rx_ring_full".into(), full), ("rx_wakeups".into(), 9)],
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
        let loss = Loss::derive(&counters, Some(&WHOLE), Some(0));
        assert_eq!((loss.packets, loss.sessions), (Some(7), Some(0)));
        assert_eq!(
            loss.derived_from,
            ["device_counters", "mbufs.unaccounted", "records"]
        );
        assert_eq!((loss.duplicated, loss.reordered), (None, None));
    }

    #[test]
    fn what_was_not_measured_is_null_and_not_zero() {
        let counters = device_counters(None, Some(&stats(10, 0)));
        assert_eq!(counters[0].before, None);
        assert_eq!(Loss::derive(&counters, Some(&WHOLE), None), Loss::default());
        let both = device_counters(Some(&stats(0, 0)), Some(&stats(0, 0)));
        assert_eq!(Loss::derive(&both, None, None).packets, None);
        assert_eq!(Loss::derive(&[], Some(&WHOLE), None).packets, None);
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
