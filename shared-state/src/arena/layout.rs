//! Where each segment lies in the arena's range of offsets: by its name, the same in every process
//! and every version.
//!
//! ```text
//!  0        2 MiB       1 GiB    8 GiB      9 GiB  ...   20 GiB   22 GiB    32 GiB
//!  | ledger | lifelines | tables | tables.1 | tables.2 ... | meta | data      |
//! ```
//! A segment begins at its place and is at most as long as its place; what is left is no memory.

use crate::limits::{HUGE_PAGE, LCORE_SLOTS};

/// Addresses that each process reserves, and the end of all offsets: as much as valgrind can still give.
pub const RANGE: u64 = 32 << 30;

/// Bytes of the `ledger` segment on 4 KiB pages.
pub const LEDGER_LEN: u64 = 1 << 20;

/// Bytes of one lifeline: a cache line each, so that a wake-up disturbs no neighbour.
pub const LIFELINE_STRIDE: usize = 64;

/// Bytes of the `lifelines` segment.
pub const LIFELINES_LEN: u64 = (LCORE_SLOTS * LIFELINE_STRIDE) as u64;

/// How many segments `tables` may grow by.
pub const MAX_GROWTH: u64 = 12;

/// Header, directory, ledger words and schemas.
pub const LEDGER: &str = "ledger";
/// The words by which the kernel reports a thread's death.
pub const LIFELINES: &str = "lifelines";
/// Zones.
pub const TABLES: &str = "tables";
/// One line of metadata for each packet buffer.
pub const META: &str = "meta";
/// The packet buffers themselves.
pub const DATA: &str = "data";

const GIB: u64 = 1 << 30;
const TABLES_AT: u64 = GIB;
const GROWTH_AT: u64 = 8 * GIB;
const GROWTH_LIMIT: u64 = GIB;
const META_AT: u64 = 20 * GIB;
const DATA_AT: u64 = 22 * GIB;

/// The place of a segment: where it begins and how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Offset of its first byte.
    pub offset: u64,
    /// Most bytes it may have.
    pub limit: u64,
}

/// The place of the segment called `name`, if there is such a segment.
pub fn place_of(name: &str) -> Option<Place> {
    let place = |offset, limit| Some(Place { offset, limit });
    match name {
        LEDGER => place(0, HUGE_PAGE),
        LIFELINES => place(HUGE_PAGE, HUGE_PAGE),
        TABLES => place(TABLES_AT, GROWTH_AT - TABLES_AT),
        META => place(META_AT, DATA_AT - META_AT),
        DATA => place(DATA_AT, RANGE - DATA_AT),
        _ => {
            let number: u64 = name.strip_prefix("tables.")?.parse().ok()?;
            let known = growth_name(number) == name && (1..=MAX_GROWTH).contains(&number);
            known.then(|| Place {
                offset: GROWTH_AT + (number - 1) * GROWTH_LIMIT,
                limit: GROWTH_LIMIT,
            })
        }
    }
}

/// Whether zones are allocated in this segment.
pub fn holds_zones(name: &str) -> bool {
    name == TABLES || name.starts_with("tables.")
}

/// Name of the `number`th segment that `tables` grew by, from 1.
pub fn growth_name(number: u64) -> String {
    format!("tables.{number}")
}

const _: () = assert!(GROWTH_AT + MAX_GROWTH * GROWTH_LIMIT == META_AT);
const _: () = assert!(LIFELINES_LEN <= HUGE_PAGE && LEDGER_LEN <= HUGE_PAGE);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_one_another_and_never_overlap() {
        let mut names = vec![LEDGER.to_owned(), LIFELINES.to_owned(), TABLES.to_owned()];
        names.extend((1..=MAX_GROWTH).map(growth_name));
        names.extend([META.to_owned(), DATA.to_owned()]);
        let mut end = 0;
        for name in names {
            let place = place_of(&name).unwrap();
            assert!(place.offset >= end, "{name} begins inside its neighbour");
            assert_eq!(place.offset % HUGE_PAGE, 0, "{name}");
            end = place.offset + place.limit;
        }
        assert_eq!(end, RANGE);
    }

    #[test]
    fn other_names_have_no_place() {
        for name in [
            "",
            "table",
            "tables.",
            "tables.0",
            "tables.13",
            "tables.01",
            "../data",
        ] {
            assert_eq!(place_of(name), None, "{name}");
        }
        assert!(holds_zones("tables.3") && !holds_zones("meta"));
    }
}
