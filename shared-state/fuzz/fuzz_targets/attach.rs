//! Any bytes are a structure or an error: attaching and looking up end, stay inside the region and store nothing
//! (rings are used, too).
//!
//! An input names a structure, cuts its region short or not, and puts its bytes over a whole one or over zeros. Around
//! each region lie 64 MiB that may not be touched.
#![no_main]

mod input;
mod rings;
mod subjects;

use std::sync::OnceLock;

use baton_shared_state::Region;
use baton_shared_state::acl::{Acl, Family, Key4, Key6, Prefix, Rule, Sizes};
use baton_shared_state::lpm::{Lpm, Path};
use baton_shared_state::lpm6::Lpm6;
use baton_shared_state::sys::memory::Reservation;
use input::Input;
use libfuzzer_sys::fuzz_target;
use subjects::{dirty, ids, index, meters, pool, qsbr, queue};

/// A structure under test.
struct Subject {
    region: Region,
    /// Where something lies that is worth changing.
    places: Vec<usize>,
    /// What a reader does; `None` where the bytes were refused.
    read: fn(Region, &mut Input<'_>) -> Option<()>,
}

const GUARD: usize = 64 << 20;
const PAGE: usize = 4096;
const GROUPS: u32 = 3;
const LINES: u32 = 64;

/// Zeros that end where the region ends, among addresses that are not mapped.
fn guarded(bytes: usize) -> Region {
    let whole = bytes.next_multiple_of(PAGE);
    let place = Reservation::new(whole + 2 * GUARD, PAGE).expect("addresses");
    let region = place.map_private(GUARD, whole).expect("memory");
    // What lies before it in its first page is aligned as a cache line is.
    region.slice((whole - bytes) & !63, bytes).expect("room")
}

fn subjects() -> &'static [Subject] {
    static ALL: OnceLock<Vec<Subject>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all = vec![
            routes(),
            routes6(),
            rules(Family::V4),
            rules(Family::V6),
            index(),
            ids(),
            dirty(),
            qsbr(),
            queue(),
            meters(),
            pool(),
        ];
        all.extend(rings::all());
        all
    })
}

fn routes() -> Subject {
    let region = guarded(Lpm::bytes_for(GROUPS));
    let mut writer = Lpm::create(region, GROUPS).expect("a table");
    writer.insert(0x0a00_0000, 20, 1).expect("room");
    writer.insert(0x0a00_0180, 30, 2).expect("room");
    let tbl24 = 4096 + (0x0a_0000 * 2);
    Subject {
        region,
        places: vec![0, tbl24, 4096 + (2 << 24)],
        read: |region, input| {
            let table = Lpm::attach(region).ok()?;
            let addresses: [u32; 48] = core::array::from_fn(|i| match i % 3 {
                0 => 0x0a00_0000 | u32::from(input.half()),
                1 => 0x0a00_0180 ^ i as u32,
                _ => input.word(),
            });
            let mut found = [0; 48];
            for path in Path::ALL {
                if let Some(table) = table.with_path(path) {
                    table.lookup_burst(&addresses, &mut found);
                    let one = |address: &u32| table.lookup(*address).unwrap_or(u16::MAX);
                    let single: Vec<u16> = addresses.iter().map(one).collect();
                    assert_eq!(found[..], single[..], "{path:?}");
                }
            }
            Some(())
        },
    }
}

fn routes6() -> Subject {
    let region = guarded(Lpm6::bytes_for(LINES));
    let mut writer = Lpm6::create(region, LINES).expect("a table");
    let address = |i: u8| [0x20, 1, 0xd, 0xb8, i, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, i];
    for (i, depth) in [(0, 20), (0, 48), (1, 64), (2, 128)] {
        writer.insert(address(i), depth, i.into()).expect("room");
    }
    let pool = Lpm6::bytes_for(0);
    Subject {
        region,
        places: vec![0, 4096 + 0x2001 * 4, pool - 21 * 64, pool],
        read: |region, input| {
            let table = Lpm6::attach(region).ok()?;
            let addresses: [[u8; 16]; 40] = core::array::from_fn(|i| {
                let mut address = [
                    0x20,
                    1,
                    0xd,
                    0xb8,
                    i as u8 % 4,
                    2,
                    3,
                    4,
                    5,
                    6,
                    7,
                    8,
                    9,
                    10,
                    11,
                    i as u8 % 3,
                ];
                let at = usize::from(input.byte() % 16);
                address[at] ^= input.byte();
                address
            });
            let mut found = [0; 40];
            for path in Path::ALL {
                if let Some(table) = table.with_path(path) {
                    table.lookup_burst(&addresses, &mut found);
                }
            }
            addresses
                .iter()
                .for_each(|address| _ = table.lookup(address));
            Some(())
        },
    }
}

fn rules(family: Family) -> Subject {
    let sizes = Sizes {
        rules: 16,
        classes: 64,
        big_nodes: 8,
        small_nodes: 64,
        blocks: 4,
        versions: 3,
    };
    let region = guarded(Acl::bytes_for(family, sizes).expect("sizes"));
    let mut writer = Acl::create(region, family, sizes).expect("a classifier");
    for i in 0..4 {
        let rule = Rule {
            src: Prefix::v4(0x0a00_0000 | i << 4, 28),
            dst: Prefix::v4(0x0b00_0000, 16),
            dport: (80, 90 + i as u16),
            priority: i as i32,
            action: i + 1,
            ..Rule::ANY
        };
        writer.add(&rule).expect("room");
        writer.quiesced().expect("no damage");
    }
    let cells = 4096 + 512 + 2 * (2 << 16);
    let end = region.len();
    Subject {
        region,
        places: vec![
            0,
            64,
            4096,
            cells + 0x0a00 * 2,
            cells + 0x0a00 * 4,
            cells + (2 << 16),
            end / 2,
            end - 65_536,
        ],
        read: |region, input| {
            let acl = Acl::attach(region).ok()?;
            let header = |input: &mut Input<'_>| Key4 {
                src: 0x0a00_0000 | u32::from(input.byte()),
                dst: 0x0b00_0000 ^ u32::from(input.byte()) << 12,
                sport: input.half(),
                dport: 75 + u16::from(input.byte()),
                proto: input.byte(),
                _pad: [0; 3],
            };
            let keys: [Key4; 40] = core::array::from_fn(|_| header(input));
            let mut actions = [0; 40];
            let mut categories = [0; 40 * 3];
            for path in Path::ALL {
                let Some(acl) = acl.with_path(path) else {
                    continue;
                };
                if acl.family() == Family::V4 {
                    acl.classify4(&keys, &mut actions);
                    acl.classify4_categories(&keys, 3, &mut categories);
                } else {
                    let keys = keys.map(wide);
                    acl.classify6(&keys, &mut actions);
                    acl.classify6_categories(&keys, 3, &mut categories);
                }
            }
            Some(())
        },
    }
}

fn wide(key: Key4) -> Key6 {
    let left = |address: u32| (u128::from(address) << 96).to_be_bytes();
    Key6 {
        src: left(key.src),
        dst: left(key.dst),
        sport: key.sport,
        dport: key.dport,
        proto: key.proto,
        _pad: [0; 3],
    }
}

/// Views of a pool are leaked on purpose: their copies live as long as the process.
#[unsafe(no_mangle)]
extern "C" fn __lsan_is_turned_off() -> i32 {
    1
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let all = subjects();
    let subject = &all[usize::from(input.byte()) % all.len()];
    let how = input.byte();
    let whole = subject.region;
    let mut undo = Vec::new();
    let mut put = |at: usize, bytes: &[u8]| {
        let n = bytes.len().min(whole.len() - at);
        undo.push((at, whole.to_vec(at, n)));
        whole.copy_in(at, &bytes[..n]);
    };
    if how & 1 != 0 {
        let n = 256.min(whole.len());
        put(0, &vec![0; n]);
    }
    for _ in 0..how >> 4 {
        let place = subject.places[usize::from(input.byte()) % subject.places.len()];
        let at = (place + usize::from(input.half() % 1024)) % whole.len();
        let n = usize::from(input.byte() % 65);
        put(at, input.slice(n));
    }
    // Cut where no word begins, too: the region of a zone has any length.
    let len = match how & 6 {
        0 => usize::from(input.half()).min(whole.len()),
        2 => whole.len() - usize::from(input.byte()).min(whole.len()),
        _ => whole.len(),
    };
    let region = whole.slice(0, len).expect("inside");
    (subject.read)(region, &mut input);
    for (at, bytes) in undo.iter().rev() {
        whole.copy_in(*at, bytes);
    }
});
