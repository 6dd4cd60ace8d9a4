//! The sentences a user of the derives meets when something is wrong.
//!
//! `ui/ours` holds mistakes whose whole message is ours; `ui/rustc` those that the compiler words around our
//! sentence, compared only with the compiler whose words stand in the files.

use std::process::Command;

/// Minor version of rustc that wrote `ui/rustc/*.stderr`.
const WORDED_BY: &str = "rustc 1.95.";

#[test]
fn mistakes_are_compile_errors_with_a_sentence() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/ours/*.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc)
        .arg("--version")
        .output()
        .expect("the compiler that built this test runs");
    let version = String::from_utf8_lossy(&version.stdout);
    if version.starts_with(WORDED_BY) {
        cases.compile_fail("tests/ui/rustc/*.rs");
    } else {
        eprintln!(
            "SKIPPED: ui/rustc (worded by {WORDED_BY}x, this is {})",
            version.trim()
        );
    }
}
