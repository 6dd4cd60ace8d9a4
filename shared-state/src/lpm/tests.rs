//! Routes against a linear search for the longest prefix, through any order of changes.

use std::thread;

use proptest::prelude::*;

use super::*;
use crate::sync::AtomicBool;

pub(super) fn table(groups: u32) -> LpmWriter {
    Lpm::create(Region::private(Lpm::bytes_for(groups)), groups).unwrap()
}

const fn ip(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

pub(super) fn mask(depth: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(depth)).unwrap_or(0)
}

/// The oracle.
pub(super) fn linear(rules: &[(u32, u8, u16)], address: u32) -> Option<u16> {
    let covering = rules
        .iter()
        .filter(|(prefix, depth, _)| (prefix ^ address) & mask(*depth) == 0);
    covering
        .max_by_key(|(_, depth, _)| *depth)
        .map(|(_, _, hop)| *hop)
}

#[test]
fn the_longest_prefix_wins_at_every_length() {
    let mut writer = table(16);
    let address = ip(10, 20, 30, 40);
    for depth in 0..=32 {
        writer.insert(address, depth, u16::from(depth)).unwrap();
        assert_eq!(writer.reader().lookup(address), Some(depth.into()));
    }
    for depth in (0..32u8).rev() {
        // Differs from `address` in the first bit that /depth leaves open.
        let beside = address ^ (1 << (31 - depth));
        assert_eq!(writer.reader().lookup(beside), Some(depth.into()));
    }
    for depth in (0..=32).rev() {
        assert_eq!(writer.delete(address, depth), Ok(Some(depth.into())));
        let left = depth.checked_sub(1).map(u16::from);
        assert_eq!(writer.reader().lookup(address), left);
    }
    assert!(writer.is_empty());
}

#[test]
fn the_default_route_touches_no_table_and_yields_to_all() {
    let mut writer = table(0);
    let reader = writer.reader();
    writer.insert(0, 0, 7).unwrap();
    assert_eq!(half(reader.tbl24, 5), 0);
    writer.insert(ip(192, 168, 0, 0), 16, 0).unwrap();
    assert_eq!(reader.lookup(ip(192, 168, 3, 4)), Some(0));
    assert_eq!(reader.lookup(ip(8, 8, 8, 8)), Some(7));
    assert_eq!(writer.delete(ip(1, 2, 3, 4), 0), Ok(Some(7)));
    assert_eq!(reader.lookup(ip(8, 8, 8, 8)), None);
    assert_eq!(writer.get(ip(192, 168, 99, 1), 16), Some(0));
    assert_eq!(
        writer.rules().collect::<Vec<_>>(),
        [(ip(192, 168, 0, 0), 16, 0)]
    );
}

#[test]
fn each_change_is_counted_and_what_changes_nothing_is_not() {
    let mut writer = table(2);
    let reader = writer.reader();
    let mut before = reader.changes();
    let mut changed = |wanted: bool| {
        let now = reader.changes();
        assert_eq!(core::mem::replace(&mut before, now) != now, wanted);
    };
    for (prefix, depth) in [(ip(10, 1, 0, 0), 16), (ip(10, 1, 2, 3), 32), (0, 0)] {
        writer.insert(prefix, depth, 1).unwrap();
        changed(true);
        writer.insert(prefix, depth, 2).unwrap();
        changed(true);
        writer.delete(prefix, depth).unwrap();
        changed(true);
        writer.delete(prefix, depth).unwrap();
        changed(false);
    }
}

#[test]
fn a_route_over_the_last_addresses_ends_there() {
    let mut writer = table(2);
    writer.insert(u32::MAX, 32, 1).unwrap();
    writer.insert(u32::MAX, 1, 2).unwrap();
    writer.insert(ip(255, 255, 255, 0), 24, 3).unwrap();
    let reader = writer.reader();
    assert_eq!(reader.lookup(u32::MAX), Some(1));
    assert_eq!(reader.lookup(u32::MAX - 1), Some(3));
    assert_eq!(reader.lookup(1 << 31), Some(2));
    assert_eq!(reader.lookup((1 << 31) - 1), None);
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut writer = table(1);
    assert_eq!(writer.insert(0, 33, 1), Err(LpmError::Depth { depth: 33 }));
    assert_eq!(writer.delete(0, 33), Err(LpmError::Depth { depth: 33 }));
    assert!(matches!(
        writer.insert(0, 8, u16::MAX),
        Err(LpmError::NextHop { .. })
    ));
    assert_eq!(writer.delete(0, 8), Ok(None));
    writer.insert(ip(10, 0, 0, 1), 32, MAX_NEXT_HOP).unwrap();
    writer.insert(ip(10, 0, 0, 2), 32, 2).unwrap();
    let full = writer.insert(ip(10, 0, 1, 1), 32, 3).unwrap_err();
    assert_eq!(
        full.to_string(),
        "no group left for prefixes longer than 24 bits: 1 of 1 used, 0 resting"
    );
    assert_eq!(
        (writer.len(), writer.reader().lookup(ip(10, 0, 1, 1))),
        (2, None)
    );
    assert_eq!(writer.reader().lookup(ip(10, 0, 0, 1)), Some(MAX_NEXT_HOP));
    assert!(Lpm::create(Region::private(4096), 0).is_err());
    assert!(Lpm::create(Region::private(4096), 40_000).is_err());
    assert!(Lpm::attach(Region::private(4096)).is_err());
}

#[test]
fn a_group_rests_until_the_readers_have_moved_on() {
    let mut writer = table(1);
    writer.insert(ip(10, 0, 0, 1), 32, 1).unwrap();
    writer.delete(ip(10, 0, 0, 1), 32).unwrap();
    let resting = writer.insert(ip(10, 0, 9, 1), 32, 1).unwrap_err();
    assert!(matches!(
        resting,
        LpmError::Full {
            used: 0,
            resting: 1,
            ..
        }
    ));
    writer.quiesced();
    writer.insert(ip(10, 0, 9, 1), 32, 1).unwrap();
    assert_eq!(writer.reader().lookup(ip(10, 0, 9, 1)), Some(1));
    assert_eq!(writer.reader().lookup(ip(10, 0, 0, 1)), None);
}

#[test]
fn another_process_reads_what_the_writer_wrote() {
    let region = Region::private(Lpm::bytes_for(4));
    let mut writer = Lpm::create(region, 4).unwrap();
    writer.insert(ip(10, 1, 2, 128), 25, 9).unwrap();
    let reader = Lpm::attach(region).unwrap();
    let addresses = [ip(10, 1, 2, 3), ip(10, 1, 2, 200)];
    let mut hops = [0; 2];
    reader.lookup_burst(&addresses, &mut hops);
    assert_eq!((hops, reader.groups()), ([NO_ROUTE, 9], 4));
}

/// A covered address has a route at every moment, whatever changes above and below it.
#[test]
fn a_reader_never_sees_a_hole_while_routes_change() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let mut writer = table(1000);
    writer.insert(ip(10, 0, 0, 0), 16, 1).unwrap();
    let reader = writer.reader();
    let thread = thread::spawn(move || {
        let mut last = false;
        while !last {
            last = DONE.load(Ordering::Relaxed);
            for i in 0..1024 {
                let hop = reader.lookup(ip(10, 0, 0, 0) | i);
                assert!(matches!(hop, Some(1..=4)), "{hop:?}");
            }
        }
    });
    for round in 0..400u32 {
        let address = ip(10, 0, 0, 0) | (round * 37 % 1024);
        writer.insert(address, 32, 2).unwrap();
        writer.insert(address, 27, 3).unwrap();
        writer.insert(address, 22, 4).unwrap();
        writer
            .insert(ip(10, 0, 0, 0), 16, 1 + (round % 2) as u16)
            .unwrap();
        for depth in [22, 32, 27] {
            writer.delete(address, depth).unwrap();
        }
        if writer.resting() > 990 {
            break; // Nobody asks the reader to move on here, so groups are used once each.
        }
    }
    DONE.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

#[derive(Debug, Clone)]
struct Change {
    add: bool,
    prefix: u32,
    depth: u8,
    next_hop: u16,
}

/// Prefixes that nest and touch: few distinct bits, at the places where blocks begin and end.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let prefix =
        (0..4u32, 0..4u32, 0..8u32).prop_map(|(a, b, c)| (a << 30) | (b << 7) | (c << 24) | c);
    let depth = prop_oneof![0u8..=32, 6u8..12, 20u8..=32];
    let change = (prop::bool::weighted(0.7), prefix, depth, 0u16..40);
    let change = change.prop_map(|(add, prefix, depth, next_hop)| Change {
        add,
        prefix,
        depth,
        next_hop,
    });
    prop::collection::vec(change, 1..60)
}

/// One table for all cases: emptied by deletions, which is a test of them too.
fn emptied() -> std::sync::MutexGuard<'static, LpmWriter> {
    static TABLE: std::sync::LazyLock<std::sync::Mutex<LpmWriter>> =
        std::sync::LazyLock::new(|| std::sync::Mutex::new(table(64)));
    let mut writer = TABLE.lock().unwrap_or_else(|e| e.into_inner());
    let rules: Vec<_> = writer.rules().collect();
    for (prefix, depth, _) in rules {
        writer.delete(prefix, depth).unwrap();
    }
    writer.quiesced();
    writer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn behaves_like_a_linear_search(
        changes in changes(),
        random in prop::collection::vec(any::<u32>(), 16)
    ) {
        let mut writer = emptied();
        let reader = writer.reader();
        prop_assert!(random.iter().all(|address| reader.lookup(*address).is_none()));
        let mut rules: Vec<(u32, u8, u16)> = Vec::new();
        for Change { add, prefix, depth, next_hop } in changes {
            let first = prefix & mask(depth);
            let old = rules.iter().position(|(p, d, _)| (*p, *d) == (first, depth));
            let gone = old.map(|i| rules.swap_remove(i).2);
            if add {
                writer.insert(prefix, depth, next_hop).unwrap();
                rules.push((first, depth, next_hop));
            } else {
                prop_assert_eq!(writer.delete(prefix, depth), Ok(gone));
            }
            prop_assert_eq!(writer.len(), rules.len());
            writer.quiesced();
            let edges = rules.iter().flat_map(|(p, d, _)| {
                let last = p | !mask(*d);
                [*p, last, p.wrapping_sub(1), last.wrapping_add(1), p ^ 1, last ^ 128]
            });
            let addresses: Vec<u32> = edges.chain(random.iter().copied()).chain([prefix, first]).collect();
            let mut hops = vec![0; addresses.len()];
            reader.lookup_burst(&addresses, &mut hops);
            for (address, hop) in addresses.iter().zip(hops) {
                let expected = linear(&rules, *address);
                prop_assert_eq!(reader.lookup(*address), expected, "{:#x}", address);
                prop_assert_eq!(hop, expected.unwrap_or(NO_ROUTE));
            }
        }
    }
}

/// Blocks 0 to 31 of 10.0.0.0/16: a prefix longer than 24 bits in each that `long` names, one of 24 bits in every other
/// second one.
fn blocks_with(long: u32) -> LpmWriter {
    let mut writer = table(32);
    writer.insert(0, 0, 999).unwrap();
    for block in 0..32 {
        if long >> block & 1 != 0 {
            let (prefix, hop) = (ip(10, 0, block, 128), u16::from(block));
            writer.insert(prefix, 25, 100 + hop).unwrap();
        } else if block % 2 == 0 {
            writer.insert(ip(10, 0, block, 0), 24, 500).unwrap();
        }
    }
    writer
}

#[test]
fn every_path_follows_as_many_longer_prefixes_as_a_burst_has_wherever_they_are() {
    for long in [
        0,
        1,
        1 << 31,
        0x8000_8000,
        0x0000_f000, // as many of a half as are followed without a branch
        0x0f00_00f0,
        0x0001_f001, // one more in a half
        0xf800_0001,
        0x5555_5555,
        u32::MAX,
    ] {
        let writer = blocks_with(long);
        let reader = writer.reader();
        let addresses: Vec<u32> = (0..96u8)
            .map(|i| ip(10, 0, i.wrapping_mul(5) % 32, 126 + i % 4))
            .chain((0..32).map(|block| ip(10, 0, block, 200)))
            .collect();
        for table in Path::ALL.into_iter().filter_map(|p| reader.with_path(p)) {
            for (from, n) in (0..=96).map(|n| (128 - n, n)).chain([(0, 128), (7, 33)]) {
                let part = &addresses[from..from + n];
                let mut hops = vec![7; n + 1];
                table.lookup_burst(part, &mut hops);
                for (address, hop) in part.iter().zip(&hops) {
                    let wanted = reader.lookup(*address).unwrap();
                    assert_eq!(*hop, wanted, "{address:#x} of {n}, {:?}", table.path);
                }
                assert_eq!(hops[n], 7, "past the end, {:?}", table.path);
            }
        }
    }
}

#[test]
fn an_entry_that_names_no_group_is_looked_up_alike_by_every_path_and_inside_the_table() {
    for groups in [0, 2] {
        let region = Region::private(Lpm::bytes_for(groups));
        let table = Lpm::create(region, groups).unwrap().reader();
        let word = region.u32(layout::TBL24_AT + 0x0a_0000 * 2);
        word.store((EXTENDED | 77) << 16 | EXTENDED | 1, Ordering::Relaxed);
        // All of a burst in them, and one or two of it.
        let few = (0..96).map(|block| 0x0a00_0005 + (block << 8));
        let addresses: Vec<u32> = (0x0a00_0000..0x0a00_0200).chain(few).collect();
        let single = addresses
            .iter()
            .map(|a| table.lookup(*a).unwrap_or(NO_ROUTE));
        let single: Vec<u16> = single.collect();
        for table in Path::ALL
            .into_iter()
            .filter_map(|path| table.with_path(path))
        {
            let mut found = vec![0; addresses.len()];
            table.lookup_burst(&addresses, &mut found);
            assert_eq!(found, single, "{:?}, {groups} groups", table.path);
        }
    }
}
