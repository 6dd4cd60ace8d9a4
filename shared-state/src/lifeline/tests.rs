use super::*;
use crate::arena::{Access, ArenaSpec};
use crate::channel::{Channel, Listener};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Set in a child: the socket by which it gets the arena.
const SOCKET: &str = "BATON_TEST_LIFELINE_SOCKET";

fn arena() -> Arena {
    let spec = ArenaSpec {
        tables_bytes: 1,
        mbufs: 32,
        ..ArenaSpec::default()
    };
    Arena::create(&spec).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// What a child does once it holds its lifelines (two threads: slots 40 and 41).
#[derive(Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
enum Then {
    Sleep,
    Exec,
    EndSecondThread,
    Abort,
}

/// Not a test of its own: the body of the children that the tests below start.
#[test]
fn child_process() {
    let Ok(path) = std::env::var(SOCKET) else {
        return;
    };
    let channel = Channel::connect(path.as_ref()).unwrap();
    let ((names, then), fds) = channel
        .recv::<(Vec<String>, Then)>(soon())
        .unwrap()
        .unwrap();
    let fds: Vec<(String, OwnedFd)> = names.into_iter().zip(fds).collect();
    let arena = Arena::attach(fds, Access::ReadWrite).unwrap();
    let (held, wait_held) = std::sync::mpsc::channel();
    let (end, wait_end) = std::sync::mpsc::channel::<()>();
    let other = arena.clone();
    std::thread::spawn(move || {
        let _lifeline = std::mem::ManuallyDrop::new(Lifeline::hold(&other, 41).unwrap());
        held.send(()).unwrap();
        // Ends when the first thread drops its end.
        let _ = wait_end.recv();
    });
    let _lifeline = std::mem::ManuallyDrop::new(Lifeline::hold(&arena, 40).unwrap());
    wait_held.recv().unwrap();
    channel.send(&"held", &[]).unwrap();
    channel.recv::<u8>(soon()).unwrap();
    match then {
        Then::Exec => {
            std::thread::spawn(|| panic!("{}", Command::new("/bin/sleep").arg("60").exec()));
        }
        Then::Abort => std::process::abort(),
        Then::EndSecondThread => drop(end),
        Then::Sleep => {}
    }
    std::thread::sleep(Duration::from_secs(60));
}

/// A child that holds slots 40 and 41 and waits for a word on its channel.
struct Tenant {
    child: Child,
    channel: Channel,
}

impl Tenant {
    fn start(arena: &Arena, then: Then) -> Tenant {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = Listener::bind(&path).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "lifeline::tests::child_process",
                "--test-threads",
                "1",
            ])
            .env(SOCKET, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let channel = listener.accept(soon()).unwrap();
        let (names, fds): (Vec<String>, Vec<OwnedFd>) = arena.fds().unwrap().into_iter().unzip();
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        channel.send(&(names, then), &fds).unwrap();
        let (word, _) = channel.recv::<String>(soon()).unwrap().unwrap();
        assert_eq!(word, "held");
        Tenant { child, channel }
    }

    fn go(&self) {
        self.channel.send(&1u8, &[]).unwrap();
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_dead(lifelines: Lifelines, slot: u16) {
    let dead = lifelines.wait_dead(&[slot], Duration::from_secs(30));
    assert_eq!(dead, Some(slot), "status {:?}", lifelines.status(slot));
    assert_eq!(lifelines.status(slot), Status::Dead);
}

#[test]
fn a_killed_process_is_reported_thread_by_thread() {
    let arena = arena();
    let lifelines = Lifelines::open(&arena).unwrap();
    let mut tenant = Tenant::start(&arena, Then::Sleep);
    assert_eq!(lifelines.status(39), Status::Never);
    for slot in [40, 41] {
        assert_eq!(lifelines.status(slot), Status::Alive);
    }
    let watchers: Vec<_> = (0..3)
        .map(|_| std::thread::spawn(move || wait_dead(lifelines, 41)))
        .collect();
    tenant.child.kill().unwrap();
    wait_dead(lifelines, 40);
    for watcher in watchers {
        watcher.join().unwrap();
    }
}

#[test]
fn an_exec_ends_the_threads_that_held_it() {
    let arena = arena();
    let lifelines = Lifelines::open(&arena).unwrap();
    let tenant = Tenant::start(&arena, Then::Exec);
    tenant.go();
    wait_dead(lifelines, 40);
    wait_dead(lifelines, 41);
}

#[test]
fn an_abort_is_a_death_too() {
    let arena = arena();
    let lifelines = Lifelines::open(&arena).unwrap();
    let tenant = Tenant::start(&arena, Then::Abort);
    tenant.go();
    wait_dead(lifelines, 40);
}

#[test]
fn one_thread_that_ends_is_reported_and_the_others_live() {
    let arena = arena();
    let lifelines = Lifelines::open(&arena).unwrap();
    let tenant = Tenant::start(&arena, Then::EndSecondThread);
    tenant.go();
    wait_dead(lifelines, 41);
    assert_eq!(lifelines.status(40), Status::Alive);
}

#[test]
fn a_slot_of_a_dead_thread_is_held_again_and_a_living_one_is_not() {
    let arena = arena();
    let lifelines = Lifelines::open(&arena).unwrap();
    let mut tenant = Tenant::start(&arena, Then::Sleep);
    let error = Lifeline::hold(&arena, 40).unwrap_err();
    assert!(
        error.to_string().contains("two tenants in one slot"),
        "{error}"
    );
    tenant.child.kill().unwrap();
    wait_dead(lifelines, 40);
    let lifeline = Lifeline::hold(&arena, 40).unwrap();
    assert_eq!((lifeline.slot(), lifelines.status(40)), (40, Status::Alive));
    drop(lifeline);
    assert_eq!(lifelines.status(40), Status::Dead);
}

#[test]
fn letting_go_wakes_a_sleeper_and_leaves_the_thread_usable() {
    let arena = arena();
    let lifelines = Lifelines::open(&arena).unwrap();
    let lifeline = Lifeline::hold(&arena, 3).unwrap();
    let word = lifelines.word(3).unwrap();
    let seen = word.load(Ordering::Acquire);
    let sleeper = std::thread::spawn(move || {
        while word.load(Ordering::Acquire) == seen {
            wait(&[(word, seen)], Duration::from_secs(30)).unwrap();
        }
    });
    drop(lifeline);
    sleeper.join().unwrap();
    let again = Lifeline::hold(&arena, 4).expect("the thread's own list was put back");
    assert_eq!(lifelines.status(again.slot()), Status::Alive);
}

#[test]
fn a_thread_that_ends_without_dropping_is_reported_by_the_kernel() {
    let arena = arena();
    let lifelines = Lifelines::open(&arena).unwrap();
    let ours = arena.clone();
    let thread = std::thread::spawn(move || std::mem::forget(Lifeline::hold(&ours, 7).unwrap()));
    thread.join().unwrap();
    wait_dead(lifelines, 7);
}

#[test]
fn waiting_for_the_living_ends_at_its_time() {
    let arena = arena();
    let lifelines = Lifelines::open(&arena).unwrap();
    let _lifeline = Lifeline::hold(&arena, 3).unwrap();
    assert_eq!(lifelines.wait_dead(&[3, 5], Duration::from_millis(5)), None);
    assert_eq!(lifelines.wait_dead(&[1000], Duration::from_millis(5)), None);
}

#[test]
fn words_of_another_boot_read_dead() {
    let arena = arena();
    Directory::create(&arena).unwrap();
    let _lifeline = Lifeline::hold(&arena, 3).unwrap();
    assert_eq!(Lifelines::open(&arena).unwrap().status(3), Status::Alive);
    let dir = tempfile::tempdir().unwrap();
    arena.save(dir.path()).unwrap();
    let image = Arena::load_image(dir.path()).unwrap();
    let lifelines = Lifelines::open(&image).unwrap();
    assert_eq!(
        (lifelines.status(3), lifelines.status(4)),
        (Status::Dead, Status::Never)
    );
    assert!(
        Lifeline::hold(&image, 5).is_err(),
        "an image has no lifelines to hold"
    );
}

#[test]
fn there_is_no_slot_512() {
    let arena = arena();
    let error = Lifeline::hold(&arena, 512).unwrap_err();
    assert_eq!(error.to_string(), "lcore slot 512 of 512");
    assert_eq!(Lifelines::open(&arena).unwrap().status(512), Status::Never);
}
