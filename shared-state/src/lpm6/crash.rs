//! A writer dies before each of its stores; its successor finishes, and may die of that too.

use super::*;
use crate::sync::crash::die_at;

type Change = (u128, u8, Option<u16>);

const LINES: u32 = 192;
const A: u128 = 0x2001_0db8_0102_0304_0506_0708_090a_0b0c;

/// Announces, replacements and withdrawals over one another, at every kind of place.
const SCRIPT: [Change; 20] = [
    (A, 12, Some(1)),
    (A, 48, Some(2)),
    (A, 32, Some(3)),
    (A, 30, Some(4)),
    (A, 16, Some(5)),
    (A, 128, Some(6)),
    (A, 30, Some(7)),
    (A, 47, Some(8)),
    (A ^ 1 << 84, 48, Some(9)),
    (A, 48, None),
    (A, 16, None),
    (0, 0, Some(10)),
    (A, 32, None),
    (A, 128, None),
    (A, 20, Some(11)),
    (A, 30, None),
    (A, 47, None),
    (A ^ 1 << 84, 48, None),
    (A, 20, None),
    (A, 12, None),
];

fn apply(writer: &mut Lpm6Writer, (prefix, depth, hop): Change) {
    let prefix = prefix.to_be_bytes();
    match hop {
        Some(hop) => writer.insert(prefix, depth, hop).unwrap(),
        None => _ = writer.delete(prefix, depth).unwrap(),
    }
}

fn addresses() -> Vec<[u8; 16]> {
    let edges = SCRIPT.iter().flat_map(|(prefix, depth, _)| {
        let host = u128::MAX.checked_shr((*depth).into()).unwrap_or(0);
        let (first, last) = (prefix & !host, prefix | host);
        [
            *prefix,
            first,
            last,
            first.wrapping_sub(1),
            last.wrapping_add(1),
            prefix ^ 1,
        ]
    });
    edges.map(u128::to_be_bytes).collect()
}

fn look(table: Lpm6, addresses: &[[u8; 16]]) -> Vec<u16> {
    let mut found = vec![0; addresses.len()];
    table.lookup_burst(addresses, &mut found);
    found
}

/// Everything that must not depend on whether somebody died: rules, their number, lines.
fn state(writer: &Lpm6Writer) -> (Vec<Option<u16>>, usize, u32) {
    let rules = SCRIPT
        .iter()
        .map(|(prefix, depth, _)| writer.get(prefix.to_be_bytes(), *depth));
    (rules.collect(), writer.len(), writer.used_lines())
}

#[test]
fn a_death_at_any_store_leaves_each_address_old_or_new_and_is_repaired() {
    let region = Region::private(Lpm6::bytes_for(LINES));
    let mut writer = Lpm6::create(region, LINES).unwrap();
    let addresses = addresses();
    let mut points = 0;
    for change in SCRIPT {
        let (prefix, depth, _) = change;
        let undo = (prefix, depth, writer.get(prefix.to_be_bytes(), depth));
        let (was, seen) = (state(&writer), look(writer.reader(), &addresses));
        apply(&mut writer, change);
        let (is, sees) = (state(&writer), look(writer.reader(), &addresses));
        assert_ne!(was, is);
        for point in 1.. {
            apply(&mut writer, undo);
            writer.quiesced();
            assert_eq!(state(&writer), was);
            if !die_at(point, || apply(&mut writer, change)) {
                break;
            }
            points += 1;
            for (i, hop) in look(writer.reader(), &addresses).into_iter().enumerate() {
                assert!(hop == seen[i] || hop == sees[i], "{:x?}", addresses[i]);
            }
            // The repair dies at each of its stores in turn; after most deaths at one of them.
            let all = point % 64 == 1;
            let (from, deaths) = if all {
                (1, usize::MAX)
            } else {
                (point % 9 + 1, 1)
            };
            for repair in (from..).take(deaths) {
                let resume = || Lpm6Writer::resume(region).unwrap().quiesced();
                if !die_at(repair, resume) {
                    break;
                }
                points += 1;
            }
            writer = Lpm6Writer::resume(region).unwrap();
            writer.quiesced();
            let (now, hops) = (state(&writer), look(writer.reader(), &addresses));
            assert!((&now, &hops) == (&is, &sees) || (&now, &hops) == (&was, &seen));
        }
        assert_eq!(look(writer.reader(), &addresses), sees);
    }
    println!("{points} points");
    assert!(points > 1000);
    assert_eq!(writer.used_lines(), 0, "no line is lost");
}

#[test]
fn a_change_whose_node_was_not_named_yet_waits_for_free_lines() {
    let region = Region::private(Lpm6::bytes_for(LINES));
    let mut writer = Lpm6::create(region, LINES).unwrap();
    // Behind the intent, before the node's first word.
    assert!(die_at(5, || apply(&mut writer, (A, 48, Some(2)))));
    let mut writer = Lpm6Writer::resume(region).unwrap();
    assert_eq!(writer.get(A.to_be_bytes(), 48), None);
    assert!(writer.insert(A.to_be_bytes(), 32, 1).is_err());
    writer.quiesced();
    assert_eq!(writer.get(A.to_be_bytes(), 48), Some(2));
    assert_eq!(
        (writer.len(), writer.reader().lookup(&A.to_be_bytes())),
        (1, Some(2))
    );
}
