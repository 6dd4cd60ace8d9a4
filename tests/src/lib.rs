//! Real processes, real traffic, real signals: what the tests and the commands in `scripts/` are made of.

pub mod traffic;
