//! A writer dies before each of its stores; its successor finishes, and may die of that too.

use super::*;
use crate::sync::crash::die_at;

type Change = (u32, u8, Option<u16>);

const GROUPS: u32 = 6;

/// Announces, replacements and withdrawals over one another, at every kind of place.
const SCRIPT: [Change; 22] = [
    (0x0a01_0000, 17, Some(1)),
    (0x0a01_0000, 19, Some(2)),
    (0x0a01_0200, 23, Some(3)),
    (0x0a01_0200, 24, Some(4)),
    (0x0a01_0280, 25, Some(5)),
    (0x0a01_0281, 32, Some(6)),
    (0x0a01_0200, 24, Some(7)),
    (0x0a01_0200, 23, None),
    (0, 0, Some(8)),
    (0x0a01_0280, 25, None),
    (0x0a01_0300, 30, Some(9)),
    (0x0a01_0000, 19, Some(10)),
    (0x0a01_0281, 32, None),
    (0x0a01_0200, 24, None),
    (0x0a01_0300, 30, None),
    (0x0a01_0220, 27, Some(11)),
    (0x0a01_0000, 19, None),
    (0x0a01_0220, 27, Some(12)),
    (0x0a01_0220, 27, None),
    (0, 0, None),
    (0x0a01_0000, 17, None),
    (0xffff_ffff, 32, Some(1)),
];

fn apply(writer: &mut LpmWriter, (prefix, depth, hop): Change) {
    match hop {
        Some(hop) => writer.insert(prefix, depth, hop).unwrap(),
        None => _ = writer.delete(prefix, depth).unwrap(),
    }
}

fn addresses() -> Vec<u32> {
    let edges = SCRIPT.iter().flat_map(|(prefix, depth, _)| {
        let last = prefix | u32::MAX.checked_shr((*depth).into()).unwrap_or(0);
        [
            *prefix,
            last,
            prefix.wrapping_sub(1),
            last.wrapping_add(1),
            prefix ^ 1,
            last ^ 0x1fc,
        ]
    });
    edges.collect()
}

fn look(table: Lpm, addresses: &[u32]) -> Vec<u16> {
    let mut found = vec![0; addresses.len()];
    table.lookup_burst(addresses, &mut found);
    found
}

/// Everything that must not depend on whether somebody died: rules, their number, groups.
fn state(writer: &LpmWriter) -> (Vec<Option<u16>>, usize, u32) {
    let rules = SCRIPT
        .iter()
        .map(|(prefix, depth, _)| writer.get(*prefix, *depth));
    let named = (0..GROUPS).filter(|group| writer.is_named(*group));
    (rules.collect(), writer.len(), named.count() as u32)
}

#[test]
fn a_death_at_any_store_leaves_each_address_old_or_new_and_is_repaired() {
    let region = Region::private(Lpm::bytes_for(GROUPS));
    let mut writer = Lpm::create(region, GROUPS).unwrap();
    let addresses = addresses();
    let mut points = 0;
    for change in SCRIPT {
        let (prefix, depth, _) = change;
        let undo = (prefix, depth, writer.get(prefix, depth));
        let (was, seen) = (state(&writer), look(writer.reader(), &addresses));
        apply(&mut writer, change);
        let (is, sees) = (state(&writer), look(writer.reader(), &addresses));
        assert!(was != is || seen == sees);
        for point in 1.. {
            apply(&mut writer, undo);
            writer.quiesced();
            assert_eq!(state(&writer), was);
            let changes = writer.reader().changes();
            if !die_at(point, || apply(&mut writer, change)) {
                break;
            }
            points += 1;
            for (i, hop) in look(writer.reader(), &addresses).into_iter().enumerate() {
                assert!(hop == seen[i] || hop == sees[i], "{:x}", addresses[i]);
            }
            let reader = writer.reader();
            assert!(
                reader.changes() == changes || look(reader, &addresses) == sees,
                "counted before all of it is seen: what is looked up now would be kept"
            );
            // The repair dies at each of its stores in turn; after most deaths at one of them.
            let all = point % 256 == 1;
            let (from, deaths) = if all {
                (1, usize::MAX)
            } else {
                (point % 9 + 1, 1)
            };
            for repair in (from..).take(deaths) {
                if !die_at(repair, || _ = LpmWriter::resume(region).unwrap()) {
                    break;
                }
                points += 1;
                assert!(
                    reader.changes() == changes || look(reader, &addresses) == sees,
                    "the repair counted too early"
                );
            }
            writer = LpmWriter::resume(region).unwrap();
            let (now, hops) = (state(&writer), look(writer.reader(), &addresses));
            assert!((&now, &hops) == (&is, &sees) || (&now, &hops) == (&was, &seen));
            let is_counted = writer.reader().changes() != changes;
            assert!(
                is_counted || hops == seen,
                "a change that is seen is counted"
            );
            assert_eq!(writer.resting() + now.2, GROUPS, "no group is lost");
            writer.quiesced();
        }
        assert_eq!(look(writer.reader(), &addresses), sees);
    }
    println!("{points} points");
    assert!(points > 1000);
}
