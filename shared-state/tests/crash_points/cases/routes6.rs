//! IPv6 routes: announced, changed and withdrawn at every kind of place.

use baton_shared_state::Region;
use baton_shared_state::lpm6::{Lpm6, Lpm6Writer, NO_ROUTE};

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    let case = |name, setup, operation| Case {
        name,
        bytes: Lpm6::bytes_for(LINES),
        setup,
        operation,
        repair,
        check,
    };
    vec![
        case("IPv6 routes, announced", create, |region| {
            make(region, ANNOUNCED);
        }),
        case("IPv6 routes, withdrawn", create_and_announce, |region| {
            make(region, WITHDRAWN);
        }),
    ]
}

/// Lines for nodes.
const LINES: u32 = 96;

/// Prefix, length, next hop; no next hop withdraws.
type Change = (u128, u8, Option<u16>);

const A: u128 = 0x2001_0db8_0102_0304_0506_0708_090a_0b0c;
const B: u128 = A ^ 1 << 84;

const STANDING: &[Change] = &[
    (A & mask(30), 30, Some(1)),
    (A & mask(48), 48, Some(2)),
    (A & mask(52), 52, Some(3)),
];

const ANNOUNCED: &[Change] = &[
    (A & mask(12), 12, Some(4)),
    (A & mask(32), 32, Some(5)),
    (A & mask(30), 30, Some(6)),
    (A & mask(47), 47, Some(7)),
    (A, 128, Some(8)),
    (B & mask(48), 48, Some(9)),
    (0, 0, Some(10)),
];

const WITHDRAWN: &[Change] = &[
    (A & mask(48), 48, None),
    (A & mask(12), 12, None),
    (A & mask(32), 32, None),
    (A, 128, None),
    (0, 0, None),
    (A & mask(30), 30, None),
    (B & mask(48), 48, None),
];

const fn mask(depth: u8) -> u128 {
    u128::MAX << (128 - depth as u32)
}

fn apply(writer: &mut Lpm6Writer, (prefix, depth, hop): Change) {
    // Every reader is between two bursts here.
    writer.quiesced();
    match hop {
        Some(hop) => writer
            .insert(prefix.to_be_bytes(), depth, hop)
            .expect("room"),
        None => {
            _ = writer
                .delete(prefix.to_be_bytes(), depth)
                .expect("a prefix")
        }
    }
}

fn create(region: Region) {
    let mut writer = Lpm6::create(region, LINES).expect("a table");
    STANDING
        .iter()
        .for_each(|change| apply(&mut writer, *change));
}

fn create_and_announce(region: Region) {
    create(region);
    make(region, ANNOUNCED);
}

fn make(region: Region, changes: &[Change]) {
    let mut writer = Lpm6Writer::resume(region).expect("a table");
    changes
        .iter()
        .for_each(|change| apply(&mut writer, *change));
}

/// Readers find every address whole before anybody repairs; then the change that was begun is finished.
fn repair(region: Region) {
    let found = looked_up(Lpm6::attach(region).expect("a table"));
    let possible = states().windows(2).any(|two| between(&found, two));
    assert!(possible, "readers see {found:?}");
    // Every reader is between two bursts: a change whose node was not named yet has its lines.
    Lpm6Writer::resume(region).expect("a table").quiesced();
}

/// The rules after each number of changes, announced first.
fn states() -> Vec<Vec<(u128, u8, u16)>> {
    let mut rules: Vec<(u128, u8, u16)> = Vec::new();
    let mut states = Vec::new();
    let changes = STANDING.iter().chain(ANNOUNCED).chain(WITHDRAWN);
    for (i, (prefix, depth, hop)) in changes.enumerate() {
        rules.retain(|rule| (rule.0, rule.1) != (*prefix, *depth));
        rules.extend(hop.map(|hop| (*prefix, *depth, hop)));
        if i + 1 >= STANDING.len() {
            states.push(rules.clone());
        }
    }
    states
}

/// Each address as before a change or as after it.
fn between(found: &[u16], two: &[Vec<(u128, u8, u16)>]) -> bool {
    let one =
        |(address, found): (u128, &u16)| two.iter().any(|rules| linear(rules, address) == *found);
    addresses().into_iter().zip(found).all(one)
}

fn linear(rules: &[(u128, u8, u16)], address: u128) -> u16 {
    let covers = |rule: &&(u128, u8, u16)| {
        let host = u128::MAX.checked_shr(rule.1.into()).unwrap_or(0);
        address & !host == rule.0
    };
    let longest = rules.iter().filter(covers).max_by_key(|rule| rule.1);
    longest.map_or(NO_ROUTE, |rule| rule.2)
}

fn addresses() -> Vec<u128> {
    let all = STANDING.iter().chain(ANNOUNCED).chain(WITHDRAWN);
    let edges = all.flat_map(|(prefix, depth, _)| {
        let last = prefix | u128::MAX.checked_shr((*depth).into()).unwrap_or(0);
        [*prefix, last, prefix.wrapping_sub(1), last.wrapping_add(1)]
    });
    edges.collect()
}

fn looked_up(table: Lpm6) -> Vec<u16> {
    let addresses: Vec<[u8; 16]> = addresses().into_iter().map(u128::to_be_bytes).collect();
    let mut found = vec![0; addresses.len()];
    table.lookup_burst(&addresses, &mut found);
    found
}

fn check(region: Region) -> Result<(), String> {
    let mut writer = Lpm6Writer::resume(region).map_err(|why| why.to_string())?;
    let all = states();
    let places: Vec<(u128, u8)> = {
        let all = STANDING.iter().chain(ANNOUNCED).chain(WITHDRAWN);
        all.map(|change| (change.0, change.1)).collect()
    };
    let is = |rules: &&Vec<(u128, u8, u16)>| {
        let of = |(prefix, depth): &(u128, u8)| {
            let rule = rules
                .iter()
                .find(|rule| (rule.0, rule.1) == (*prefix, *depth));
            rule.map(|rule| rule.2)
        };
        let same = |place: &(u128, u8)| writer.get(place.0.to_be_bytes(), place.1) == of(place);
        writer.len() == rules.len() && places.iter().all(same)
    };
    let Some(rules) = all.iter().find(is) else {
        return Err(format!(
            "{} rules, of no moment of the script",
            writer.len()
        ));
    };
    let found = looked_up(writer.reader());
    let want: Vec<u16> = addresses()
        .iter()
        .map(|address| linear(rules, *address))
        .collect();
    expect(found == want, || {
        format!("{found:?}, a linear search gives {want:?}")
    })?;
    // No line is lost: without rules none is used, and the same rules can be had again.
    for (prefix, depth, hop) in rules {
        writer.quiesced();
        let gone = writer.delete(prefix.to_be_bytes(), *depth);
        expect(gone == Ok(Some(*hop)), || format!("{gone:?}"))?;
    }
    writer.quiesced();
    let used = writer.used_lines();
    expect(used == 0 && writer.is_empty(), || {
        format!("{used} lines of no rule")
    })?;
    for (prefix, depth, hop) in rules {
        apply(&mut writer, (*prefix, *depth, Some(*hop)));
    }
    expect(looked_up(writer.reader()) == want, || {
        "neighbours have changed".into()
    })
}
