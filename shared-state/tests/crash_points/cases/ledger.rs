//! The ledger's records: tenants, the upgrade block, which generation is live.

use baton_shared_state::arena::layout;
use baton_shared_state::ledger::{Ledger, TenantName, UpgradeBlock};

use super::directory::arena;
use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    vec![tenants(), upgrade_block()]
}

fn ledger() -> Ledger {
    Ledger::open(&arena()).expect("a ledger")
}

fn name(n: u8) -> TenantName {
    TenantName {
        pid: 1000 + u32::from(n),
        start_time: u64::from(n) << 40 | 7,
        generation: n.into(),
        binary_hash: [n; 32],
    }
}

fn tenants() -> Case {
    Case {
        name: "ledger, tenants come and go",
        bytes: layout::LEDGER_LEN as usize,
        setup: |_| {
            let ledger = Ledger::create(&arena(), 4).expect("a ledger");
            assert_eq!(ledger.claim_tenant(&name(1)).ok(), Some(0));
        },
        operation: |_| {
            let ledger = ledger();
            ledger.claim_tenant(&name(2)).expect("a slot");
            ledger.release_tenant(0).expect("no shard names it");
            ledger.claim_tenant(&name(3)).expect("a slot");
            ledger.set_live_generation(3);
        },
        // Whoever comes next looks at who is there.
        repair: |_| _ = ledger().tenants(),
        check: |_| {
            let ledger = ledger();
            for tenant in ledger.tenants() {
                let n = tenant.name.generation as u8;
                let known = tenant.name == name(n) && (1..=3).contains(&n);
                expect(known, || format!("a torn tenant {tenant:?}"))?;
            }
            let live = ledger.live_generation();
            expect(matches!(live, None | Some(3)), || {
                format!("generation {live:?}")
            })?;
            for slot in 0..2 {
                ledger.release_tenant(slot).map_err(|why| why.to_string())?;
            }
            // All slots can be had, each once.
            let mut slots = Vec::new();
            while let Ok(slot) = ledger.claim_tenant(&name(9)) {
                slots.push(slot);
            }
            let all: Vec<u16> = (0..baton_shared_state::MAX_TENANTS as u16).collect();
            expect(slots == all, || format!("{slots:?}"))
        },
    }
}

fn block(n: u64) -> UpgradeBlock {
    UpgradeBlock {
        id: n,
        phase: n as u32,
        direction: 1,
        started_ns: n * 1000,
        moved: n,
        spare: [n; 5],
        ..UpgradeBlock::default()
    }
}

fn upgrade_block() -> Case {
    Case {
        name: "ledger, the upgrade block",
        bytes: layout::LEDGER_LEN as usize,
        setup: |_| {
            let ledger = Ledger::create(&arena(), 4).expect("a ledger");
            ledger.set_upgrade(&block(1));
        },
        operation: |_| ledger().set_upgrade(&block(2)),
        // The next supervisor stores what the owner words say, whether it found a block or a void.
        repair: |_| ledger().set_upgrade(&block(3)),
        check: |_| {
            let found = ledger().upgrade();
            expect(found == Some(block(3)), || format!("{found:?}"))
        },
    }
}
