//! Long runs of random changes: against a linear search, all paths alike, with readers that watch.

use std::thread;

use super::tests::{linear, mask, table};
use super::watch::{WATCHED, Watch, random, two_mappings};
use super::*;
use crate::rcu::Qsbr;

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
