//! Single words and bitmaps: who owns a shard, which ids changed.

use baton_shared_state::Region;
use baton_shared_state::ownership::{self, OwnerWord};
use baton_shared_state::sync::Ordering;
use baton_shared_state::table::Dirty;

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    vec![dirty(), owner_hand_over()]
}

fn dirty() -> Case {
    fn bitmap(region: Region) -> Dirty {
        Dirty::attach(region).expect("a bitmap")
    }
    Case {
        name: "bitmap of changed ids",
        bytes: Dirty::bytes_for(4096),
        setup: |region| {
            Dirty::create(region, 4096).expect("a bitmap");
            bitmap(region).mark(70);
        },
        operation: |region| {
            for id in [3, 71, 900, 4095] {
                bitmap(region).mark(id);
            }
            bitmap(region).drain_range(0..128, |_| {});
        },
        // A dead party's marks are not trusted: everything is copied, and the marks begin anew.
        repair: |region| bitmap(region).clear(),
        check: |region| {
            let bitmap = bitmap(region);
            expect(bitmap.is_empty(), || format!("{bitmap:?}"))?;
            [5, 70, 4000].iter().for_each(|id| bitmap.mark(*id));
            let mut found = Vec::new();
            bitmap.drain(|id| found.push(id));
            expect(found == [5, 70, 4000], || format!("{found:?}"))
        },
    }
}

fn owner_hand_over() -> Case {
    const OLD: u16 = 3;
    const NEW: u16 = 35;
    const HEIR: u16 = 67;
    Case {
        name: "owner word, a hand-over",
        bytes: 64,
        setup: |region| {
            region
                .u64(0)
                .store(OwnerWord::unowned().pack(), Ordering::Relaxed);
            ownership::claim_first(region.u64(0), OLD, 1).expect("nobody had it");
        },
        operation: |region| {
            let (owner, request) = (region.u64(0), region.u64(8));
            ownership::ask(owner, request, NEW, 2).expect("asked");
            let accepted = ownership::accept(owner, request, OLD).expect("accepted");
            ownership::hand_over(owner, accepted, OLD).expect("handed over");
        },
        // Everybody who could own it is dead: another lcore takes it.
        repair: |region| {
            let seen = OwnerWord::unpack(region.u64(0).load(Ordering::Acquire));
            if seen.lcore != Some(HEIR) {
                ownership::take_from_dead(region.u64(0), seen, HEIR, 3);
            }
        },
        check: |region| {
            let now = OwnerWord::unpack(region.u64(0).load(Ordering::Acquire));
            expect(now.lcore == Some(HEIR) && now.repair, || format!("{now:?}"))?;
            let (owner, request) = (region.u64(0), region.u64(8));
            ownership::ask(owner, request, NEW, 4).map_err(|why| why.to_string())?;
            let accepted = ownership::accept(owner, request, HEIR);
            expect(accepted.is_some(), || {
                "a void request stands in the way".into()
            })
        },
    }
}
