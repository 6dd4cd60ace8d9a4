//! What the process tests begin with: a lab of their own, or a visible reason why there is none.
//!
//! One lab at a time on a machine, whoever runs the tests and in however many processes: two would judge each other's
//! load instead of the gateway.

use std::fs::File;
use std::path::PathBuf;

use crate::lab::{Lab, PortKind, Shape};
use crate::machine::sibling;
use crate::netns::Netns;
use crate::show::is_real_root;

/// A lab and the directory of its files, which goes last.
#[derive(Debug)]
pub struct Fixture {
    /// The lab.
    pub lab: Lab,
    _dir: tempfile::TempDir,
    _turn: File,
}

/// A lab of this shape, or `None`, said aloud, where this user cannot have one.
///
/// # Panics
/// If the lab could be had and still cannot be built.
pub fn lab(shape: Shape) -> Option<Fixture> {
    if shape.port == PortKind::AfXdp && !is_real_root() {
        eprintln!("SKIPPED: af_xdp needs root");
        return None;
    }
    if let Err(error) = Netns::new("probe") {
        assert!(!is_real_root(), "root can make namespaces: {error}");
        eprintln!("SKIPPED: {error}");
        return None;
    }
    let lock = std::env::temp_dir().join(format!("baton-lab-{}.lock", nix::unistd::getuid()));
    let turn = File::create(&lock).expect("a lock file");
    turn.lock().expect("our turn");
    let dir = tempfile::Builder::new()
        .prefix("baton-test-")
        .tempdir()
        .expect("a directory for the lab");
    let lab = Lab::new(shape, dir.path()).expect("a lab");
    Some(Fixture {
        lab,
        _dir: dir,
        _turn: turn,
    })
}

/// Drivers that this user can use.
pub fn ports() -> Vec<PortKind> {
    let all = [PortKind::AfXdp, PortKind::AfPacket, PortKind::Tap];
    all.into_iter()
        .filter(|port| *port != PortKind::AfXdp || is_real_root())
        .collect()
}

/// A program of this build.
///
/// # Panics
/// If it has not been built: tests run whole workspaces, or build their programs first.
pub fn built(name: &str) -> PathBuf {
    let path = sibling(name);
    assert!(
        path.is_file(),
        "{} is not built: cargo build --workspace --bins",
        path.display()
    );
    path
}
