//! Meters: no byte is granted twice, and no more is lost than their doc says.

use baton_shared_state::Region;
use baton_shared_state::meter::{Color, Meter, Meters, Rfc4115, SrTcm, TrTcm};
use baton_shared_state::sync::Ordering;

use super::{expect, nothing};
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    let case = |name, setup, operation, check| Case {
        name,
        bytes: 256,
        setup,
        operation,
        repair: nothing,
        check,
    };
    vec![
        case(
            "meter, RFC 2697",
            |region| empty(region, &srtcm()),
            |region| packets(region, &srtcm()),
            // The committed bucket is full again, and what spilt is in the excess bucket.
            |region| accounts(region, &srtcm(), [LATER - BEGIN, 1, SPILT]),
        ),
        case(
            "meter, RFC 2698",
            |region| empty(region, &trtcm()),
            |region| packets(region, &trtcm()),
            |region| accounts(region, &trtcm(), [PEAK_BURST, 1, 0]),
        ),
        case(
            "meter, RFC 4115",
            |region| empty(region, &rfc4115()),
            |region| packets(region, &rfc4115()),
            |region| accounts(region, &rfc4115(), [COMMITTED_BURST + EXCESS_BURST, 2, 0]),
        ),
    ]
}

/// A byte for each tick.
const RATE: u64 = 1000;
const HZ: u64 = 1000;
const COMMITTED_BURST: u64 = 1000;
const EXCESS_BURST: u64 = 500;
const PEAK_BURST: u64 = 1100;
/// All buckets are empty.
const BEGIN: u64 = 50_000;
/// More than a committed burst later.
const SPILT: u64 = 200;
const LATER: u64 = BEGIN + COMMITTED_BURST + SPILT;
const PACKET: u32 = 150;
const PACKETS: u64 = 5;
/// Ticks between two packets: less than a packet.
const GAP: u64 = 10;
const END: u64 = LATER + PACKETS * GAP;

fn srtcm() -> SrTcm {
    SrTcm::new(RATE, COMMITTED_BURST, EXCESS_BURST, HZ).expect("rates")
}

fn trtcm() -> TrTcm {
    TrTcm::new(RATE, COMMITTED_BURST, RATE, PEAK_BURST, HZ).expect("rates")
}

fn rfc4115() -> Rfc4115 {
    Rfc4115::new(RATE, COMMITTED_BURST, RATE, EXCESS_BURST, HZ).expect("rates")
}

trait Marker {
    fn begin(&self, meter: Meter, now: u64);
    fn mark(&self, meter: Meter, now: u64, bytes: u32) -> Color;
}

macro_rules! marker {
    ($name:ty) => {
        impl Marker for $name {
            fn begin(&self, meter: Meter, now: u64) {
                self.start(meter, now);
            }

            fn mark(&self, meter: Meter, now: u64, bytes: u32) -> Color {
                self.mark_blind(meter, now, bytes)
            }
        }
    };
}

marker!(SrTcm);
marker!(TrTcm);
marker!(Rfc4115);

fn meter(region: Region) -> Meter {
    Meters::new(region, 2).expect("meters").at(1)
}

/// Bytes that were let through.
fn through(region: Region) -> &'static baton_shared_state::sync::AtomicU64 {
    region.u64(128)
}

/// Takes byte by byte until there is none; how many.
fn drain(region: Region, marker: &impl Marker, now: u64) -> u64 {
    let let_through = || marker.mark(meter(region), now, 1) != Color::Red;
    (0..).take_while(|_| let_through()).count() as u64
}

fn empty(region: Region, marker: &impl Marker) {
    marker.begin(meter(region), BEGIN);
    drain(region, marker, BEGIN);
}

fn packets(region: Region, marker: &impl Marker) {
    for i in 0..PACKETS {
        let color = marker.mark(meter(region), LATER + i * GAP, PACKET);
        if color != Color::Red {
            let sum = through(region).load(Ordering::Relaxed) + u64::from(PACKET);
            through(region).store(sum, Ordering::Relaxed);
        }
    }
}

/// `held` bytes were in the buckets when the first packet came, which `rates` rates fill. At most the packet of the
/// death is lost, and `spill`.
fn accounts(
    region: Region,
    marker: &impl Marker,
    [held, rates, spill]: [u64; 3],
) -> Result<(), String> {
    let seen = through(region).load(Ordering::Relaxed);
    let all = seen + drain(region, marker, END);
    let most = held + rates * (END - LATER);
    // A full bucket takes nothing until its first packet, which the one of the death may have been.
    let least = held - u64::from(PACKET) - spill;
    expect(all <= most, || {
        format!("{all} bytes let through, granted were {most}")
    })?;
    expect(all >= least, || {
        format!("{all} bytes let through, {least} were due")
    })?;
    // And it is a meter again.
    let later = drain(region, marker, END + 100);
    expect(later == rates * 100, || {
        format!("{later} bytes after 100 ticks")
    })
}
