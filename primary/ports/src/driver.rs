//! From a specification to kernel objects and from their descriptors to a [`Port`].

use std::os::fd::OwnedFd;

use baton_shared_state::Region;
use baton_shared_state::mempool::Pool;

use crate::error::PortError;
use crate::port::Port;
use crate::spec::{Driver, PortSpec};
use crate::{net_af_packet, net_af_xdp, net_null, net_pcap, net_ring, net_tap};

/// What [`create`] made for one queue; the descriptors go into the vault under their keys.
#[derive(Debug)]
pub struct Created {
    /// The queue; what belongs to the whole port comes with queue 0.
    pub queue: u16,
    /// Keys as `port/inside/0/xsk`, and descriptors.
    pub fds: Vec<(String, OwnedFd)>,
    /// What works, but not as well as it could: one sentence each, with the way out.
    pub warnings: Vec<String>,
}

impl Created {
    pub(crate) fn new(queue: u16) -> Created {
        Created {
            queue,
            fds: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Where [`adopt`] finds a descriptor: a duplicate of the vault's, by key.
pub type FdSource<'a> = dyn Fn(&str) -> Option<OwnedFd> + 'a;

/// Makes a port's kernel objects, once in its life, and lays its cursors. `cursors` is the port's
/// whole zone: [`crate::cursors_bytes`] long, all queues.
///
/// # Errors
/// [`PortError`] names the interface, what was found and the way out; nothing is left behind.
pub fn create(spec: &PortSpec, pool: &Pool, cursors: Region) -> Result<Vec<Created>, PortError> {
    match spec.driver {
        Driver::AfXdp => net_af_xdp::create(spec, pool, cursors),
        Driver::AfPacket => net_af_packet::create(spec, cursors),
        Driver::Tap => net_tap::create(spec, cursors),
        Driver::Ring => net_ring::create(spec, cursors),
        Driver::Pcap => net_pcap::create(spec, cursors),
        Driver::Null => net_null::create(spec, cursors),
    }
}

/// Maps one queue of a port that exists; the one path for its maker and for every later tenant.
/// Nothing the present owner uses is written. `cursors` is the port's whole zone.
///
/// # Errors
/// A descriptor that was not handed over, cursors that are not this port's, other parameters.
pub fn adopt(
    spec: &PortSpec,
    queue: u16,
    fds: &FdSource<'_>,
    pool: &Pool,
    cursors: Region,
) -> Result<Box<dyn Port>, PortError> {
    match spec.driver {
        Driver::AfXdp => net_af_xdp::adopt(spec, queue, fds, pool, cursors),
        Driver::AfPacket => net_af_packet::adopt(spec, queue, fds, pool, cursors),
        Driver::Tap => net_tap::adopt(spec, queue, fds, pool, cursors),
        Driver::Ring => net_ring::adopt(spec, queue, fds, pool, cursors),
        Driver::Pcap => net_pcap::adopt(spec, queue, fds, pool, cursors),
        Driver::Null => net_null::adopt(spec, queue, pool, cursors),
    }
}

/// The vault key of something of one queue.
pub(crate) fn queue_key(spec: &PortSpec, queue: u16, what: &str) -> String {
    format!("port/{}/{queue}/{what}", spec.name)
}

/// The vault key of something of the whole port.
pub(crate) fn port_key(spec: &PortSpec, what: &str) -> String {
    format!("port/{}/{what}", spec.name)
}

/// A descriptor that must have been handed over.
pub(crate) fn need_fd(
    spec: &PortSpec,
    fds: &FdSource<'_>,
    key: &str,
) -> Result<OwnedFd, PortError> {
    fds(key).ok_or_else(|| PortError::MissingFd {
        port: spec.name.clone(),
        key: key.to_owned(),
    })
}
