//! Routes against a linear search for the longest prefix, through any order of changes.

use std::thread;

use proptest::prelude::*;

use super::watch::{WATCHED, Watch, random, two_mappings};
use super::*;
use crate::rcu::Qsbr;
use crate::sync::AtomicBool;

fn table(groups: u32) -> LpmWriter {
    Lpm::create(Region::private(Lpm::bytes_for(groups)), groups).unwrap()
}

const fn ip(a: u8, b: u8, c: u8, d: u8) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

fn mask(depth: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(depth)).unwrap_or(0)
}

/// The oracle.
fn linear(rules: &[(u32, u8, u16)], address: u32) -> Option<u16> {
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

/// A random change in few places, so that rules nest, follow and hide each other.
fn random_change(state: &mut u64) -> (u32, u8, Option<u16>) {
    const BASES: [u32; 4] = [0x0a00_0000, 0x0a00_ff00, 0xffff_ff00, 0x7fff_0000];
    let r = random(state);
    let depth = match r % 16 {
        0 => (r >> 8) as u8 % 33,
        1..=3 => 16 + (r >> 8) as u8 % 8,
        4..=8 => 20 + (r >> 8) as u8 % 5,
        _ => 24 + (r >> 8) as u8 % 9,
    };
    let noise = (r >> 32) as u32;
    let prefix = BASES[(r >> 16) as usize % 4] ^ (noise & 0x0000_0303) ^ (noise >> 28 << 10);
    let hop = (r >> 20) as u16 % 500;
    (
        prefix & mask(depth),
        depth,
        (r >> 40 & 3 != 0).then_some(hop),
    )
}

/// The oracle, kept small: (prefix, depth) -> next hop.
#[derive(Default)]
struct Rules(Vec<(u32, u8, u16)>);

impl Rules {
    fn apply(&mut self, (prefix, depth, hop): (u32, u8, Option<u16>)) {
        self.0.retain(|(p, d, _)| (*p, *d) != (prefix, depth));
        self.0.extend(hop.map(|hop| (prefix, depth, hop)));
    }

    fn lookup(&self, address: u32) -> u16 {
        linear(&self.0, address).unwrap_or(NO_ROUTE)
    }
}

fn apply(writer: &mut LpmWriter, (prefix, depth, hop): (u32, u8, Option<u16>)) {
    match hop {
        Some(hop) => writer.insert(prefix, depth, hop).unwrap(),
        None => _ = writer.delete(prefix, depth).unwrap(),
    }
}

/// All of a table's paths, checked at the edges of a change and elsewhere after each one.
fn follow_the_oracle(changes: usize) {
    let mut writer = table(512);
    let (mut rules, mut state) = (Rules::default(), 1);
    let paths = Path::ALL.map(|path| writer.reader().with_path(path));
    for _ in 0..changes {
        // Kept at a few hundred rules: what is withdrawn is there.
        let mut change = random_change(&mut state);
        if change.2.is_none() && !rules.0.is_empty() || rules.0.len() > 300 {
            let at = random(&mut state) as usize % rules.0.len();
            change = (rules.0[at].0, rules.0[at].1, None);
        }
        apply(&mut writer, change);
        rules.apply(change);
        writer.quiesced();
        assert_eq!(writer.len(), rules.0.len());
        let (first, last) = (change.0, change.0 | !mask(change.1));
        let mut addresses = vec![first, last, first.wrapping_sub(1), last.wrapping_add(1)];
        addresses.extend((0..5).map(|_| first | random(&mut state) as u32 & !mask(change.1)));
        addresses.extend((0..4).map(|_| random_change(&mut state).0));
        let expected: Vec<u16> = addresses.iter().map(|a| rules.lookup(*a)).collect();
        for table in paths.iter().flatten() {
            let mut found = vec![0; addresses.len()];
            table.lookup_burst(&addresses, &mut found);
            assert_eq!(found, expected, "{:?} after {change:x?}", table.path);
        }
    }
    let mut found: Vec<_> = writer.rules().collect();
    found.sort_unstable();
    rules.0.sort_unstable();
    assert_eq!(found, rules.0, "and the RIB holds exactly the rules");
}

#[test]
fn twenty_thousand_random_changes_behave_like_a_linear_search() {
    follow_the_oracle(20_000);
}

#[test]
#[ignore = "long: a million changes"]
fn a_million_random_changes_behave_like_a_linear_search() {
    follow_the_oracle(1_000_000);
}

fn paths_agree(addresses: usize) {
    let mut writer = table(512);
    let mut state = 3;
    for _ in 0..2000 {
        let (prefix, depth, _) = random_change(&mut state);
        let spread = random(&mut state) as u32 & mask(depth) & 0x0f0f_0000;
        let hop = (random(&mut state) % u64::from(MAX_NEXT_HOP)) as u16;
        let _ = writer.insert(prefix ^ spread, depth, hop);
    }
    let scalar = writer.reader().with_path(Path::Scalar).unwrap();
    let prefixes: Vec<u32> = writer.rules().map(|rule| rule.0).collect();
    let mut left = addresses;
    while left > 0 {
        let n = (random(&mut state) % 70) as usize;
        let near = |s: &mut u64| {
            let r = random(s);
            let near = prefixes[(r >> 34) as usize % prefixes.len()] ^ (r as u32 & 0x1ff);
            if r >> 33 & 1 == 0 { r as u32 } else { near }
        };
        let asked: Vec<u32> = (0..n).map(|_| near(&mut state)).collect();
        let (mut expected, mut found) = (vec![1; n], vec![2; n]);
        scalar.lookup_burst(&asked, &mut expected);
        for path in [Path::Avx2, Path::Avx512] {
            let Some(table) = scalar.with_path(path) else {
                continue;
            };
            table.lookup_burst(&asked, &mut found);
            assert_eq!(found, expected, "{path:?}");
        }
        left = left.saturating_sub(n.max(1));
    }
}

#[test]
fn all_paths_give_the_same_at_any_length_of_burst() {
    paths_agree(100_000);
}

#[test]
#[ignore = "long: ten million addresses"]
fn all_paths_give_the_same_for_ten_million_addresses() {
    paths_agree(10_000_000);
}

/// A reader at another address, with rights to read only, through changes that use few groups
/// again and again.
fn readers_see_old_or_new(changes: usize) {
    const GROUPS: u32 = 24;
    let [ours, theirs] = two_mappings(Lpm::bytes_for(GROUPS));
    let mut writer = Lpm::create(ours, GROUPS).unwrap();
    let qsbr = Qsbr::create(Region::private(Qsbr::bytes())).unwrap();
    writer.recycle_by(qsbr);
    let mut state = 9;
    let addresses: [u32; WATCHED] = core::array::from_fn(|_| {
        let (prefix, depth, _) = random_change(&mut state);
        prefix | random(&mut state) as u32 & !mask(depth.max(20))
    });
    let watch = Watch::new(NO_ROUTE);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|slot| {
                let (watch, path) = (&watch, Path::ALL[2 - usize::from(slot)]);
                let table = Lpm::attach(theirs).unwrap();
                let table = table.with_path(path).unwrap_or(table);
                scope.spawn(move || {
                    watch.look(qsbr, slot, |found| table.lookup_burst(&addresses, found));
                })
            })
            .collect();
        let mut rules = Rules::default();
        for i in 0..changes {
            let mut change = random_change(&mut state);
            if rules.0.len() > 60 {
                change = (rules.0[i % 60].0, rules.0[i % 60].1, None);
            }
            rules.apply(change);
            watch.expect(|i| rules.lookup(addresses[i]));
            while let Some(hop) = change.2
                && let Err(full) = writer.insert(change.0, change.1, hop)
            {
                assert!(matches!(full, LpmError::Full { .. }));
                writer.reclaim(|_| false);
                if writer.resting() == 0 && !threads.iter().any(|t| t.is_finished()) {
                    // All groups are in use: the change is not made, nor expected.
                    change.2 = None;
                    rules.apply(change);
                    watch.expect(|i| rules.lookup(addresses[i]));
                }
                thread::yield_now();
            }
            if change.2.is_none() {
                writer.delete(change.0, change.1).unwrap();
            }
        }
        watch.stop();
    });
    assert!(watch.compared() > 100, "{} looks", watch.compared());
}

#[test]
fn readers_in_another_mapping_see_each_address_old_or_new() {
    readers_see_old_or_new(4000);
}

#[test]
#[ignore = "long: a million changes"]
fn readers_in_another_mapping_see_each_address_old_or_new_for_a_million_changes() {
    readers_see_old_or_new(1_000_000);
}
