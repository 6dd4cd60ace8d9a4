//! IPv6 routes against a linear search for the longest prefix, through any order of changes.

use std::thread;

use super::*;
use crate::lpm::watch::{WATCHED, Watch, random, two_mappings};
use crate::rcu::Qsbr;

type Change = (u128, u8, Option<u16>);

fn table(lines: u32) -> Lpm6Writer {
    Lpm6::create(Region::private(Lpm6::bytes_for(lines)), lines).unwrap()
}

fn mask(depth: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(depth)).unwrap_or(0)
}

/// The oracle.
#[derive(Default)]
struct Rules(Vec<(u128, u8, u16)>);

impl Rules {
    fn apply(&mut self, (prefix, depth, hop): Change) {
        self.0.retain(|(p, d, _)| (*p, *d) != (prefix, depth));
        self.0.extend(hop.map(|hop| (prefix, depth, hop)));
    }

    fn lookup(&self, address: u128) -> u16 {
        let covering = self
            .0
            .iter()
            .filter(|(p, d, _)| (p ^ address) & mask(*d) == 0);
        let longest = covering.max_by_key(|(_, depth, _)| *depth);
        longest.map_or(NO_ROUTE, |(_, _, hop)| *hop)
    }
}

fn apply(writer: &mut Lpm6Writer, (prefix, depth, hop): Change) -> Result<(), Lpm6Error> {
    let prefix = prefix.to_be_bytes();
    match hop {
        Some(hop) => writer.insert(prefix, depth, hop),
        None => writer.delete(prefix, depth).map(drop),
    }
}

/// A random change in few places, so that rules nest, follow and hide each other.
fn random_change(state: &mut u64) -> Change {
    const BASES: [u128; 3] = [0x2001_0db8 << 96, 0x2a0f_ff00 << 96, u128::MAX];
    let r = random(state);
    let depth = match r % 16 {
        0 => (r >> 8) as u8 % 129,
        1..=3 => 28 + (r >> 8) as u8 % 10,
        4..=9 => 40 + (r >> 8) as u8 % 9,
        10 => 9 + (r >> 8) as u8 % 12,
        _ => [48, 56, 64, 65, 127, 128][(r >> 8) as usize % 6],
    };
    let noise = u128::from(r >> 32 & 0x33) << 96 | u128::from(r >> 40 & 0x0f) << 78;
    let low = u128::from(r >> 46 & 3) << 62 | u128::from(r >> 48 & 3);
    let prefix = BASES[(r >> 16) as usize % 3] ^ noise ^ low;
    let hop = (r >> 20) as u16 % 500;
    (
        prefix & mask(depth),
        depth,
        (r >> 50 & 3 != 0).then_some(hop),
    )
}

#[test]
fn the_longest_prefix_wins_at_every_length() {
    let mut writer = table(128);
    let address = 0x2001_0db8_1234_5678_9abc_def0_1357_9bdfu128;
    let bytes = address.to_be_bytes();
    for depth in 0..=128 {
        writer.insert(bytes, depth, u16::from(depth)).unwrap();
        writer.quiesced();
        assert_eq!(writer.reader().lookup(&bytes), Some(depth.into()));
    }
    for depth in (0..128u8).rev() {
        // Differs from `address` in the first bit that /depth leaves open.
        let beside = (address ^ 1 << (127 - depth)).to_be_bytes();
        assert_eq!(writer.reader().lookup(&beside), Some(depth.into()));
    }
    assert_eq!((writer.len(), writer.rules().count()), (129, 129));
    for depth in (0..=128).rev() {
        assert_eq!(writer.delete(bytes, depth), Ok(Some(depth.into())));
        writer.quiesced();
        let left = depth.checked_sub(1).map(u16::from);
        assert_eq!(writer.reader().lookup(&bytes), left);
    }
    assert!(writer.is_empty());
    assert_eq!(writer.used_lines(), 0);
}

#[test]
fn a_node_of_any_number_of_ranges_gives_each_slot_its_route() {
    const ALLOCATION: u128 = 0x2001_0db8 << 96;
    let site = |n: u32| (ALLOCATION | u128::from(n) << 80).to_be_bytes();
    let mut writer = table(4096);
    let hop = |n: u32| (n % 500) as u16;
    writer.insert(site(0), 32, 999).unwrap();
    // Sites apart from each other: two ranges each. Sizes on both sides of what a line holds, of
    // what lines are counted, and far above.
    let mut made = 0;
    for sites in [1, 13, 14, 15, 61, 62, 63, 64, 3000] {
        for n in made..sites {
            writer.insert(site(20 * n + 7), 48, hop(n)).unwrap();
            writer.quiesced();
        }
        made = sites;
        let slots = (0..sites).flat_map(|n| [20 * n + 6, 20 * n + 7, 20 * n + 8]);
        let slots: Vec<u32> = slots.chain([0, 0xffff]).collect();
        let addresses: Vec<[u8; 16]> = slots.iter().map(|slot| site(*slot)).collect();
        let expected = slots.iter().map(|slot| match slot % 20 {
            7 if *slot < 20 * sites => hop(slot / 20),
            _ => 999,
        });
        let expected: Vec<u16> = expected.collect();
        for path in Path::ALL {
            let Some(table) = writer.reader().with_path(path) else {
                continue;
            };
            let mut found = vec![0; slots.len()];
            table.lookup_burst(&addresses, &mut found);
            assert_eq!(found, expected, "{path:?}, {sites} sites");
        }
    }
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut writer = table(34);
    let bytes = |n: u128| (n << 80).to_be_bytes();
    assert_eq!(
        writer.insert(bytes(1), 129, 1),
        Err(Lpm6Error::Depth { depth: 129 })
    );
    assert!(matches!(
        writer.insert(bytes(1), 48, u16::MAX),
        Err(Lpm6Error::NextHop { .. })
    ));
    assert_eq!(writer.delete(bytes(1), 48), Ok(None));
    writer.insert(bytes(1 << 24), 32, MAX_NEXT_HOP).unwrap();
    let full = writer.insert(bytes(2), 48, 1).unwrap_err();
    assert_eq!(
        full.to_string(),
        "no 1 lines in a row left for a node: 0 of 34 free, 0 resting"
    );
    assert_eq!(
        (writer.len(), writer.rules().count(), writer.used_lines()),
        (1, 1, 34)
    );
    assert_eq!(writer.reader().lookup(&bytes(1 << 24)), Some(MAX_NEXT_HOP));
    assert_eq!(writer.reader().lookup(&bytes(2)), None);
    assert!(Lpm6::create(Region::private(4096), 1).is_err());
    assert!(Lpm6::create(Region::private(4096), 0).is_err());
    assert!(Lpm6::attach(Region::private(4096)).is_err());
}

#[test]
fn wrong_bytes_give_a_wrong_answer_and_nothing_worse() {
    let region = Region::private(Lpm6::bytes_for(8));
    drop(Lpm6::create(region, 8).unwrap());
    let mut state = 4;
    for at in (layout::TBL16_AT..region.len()).step_by(8) {
        region.u64(at).store(random(&mut state), Ordering::Relaxed);
    }
    let addresses: Vec<[u8; 16]> = (0..4096)
        .map(|_| {
            (u128::from(random(&mut state)) << 64 | u128::from(random(&mut state))).to_be_bytes()
        })
        .collect();
    for path in Path::ALL {
        let table = Lpm6::attach(region).unwrap();
        let Some(table) = table.with_path(path) else {
            continue;
        };
        let mut hops = vec![NO_ROUTE; addresses.len()];
        table.lookup_burst(&addresses, &mut hops);
        assert!(hops.iter().any(|hop| *hop != NO_ROUTE), "{path:?}");
    }
}

/// All of a table's paths, checked at the edges of a change and elsewhere after each one.
fn follow_the_oracle(changes: usize) {
    let mut writer = table(4096);
    let (mut rules, mut state) = (Rules::default(), 1);
    let paths = Path::ALL.map(|path| writer.reader().with_path(path));
    for _ in 0..changes {
        let mut change = random_change(&mut state);
        if change.2.is_none() && !rules.0.is_empty() || rules.0.len() > 300 {
            let at = random(&mut state) as usize % rules.0.len();
            change = (rules.0[at].0, rules.0[at].1, None);
        }
        apply(&mut writer, change).unwrap();
        rules.apply(change);
        writer.quiesced();
        assert_eq!(writer.len(), rules.0.len());
        let (first, last) = (change.0, change.0 | !mask(change.1));
        let mut addresses = vec![first, last, first.wrapping_sub(1), last.wrapping_add(1)];
        let mut host = || u128::from(random(&mut state)) << 64 | u128::from(random(&mut state));
        addresses.extend((0..4).map(|_| first | host() & !mask(change.1)));
        addresses.extend((0..5).map(|_| random_change(&mut state).0));
        let expected: Vec<u16> = addresses.iter().map(|a| rules.lookup(*a)).collect();
        let addresses: Vec<[u8; 16]> = addresses.into_iter().map(u128::to_be_bytes).collect();
        for table in paths.iter().flatten() {
            let mut found = vec![0; addresses.len()];
            table.lookup_burst(&addresses, &mut found);
            assert_eq!(found, expected, "{table:?} after {change:x?}");
        }
        let single = paths[0].unwrap().lookup(&addresses[0]);
        assert_eq!(single.unwrap_or(NO_ROUTE), expected[0]);
    }
    let mut found: Vec<_> = writer.rules().collect();
    found.sort_unstable();
    let mut rules: Vec<_> = rules
        .0
        .iter()
        .map(|(p, d, h)| (p.to_be_bytes(), *d, *h))
        .collect();
    rules.sort_unstable();
    assert_eq!(found, rules, "and the tree holds exactly the rules");
    rules
        .iter()
        .for_each(|(p, d, _)| _ = writer.delete(*p, *d).unwrap());
    writer.quiesced();
    assert_eq!(writer.used_lines(), 0, "no line is lost");
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
    let mut writer = table(1 << 18);
    let mut state = 3;
    for _ in 0..3000 {
        let (prefix, depth, _) = random_change(&mut state);
        let spread = u128::from(random(&mut state)) << 64 & mask(depth);
        let hop = (random(&mut state) % u64::from(MAX_NEXT_HOP)) as u16;
        writer
            .insert((prefix ^ spread).to_be_bytes(), depth, hop)
            .unwrap();
        writer.quiesced();
    }
    let scalar = writer.reader().with_path(Path::Scalar).unwrap();
    let prefixes: Vec<u128> = writer
        .rules()
        .map(|rule| u128::from_be_bytes(rule.0))
        .collect();
    let mut left = addresses;
    while left > 0 {
        let n = (random(&mut state) % 70) as usize;
        let mut near = || {
            let r = random(&mut state);
            let noise = u128::from(random(&mut state)).rotate_right((r >> 8) as u32 % 128);
            let near = prefixes[(r >> 34) as usize % prefixes.len()];
            (near
                ^ if r.is_multiple_of(2) {
                    noise
                } else {
                    noise & 0xff << (r % 120)
                })
            .to_be_bytes()
        };
        let asked: Vec<[u8; 16]> = (0..n).map(|_| near()).collect();
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

/// A reader at another address, with rights to read only, through changes that use few lines
/// again and again.
fn readers_see_old_or_new(changes: usize) {
    const LINES: u32 = 800;
    let [ours, theirs] = two_mappings(Lpm6::bytes_for(LINES));
    let mut writer = Lpm6::create(ours, LINES).unwrap();
    let qsbr = Qsbr::create(Region::private(Qsbr::bytes())).unwrap();
    writer.recycle_by(qsbr);
    let mut state = 9;
    let addresses: [[u8; 16]; WATCHED] = core::array::from_fn(|_| {
        let (prefix, depth, _) = random_change(&mut state);
        (prefix | u128::from(random(&mut state)) & !mask(depth.max(40))).to_be_bytes()
    });
    let watch = Watch::new(NO_ROUTE);
    thread::scope(|scope| {
        for slot in 0..2 {
            let (watch, path) = (&watch, Path::ALL[2 - usize::from(slot)]);
            let table = Lpm6::attach(theirs).unwrap();
            let table = table.with_path(path).unwrap_or(table);
            scope.spawn(move || {
                watch.look(qsbr, slot, |found| table.lookup_burst(&addresses, found));
            });
        }
        let mut rules = Rules::default();
        for i in 0..changes {
            let mut change = random_change(&mut state);
            if rules.0.len() > 60 {
                change = (rules.0[i % 60].0, rules.0[i % 60].1, None);
            }
            rules.apply(change);
            watch.expect(|i| rules.lookup(u128::from_be_bytes(addresses[i])));
            while let Err(full) = apply(&mut writer, change) {
                assert!(
                    matches!(full, Lpm6Error::Full { resting: 1.., .. }),
                    "{full}"
                );
                writer.reclaim(|_| false);
                thread::yield_now();
            }
        }
        watch.stop();
    });
    assert!(watch.compared() > 100, "{} looks", watch.compared());
}

#[test]
fn readers_in_another_mapping_see_each_address_old_or_new() {
    readers_see_old_or_new(8000);
}

#[test]
#[ignore = "long: a million changes"]
fn readers_in_another_mapping_see_each_address_old_or_new_for_a_million_changes() {
    readers_see_old_or_new(1_000_000);
}
