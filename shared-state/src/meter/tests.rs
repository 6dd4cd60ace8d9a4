//! The markers against the RFCs' own words, in exact rational time.
//!
//! The oracle counts tokens as the RFCs do: one arrives at each multiple of `1 / rate` seconds and
//! goes into a bucket unless it is full. Where `rate / hz` divides a power of two ours must give
//! the same colors; elsewhere the bytes granted may be one behind (M1), which a test of its own
//! shows for any rate and clock.

use proptest::prelude::*;

use super::bucket::Bucket;
use super::*;

fn meter() -> Meter {
    let meters = Meters::new(Region::private(Meters::bytes_for(1)), 1).unwrap();
    meters.at(0)
}

/// Which definition.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rfc {
    R2697,
    R2698,
    R4115,
}

/// RFC 2697 section 3, RFC 2698 section 3, RFC 4115 section 2, token by token.
struct Oracle {
    rfc: Rfc,
    rates: [u64; 2],
    bursts: [u64; 2],
    hz: u64,
    granted: [u128; 2],
    tokens: [u64; 2],
}

impl Oracle {
    fn new(rfc: Rfc, rates: [u64; 2], bursts: [u64; 2], hz: u64, now: u64) -> Oracle {
        let mut oracle = Oracle {
            rfc,
            rates,
            bursts,
            hz,
            granted: [0; 2],
            tokens: bursts,
        };
        oracle.arrive(now);
        oracle.tokens = bursts;
        oracle
    }

    /// Tokens that arrived until `now`, each into the bucket that its RFC names.
    fn arrive(&mut self, now: u64) {
        for i in 0..2 {
            let granted = u128::from(self.rates[i]) * u128::from(now) / u128::from(self.hz);
            let mut new = granted - self.granted[i];
            self.granted[i] = granted;
            for bucket in i..2 {
                let room = u128::from(self.bursts[bucket] - self.tokens[bucket]);
                let taken = new.min(room);
                self.tokens[bucket] += taken as u64;
                new -= taken;
                if self.rfc != Rfc::R2697 {
                    break;
                }
            }
            if self.rfc == Rfc::R2697 {
                break;
            }
        }
    }

    fn mark(&mut self, now: u64, bytes: u32, came: Color) -> Color {
        self.arrive(now);
        let bytes = u64::from(bytes);
        let [committed, second] = &mut self.tokens;
        match self.rfc {
            Rfc::R2698 if came == Color::Red || *second < bytes => Color::Red,
            Rfc::R2698 if came == Color::Yellow || *committed < bytes => {
                *second -= bytes;
                Color::Yellow
            }
            Rfc::R2698 => {
                *committed -= bytes;
                *second -= bytes;
                Color::Green
            }
            _ if came == Color::Green && *committed >= bytes => {
                *committed -= bytes;
                Color::Green
            }
            _ if came != Color::Red && *second >= bytes => {
                *second -= bytes;
                Color::Yellow
            }
            _ => Color::Red,
        }
    }
}

/// One of ours, by the oracle's name.
#[derive(Clone, Copy)]
enum Marker {
    Sr(SrTcm),
    Tr(TrTcm),
    Dual(Rfc4115),
}

impl Marker {
    fn new(rfc: Rfc, rates: [u64; 2], bursts: [u64; 2], hz: u64) -> Result<Marker, RateError> {
        let ([r0, r1], [b0, b1]) = (rates, bursts);
        Ok(match rfc {
            Rfc::R2697 => Marker::Sr(SrTcm::new(r0, b0, b1, hz)?),
            Rfc::R2698 => Marker::Tr(TrTcm::new(r0, b0, r1, b1, hz)?),
            Rfc::R4115 => Marker::Dual(Rfc4115::new(r0, b0, r1, b1, hz)?),
        })
    }

    fn start(&self, meter: Meter, now: u64) {
        match self {
            Marker::Sr(marker) => marker.start(meter, now),
            Marker::Tr(marker) => marker.start(meter, now),
            Marker::Dual(marker) => marker.start(meter, now),
        }
    }

    fn mark(&self, meter: Meter, now: u64, bytes: u32, came: Color) -> Color {
        match self {
            Marker::Sr(marker) => marker.mark_aware(meter, now, bytes, came),
            Marker::Tr(marker) => marker.mark_aware(meter, now, bytes, came),
            Marker::Dual(marker) => marker.mark_aware(meter, now, bytes, came),
        }
    }

    fn blind(&self, meter: Meter, now: u64, bytes: u32) -> Color {
        match self {
            Marker::Sr(marker) => marker.mark_blind(meter, now, bytes),
            Marker::Tr(marker) => marker.mark_blind(meter, now, bytes),
            Marker::Dual(marker) => marker.mark_blind(meter, now, bytes),
        }
    }
}

fn rfcs() -> impl Strategy<Value = Rfc> {
    prop_oneof![Just(Rfc::R2697), Just(Rfc::R2698), Just(Rfc::R4115)]
}

fn colors() -> impl Strategy<Value = Color> {
    prop_oneof![
        3 => Just(Color::Green),
        1 => Just(Color::Yellow),
        1 => Just(Color::Red),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_color_is_the_one_of_the_rfc_in_exact_time(
        rfc in rfcs(),
        rates in prop::array::uniform2(0u64..3_000),
        bursts in prop::array::uniform2(0u64..4_000),
        start in prop_oneof![Just(0u64), 0..1u64 << 50],
        blind: bool,
        packets in prop::collection::vec((0u64..1500, 0u32..2000, colors()), 1..200),
    ) {
        let hz = 1 << 10;
        let Ok(ours) = Marker::new(rfc, rates, bursts, hz) else {
            return Ok(());
        };
        let meter = meter();
        ours.start(meter, start);
        let mut oracle = Oracle::new(rfc, rates, bursts, hz, start);
        let mut now = start;
        for (ticks, bytes, came) in packets {
            now += ticks;
            let came = if blind { Color::Green } else { came };
            let expected = oracle.mark(now, bytes, came);
            let found = match blind {
                true => ours.blind(meter, now, bytes),
                false => ours.mark(meter, now, bytes, came),
            };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_a_rate_grants_is_never_ahead_and_at_most_one_byte_behind(
        rate in prop_oneof![0u64..100_000_000_000, any::<u64>()],
        hz in prop_oneof![Just(1_000_000_000u64), 1u64..5_000_000_000, 1..u64::MAX],
        now: u64,
    ) {
        let exact = u128::from(rate) * u128::from(now) / u128::from(hz);
        let behind = (exact as u64).wrapping_sub(Bucket::new("", rate, 0, hz).unwrap().granted(now));
        prop_assert!(behind <= 1, "{behind} behind");
    }

    #[test]
    fn any_words_are_a_meter_with_buckets_no_fuller_than_full(
        rfc in rfcs(), words: [u64; 2], now: u64, bytes in 1u32..3000,
    ) {
        let (rates, bursts) = ([1_000_000, 2_000_000], [10_000, 20_000]);
        let ours = Marker::new(rfc, rates, bursts, 1_000_000_000).unwrap();
        let meter = meter();
        meter.committed_first(MeterWords { committed: words[0], second: words[1] });
        let mut passed = 0;
        for _ in 0..30_000 / bytes + 2 {
            if ours.blind(meter, now, bytes) != Color::Red {
                passed += u64::from(bytes);
            }
        }
        prop_assert!(passed <= 30_000, "{passed} bytes at one moment");
    }

    #[test]
    fn a_death_between_the_two_stores_never_gives_more_than_the_rfc(
        rfc in rfcs(),
        packets in prop::collection::vec((0u64..2000, 1u32..2000, colors()), 2..60),
        dies_at: prop::sample::Index,
    ) {
        let (rates, bursts, hz) = ([500, 900], [4_000, 5_000], 1 << 10);
        let ours = Marker::new(rfc, rates, bursts, hz).unwrap();
        let meter = meter();
        ours.start(meter, 0);
        let dies_at = dies_at.index(packets.len());
        let (mut now, mut passed) = (0, 0);
        for (i, (ticks, bytes, came)) in packets.into_iter().enumerate() {
            now += ticks;
            let before = meter.read();
            let color = ours.mark(meter, now, bytes, came);
            if i == dies_at {
                let after = meter.read();
                let half = match rfc {
                    Rfc::R2698 => MeterWords { second: after.second, ..before },
                    _ => MeterWords { committed: after.committed, ..before },
                };
                meter.committed_first(half);
            } else if color != Color::Red {
                passed += u64::from(bytes);
            }
        }
        let granted: u64 = match rfc {
            Rfc::R2697 => 9_000 + rates[0] * now / hz,
            Rfc::R2698 => 5_000 + rates[1] * now / hz,
            Rfc::R4115 => 9_000 + rates[0] * now / hz + rates[1] * now / hz,
        };
        prop_assert!(passed <= granted, "{passed} passed, {granted} granted");
    }
}

#[test]
fn a_clock_a_little_behind_gives_nothing_and_takes_nothing() {
    let ours = TrTcm::new(1_000, 500, 2_000, 1_000, 1_000).unwrap();
    let meter = meter();
    ours.start(meter, 10_000);
    assert_eq!(ours.mark_blind(meter, 10_000, 500), Color::Green);
    assert_eq!(ours.mark_blind(meter, 10_000, 500), Color::Yellow);
    assert_eq!(ours.mark_blind(meter, 9_900, 1), Color::Red);
    assert_eq!(ours.mark_blind(meter, 10_000, 1), Color::Red);
    assert_eq!(ours.mark_blind(meter, 10_010, 10), Color::Green);
    assert_eq!(ours.mark_blind(meter, 10_010, 10), Color::Yellow);
    assert_eq!(ours.mark_blind(meter, 10_010, 1), Color::Red);
}

#[test]
fn other_rates_on_old_words_cost_one_burst_at_most() {
    let fast = SrTcm::new(1_000_000, 5_000, 0, 1_000).unwrap();
    let slow = SrTcm::new(10, 5_000, 0, 1_000).unwrap();
    let meter = meter();
    fast.start(meter, 1 << 40);
    assert_eq!(fast.mark_blind(meter, 1 << 40, 5_000), Color::Green);
    assert_eq!(slow.mark_blind(meter, 1 << 40, 5_000), Color::Green);
    assert_eq!(slow.mark_blind(meter, 1 << 40, 1), Color::Red);
}

#[test]
fn rates_and_bursts_that_mark_nothing_are_refused() {
    let none = RateError::NoBurst {
        committed: 0,
        second: 0,
    };
    assert_eq!(SrTcm::new(1, 0, 0, 1), Err(none));
    assert_eq!(Rfc4115::new(1, 0, 1, 0, 1), Err(none));
    assert_eq!(SrTcm::new(1, 1, 0, 0), Err(RateError::Clock));
    let refused = TrTcm::new(1, 0, 1, 1, 1).unwrap_err();
    assert!(matches!(refused, RateError::NoBurst { .. }), "{refused}");
    let refused = TrTcm::new(2, 1, 1, 1, 1).unwrap_err();
    let expected = "peak rate 1 bytes/s under the committed rate 2 bytes/s";
    assert_eq!(refused.to_string(), expected);
    let refused = SrTcm::new(1, 1 << 63, 0, 1).unwrap_err();
    assert!(matches!(refused, RateError::TooLarge { .. }), "{refused}");
}

#[test]
#[should_panic(expected = "meter 3 of 3")]
fn a_meter_past_the_end_is_a_bug() {
    let region = Region::private(Meters::bytes_for(3));
    Meters::new(region, 3).unwrap().at(3);
}
