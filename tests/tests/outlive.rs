//! With `memory = "hugetlbfs"` the sessions outlive every process: after `kill -9` of all of them the dump tool still
//! shows each one, and the next `baton run` begins anew.

use std::fs;
use std::path::Path;
use std::time::Duration;

use baton_tests::fixture::{Fixture, built, lab};
use baton_tests::instance::{Instance, PREFIX, config_text};
use baton_tests::lab::{Lab, PortKind, Shape};
use baton_tests::traffic::control::Load;
use baton_tests::trial::{self, Beside, OLDER};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const LOAD: Load = Load {
    rate: 5_000,
    flows: 100,
    sessions: 200,
};

/// Where the supervisor makes the files.
const MOUNT: &str = "/dev/hugepages";
/// How many pages of 2 MiB are reserved now; writable by root.
const RESERVED: &str = "/proc/sys/vm/nr_hugepages";
/// Pages of 2 MiB that the instance of this test takes, with some to spare.
const PAGES: u64 = 160;
/// MB of the instance: small, since huge pages are taken whether used or not.
const MEMORY: u32 = 256;

#[test]
fn in_huge_pages() {
    let Some(Fixture { lab, .. }) = &lab(small()) else {
        return;
    };
    let reserved = match Reserved::pages(PAGES) {
        Ok(reserved) => reserved,
        Err(why) => return eprintln!("SKIPPED: in_huge_pages: {why}"),
    };
    match mounted("hugetlbfs") {
        Ok(_mounted) => every_session_is_shown(lab),
        Err(why) => eprintln!("SKIPPED: in_huge_pages: {why}"),
    }
    drop(reserved);
}

#[test]
fn in_files_of_pages_of_any_size() {
    let Some(Fixture { lab, .. }) = &lab(small()) else {
        return;
    };
    match mounted("tmpfs") {
        Ok(_mounted) => every_session_is_shown(lab),
        Err(why) => eprintln!("SKIPPED: in_files_of_pages_of_any_size: {why}"),
    }
}

fn small() -> Shape {
    Shape {
        capacity: 4_096,
        rxd: 512,
        ..Shape::of(PortKind::AfPacket)
    }
}

fn every_session_is_shown(lab: &Lab) {
    let text = config_text(lab, &built(OLDER));
    let memory = format!("[instance]\nmemory = \"hugetlbfs\"\nsocket-mem = \"{MEMORY}\"");
    let text = text.replacen("[instance]", &memory, 1);
    let mut instance = Instance::start_config(lab, &text).expect("it forwards");
    let run = trial::run(lab, &mut instance, &LOAD, Beside::Nothing, |trial| {
        trial.at(Duration::from_millis(500))
    });
    run.expect("a run");
    let sessions = instance.counts().expect("a status").sessions;
    assert!(sessions >= u64::from(LOAD.flows + LOAD.sessions));

    instance.kill().expect("they were killed");
    let words = ["dump", PREFIX, "show", "nat.session", "--format", "json"];
    let said = instance.expect(0, &words).expect("the files are there");
    let shown: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let rows = shown["rows"].as_array().map_or(0, Vec::len);
    assert_eq!(rows as u64, sessions, "{}", said.err);
    assert!(said.err.contains("its files were read"), "{}", said.err);

    drop(instance);
    let instance = Instance::start_config(lab, &text).expect("the next one starts in their place");
    assert_eq!(instance.counts().expect("a status").sessions, 0);
    instance.stop().expect("it ends");
}

/// A filesystem that goes with this, and with it the directory if it was made for it.
struct Mounted {
    made: bool,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(MOUNT, MntFlags::MNT_DETACH); // it goes with this thread in any case
        if self.made {
            let _ = fs::remove_dir(MOUNT); // somebody else may use it by now
        }
    }
}

/// Mounts a filesystem of this kind where the supervisor looks for it. Only this thread, and what it starts, sees it:
/// it ends with them.
fn mounted(kind: &str) -> Result<Mounted, String> {
    let dir = Path::new(MOUNT);
    let made = match fs::create_dir(dir) {
        Ok(()) => Mounted { made: true },
        Err(_) if dir.is_dir() => Mounted { made: false },
        Err(error) => return Err(format!("{MOUNT} is not there and cannot be made: {error}")),
    };
    let failed = |what: &str, error| format!("{what}: {error}");
    unshare(CloneFlags::CLONE_NEWNS).map_err(|error| failed("a mount namespace", error))?;
    let nothing = None::<&str>;
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount(nothing, "/", nothing, private, nothing)
        .and_then(|()| mount(Some(kind), dir, Some(kind), MsFlags::empty(), nothing))
        .map_err(|error| failed(&format!("mounting a {kind} on {MOUNT}"), error))?;
    Ok(made)
}

/// Huge pages that are given back.
struct Reserved {
    before: u64,
}

impl Reserved {
    /// Reserves so many more than there are.
    fn pages(more: u64) -> Result<Reserved, String> {
        let before = reserved()?;
        let held = Reserved { before };
        let wanted = before + more;
        fs::write(RESERVED, wanted.to_string()).map_err(|error| format!("{RESERVED}: {error}"))?;
        match reserved()? {
            found if found >= wanted => Ok(held),
            found => Err(format!(
                "{more} pages of 2 MiB wanted, {} to be had",
                found - before
            )),
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let _ = fs::write(RESERVED, self.before.to_string()); // not ours to change: then it was not changed
    }
}

fn reserved() -> Result<u64, String> {
    let text = fs::read_to_string(RESERVED).map_err(|error| format!("{RESERVED}: {error}"))?;
    text.trim()
        .parse()
        .map_err(|_| format!("{RESERVED}: {text:?}"))
}
