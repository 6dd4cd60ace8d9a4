//! What the commands in `scripts/` need of a user is said by name, with the way out, before anything is built.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use baton_tests::show::is_real_root;

const NOBODY: u32 = 65_534;

/// A copy of the commands that everybody can read: the tree itself may be closed to others.
struct Copied(tempfile::TempDir);

impl Copied {
    fn new() -> Copied {
        let dir = tempfile::tempdir().expect("a directory");
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts");
        let to = dir.path().join("scripts");
        let copied = Command::new("cp").arg("-r").args([&scripts, &to]).status();
        assert!(copied.expect("cp").success());
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("it is ours");
        Copied(dir)
    }

    /// Runs one as a user without rights, without a toolchain either.
    fn run(&self, command: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.0.path().join("scripts").join(command));
        command.args(arguments).env("HOME", "/nonexistent");
        command.uid(NOBODY).gid(NOBODY).output().expect("it starts")
    }
}

fn assert_says(output: &Output, sentences: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(7), "{said}");
    for sentence in sentences {
        assert!(said.contains(sentence), "{sentence:?} in {said}");
    }
    assert!(!said.contains("toolchain"), "before the build: {said}");
}

#[test]
fn af_xdp_without_root_is_refused_with_the_way_out() {
    if !is_real_root() {
        return eprintln!("SKIPPED: af_xdp_without_root: becoming another user needs root");
    }
    let copied = Copied::new();
    for (command, arguments) in [
        ("demo", &["--port", "af_xdp"][..]),
        ("demo", &["--port=af_xdp"]),
        ("soak", &["--cycles", "2", "--port", "af_xdp"]),
        ("bench", &["gap", "--port", "af_xdp"]),
    ] {
        let output = copied.run(command, arguments);
        assert_says(&output, &["af_xdp", "with sudo", "--port af_packet"]);
    }
}

#[test]
fn a_tap_without_its_device_is_refused_with_the_way_out() {
    if !is_real_root() {
        return eprintln!("SKIPPED: a_tap_without_its_device: becoming another user needs root");
    }
    let device = std::fs::metadata(Path::new("/dev/net/tun"));
    if device.is_ok_and(|meta| meta.permissions().mode() & 0o006 == 0o006) {
        return eprintln!(
            "SKIPPED: a_tap_without_its_device: everybody may open /dev/net/tun here"
        );
    }
    let output = Copied::new().run("demo", &["--port", "tap"]);
    assert_says(&output, &["/dev/net/tun", "chmod 0666", "--port af_packet"]);
}
