//! `net_af_packet`: a packet socket with TPACKET_V2 rings on a kernel interface.
//!
//! Frames are copied between ring and mbufs, so no mbuf ever stands in a ring. Every frame has a
//! vnet header: unfinished checksums are flagged, and left to the kernel on the way out.
//!
//! Layout: [`rings`]. Cursors: 0 = next frame to read, 1 = frames given back, 2 = next frame to
//! write; positions are free-running. Journal `i` = stamp of the frame read at a position ≡ i.
//!
//! Order
//! - receive: bytes to the mbuf, `place`, journal; then cursor 0; then the frames' status; then
//!   cursor 1.
//! - send: `place` (tx, position), bytes, status `SEND_REQUEST`; then cursor 2; then the free.
//!
//! Failure: a frame copied but not covered by cursor 0 is read again (its mbuf is freed); one
//! covered but not given back still has its journal's stamp and is given back; a mbuf marked tx is
//! written if its position is not yet published, freed if it is.

mod queue;
mod rings;
mod socket;

use std::os::fd::AsFd;

use baton_shared_state::Region;
use baton_shared_state::mempool::Pool;

use self::queue::PacketPort;
use self::rings::{FRAME, Frames};
use crate::cursors::{Cursors, Facts};
use crate::driver::{Created, FdSource, need_fd, queue_key};
use crate::error::PortError;
use crate::hand::Hand;
use crate::port::Port;
use crate::spec::PortSpec;
use crate::sys::netif;
use crate::sys::socket::map_shared;

pub(crate) fn create(spec: &PortSpec, cursors: Region) -> Result<Vec<Created>, PortError> {
    let iface = spec.place();
    let interface = netif::look(iface)?;
    if !interface.up {
        return Err(PortError::InterfaceDown {
            iface: iface.to_owned(),
        });
    }
    let facts = Facts {
        mac: interface.mac,
        mtu: interface.mtu,
        mode: 0,
    };
    let sockets = socket::open(spec, iface, &interface)?;
    (0..)
        .zip(sockets)
        .map(|(queue, fd)| {
            Cursors::create(spec, queue, cursors, facts)?;
            let mut created = Created::new(queue);
            created.fds.push((queue_key(spec, queue, "packet"), fd));
            Ok(created)
        })
        .collect()
}

pub(crate) fn adopt(
    spec: &PortSpec,
    queue: u16,
    fds: &FdSource<'_>,
    pool: &Pool,
    cursors: Region,
) -> Result<Box<dyn Port>, PortError> {
    let cursors = Cursors::open(spec, queue, cursors)?;
    let fd = need_fd(spec, fds, &queue_key(spec, queue, "packet"))?;
    let (rx_len, tx_len) = (spec.rxd as usize * FRAME, spec.txd as usize * FRAME);
    let part = |region: Region, at: usize, len: usize| {
        region
            .slice(at, len)
            .expect("the mapping was made this long")
    };
    let region = map_shared(fd.as_fd(), rx_len + tx_len, 0)
        .map_err(|error| PortError::system(spec.place(), "mmap of the packet rings", error))?;
    Ok(Box::new(PacketPort {
        hand: Hand {
            pool: *pool,
            port: spec.id,
            queue,
        },
        cursors,
        fd,
        rx: Frames::new(part(region, 0, rx_len), spec.rxd),
        tx: Frames::new(part(region, rx_len, tx_len), spec.txd),
        iface: spec.place().to_owned(),
    }))
}
