//! Promise: bad input is refused with a code, a sentence and a way out; nothing that runs suffers.

mod world;

use std::fs;

use baton_schema::control::{Client, FromPrimary, Opening, ToClient};
use baton_schema::{Manifest, wire};
use baton_shared_state::channel::Channel;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket,
};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use world::World;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn a_second_instance_with_the_same_prefix_is_told_the_first_ones_pid() {
    let world = World::running();
    let status = world.status();
    let config = world.config().display().to_string();
    let second = world.baton(&["run", "t", "--config", &config]);
    assert_eq!(second.code, 5, "{second:?}");
    let pid = status["supervisor_pid"].to_string();
    assert!(
        second
            .err
            .contains(&format!("t runs already: its supervisor is pid {pid}")),
        "{second:?}"
    );
    assert_eq!(world.owner().0, "1.0");
}

#[test]
fn garbage_and_oversized_messages_close_one_connection_and_no_more() {
    let world = World::running();
    let path = world.folder.path().join("run/t/control.sock");
    for bytes in [
        vec![0u8; 10],
        b"BTN".to_vec(),
        vec![0xff; 4096],
        [&b"BTN\x01"[..], &[9; 60]].concat(),
        vec![7; 150_000],
    ] {
        let fd = socket(
            AddressFamily::Unix,
            SockType::SeqPacket,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .expect("a socket");
        connect(fd.as_raw_fd(), &UnixAddr::new(&path).expect("a path")).expect("listens");
        let _ = send(fd.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL);
        assert!(
            baton_shared_state::sys::pidfd_wait(std::os::fd::AsFd::as_fd(&fd), soon())
                .expect("poll"),
            "closed"
        );
    }
    assert_eq!(world.owner().0, "1.0");
    assert!(
        world.log().contains("message refused, connection closed"),
        "{}",
        world.log()
    );
}

#[test]
fn a_primary_that_was_not_started_here_is_not_let_in() {
    let world = World::running();
    let channel =
        Channel::connect(&world.folder.path().join("run/t/control.sock")).expect("listens");
    let manifest = Manifest {
        name: "x".into(),
        version: "1".into(),
        wire: wire::VERSION,
        zones: vec![],
    };
    let hello = FromPrimary::Hello {
        pid: std::process::id(),
        manifest,
        resume: Some(0),
    };
    channel.send(&hello, &[]).expect("sent");
    assert!(
        channel.recv::<ToClient>(soon()).expect("ends").is_none(),
        "closed without a word"
    );
    assert_eq!(world.owner().0, "1.0");
}

#[test]
fn an_unknown_request_is_a_usage_error() {
    let world = World::running();
    let channel =
        Channel::connect(&world.folder.path().join("run/t/control.sock")).expect("listens");
    channel
        .send(
            &Opening::Client(Client::Verb("{\"verb\":\"explode\"}".into())),
            &[],
        )
        .expect("sent");
    let Some((ToClient::End { code, result }, _)) =
        channel.recv::<ToClient>(soon()).expect("answered")
    else {
        panic!("another answer")
    };
    assert_eq!(code, 2);
    assert!(result.contains("does not know that request"), "{result}");
}

#[test]
fn a_tool_gets_the_segments_and_cannot_write_them() {
    let world = World::running();
    let channel =
        Channel::connect(&world.folder.path().join("run/t/control.sock")).expect("listens");
    channel
        .send(&Opening::Client(Client::Attach), &[])
        .expect("sent");
    let Some((ToClient::Fds { keys, last }, fds)) =
        channel.recv::<ToClient>(soon()).expect("answered")
    else {
        panic!("another answer")
    };
    assert!(
        last && keys.iter().any(|key| key == "segment/ledger"),
        "{keys:?}"
    );
    for fd in fds {
        let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFL).expect("a descriptor");
        let mode = nix::fcntl::OFlag::from_bits_truncate(flags) & nix::fcntl::OFlag::O_ACCMODE;
        assert_eq!(mode, nix::fcntl::OFlag::O_RDONLY);
    }
}

#[test]
fn mistakes_in_the_config_are_told_before_anything_starts() {
    let world = World::new();
    let config = world.config().display().to_string();
    let good = fs::read_to_string(world.config()).expect("readable");
    fs::write(world.config(), good.replace("lcores", "lcroes")).expect("written");
    let run = world.baton(&["run", "t", "--config", &config]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("t.toml:4:1: instance.lcroes: "), "{run:?}");
    assert!(run.err.contains("did you mean `lcores`?"), "{run:?}");
    fs::write(
        world.config(),
        good.replace("gateway-1.0-", "no-such-binary"),
    )
    .expect("written");
    let run = world.baton(&["run", "t", "--config", &config]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(
        run.err.contains("no-such-binary: cannot open") && run.err.contains("way out: "),
        "{run:?}"
    );
    let other = world.baton(&["run", "u", "--config", &config]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(
        other
            .err
            .contains("instance.file-prefix: expected \"u\", which was asked for, found \"t\""),
        "{other:?}"
    );
}

#[test]
fn a_first_start_that_fails_leaves_nothing_behind_and_says_why() {
    for (fault, code, words) in [
        ("fail attach", 7, "baton: told to fail in attach"),
        ("start", 1, "exit status: 3"),
        ("hang warm", 1, "in warm: not done before the deadline"),
    ] {
        let mut world = World::with_fault(fault);
        world.run();
        assert_eq!(world.supervisor_ended(), code, "{fault}: {}", world.log());
        let last = world.log().lines().last().unwrap_or_default().to_owned();
        assert!(last.starts_with("way out: "), "{fault}: {last}");
        assert!(world.log().contains(words), "{fault}: {}", world.log());
        assert!(
            !world.folder.path().join("run/t/control.sock").exists(),
            "{fault}"
        );
    }
}

#[test]
fn check_reads_the_config_with_the_next_binarys_own_parser() {
    let world = World::new();
    let config = world.config().display().to_string();
    let good = world.binary("1.1", 2, &[1, 2], "").display().to_string();
    let bad = world
        .binary("1.2", 2, &[1, 2], "config")
        .display()
        .to_string();
    let check = world.baton(&["check", "--config", &config, "--binary", &good]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.out.contains("ok for gateway 1.1"), "{check:?}");
    let check = world.baton(&["check", "--config", &config, "--binary", &bad]);
    assert_eq!(check.code, 2, "{check:?}");
    assert!(check.err.contains("toml:3:1: gateway.qos: "), "{check:?}");
}

#[test]
fn a_machine_that_is_not_fit_for_a_good_config_is_code_7() {
    let mut world = World::with_fault("unfit");
    let config = world.config().display().to_string();
    let check = world.baton(&["check", "--config", &config]);
    assert_eq!(check.code, 7, "{check:?}");
    assert!(
        check.err.contains("t.toml:4:10: instance.lcores: "),
        "{check:?}"
    );
    world.run();
    assert_eq!(world.supervisor_ended(), 7, "{}", world.log());
}

#[test]
fn what_does_not_run_is_code_3_with_the_command_that_starts_it() {
    let world = World::new();
    for verb in [&["status", "t"][..], &["stop", "t"], &["rollback", "t"]] {
        let ran = world.baton(verb);
        assert_eq!(ran.code, 3, "{ran:?}");
        assert_eq!(
            ran.err.lines().last(),
            Some("way out: baton run t"),
            "{ran:?}"
        );
    }
    assert_eq!(world.baton(&["status", "bad/prefix"]).code, 2);
    assert_eq!(world.baton(&["upgrade", "t", "/no/such/file"]).code, 2);
    assert_eq!(world.baton(&["explode"]).code, 2);
}

#[test]
fn a_changed_number_of_shards_is_refused_by_name() {
    let world = World::running();
    let text = fs::read_to_string(world.config()).expect("readable");
    fs::write(world.config(), text.replace("\"0,0\"", "\"0\"")).expect("written");
    let next = world.binary("1.1", 2, &[1, 2], "");
    let plan = world.baton(&["plan", "t", &next.display().to_string()]);
    assert_eq!(plan.code, 4, "{plan:?}");
    assert!(
        plan.err.contains("instance.shards changed from 2 to 1"),
        "{plan:?}"
    );
}

#[test]
fn a_foreign_user_is_kept_out_by_the_sockets_mode_and_by_its_credentials() {
    use std::os::unix::fs::PermissionsExt;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can act as another user");
        return;
    }
    const NOBODY: u32 = 65_534;
    let world = World::running();
    let open = |path: &str, mode| {
        let path = world.folder.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its owner may");
    };
    open("", 0o755);
    let ran = world.baton_as(NOBODY, &["status", "t"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.err.contains("t is another user's"), "{ran:?}");
    open("run", 0o755);
    open("run/t", 0o755);
    open("run/t/control.sock", 0o666);
    let ran = world.baton_as(NOBODY, &["status", "t"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(
        ran.err
            .contains("this instance belongs to uid 0, you are uid 65534"),
        "{ran:?}"
    );
    assert!(
        world.log().contains("foreign user refused"),
        "{}",
        world.log()
    );
    assert_eq!(world.owner().0, "1.0");
}
