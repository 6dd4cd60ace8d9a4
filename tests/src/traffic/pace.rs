//! When to send: a steady rate in small batches, with a debt that is paid back gently after a pause.
//!
//! A generator that shares its core is sometimes late by milliseconds. What became due meanwhile is sent in batches
//! with a breath between them, since a neighbour's queue of 256 slots would not take it in one piece.

/// Most packets handed to the kernel by one call.
pub const BATCH: usize = 32;
/// Shortest time between two batches of one direction while a debt is paid.
const BREATH_NS: u64 = 150_000;
/// A debt older than this is forgiven: the machine stood still, and the report shows the rate that was reached.
const FORGIVEN_NS: u64 = 1_000_000_000;

/// Decides how many packets are due.
#[derive(Debug, Clone)]
pub struct Pacer {
    rate: u64,
    start_ns: u64,
    next_ns: u64,
    handed: u64,
    forgiven: u64,
}

impl Pacer {
    /// A pacer of `rate` packets a second from `start_ns` on.
    pub fn new(rate: u64, start_ns: u64) -> Pacer {
        Pacer {
            rate,
            start_ns,
            next_ns: start_ns,
            handed: 0,
            forgiven: 0,
        }
    }

    /// How many packets to send now, at most [`BATCH`]; they count as sent.
    pub fn due(&mut self, now_ns: u64) -> usize {
        if self.rate == 0 || now_ns < self.next_ns {
            return 0;
        }
        let owed = self.owed(now_ns);
        let most = self.packets_in(FORGIVEN_NS);
        if owed > most {
            self.forgiven += owed - most;
        }
        let batch = owed.min(BATCH as u64);
        self.handed += batch;
        self.next_ns = match self.owed(now_ns) {
            debt if debt >= BATCH as u64 => now_ns + BREATH_NS,
            _ => self.time_of(self.handed + self.forgiven + self.step()),
        };
        batch as usize
    }

    /// When [`Pacer::due`] is worth asking again; never for a rate of zero.
    pub fn next_ns(&self) -> u64 {
        if self.rate == 0 {
            u64::MAX
        } else {
            self.next_ns
        }
    }

    /// Packets that were due in a pause too long to make up for.
    pub fn forgiven(&self) -> u64 {
        self.forgiven
    }

    fn owed(&self, now_ns: u64) -> u64 {
        self.packets_in(now_ns.saturating_sub(self.start_ns))
            .saturating_sub(self.handed + self.forgiven)
    }

    /// Packets a batch waits for: a full batch, or fewer if that would take longer than ten milliseconds.
    fn step(&self) -> u64 {
        (self.rate / 100).clamp(1, BATCH as u64)
    }

    fn packets_in(&self, ns: u64) -> u64 {
        (u128::from(ns) * u128::from(self.rate) / 1_000_000_000) as u64
    }

    fn time_of(&self, packets: u64) -> u64 {
        let ns = (u128::from(packets) * 1_000_000_000).div_ceil(u128::from(self.rate));
        self.start_ns + ns as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Sends whenever the pacer says so, for `ns`.
    fn run(pacer: &mut Pacer, mut now: u64, until: u64) -> (u64, usize) {
        let (mut sent, mut largest) = (0, 0);
        while now < until {
            let n = pacer.due(now);
            sent += n as u64;
            largest = largest.max(n);
            now = pacer.next_ns().max(now + 1);
        }
        (sent, largest)
    }

    #[test]
    fn the_rate_is_kept_whatever_it_is() {
        for rate in [1, 7, 999, 50_000, 1_000_000] {
            let mut pacer = Pacer::new(rate, 5);
            let (sent, largest) = run(&mut pacer, 5, 5 + 2_000 * MS);
            assert!(
                sent.abs_diff(2 * rate) <= BATCH as u64,
                "rate {rate}: {sent}"
            );
            assert!(largest <= BATCH);
        }
    }

    #[test]
    fn a_debt_is_paid_in_batches_with_a_breath_between() {
        let mut pacer = Pacer::new(50_000, 0);
        assert_eq!(pacer.due(10 * MS), BATCH);
        assert_eq!(pacer.next_ns(), 10 * MS + BREATH_NS);
        assert_eq!(pacer.due(10 * MS), 0, "no second batch without the breath");
        let (sent, _) = run(&mut pacer, 10 * MS, 100 * MS);
        assert!(
            (sent + BATCH as u64).abs_diff(5_000) <= BATCH as u64,
            "{sent}"
        );
        assert_eq!(pacer.forgiven(), 0);
    }

    #[test]
    fn a_long_pause_is_forgiven_and_said() {
        let mut pacer = Pacer::new(1_000, 0);
        pacer.due(5_000 * MS);
        assert_eq!(pacer.forgiven(), 4_000);
    }

    #[test]
    fn a_rate_of_zero_is_never_due() {
        let mut pacer = Pacer::new(0, 0);
        assert_eq!(pacer.due(u64::MAX), 0);
        assert_eq!(pacer.next_ns(), u64::MAX);
    }
}
