//! Attaching to a live instance: read-only by every way the kernel knows, and what is said when it cannot be.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use baton_schema::control::{Client, Opening, ToClient};
use baton_secondary::source::receive;
use baton_secondary::user::become_user;
use baton_shared_state::arena::{Access, Arena, Memory};
use baton_shared_state::channel::{Channel, Listener};
use nix::sys::mman::{ProtFlags, mprotect};

use crate::fixture::{Fixture, dump_in, stderr, stdout};

const DEADLINE: Duration = Duration::from_secs(20);
const NOBODY: u32 = 65_534;

/// A run directory with an instance in it, whose supervisor answers `clients` clients.
struct Live {
    run: tempfile::TempDir,
    supervisor: Option<JoinHandle<()>>,
}

impl Live {
    fn start(clients: usize, answer: fn(&Fixture, &Channel)) -> Live {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join("edge1");
        std::fs::create_dir(&folder).unwrap();
        let listener = Listener::bind(&folder.join("control.sock")).unwrap();
        let supervisor = std::thread::spawn(move || {
            let fixture = Fixture::new("edge1", Memory::Memfd);
            for _ in 0..clients {
                let channel = listener.accept(Instant::now() + DEADLINE).unwrap();
                let opening = channel.recv::<Opening>(Instant::now() + DEADLINE).unwrap();
                let Some((Opening::Client(Client::Attach), _)) = opening else {
                    panic!("{opening:?}")
                };
                answer(&fixture, &channel);
                // Until the client is done.
                let _ = channel.recv::<Opening>(Instant::now() + DEADLINE);
            }
        });
        Live {
            run,
            supervisor: Some(supervisor),
        }
    }

    fn socket(&self) -> PathBuf {
        self.run.path().join("edge1/control.sock")
    }

    fn join(mut self) {
        self.supervisor.take().unwrap().join().unwrap();
    }
}

/// What a supervisor answers: one segment a message, so that a tool must put them together.
fn hand_out(fixture: &Fixture, channel: &Channel) {
    let segments = fixture.arena.read_only_fds().unwrap();
    let count = segments.len();
    for (at, (name, fd)) in segments.into_iter().enumerate() {
        let message = ToClient::Fds {
            keys: vec![format!("segment/{name}")],
            last: at + 1 == count,
        };
        channel.send(&message, &[fd.as_fd()]).unwrap();
    }
}

fn refuse(_: &Fixture, channel: &Channel) {
    channel
        .send(
            &ToClient::Refused {
                why: "uid 1000 may not attach; run it as root".to_owned(),
            },
            &[],
        )
        .unwrap();
}

fn garbage(_: &Fixture, channel: &Channel) {
    channel
        .send(
            &ToClient::Fds {
                keys: vec!["segment/ledger".to_owned()],
                last: true,
            },
            &[],
        )
        .unwrap();
}

#[test]
fn a_live_instance_is_shown_and_checked() {
    let live = Live::start(2, hand_out);
    let output = dump_in(
        live.run.path(),
        &["edge1", "show", "nat.session", "--limit", "1"],
    );
    assert!(
        stdout(&output).contains("10.0.7.0:40000"),
        "{}",
        stderr(&output)
    );
    stdout(&dump_in(live.run.path(), &["edge1", "check"]));
    live.join();
}

#[test]
fn refusals_and_nonsense_of_the_supervisor_are_told() {
    let live = Live::start(1, refuse);
    let output = dump_in(live.run.path(), &["edge1", "list"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(
        stderr(&output).contains("uid 1000 may not attach"),
        "{}",
        stderr(&output)
    );
    live.join();
    let live = Live::start(1, garbage);
    let output = dump_in(live.run.path(), &["edge1", "list"]);
    assert!(
        stderr(&output).contains("it named 1 descriptors and sent 0"),
        "{}",
        stderr(&output)
    );
    live.join();
}

#[test]
fn no_instance_and_a_headless_one_are_told_apart() {
    let run = tempfile::tempdir().unwrap();
    let output = dump_in(run.path(), &["edge1", "list"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("no instance \"edge1\""),
        "{}",
        stderr(&output)
    );
    // Tenants that were not ended, and a socket file whose listener is gone.
    let folder = run.path().join("edge1");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("lock"), "4711\n").unwrap();
    std::fs::write(folder.join("tenants.json"), "{}").unwrap();
    let listener = Listener::bind(&folder.join("control.sock")).unwrap();
    let kept = run.path().join("kept");
    std::fs::hard_link(folder.join("control.sock"), &kept).unwrap();
    drop(listener);
    let _ = std::fs::rename(kept, folder.join("control.sock"));
    let output = dump_in(run.path(), &["edge1", "list"]);
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(
        said.contains("forwarding may well go on without it") && said.contains("baton run edge1"),
        "{said}"
    );
    assert!(said.contains("--hugetlbfs"), "{said}");
}

#[test]
fn a_stopped_instance_is_neither_unknown_nor_headless() {
    let run = tempfile::tempdir().unwrap();
    let folder = run.path().join("edge1");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("lock"), "4711\n").unwrap(); // all that `baton stop` leaves
    let output = dump_in(run.path(), &["edge1", "list"]);
    assert_eq!(output.status.code(), Some(3));
    let said = stderr(&output);
    assert!(
        said.contains("\"edge1\" is stopped") && said.contains("baton run edge1 starts it"),
        "{said}"
    );
    assert!(!said.contains("forwarding may well go on"), "{said}");
}

#[test]
fn the_mapping_is_read_only_and_stays_so() {
    let fixture = Fixture::new("ro", Memory::Memfd);
    let arena = Arena::attach(fixture.arena.read_only_fds().unwrap(), Access::ReadOnly).unwrap();
    for segment in arena.list() {
        assert!(!segment.region.is_writable(), "{}", segment.name);
        let start = NonNull::new(segment.region.as_ptr().cast()).unwrap();
        // SAFETY: the page belongs to a mapping of this process; giving it a right (which the kernel shall refuse)
        // takes none away from anybody.
        let refused =
            unsafe { mprotect(start, 4096, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE) };
        assert_eq!(refused, Err(nix::Error::EACCES), "{}", segment.name);
    }
    let writable = Arena::attach(fixture.arena.read_only_fds().unwrap(), Access::ReadWrite);
    assert!(
        writable.is_err(),
        "a descriptor opened for reading maps for reading only"
    );
}

/// What a program can do with the descriptors it was given: open them again, for writing.
fn reopen_for_writing(fds: &[(String, OwnedFd)]) -> Vec<io::Result<()>> {
    let again = |fd: &OwnedFd| {
        OpenOptions::new()
            .write(true)
            .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
            .map(drop)
    };
    fds.iter().map(|(_, fd)| again(fd)).collect()
}

#[test]
fn the_same_uid_can_reopen_for_writing_as_the_readme_says() {
    let fixture = Fixture::new("same", Memory::Memfd);
    let fds = fixture.arena.read_only_fds().unwrap();
    for outcome in reopen_for_writing(&fds) {
        outcome.expect("the same user owns the file: an accident is kept out, malice is not");
    }
}

#[test]
fn another_uid_cannot_reopen_for_writing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: becoming another user needs root");
        return;
    }
    let live = Live::start(1, hand_out);
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "attach::as_another_user",
            "--ignored",
            "--nocapture",
        ])
        .env("BATON_TEST_SOCKET", live.socket())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&child.stdout),
        stderr(&child)
    );
    assert!(
        child.status.success() && said.contains("reopening refused"),
        "{said}"
    );
    live.join();
}

/// Runs in a process of its own: it gives its user up.
#[test]
#[ignore = "run by another_uid_cannot_reopen_for_writing"]
fn as_another_user() {
    let Some(socket) = std::env::var_os("BATON_TEST_SOCKET") else {
        return;
    };
    let channel = Channel::connect(Path::new(&socket)).unwrap();
    become_user(NOBODY).unwrap();
    assert_eq!(nix::unistd::geteuid().as_raw(), NOBODY);
    channel.send(&Opening::Client(Client::Attach), &[]).unwrap();
    let mut segments = Vec::new();
    loop {
        let (message, fds) = channel
            .recv::<ToClient>(Instant::now() + DEADLINE)
            .unwrap()
            .unwrap();
        let ToClient::Fds { keys, last } = message else {
            panic!("{message:?}")
        };
        segments.extend(
            keys.into_iter()
                .map(|key| key["segment/".len()..].to_owned())
                .zip(fds),
        );
        if last {
            break;
        }
    }
    for outcome in reopen_for_writing(&segments) {
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
    Arena::attach(segments, Access::ReadOnly).expect("reading still works");
    println!("reopening refused");
}

#[test]
fn a_tool_under_another_uid_still_reads() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: becoming another user needs root");
        return;
    }
    let live = Live::start(1, hand_out);
    let output = dump_in(
        live.run.path(),
        &[
            "edge1",
            "--uid",
            "65534",
            "show",
            "nat.session",
            "--limit",
            "1",
        ],
    );
    assert!(
        stdout(&output).contains("10.0.7.0:40000"),
        "{}",
        stderr(&output)
    );
    live.join();
}

#[test]
fn the_segments_arrive_by_name_whatever_else_is_sent() {
    let (ours, theirs) = Channel::pair().unwrap();
    let supervisor = std::thread::spawn(move || {
        let fixture = Fixture::new("pair", Memory::Memfd);
        theirs.recv::<Opening>(Instant::now() + DEADLINE).unwrap();
        let other = tempfile::tempfile().unwrap();
        let message = ToClient::Fds {
            keys: vec!["port/inside/0/xsk".to_owned()],
            last: false,
        };
        theirs.send(&message, &[other.as_fd()]).unwrap();
        hand_out(&fixture, &theirs);
        fixture
    });
    let arena = receive(&ours).unwrap();
    let _fixture = supervisor.join().unwrap();
    let names: Vec<String> = arena
        .list()
        .into_iter()
        .map(|segment| segment.name)
        .collect();
    assert_eq!(names, ["ledger", "lifelines", "tables", "meta", "data"]);
}
