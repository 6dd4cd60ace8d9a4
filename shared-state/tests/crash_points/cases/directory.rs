//! The zone directory: zones made, published and retired, with their schemas.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock};

use baton_schema::schema::Field;
use baton_schema::{Kind, Policy, Schema};
use baton_shared_state::Region;
use baton_shared_state::arena::{Access, Arena, layout};
use baton_shared_state::directory::{Directory, ZoneEntry, ZoneSpec, ZoneState};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::expect;
use crate::{Case, memory};

pub(super) fn all() -> Vec<Case> {
    let case = |name, operation, check| Case {
        name,
        bytes: layout::LEDGER_LEN as usize,
        setup,
        operation,
        repair,
        check,
    };
    vec![
        case(
            "directory, a zone made and published",
            |_| {
                let directory = writer();
                let zone = directory.create_zone(&spec("c", &schema(2), 2));
                directory
                    .publish(zone.expect("room").id)
                    .expect("it is building");
            },
            |_| check(true),
        ),
        case(
            "directory, a zone retired",
            |_| {
                let directory = writer();
                let zone = directory.find_latest("a").expect("it is ready");
                directory.retire(zone.id).expect("it is there");
            },
            |_| check(false),
        ),
    ]
}

const LEN: u64 = 8192;

fn schema(version: u32) -> Schema {
    let field = Field {
        name: "value".to_owned(),
        offset: 0,
        size: 8,
        kind: Kind::U64,
        names: Vec::new(),
        doc: String::new(),
    };
    Schema {
        name: "test.record".to_owned(),
        version,
        size: 8,
        align: 8,
        fields: vec![field],
        doc: "one number".to_owned(),
    }
}

fn spec<'a>(name: &'a str, schema: &'a Schema, generation: u16) -> ZoneSpec<'a> {
    ZoneSpec {
        name,
        schema,
        generation,
        len: LEN,
        policy: Policy::Migrate,
        count: LEN / 8,
        stride: 8,
    }
}

/// The arena whose ledger is the memory of the case. A child maps it anew: segments are not inherited.
pub(super) fn arena() -> Arena {
    static MAPPED: Mutex<Option<(u32, std::path::PathBuf, Arena)>> = Mutex::new(None);
    let ledger = memory::file();
    let (process, name) = (std::process::id(), name_of(&ledger));
    let mut mapped = MAPPED.lock().expect("one thread");
    if let Some((by, of, arena)) = mapped.as_ref()
        && (*by, of) == (process, &name)
    {
        return arena.clone();
    }
    let segments = vec![
        (layout::LEDGER.to_owned(), ledger),
        (layout::TABLES.to_owned(), tables()),
    ];
    let arena = Arena::attach(segments, Access::ReadWrite).expect("an arena");
    *mapped = Some((process, name, arena.clone()));
    arena
}

fn name_of(file: &OwnedFd) -> std::path::PathBuf {
    let stat = nix::sys::stat::fstat(file).expect("a file");
    format!("{}.{}", stat.st_dev, stat.st_ino).into()
}

/// The segment for zones; its bytes are not the directory's.
fn tables() -> OwnedFd {
    static TABLES: OnceLock<OwnedFd> = OnceLock::new();
    let file = TABLES.get_or_init(|| {
        use nix::fcntl::{FcntlArg, SealFlag, fcntl};
        let file = memfd_create("tables", MFdFlags::MFD_ALLOW_SEALING).expect("a file");
        nix::unistd::ftruncate(&file, 2 << 20).expect("room");
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).expect("seals");
        file
    });
    file.try_clone().expect("a descriptor")
}

fn writer() -> Directory {
    Directory::take_over(&arena()).expect("a directory without damage")
}

fn setup(_: Region) {
    let directory = Directory::create(&arena()).expect("a directory");
    let zone = directory
        .create_zone(&spec("a", &schema(1), 1))
        .expect("room");
    directory
        .zone_region(&zone)
        .expect("its bytes")
        .write(8, &77u64);
    directory.publish(zone.id).expect("it is building");
}

/// Zones whose asker died while it built them are retired, as the supervisor does.
fn repair(_: Region) {
    let directory = writer();
    let zones = directory.list().into_iter();
    for zone in zones.filter(|zone| zone.state == ZoneState::Building) {
        directory.retire(zone.id).expect("it is there");
    }
}

fn check(a_stays: bool) -> Result<(), String> {
    let directory = writer();
    whole(&directory)?;
    let zones = directory.list();
    let a = zones.iter().find(|zone| zone.name == "a");
    let a = a.ok_or("zone a is gone")?;
    let a_is = a.state == ZoneState::Ready || !a_stays && a.state == ZoneState::Retired;
    expect(a_is, || format!("zone a is {}", a.state))?;
    let bytes = directory.zone_region(a).map_err(|why| why.to_string())?;
    expect(bytes.read::<u64>(8) == 77, || {
        "zone a has other bytes".into()
    })?;
    let c = zones.iter().find(|zone| zone.name == "c");
    expect(
        c.is_none_or(|zone| zone.state != ZoneState::Building),
        || "zone c is being built by nobody".into(),
    )?;
    // The next generation's zones can be had: zeroed, published, found, with their schema.
    for name in ["c", "d"] {
        let zone = directory.create_zone(&spec(name, &schema(2), 3));
        let zone = zone.map_err(|why| why.to_string())?;
        let bytes = directory
            .zone_region(&zone)
            .map_err(|why| why.to_string())?;
        let zeros = bytes.to_vec(0, LEN as usize).iter().all(|byte| *byte == 0);
        expect(zeros, || format!("zone {name} is not of zeros"))?;
        bytes.write(0, &u64::MAX);
        expect(
            directory
                .find_latest(name)
                .is_none_or(|found| found.id != zone.id),
            || format!("zone {name} is found before it is ready"),
        )?;
        directory.publish(zone.id).map_err(|why| why.to_string())?;
        let found = directory.find_latest(name).map(|found| found.id);
        expect(found == Some(zone.id), || format!("zone {name}: {found:?}"))?;
    }
    whole(&directory)
}

/// Nothing is damaged, no id names two zones, no byte is of two.
fn whole(directory: &Directory) -> Result<(), String> {
    let problems = directory.check();
    expect(problems.is_empty(), || format!("{problems:?}"))?;
    let zones = directory.list();
    let apart = |a: &ZoneEntry, b: &ZoneEntry| {
        let live = a.state != ZoneState::Retired && b.state != ZoneState::Retired;
        let overlap = a.offset < b.offset + b.len && b.offset < a.offset + a.len;
        a.id != b.id && !(live && overlap)
    };
    for (i, a) in zones.iter().enumerate() {
        let alone = zones[i + 1..].iter().all(|b| apart(a, b));
        expect(alone, || {
            format!("zone {} shares its id or its bytes", a.name)
        })?;
    }
    Ok(())
}
