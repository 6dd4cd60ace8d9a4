//! What every test of a port needs: a pool, a vault of descriptors, a neighbour, and the checks.

#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod net;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

use baton_ports::net_ring::Peer;
use baton_ports::{Port, PortError, PortSpec, adopt, create, cursors_bytes};
use baton_shared_state::Region;
use baton_shared_state::audit::{Accounting, Audit};
use baton_shared_state::mbuf::Packet;
use baton_shared_state::mempool::{Cache, Pool};
use baton_shared_state::place::Holder;

use net::{ETHERTYPE, PATIENCE, Wire};

/// Mbufs of a test's pool.
pub(crate) const MBUFS: u32 = 4096;

/// The other side of the port under test.
pub(crate) enum Neighbour {
    /// The kernel: a raw socket on an interface.
    Wire(Wire),
    /// Another program on the same pool.
    Ring(Peer, Cache),
    /// Nobody.
    None,
}

/// A port that exists, with everything that outlives its tenants.
pub(crate) struct Rig {
    pub(crate) spec: PortSpec,
    pub(crate) pool: Pool,
    pub(crate) cursors: Region,
    pub(crate) vault: HashMap<String, OwnedFd>,
    pub(crate) warnings: Vec<String>,
    pub(crate) neighbour: Neighbour,
}

/// A pool of [`MBUFS`] buffers in memory of this process.
pub(crate) fn pool() -> Pool {
    let meta = Region::private(Pool::meta_bytes(MBUFS));
    // UMEM is registered from a page on: anonymous mappings start on one.
    let data = Region::private(Pool::data_bytes(MBUFS, 2048));
    Pool::create(meta, data, 2048).expect("a pool")
}

impl Rig {
    /// Makes a port of this vdev string with rings of 512 and a pool of its own.
    pub(crate) fn new(vdev: &str) -> Result<Rig, PortError> {
        Rig::over(pool(), vdev, 1)
    }

    /// Makes another port over the pool of one that exists.
    pub(crate) fn beside(other: &Rig, vdev: &str, id: u16) -> Rig {
        Rig::over(other.pool, vdev, id).expect("the port can be made")
    }

    fn over(pool: Pool, vdev: &str, id: u16) -> Result<Rig, PortError> {
        let spec = PortSpec::parse_vdev(vdev)?
            .named("inside", id)
            .with_rings(512, 512)?;
        let cursors = Region::private(cursors_bytes(&spec));
        let (mut vault, mut warnings) = (HashMap::new(), Vec::new());
        for created in create(&spec, &pool, cursors)? {
            vault.extend(created.fds);
            warnings.extend(created.warnings);
        }
        let neighbour = Neighbour::None;
        Ok(Rig {
            spec,
            pool,
            cursors,
            vault,
            warnings,
            neighbour,
        })
    }

    /// The same with a raw socket on `iface` as its neighbour.
    pub(crate) fn wired(vdev: &str, iface: &str) -> Rig {
        let mut rig = Rig::new(vdev).expect("the port can be made");
        rig.neighbour = Neighbour::Wire(Wire::open(iface));
        rig
    }

    /// The same with a peer over the same pool as its neighbour, who uses cache 1.
    pub(crate) fn ringed() -> Rig {
        let mut rig = Rig::new("net_ring0").expect("the port can be made");
        let fd = &rig.vault["port/inside/0/rings"];
        let peer = Peer::open(&rig.spec, 0, fd, &rig.pool).expect("the other end");
        rig.neighbour = Neighbour::Ring(peer, rig.pool.cache(1));
        rig
    }

    /// Another tenant's view of a queue.
    pub(crate) fn adopt(&self, queue: u16) -> Box<dyn Port> {
        let source = |key: &str| self.vault.get(key).and_then(|fd| fd.try_clone().ok());
        adopt(&self.spec, queue, &source, &self.pool, self.cursors).expect("the port is there")
    }

    /// Has the neighbour send frame number `seq`.
    pub(crate) fn send(&mut self, seq: u32) {
        let frame = frame(seq);
        match &mut self.neighbour {
            Neighbour::Wire(wire) => wire.send(&frame),
            Neighbour::Ring(peer, cache) => {
                let mut packet = cache.alloc().expect("a free mbuf");
                packet
                    .append(frame.len())
                    .expect("room")
                    .copy_from_slice(&frame);
                assert_eq!(
                    peer.send_burst(&[packet.into_raw()]),
                    1,
                    "the ring has room"
                );
            }
            Neighbour::None => panic!("nobody sends"),
        }
    }

    /// Numbers of the frames that the neighbour has received by now.
    pub(crate) fn received(&mut self) -> Vec<u32> {
        match &mut self.neighbour {
            Neighbour::Wire(wire) => std::iter::from_fn(|| wire.recv())
                .map(|frame| number(&frame))
                .collect(),
            Neighbour::Ring(peer, cache) => {
                let mut mbufs = [0; 64];
                let n = peer.recv_burst(&mut mbufs);
                let packets = mbufs[..n]
                    .iter()
                    .map(|m| Packet::from_raw(*m, cache.pool()));
                let packets: Vec<Packet> = packets.collect();
                let numbers = packets.iter().map(|packet| number(packet.data())).collect();
                packets.into_iter().for_each(|packet| cache.free(packet));
                numbers
            }
            Neighbour::None => Vec::new(),
        }
    }

    /// The sum over all mbufs, queues 0 of this port included.
    pub(crate) fn audit(&self, port: &dyn Port) -> Accounting {
        let mut audit = Audit::new(self.pool);
        port.windows(&mut |holder, m| audit.found(holder, m));
        audit.in_kernel(Holder::tx(self.spec.id, 0), port.in_kernel());
        audit.finish()
    }

    /// Checks that every mbuf is in exactly one place.
    pub(crate) fn assert_nothing_leaked(&self, port: &dyn Port) {
        let sum = self.audit(port);
        assert!(sum.is_exact(), "{sum:?}");
    }
}

/// Frame `seq`: 60 to 1,400 bytes, its number behind the header, a pattern to the end.
pub(crate) fn frame(seq: u32) -> Vec<u8> {
    let len = 60 + (seq as usize * 37) % 1341;
    let mut frame = vec![seq as u8; len];
    frame[..6].copy_from_slice(&[0xff; 6]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 0xfe]);
    frame[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    frame[14..18].copy_from_slice(&seq.to_be_bytes());
    frame
}

/// The number of a frame, whose every byte is checked.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    assert!(bytes.len() >= 60, "a frame of {} bytes", bytes.len());
    let seq = u32::from_be_bytes([bytes[14], bytes[15], bytes[16], bytes[17]]);
    assert_eq!(bytes, frame(seq), "frame {seq} came back changed");
    seq
}

/// The number of the frame in a mbuf.
pub(crate) fn number_of(pool: Pool, m: u32) -> u32 {
    let packet = Packet::from_raw(m, pool);
    let seq = number(packet.data());
    packet.into_raw();
    seq
}

/// Polls until `done` says so; panics with `what` when nothing comes of it.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what} within {PATIENCE:?}");
        std::thread::yield_now();
    }
}

/// Sends all of `mbufs`, waiting for room.
pub(crate) fn transmit(port: &mut dyn Port, cache: &mut Cache, mbufs: &[u32]) {
    let mut sent = 0;
    until("the transmit ring has room", || {
        sent += port.tx_burst(cache, &mbufs[sent..]);
        port.kick();
        sent == mbufs.len()
    });
}
