//! How packets get in and out: one file or folder a driver.
//!
//! A port is made once ([`create`]): its kernel objects are descriptors in the vault, its positions
//! are words in shared memory. Every tenant, its maker included, [`adopt`]s it by mapping from the
//! descriptors, and then polls it, releases it, resumes it as the owner words say ([`Port`]).
//!
//! | driver | kernel object | zero loss at a planned swap | after a death |
//! |---|---|---|---|
//! | `net_af_xdp` | AF_XDP socket, XDP link | yes | nothing lost |
//! | `net_af_packet` | packet socket, TPACKET_V2 rings | yes | nothing lost |
//! | `net_tap` | TAP queue | yes | at most one packet each way |
//! | `net_ring` | none (memfd) | yes | nothing lost |
//! | `net_pcap` | files | yes | nothing lost |
//! | `net_null` | none | yes | nothing lost |

#![deny(unsafe_code)]

mod cursors;
mod driver;
mod error;
mod hand;
mod net_af_packet;
mod net_af_xdp;
mod net_null;
mod net_pcap;
pub mod net_ring;
mod net_tap;
mod params;
mod port;
mod spec;
#[allow(unsafe_code, reason = "system calls with safe faces")]
mod sys;
mod vnet;

pub use cursors::{CURSORS_PER_QUEUE, cursors_bytes};
pub use driver::{Created, FdSource, adopt, create};
pub use error::{PortError, SpecError};
pub use net_null::stride;
pub use params::{Parameters, parameters};
pub use port::{CsumSource, Port, Totals};
pub use spec::{DEFAULT_RING, Driver, MAX_QUEUES, PortSpec, parse_mac};
