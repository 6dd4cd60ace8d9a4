//! IPv4 routes: announced, changed and withdrawn at every kind of place.

use baton_shared_state::Region;
use baton_shared_state::lpm::{Lpm, LpmWriter, NO_ROUTE};

use super::expect;
use crate::Case;

pub(super) fn all() -> Vec<Case> {
    let case = |name, setup, operation| Case {
        name,
        bytes: Lpm::bytes_for(GROUPS),
        setup,
        operation,
        repair,
        check,
    };
    vec![
        case("IPv4 routes, announced", create, |region| {
            make(region, ANNOUNCED);
        }),
        case("IPv4 routes, withdrawn", create_and_announce, |region| {
            make(region, WITHDRAWN);
        }),
    ]
}

const GROUPS: u32 = 4;

/// Prefix, length, next hop; no next hop withdraws.
type Change = (u32, u8, Option<u16>);

const STANDING: &[Change] = &[
    (0x0a01_0000, 17, Some(1)),
    (0x0a01_0100, 24, Some(2)),
    (0x0a01_0380, 25, Some(3)),
    (0x0a01_0381, 32, Some(4)),
];

const ANNOUNCED: &[Change] = &[
    (0x0a01_0000, 22, Some(5)),
    (0x0a01_0200, 24, Some(6)),
    (0x0a01_0280, 26, Some(7)),
    (0x0a01_0281, 32, Some(8)),
    (0x0a01_0281, 32, Some(9)),
    (0x0a01_0100, 24, Some(10)),
    (0, 0, Some(11)),
];

const WITHDRAWN: &[Change] = &[
    (0x0a01_0381, 32, None),
    (0x0a01_0380, 25, None),
    (0x0a01_0281, 32, None),
    (0x0a01_0100, 24, None),
    (0x0a01_0000, 22, None),
    (0, 0, None),
    (0x0a01_0280, 26, None),
];

fn apply(writer: &mut LpmWriter, (prefix, depth, hop): Change) {
    // Every reader is between two bursts here.
    writer.quiesced();
    match hop {
        Some(hop) => writer.insert(prefix, depth, hop).expect("room"),
        None => _ = writer.delete(prefix, depth).expect("a prefix"),
    }
}

fn create(region: Region) {
    let mut writer = Lpm::create(region, GROUPS).expect("a table");
    STANDING
        .iter()
        .for_each(|change| apply(&mut writer, *change));
}

fn create_and_announce(region: Region) {
    create(region);
    make(region, ANNOUNCED);
}

fn make(region: Region, changes: &[Change]) {
    let mut writer = LpmWriter::resume(region).expect("a table");
    changes
        .iter()
        .for_each(|change| apply(&mut writer, *change));
}

/// Readers find every address whole before anybody repairs; then the change that was begun is finished.
fn repair(region: Region) {
    let found = looked_up(Lpm::attach(region).expect("a table"));
    let possible = states().windows(2).any(|two| between(&found, two));
    assert!(possible, "readers see {found:?}");
    LpmWriter::resume(region).expect("a table");
}

/// The rules after each number of changes, announced first.
fn states() -> Vec<Vec<(u32, u8, u16)>> {
    let mut rules: Vec<(u32, u8, u16)> = Vec::new();
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
fn between(found: &[u16], two: &[Vec<(u32, u8, u16)>]) -> bool {
    let one =
        |(address, found): (u32, &u16)| two.iter().any(|rules| linear(rules, address) == *found);
    addresses().into_iter().zip(found).all(one)
}

fn linear(rules: &[(u32, u8, u16)], address: u32) -> u16 {
    let covers = |rule: &&(u32, u8, u16)| {
        let host = u32::MAX.checked_shr(rule.1.into()).unwrap_or(0);
        address & !host == rule.0
    };
    let longest = rules.iter().filter(covers).max_by_key(|rule| rule.1);
    longest.map_or(NO_ROUTE, |rule| rule.2)
}

fn addresses() -> Vec<u32> {
    let all = STANDING.iter().chain(ANNOUNCED).chain(WITHDRAWN);
    let edges = all.flat_map(|(prefix, depth, _)| {
        let last = prefix | u32::MAX.checked_shr((*depth).into()).unwrap_or(0);
        [*prefix, last, prefix.wrapping_sub(1), last.wrapping_add(1)]
    });
    edges.collect()
}

fn looked_up(table: Lpm) -> Vec<u16> {
    let addresses = addresses();
    let mut found = vec![0; addresses.len()];
    table.lookup_burst(&addresses, &mut found);
    found
}

fn check(region: Region) -> Result<(), String> {
    let mut writer = LpmWriter::resume(region).map_err(|why| why.to_string())?;
    let all = states();
    let places: Vec<(u32, u8)> = {
        let all = STANDING.iter().chain(ANNOUNCED).chain(WITHDRAWN);
        all.map(|change| (change.0, change.1)).collect()
    };
    let is = |rules: &&Vec<(u32, u8, u16)>| {
        let of = |(prefix, depth): &(u32, u8)| {
            let rule = rules
                .iter()
                .find(|rule| (rule.0, rule.1) == (*prefix, *depth));
            rule.map(|rule| rule.2)
        };
        let same = |place: &(u32, u8)| writer.get(place.0, place.1) == of(place);
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
    // No group is lost: all that the rules do not need can be had, and come back.
    writer.quiesced();
    let mut blocks: Vec<u32> = rules
        .iter()
        .filter(|rule| rule.1 > 24)
        .map(|rule| rule.0 >> 8)
        .collect();
    blocks.sort_unstable();
    blocks.dedup();
    let free = GROUPS as usize - blocks.len();
    for i in 0..free as u32 {
        let added = writer.insert(0x6000_0000 + (i << 8), 30, 99);
        expect(added.is_ok(), || format!("group {i} of {free} is gone"))?;
    }
    let full = writer.insert(0x6100_0000, 30, 99).is_err();
    expect(full, || "a group is there twice".into())?;
    for i in 0..free as u32 {
        let gone = writer.delete(0x6000_0000 + (i << 8), 30);
        expect(gone == Ok(Some(99)), || format!("{gone:?}"))?;
    }
    expect(looked_up(writer.reader()) == want, || {
        "neighbours have changed".into()
    })
}
