//! `net_af_xdp`: AF_XDP sockets on the queues of a kernel interface.
//!
//! One UMEM registration per port over the whole data segment: a UMEM address is an offset in it,
//! chunk = mbuf. The kernel writes 256 bytes into each chunk (XDP's headroom), which is ours too.
//!
//! Layout: [`rings`]. No cursors but one flag: the indices of the rings are all there is.
//!
//! Order: every step stores the `place` of its mbufs, then the ring index.
//! - receive: (app, mark | rx index), then rx consumer.    fill: (fill, index), then fill producer.
//! - send: (tx, index), then tx producer.    reap: (comp, index), then comp consumer, then the free.
//!
//! Failure: after the death of an owner the next one reads the indices and settles each mbuf by one
//! compare with its `place` ([`repair`]); what the kernel holds is never touched. Socket, UMEM and
//! link live on in the vault. An interface that goes away unbinds its sockets: whoever adopts the
//! port then takes its buffers back, and says so by cursor 0 to those who mapped the rings before.

mod program;
mod queue;
mod repair;
mod rings;
mod socket;

use std::os::fd::{AsFd, BorrowedFd};

use baton_shared_state::Region;
use baton_shared_state::mempool::Pool;
use baton_shared_state::place::{Holder, Place};

use self::queue::XdpPort;
use self::rings::Rings;
use crate::cursors::{Cursors, Facts};
use crate::driver::{Created, FdSource, need_fd, port_key, queue_key};
use crate::error::PortError;
use crate::hand::Hand;
use crate::port::Port;
use crate::spec::PortSpec;
use crate::sys::{bpf, netif};

pub(crate) fn create(
    spec: &PortSpec,
    pool: &Pool,
    cursors: Region,
) -> Result<Vec<Created>, PortError> {
    let iface = spec.place();
    let interface = netif::look(iface)?;
    if !interface.up {
        return Err(PortError::InterfaceDown {
            iface: iface.to_owned(),
        });
    }
    let more = program::check_queues(spec, iface)?;
    let attached = program::attach(spec, iface, interface.index)?;
    let (sockets, zero_copy) = socket::open(spec, iface, interface.index, *pool)?;
    let facts = Facts {
        mac: interface.mac,
        mtu: interface.mtu,
        mode: u32::from(attached.native) | u32::from(zero_copy) << 1,
    };
    let mut posted = Posted {
        pool: *pool,
        mbufs: Vec::new(),
    };
    for (queue, fd) in (0..).zip(&sockets) {
        Cursors::create(spec, queue, cursors, facts)?;
        let rings = map(spec, iface, fd.as_fd())?;
        posted.fill(spec, queue, &rings)?;
    }
    // From here on packets come to us instead of the kernel.
    for (queue, fd) in (u32::from(spec.start_queue)..).zip(&sockets) {
        bpf::put_socket(attached.map.as_fd(), queue, fd.as_fd())
            .map_err(|error| PortError::system(iface, "BPF_MAP_UPDATE_ELEM", error))?;
    }
    posted.mbufs.clear();
    let mut made: Vec<Created> = (0..)
        .zip(sockets)
        .map(|(queue, fd)| {
            let mut created = Created::new(queue);
            created.fds.push((queue_key(spec, queue, "xsk"), fd));
            created
        })
        .collect();
    made[0].fds.push((port_key(spec, "link"), attached.link));
    made[0].fds.push((port_key(spec, "map"), attached.map));
    made[0].warnings = attached.warnings.into_iter().chain(more).collect();
    Ok(made)
}

pub(crate) fn adopt(
    spec: &PortSpec,
    queue: u16,
    fds: &FdSource<'_>,
    pool: &Pool,
    cursors: Region,
) -> Result<Box<dyn Port>, PortError> {
    let cursors = Cursors::open(spec, queue, cursors)?;
    let fd = need_fd(spec, fds, &queue_key(spec, queue, "xsk"))?;
    let (rings, gone) = match map(spec, spec.place(), fd.as_fd()) {
        // The kernel maps the rings of bound sockets only: this one's interface went away.
        Err(PortError::System { source, .. }) if source.raw_os_error() == Some(libc::EBUSY) => {
            (Rings::gone(spec.rxd, spec.txd), true)
        }
        other => (other?, false),
    };
    Ok(Box::new(XdpPort {
        hand: Hand {
            pool: *pool,
            port: spec.id,
            queue,
        },
        cursors,
        rings,
        fd,
        iface: spec.place().to_owned(),
        gone,
    }))
}

fn map(spec: &PortSpec, iface: &str, fd: BorrowedFd<'_>) -> Result<Rings, PortError> {
    Rings::map(fd, spec.rxd, spec.txd)
        .map_err(|error| PortError::system(iface, "mmap of the AF_XDP rings", error))
}

/// Buffers given to fill rings of a port that is being made: back to the pool if it fails.
struct Posted {
    pool: Pool,
    mbufs: Vec<u32>,
}

impl Posted {
    /// Fills a fresh fill ring with buffers of the pool's common ring.
    fn fill(&mut self, spec: &PortSpec, queue: u16, rings: &Rings) -> Result<(), PortError> {
        let holder = Holder::fill(spec.id, queue);
        let mut mbufs = vec![0; spec.rxd as usize];
        let found = self.pool.ring().dequeue_burst(&mut mbufs);
        for (index, m) in (0u32..).zip(&mbufs[..found]) {
            self.pool.set_place(*m, Place::new(holder, index));
            rings.fill.write(index, self.pool.data_offset(*m));
            self.mbufs.push(*m);
        }
        if found < mbufs.len() {
            return Err(PortError::TooFewMbufs {
                port: spec.name.clone(),
                queue,
                found: found as u32,
                needed: spec.rxd,
            });
        }
        rings.fill.publish(spec.rxd);
        Ok(())
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        for m in &self.mbufs {
            self.pool.free_one(*m); // no socket is in the map yet: the kernel took none of them
        }
    }
}
