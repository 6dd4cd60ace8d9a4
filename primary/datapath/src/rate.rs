//! What: a token bucket, for the ICMP errors that a gateway makes (RFC 1812 §4.3.2.8).

/// Allows `per_second` events a second on average and `burst` at once.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Nanoseconds that one event costs.
    cost: u64,
    /// Nanoseconds that can be saved up.
    depth: u64,
    /// Nanoseconds saved up.
    saved: u64,
    /// When `saved` was right.
    at: u64,
}

impl TokenBucket {
    /// A full bucket at time `now_ns`. A rate of 0 allows nothing after the first burst.
    #[must_use]
    pub fn new(per_second: u32, burst: u32, now_ns: u64) -> TokenBucket {
        let cost = 1_000_000_000u64
            .checked_div(u64::from(per_second))
            .unwrap_or(u64::MAX);
        let depth = cost.saturating_mul(u64::from(burst));
        TokenBucket {
            cost,
            depth,
            saved: depth,
            at: now_ns,
        }
    }

    /// Takes one token if there is one. Time that runs backwards counts as standing still.
    pub fn take(&mut self, now_ns: u64) -> bool {
        let passed = now_ns.saturating_sub(self.at);
        self.at = self.at.max(now_ns);
        self.saved = self.saved.saturating_add(passed).min(self.depth);
        match self.saved.checked_sub(self.cost) {
            Some(rest) => {
                self.saved = rest;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(10, 3, 5 * SECOND);
        let passed = (0..10).filter(|_| bucket.take(5 * SECOND)).count();
        assert_eq!(passed, 3);
        assert!(!bucket.take(5 * SECOND + SECOND / 10 - 1));
        assert!(bucket.take(5 * SECOND + SECOND / 10));
    }

    #[test]
    fn idle_time_saves_no_more_than_the_burst() {
        let mut bucket = TokenBucket::new(10, 3, 0);
        let passed = (0..10).filter(|_| bucket.take(1000 * SECOND)).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let mut bucket = TokenBucket::new(1, 1, 10 * SECOND);
        assert!(bucket.take(10 * SECOND));
        assert!(!bucket.take(2 * SECOND));
        assert!(!bucket.take(10 * SECOND + SECOND / 2));
        assert!(bucket.take(11 * SECOND));
    }
}
