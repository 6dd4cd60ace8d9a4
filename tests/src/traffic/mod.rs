//! Sequenced UDP traffic through a device under test, and the judgement of what came out.
//!
//! One process, one thread, both ends: it opens its packet sockets inside two network namespaces and works in
//! batches, so that 100,000 packets/s fit on a core shared with softirq and other programs.
//!
//! ```text
//!  client end                       gateway                        server end
//!  10.1.x.y:port, flow f  --- up -->  NAT  --- outside ip:port -->  198.51.100.9:9000
//!  10.1.x.y:port, flow f  <-- down -  NAT  <-- outside ip:port ---  198.51.100.9:9000
//! ```
//!
//! Neither 10.1.0.0/16 nor 198.51.100.9 belongs to the kernels of the namespaces: packets for them reach the
//! interface by a route of the device under test, are copied to the sink's ring, and are then dropped by a kernel
//! that does not forward. So no socket has to be bound and no ICMP error is ever sent.
//!
//! - [`frame`] the bytes of a packet; [`tally`] what arrived; [`pace`] when to send; [`socket`] packet sockets.
//! - [`stream`] the two ends together; [`report`] what is printed; [`control`] the handle that other programs hold.

pub mod control;
pub mod frame;
pub mod pace;
pub mod report;
pub mod socket;
pub mod stream;
pub mod tally;
