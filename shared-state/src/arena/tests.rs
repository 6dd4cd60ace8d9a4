use super::*;
use crate::sync::Ordering;
use std::os::unix::fs::PermissionsExt;

fn small(prefix: &str) -> ArenaSpec {
    ArenaSpec {
        prefix: prefix.to_owned(),
        tables_bytes: 3 << 20,
        mbufs: 512,
        ..ArenaSpec::default()
    }
}

#[test]
fn two_mappings_see_one_arena_at_other_addresses() {
    let maker = Arena::create(&small("a")).unwrap();
    let other = Arena::attach(maker.fds().unwrap(), Access::ReadWrite).unwrap();
    let offset = layout::place_of("tables").unwrap().offset + 8192;
    let (ours, theirs) = (
        maker.region(offset, 64).unwrap(),
        other.region(offset, 64).unwrap(),
    );
    assert_ne!(ours.as_ptr(), theirs.as_ptr());
    ours.u64(0).store(41, Ordering::Relaxed);
    assert_eq!(theirs.u64(0).load(Ordering::Relaxed), 41);
    assert_eq!(
        maker.segment("tables").unwrap().len(),
        4 << 20,
        "whole 2 MiB (A4)"
    );
    assert_eq!(maker.segment("data").unwrap().len(), 2 << 20);
}

#[test]
fn a_read_only_attach_cannot_store() {
    let maker = Arena::create(&small("ro")).unwrap();
    let fds = maker.read_only_fds().unwrap();
    let tool = Arena::attach(fds, Access::ReadOnly).unwrap();
    assert!(!tool.segment("ledger").unwrap().is_writable());
    let fds = maker.read_only_fds().unwrap();
    let error = Arena::attach(fds, Access::ReadWrite).unwrap_err();
    assert!(
        error.to_string().starts_with("mmap of segment \"ledger\""),
        "{error}"
    );
}

#[test]
fn segments_are_private_and_sealed() {
    let arena = Arena::create(&small("sealed")).unwrap();
    for (name, fd) in arena.fds().unwrap() {
        let file = std::fs::File::from(fd);
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{name}"
        );
        assert!(file.set_len(4096).is_err(), "{name} shrank");
        assert!(file.set_len(1 << 30).is_err(), "{name} grew");
    }
}

#[test]
fn offsets_from_foreign_bytes_are_errors_not_crashes() {
    let arena = Arena::create(&small("o")).unwrap();
    let end = layout::place_of("meta").unwrap().offset + (2 << 20);
    for (offset, len) in [
        (u64::MAX, 8),
        (0, u64::MAX),
        (end - 8, 16),
        (3 << 20, 1 << 20),
    ] {
        assert!(arena.region(offset, len).is_err(), "{offset:#x} {len:#x}");
    }
    assert!(arena.region(end - 8, 8).is_ok());
}

#[test]
fn foreign_descriptors_are_refused_by_name() {
    let arena = Arena::create(&small("f")).unwrap();
    let attach = |name: &str, file: std::fs::File| {
        let mut fds = arena.fds().unwrap();
        fds.retain(|(have, _)| have != name);
        fds.push((name.to_owned(), file.into()));
        Arena::attach(fds, Access::ReadWrite)
            .unwrap_err()
            .to_string()
    };
    let file = |len| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    };
    assert!(attach("ledger", file(4096)).contains("wanted at least 1048576"));
    assert!(attach("tables", file(0)).contains("truncated"));
    assert!(attach("data", file(4096)).contains("wanted a multiple of 2097152"));
    assert!(attach("other", file(4096)).contains("not one that this build knows"));
    let fds = arena
        .fds()
        .unwrap()
        .into_iter()
        .filter(|(name, _)| name == "meta");
    let error = Arena::attach(fds.collect(), Access::ReadWrite).unwrap_err();
    assert_eq!(error.to_string(), "no segment \"ledger\": have [\"meta\"]");
    let mut twice = arena.fds().unwrap();
    twice.extend(arena.fds().unwrap());
    let error = Arena::attach(twice, Access::ReadWrite).unwrap_err();
    assert!(matches!(error, ArenaError::Twice { .. }));
}

#[test]
fn a_memfd_that_may_still_shrink_is_refused() {
    let flags = nix::sys::memfd::MFdFlags::MFD_ALLOW_SEALING;
    let fd = nix::sys::memfd::memfd_create("foreign", flags).unwrap();
    nix::unistd::ftruncate(&fd, 1 << 20).unwrap();
    let error = Arena::attach(vec![("ledger".to_owned(), fd)], Access::ReadWrite).unwrap_err();
    assert!(matches!(error, ArenaError::Unsealed { .. }), "{error}");
}

#[test]
fn tables_grow_by_segments_that_others_attach() {
    let maker = Arena::create(&small("g")).unwrap();
    let other = Arena::attach(maker.fds().unwrap(), Access::ReadWrite).unwrap();
    assert_eq!(maker.add_segment(5 << 20).unwrap(), "tables.1");
    assert_eq!(maker.add_segment(1).unwrap(), "tables.2");
    let (name, fd) = maker
        .fds()
        .unwrap()
        .into_iter()
        .find(|(n, _)| n == "tables.1")
        .unwrap();
    let region = other.attach_segment(&name, fd).unwrap();
    assert_eq!(region.len(), 6 << 20);
    maker
        .segment("tables.1")
        .unwrap()
        .u32(0)
        .store(5, Ordering::Relaxed);
    assert_eq!(region.u32(0).load(Ordering::Relaxed), 5);
    assert!(matches!(
        maker.add_segment(3 << 30),
        Err(ArenaError::TooLarge { .. })
    ));
}

#[test]
fn files_outlive_their_makers_and_a_live_instance_keeps_them() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::Hugetlbfs(dir.path().to_owned());
    let spec = ArenaSpec {
        memory,
        ..small("files")
    };
    let first = Arena::create(&spec).unwrap();
    let at = layout::place_of("tables").unwrap().offset;
    first
        .region(at, 8)
        .unwrap()
        .u64(0)
        .store(99, Ordering::Relaxed);
    let error = Arena::create(&spec).unwrap_err();
    assert!(
        error.to_string().contains("belongs to a running instance"),
        "{error}"
    );
    let held = first.fds().unwrap();
    drop(first);
    assert!(
        matches!(Arena::create(&spec), Err(ArenaError::InUse { .. })),
        "B4"
    );
    drop(held);
    assert!(
        matches!(Arena::create(&spec), Err(ArenaError::InUse { .. })),
        "still mapped"
    );
    let left = Arena::open_files(dir.path(), "files", Access::ReadOnly).unwrap();
    assert_eq!(
        left.region(at, 8).unwrap().u64(0).load(Ordering::Relaxed),
        99
    );
    assert!(left.segment("lifelines").is_none());
    // What a dead instance leaves is a file that nobody has locked (no copies: hugetlbfs has no
    // `write`).
    for segment in ["ledger", "tables"] {
        let left = std::fs::File::create(backing::path_of(dir.path(), "dead", segment));
        left.unwrap().set_len(2 << 20).unwrap();
    }
    let spec = ArenaSpec {
        prefix: "dead".to_owned(),
        ..spec
    };
    let anew = Arena::create(&spec).expect("a dead instance's files are replaced");
    assert_eq!(anew.segment("tables").unwrap().len(), 4 << 20);
    let error = Arena::open_files(dir.path(), "nobody", Access::ReadOnly).unwrap_err();
    assert!(error.to_string().contains("is the prefix right"), "{error}");
}

#[test]
fn an_image_is_read_back_and_a_truncated_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create(&small("img")).unwrap();
    let at = layout::place_of("tables").unwrap().offset + 12_345 * 8;
    arena
        .region(at, 8)
        .unwrap()
        .u64(0)
        .store(7, Ordering::Relaxed);
    arena.save(dir.path()).unwrap();
    let image = Arena::load_image(dir.path()).unwrap();
    assert_eq!(
        image.region(at, 8).unwrap().u64(0).load(Ordering::Relaxed),
        7
    );
    assert!(image.fds().unwrap().is_empty());
    let cut = std::fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("ledger.segment"));
    cut.unwrap().set_len(4096).unwrap();
    let error = Arena::load_image(dir.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("segment \"ledger\" is truncated"),
        "{error}"
    );
}

#[test]
fn saving_leaves_holes_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let arena = Arena::create(&small("holes")).unwrap();
    let at = layout::place_of("tables").unwrap().offset + (3 << 20);
    arena
        .region(at, 8)
        .unwrap()
        .u64(0)
        .store(7, Ordering::Relaxed);
    let tool = Arena::attach(arena.read_only_fds().unwrap(), Access::ReadOnly).unwrap();
    let blocks = || -> Vec<u64> {
        let blocks = |fd| {
            std::os::unix::fs::MetadataExt::blocks(&std::fs::File::from(fd).metadata().unwrap())
        };
        arena
            .fds()
            .unwrap()
            .into_iter()
            .map(|(_, fd)| blocks(fd))
            .collect()
    };
    let before = blocks();
    tool.save(dir.path()).unwrap();
    assert_eq!(
        blocks(),
        before,
        "a tool that reads must not make the instance larger"
    );
    let image = Arena::load_image(dir.path()).unwrap();
    assert_eq!(
        image.region(at, 8).unwrap().u64(0).load(Ordering::Relaxed),
        7
    );
}

#[test]
fn a_prefix_is_a_plain_name() {
    for bad in ["", "a/b", "..", "a b", &"x".repeat(32)] {
        assert!(
            matches!(Arena::create(&small(bad)), Err(ArenaError::Prefix { .. })),
            "{bad}"
        );
    }
}

#[test]
fn pages_are_large_or_there_is_one_warning() {
    let arena = Arena::create(&small("pages")).unwrap();
    assert_eq!(arena.warnings().len(), usize::from(!arena.huge_pages()));
    for text in arena.warnings() {
        assert!(text.contains("on 4 KiB pages"), "{text}");
    }
}
