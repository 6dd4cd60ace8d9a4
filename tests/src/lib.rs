//! Real processes, real traffic, real signals: what the tests and the commands in `scripts/` are made of.
//!
//! - [`lab`] three network namespaces with the gateway in the middle; [`netns`] one of them; [`machine`] CPUs, tools.
//! - [`fixture`] what process tests begin with.
//! - [`instance`] a running `baton`: its config, its verbs, its numbers; [`program`] any child; [`wait`] deadlines.
//! - [`traffic`] sequenced UDP through the lab; [`tcp`] connections and programs nobody here wrote.
//! - [`trial`] the run that demo, soak and bench share; [`verdict`] its last line; [`show`] those commands themselves.

pub mod fixture;
pub mod instance;
pub mod lab;
pub mod machine;
pub mod netns;
pub mod program;
pub mod show;
pub mod tcp;
pub mod traffic;
pub mod trial;
pub mod verdict;
pub mod wait;
