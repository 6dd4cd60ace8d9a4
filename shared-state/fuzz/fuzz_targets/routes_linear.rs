//! Route tables under any changes give what a linear search over their rules gives: all instructions, IPv4 and IPv6,
//! and after a successor has taken over. At the end all rules go, and nothing is left of them.
#![no_main]

mod input;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use baton_shared_state::Region;
use baton_shared_state::lpm::{Lpm, LpmError, LpmWriter, NO_ROUTE, Path};
use baton_shared_state::lpm6::{Lpm6, Lpm6Error, Lpm6Writer};
use input::Input;
use libfuzzer_sys::fuzz_target;

const GROUPS: u32 = 6;
const LINES: u32 = 400;

/// Prefix (left-aligned in 128 bits) and length: next hop.
type Rules = BTreeMap<(u128, u8), u16>;

/// A table of either family.
trait Table {
    const BITS: u8;
    fn region() -> Region;
    fn resume(region: Region) -> Self;
    /// False where there was no room.
    fn insert(&mut self, prefix: u128, depth: u8, hop: u16) -> bool;
    /// `None` where there was no room.
    fn delete(&mut self, prefix: u128, depth: u8) -> Option<Option<u16>>;
    fn rules(&self) -> Rules;
    fn len(&self) -> usize;
    fn lookup(&self, addresses: &[u128], path: Path) -> Option<Vec<u16>>;
    fn quiesced(&mut self);
    /// Nothing is in use but what the rules need.
    fn is_clean(&self) -> bool;
}

impl Table for LpmWriter {
    const BITS: u8 = 32;

    fn region() -> Region {
        static REGION: OnceLock<Region> = OnceLock::new();
        *REGION.get_or_init(|| {
            let region = Region::private(Lpm::bytes_for(GROUPS));
            Lpm::create(region, GROUPS).expect("a table");
            region
        })
    }

    fn resume(region: Region) -> LpmWriter {
        LpmWriter::resume(region).expect("a table")
    }

    fn insert(&mut self, prefix: u128, depth: u8, hop: u16) -> bool {
        match self.insert((prefix >> 96) as u32, depth, hop) {
            Err(LpmError::Full { .. }) => false,
            other => other.map(|()| true).expect("a rule"),
        }
    }

    fn delete(&mut self, prefix: u128, depth: u8) -> Option<Option<u16>> {
        Some(self.delete((prefix >> 96) as u32, depth).expect("a prefix"))
    }

    fn rules(&self) -> Rules {
        let left = |(prefix, depth, hop): (u32, u8, u16)| ((u128::from(prefix) << 96, depth), hop);
        self.rules().map(left).collect()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn lookup(&self, addresses: &[u128], path: Path) -> Option<Vec<u16>> {
        let table = self.reader().with_path(path)?;
        let addresses: Vec<u32> = addresses.iter().map(|a| (a >> 96) as u32).collect();
        let mut found = vec![7; addresses.len()];
        table.lookup_burst(&addresses, &mut found);
        let one = |address: &u32| table.lookup(*address).unwrap_or(NO_ROUTE);
        assert!(found.iter().copied().eq(addresses.iter().map(one)));
        Some(found)
    }

    fn quiesced(&mut self) {
        self.quiesced();
    }

    fn is_clean(&self) -> bool {
        self.resting() == 0
    }
}

impl Table for Lpm6Writer {
    const BITS: u8 = 128;

    fn region() -> Region {
        static REGION: OnceLock<Region> = OnceLock::new();
        *REGION.get_or_init(|| {
            let region = Region::private(Lpm6::bytes_for(LINES));
            Lpm6::create(region, LINES).expect("a table");
            region
        })
    }

    fn resume(region: Region) -> Lpm6Writer {
        Lpm6Writer::resume(region).expect("a table")
    }

    fn insert(&mut self, prefix: u128, depth: u8, hop: u16) -> bool {
        match self.insert(prefix.to_be_bytes(), depth, hop) {
            Err(Lpm6Error::Full { .. }) => false,
            other => other.map(|()| true).expect("a rule"),
        }
    }

    fn delete(&mut self, prefix: u128, depth: u8) -> Option<Option<u16>> {
        match self.delete(prefix.to_be_bytes(), depth) {
            Err(Lpm6Error::Full { .. }) => None,
            other => Some(other.expect("a prefix")),
        }
    }

    fn rules(&self) -> Rules {
        let left = |(prefix, depth, hop)| ((u128::from_be_bytes(prefix), depth), hop);
        self.rules().map(left).collect()
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn lookup(&self, addresses: &[u128], path: Path) -> Option<Vec<u16>> {
        let table = self.reader().with_path(path)?;
        let addresses: Vec<[u8; 16]> = addresses.iter().map(|a| a.to_be_bytes()).collect();
        let mut found = vec![7; addresses.len()];
        table.lookup_burst(&addresses, &mut found);
        let one = |address: &[u8; 16]| table.lookup(address).unwrap_or(NO_ROUTE);
        assert!(found.iter().copied().eq(addresses.iter().map(one)));
        Some(found)
    }

    fn quiesced(&mut self) {
        self.quiesced();
    }

    fn is_clean(&self) -> bool {
        !self.is_empty() || self.used_lines() == 0
    }
}

fn mask(depth: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(depth)).unwrap_or(0)
}

/// Few places, so that rules nest, follow and hide each other.
fn prefix<T: Table>(input: &mut Input<'_>) -> (u128, u8) {
    const PLACES: [u128; 4] = [
        0x0a00_0000 << 96,
        0x0a00_ff00 << 96,
        u128::MAX,
        0x2001_0db8_0102_0304 << 64,
    ];
    let place = PLACES[usize::from(input.byte() % 4)];
    let noise = u128::from(input.byte());
    let at = [96, 102, 110, 64, 80, 33, 0][usize::from(input.byte() % 7)];
    let depth = input.byte() % (T::BITS + 1);
    let address = (place ^ noise << at) & mask(T::BITS);
    // Short rules of IPv4 paint half the table: few of them.
    let short = T::BITS == 32 && (1..12).contains(&depth);
    let depth = if short && input.byte() != 7 {
        24
    } else {
        depth
    };
    (address & mask(depth), depth)
}

fn linear(rules: &Rules, address: u128) -> u16 {
    let covers = |((prefix, depth), _): &(&(u128, u8), &u16)| address & mask(*depth) == *prefix;
    let longest = rules
        .iter()
        .filter(covers)
        .max_by_key(|((_, depth), _)| *depth);
    longest.map_or(NO_ROUTE, |(_, hop)| *hop)
}

fn compare<T: Table>(table: &T, rules: &Rules, beside: u128) {
    let host = mask(T::BITS);
    let mut addresses = vec![beside & host, !beside & host];
    let one = 1 << (128 - u32::from(T::BITS));
    for (prefix, depth) in rules.keys() {
        let last = (prefix | !mask(*depth)) & host;
        addresses.extend([
            *prefix,
            last,
            prefix.wrapping_sub(one) & host,
            last.wrapping_add(one),
        ]);
    }
    let want: Vec<u16> = addresses
        .iter()
        .map(|address| linear(rules, *address))
        .collect();
    for path in Path::ALL {
        if let Some(found) = table.lookup(&addresses, path) {
            assert_eq!(found, want, "{path:?} at {addresses:x?} with {rules:x?}");
        }
    }
}

fn run<T: Table>(input: &mut Input<'_>) {
    let region = T::region();
    let mut table = T::resume(region);
    table.quiesced();
    let mut rules = Rules::new();
    for step in 0..50 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0..5 => {
                let ((prefix, depth), hop) = (prefix::<T>(input), input.half() % 0x7ff0);
                if table.insert(prefix, depth, hop) {
                    rules.insert((prefix, depth), hop);
                }
            }
            5 => {
                let at = usize::from(input.byte()) % rules.len().max(1);
                if let Some((prefix, depth)) = rules.keys().nth(at).copied()
                    && let Some(gone) = table.delete(prefix, depth)
                {
                    assert_eq!(gone, rules.remove(&(prefix, depth)));
                }
            }
            6 => table.quiesced(),
            _ => table = T::resume(region),
        }
        assert_eq!(table.len(), rules.len());
        if step % 10 == 9 {
            compare(&table, &rules, u128::from(input.word()) << 96);
        }
    }
    compare(&table, &rules, 0x0a00_0001 << 96);
    if T::BITS == 128 {
        // The other family's RIB is 50 MiB to go through.
        assert_eq!(table.rules(), rules);
    }
    for ((prefix, depth), hop) in rules {
        table.quiesced();
        assert_eq!(table.delete(prefix, depth), Some(Some(hop)));
    }
    table.quiesced();
    assert_eq!(table.len(), 0);
    assert!(table.is_clean());
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    if input.byte() & 1 == 0 {
        run::<LpmWriter>(&mut input);
    } else {
        run::<Lpm6Writer>(&mut input);
    }
});
